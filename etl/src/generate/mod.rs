//! The synthetic set: seven files like the real ones, at any scale, the same for the same seed.
//!
//! At scale 1 there are 1,000,011 products and what belongs to them, 2.2 GB in all. Each file is written by a
//! thread of its own as a stream; what two files must agree on is drawn anew by each (module `draw`). Files come in the
//! order of their ids, parents ascending, but for the oddities below.
//!
//! Everything odd in the real files is here, once among the first rows for certain, so that the smallest set has
//! it, and then at a rate:
//!
//! | oddity | file | where for certain | how often beyond that |
//! |---|---|---|---|
//! | 1. `null` bare; as text, quoted | features | row 2 quoted | a quarter of the rows bare, 1 row in 100,000 quoted |
//! | 2. sale_price null, or 0 | styles | style 7 is 0 | 1 style in 40 is 0, 1 in 5 has a price, the others are null |
//! | 3. closing quote missing | photos | two lines of style 4 | two lines, 1 to 3 apart, of 1 style in 13,500 |
//! | 4. `uhttps://` | photos | style 5, last photo | nowhere |
//! | 5. space before a quantity | skus | row 5 | 1 row in 20,000 |
//! | 6. ids out of order | photos, skus | style 2 | the first two of a style, 1 style in 40 in each file |
//! | 7. a size twice | skus | style 1 | 1 style in 50 |
//! | 8. related product 0 | related | row 3 | 1 row in 77,700 |
//! | 8. related to itself | related | row 5 | 1 row in 200 |
//! | 8. the same one again | related | row 7 | 1 row in 100 |
//! | 9. neither photos nor skus | photos, skus | style 6 | 1 style in 33 |
//! | 9. no styles, no features, no related | | products 3, 4, 5 | 12 %, 8 %, 5 % of products |
//! | 9. no default; default not first | styles | products 6; 2 | 1 product in 10; 1 in 8 |
//! | 10. price 0; price 500,000,000 | product | products 7; 8 | 1 product in 5,000; 1 in 50,000 |
//! | 10. a style's own price | styles | style 9 | 1 style in 20 |
//! | 11. sizes as text; double spaces, `'`, `&`, `;`, `""`, letters beyond ASCII | all texts | | throughout |
//! | 12. a photo id left out | photos | before style 3 | before 1 style in 31,000 |
//! | 13. older copies | all | with [`Options::legacy_format`] | every row |
//!
//! Lines without their closing quote come in twos since that is what makes them dangerous: a plain COPY takes both
//! and all between them for one row and reports nothing.

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

/// Products at scale 1, as many as the real set has.
pub const FULL_SCALE_PRODUCTS: u64 = 1_000_011;

/// The smallest scale and the largest: 20 products have every oddity, and above 100 million the ids of skus would
/// come near the end of what an integer column holds.
pub const SCALES: std::ops::RangeInclusive<f64> = 0.000_02..=100.0;

/// The seven files, in the order in which summaries name them.
pub const FILES: [&str; 7] =
    ["product.csv", "features.csv", "styles.csv", "photos.csv", "skus.csv", "related.csv", "cart.csv"];

/// What to generate. Equal options make equal bytes.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Share of the full size, within [`SCALES`].
    pub scale: f64,
    /// Another seed makes another set of the same size and kind.
    pub seed: u64,
    /// Writes the same data as older copies of the files have it: a byte order mark, CRLF, spaces and capitals in
    /// column names, `$` before prices, no line of column names in features.csv.
    pub legacy_format: bool,
}

/// How far a file has come; told after every mebibyte.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Its name, one of [`FILES`].
    pub file: &'static str,
    /// Bytes written so far.
    pub bytes: u64,
    /// Products written so far...
    pub products_done: u64,
    /// ...of so many, which is this file's share done.
    pub products: u64,
}

/// What was written.
#[derive(Debug, Clone)]
pub struct Summary {
    /// Products in the set.
    pub products: u64,
    /// Each file, in the order of [`FILES`].
    pub files: Vec<FileSummary>,
}

/// One file that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileSummary {
    /// Its name, one of [`FILES`].
    pub file: &'static str,
    /// Rows, the line of column names not counted.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
}

/// Why a set could not be generated.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// The scale makes no set.
    #[error("scale {scale} is out of range: expected a number from {} to {}", SCALES.start(), SCALES.end())]
    Scale {
        /// What was asked for.
        scale: f64,
    },
    /// The folder does not exist and could not be made.
    #[error("cannot make the folder {}: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file could not be made or written to its end: no right to, or the disk is full.
    #[error("cannot write {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// What the writers of all files know.
#[derive(Debug, Clone, Copy)]
struct Set {
    seed: u64,
    products: u64,
    legacy_format: bool,
}

impl Set {
    /// What stands before a price.
    fn currency(self) -> &'static str {
        if self.legacy_format { "$" } else { "" }
    }
}

type Writer = fn(Set, &mut Output<'_>) -> io::Result<()>;

/// Writes the seven files into a folder, which is made if need be; files of these names there are overwritten, others
/// are left alone. `on_progress` is called from the threads that write.
///
/// Takes some ten mebibytes of memory at any scale.
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

/// The writer of a file, its line of column names, and that of older copies, empty where they had none.
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
        let (writer, header, older_header) = layout(file);
        let on_chunk = |products_done, bytes| {
            on_progress(Progress { file, bytes, products_done, products: set.products });
        };
        let line_end: &[u8] = if set.legacy_format { b"\r\n" } else { b"\n" };
        let mut output = Output::new(File::create(&path)?, line_end, &on_chunk);
        if !set.legacy_format {
            output.header(header);
        } else if !older_header.is_empty() {
            output.text("\u{feff}").header(older_header);
        }
        writer(set, &mut output)?;
        let (rows, bytes) = output.finish(set.products)?;
        Ok(FileSummary { file, rows, bytes })
    };
    write().map_err(|source| GenerateError::File { path: path.clone(), source })
}
