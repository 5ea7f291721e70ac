//! A generator of synthetic datasets: seven files like the real ones, at any scale, reproducible by seed.
//!
//! At scale 1 there are 1,000,011 products with all their rows, 2.2 GB in total. One thread per file streams it. Values
//! that two files share come from the same random draw (module `draw`). Rows are in ascending order of id and parent,
//! except for the irregularities below.
//!
//! The set has every irregularity of the real files: once among the first rows, so that the smallest set has it, and
//! then at a rate:
//!
//! | irregularity | file | first occurrence | rate after that |
//! |---|---|---|---|
//! | 1. `null` unquoted; quoted, as text | features | row 2 quoted | 1 row in 4 unquoted, 1 row in 100,000 quoted |
//! | 2. sale_price null, or 0 | styles | style 7 is 0 | 1 style in 40 is 0, 1 in 5 has a price, the others are null |
//! | 3. missing closing quote | photos | two lines of style 4 | two lines, 1 to 3 apart, of 1 style in 13,500 |
//! | 4. `uhttps://` | photos | style 5, last photo | never |
//! | 5. space before a quantity | skus | row 5 | 1 row in 20,000 |
//! | 6. ids out of order | photos, skus | style 2 | the first two of a style, 1 style in 40 in each file |
//! | 7. a size twice | skus | style 1 | 1 style in 50 |
//! | 8. related product 0 | related | row 3 | 1 row in 77,700 |
//! | 8. a product related to itself | related | row 5 | 1 row in 200 |
//! | 8. a duplicate | related | row 7 | 1 row in 100 |
//! | 9. neither photos nor skus | photos, skus | style 6 | 1 style in 33 |
//! | 9. no styles, no features, no related | | products 3, 4, 5 | 12 %, 8 %, 5 % of products |
//! | 9. no default; default not first | styles | products 6; 2 | 1 product in 10; 1 in 8 |
//! | 10. price 0; price 500,000,000 | product | products 7; 8 | 1 product in 5,000; 1 in 50,000 |
//! | 10. a style's own price | styles | style 9 | 1 style in 20 |
//! | 11. sizes as text; double spaces, `'`, `&`, `;`, `""`, letters beyond ASCII | all texts | | throughout |
//! | 12. a photo id left out | photos | before style 3 | before 1 style in 31,000 |
//! | 13. legacy format | all | with [`Options::legacy_format`] | every row |
//!
//! Lines without a closing quote come in pairs, because that makes them dangerous: a plain COPY reads both lines and all
//! lines between them as one row, without an error.

mod draw;
mod oddity;
mod output;
mod product;
mod style;
#[cfg(test)]
mod tests;
mod words;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use output::Output;

/// The number of products at scale 1, as in the real set.
pub const FULL_SCALE_PRODUCTS: u64 = 1_000_011;

/// The min and max scale: 20 products are enough for every irregularity, and above 100 million products the SKU ids come
/// close to the limit of an integer column.
pub const SCALES: std::ops::RangeInclusive<f64> = 0.000_02..=100.0;

/// The seven files, in the order of summaries.
pub const FILES: [&str; 7] =
    ["product.csv", "features.csv", "styles.csv", "photos.csv", "skus.csv", "related.csv", "cart.csv"];

/// The options of a dataset. The same options write the same bytes.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The size relative to the full set, within [`SCALES`].
    pub scale: f64,
    /// The seed of the random values.
    pub seed: u64,
    /// Whether to write the legacy format: a byte order mark, CRLF, spaces and capitals in column names, `$` before
    /// prices, no header in features.csv.
    pub legacy_format: bool,
}

/// The progress of a file, reported after every mebibyte.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Its name, one of [`FILES`].
    pub file: &'static str,
    /// The written bytes.
    pub bytes: u64,
    /// The written products.
    pub products_done: u64,
    /// The total number of products.
    pub products: u64,
}

/// The result of a generation.
#[derive(Debug, Clone)]
pub struct Summary {
    /// The number of products.
    pub products: u64,
    /// Each file, in the order of [`FILES`].
    pub files: Vec<FileSummary>,
}

/// A written file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileSummary {
    /// Its name, one of [`FILES`].
    pub file: &'static str,
    /// The number of rows without the header.
    pub rows: u64,
    /// Its size in bytes.
    pub bytes: u64,
}

/// An error of a generation.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// The scale is out of range.
    #[error("scale {scale} is out of range: expected a number from {} to {}", SCALES.start(), SCALES.end())]
    Scale {
        /// The invalid scale.
        scale: f64,
    },
    /// The folder cannot be created.
    #[error("cannot create the folder {}: {source}; choose another one", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A file cannot be written, for example because the disk is full.
    #[error("cannot write {}: {source}; free space, or choose another folder", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
}

/// The parameters of all writers.
#[derive(Debug, Clone, Copy)]
struct Set {
    seed: u64,
    products: u64,
    legacy_format: bool,
}

impl Set {
    /// Returns the prefix of a price.
    fn currency(self) -> &'static str {
        if self.legacy_format { "$" } else { "" }
    }
}

type Writer = fn(Set, &mut Output<'_>) -> io::Result<()>;

/// Writes the seven files into a folder, which it creates if missing. It overwrites files with these names and keeps all
/// others. The writing threads call `on_progress`.
///
/// Needs about 10 MiB of memory at any scale.
pub fn generate(
    options: &Options,
    dir: &Path,
    on_progress: impl Fn(Progress) + Sync,
) -> Result<Summary, GenerateError> {
    let set = plan(options)?;
    std::fs::create_dir_all(dir)
        .map_err(|source| GenerateError::Folder { path: dir.to_path_buf(), source })?;
    let on_progress = &on_progress;
    let written: Vec<Result<FileSummary, GenerateError>> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            FILES.iter().map(|file| scope.spawn(move || write_file(set, dir, file, on_progress))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|p| std::panic::resume_unwind(p)))
            .collect()
    });
    Ok(Summary { products: set.products, files: written.into_iter().collect::<Result<_, _>>()? })
}

fn plan(options: &Options) -> Result<Set, GenerateError> {
    if !SCALES.contains(&options.scale) {
        return Err(GenerateError::Scale { scale: options.scale });
    }
    // Exact: both are far below 2^53.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let products = (FULL_SCALE_PRODUCTS as f64 * options.scale).round() as u64;
    Ok(Set { seed: options.seed, products, legacy_format: options.legacy_format })
}

/// Returns the writer of a file, its header, and its header in the legacy format, which may be empty.
fn layout(file: &str) -> (Writer, &'static str, &'static str) {
    match file {
        "product.csv" => (
            product::products,
            "id,name,slogan,description,category,default_price",
            "Id,Name,Slogan,Description,Category,Default Price",
        ),
        "features.csv" => (product::features, "id,product_id,feature,value", ""),
        "styles.csv" => (
            style::styles,
            "id,productId,name,sale_price,original_price,default_style",
            "ID, Product Id, Name, Sale Price, Original Price, Default Style",
        ),
        "photos.csv" => (style::photos, "id,styleId,url,thumbnail_url", "id,Style ID,URL,Thumbnail Url"),
        "skus.csv" => (style::skus, "id,styleId,size,quantity", "id, styleId, size, quantity"),
        "related.csv" => (
            product::related,
            "id,current_product_id,related_product_id",
            "id,Current Product Id,Related Product Id",
        ),
        _ => (product::cart, "id,user_session,product_id,active", "id,User Session,Product Id,Active"),
    }
}

fn write_file(
    set: Set,
    dir: &Path,
    file: &'static str,
    on_progress: impl Fn(Progress),
) -> Result<FileSummary, GenerateError> {
    let path = dir.join(file);
    let write = || {
        let (writer, header, legacy_header) = layout(file);
        let on_chunk = |products_done, bytes| {
            on_progress(Progress { file, bytes, products_done, products: set.products });
        };
        let line_end: &[u8] = if set.legacy_format { b"\r\n" } else { b"\n" };
        let mut output = Output::new(File::create(&path)?, line_end, &on_chunk);
        if !set.legacy_format {
            output.header(header);
        } else if !legacy_header.is_empty() {
            output.text("\u{feff}").header(legacy_header);
        }
        writer(set, &mut output)?;
        let (rows, bytes) = output.finish(set.products)?;
        Ok(FileSummary { file, rows, bytes })
    };
    write().map_err(|source| GenerateError::File { path: path.clone(), source })
}
