//! `manifest.json`, an optional description of the files of a dataset:
//!
//! ```json
//! {"files": [{"name": "product.csv", "size": 213900000, "sha256": "9f86d081884c7d65…"}, …]}
//! ```
//! It lists all files of the dataset, including cart.csv if the dataset has one, by their names (`photos.csv.gz`). `size`
//! (bytes), `etag` (of the object in S3) and `sha256` (64 hexadecimal digits) are optional, except for a second delivery below
//! one S3 prefix. The loader checks them before it loads a file; for the hash it reads the file once more.

use serde::Deserialize;

use crate::table::{TABLES, Table};

/// The name of the file.
pub const MANIFEST: &str = "manifest.json";

/// The max size of a manifest in bytes.
pub(super) const MAX_MANIFEST: u64 = 1 << 20;

/// The expected files of a dataset.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    files: Vec<ManifestFile>,
    /// Its version in S3.
    #[serde(skip)]
    pub version: Option<String>,
}

/// An expected file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestFile {
    /// Its name, of which `.gz` may be the end.
    pub name: String,
    /// Its size in bytes.
    pub size: Option<u64>,
    /// The ETag of its object, without quotes.
    pub etag: Option<String>,
    /// The SHA-256 of its content, in hexadecimal digits.
    pub sha256: Option<String>,
}

impl Manifest {
    /// Parses and checks a manifest.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(json: &[u8]) -> Result<Self, ManifestError> {
        let mut manifest: Self = serde_json::from_slice(json).map_err(ManifestError::Json)?;
        for file in &mut manifest.files {
            if Table::of_file(&file.name).is_none() {
                return Err(ManifestError::UnknownFile(file.name.clone()));
            }
            file.etag = file.etag.take().map(|etag| etag.trim_matches('"').to_owned());
            if let Some(hash) = &mut file.sha256 {
                hash.make_ascii_lowercase();
                if hash.len() != 64 || !hash.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                    return Err(ManifestError::Hash { file: file.name.clone(), found: hash.clone() });
                }
            }
        }
        for table in &TABLES {
            match manifest.files.iter().filter(|file| Table::of_file(&file.name) == Some(table)).count() {
                0 if !table.optional => return Err(ManifestError::Missing(table.file)),
                0 | 1 => {}
                _ => return Err(ManifestError::Duplicate(table.file)),
            }
        }
        Ok(manifest)
    }

    /// Returns the entry of a file by its name; none if the dataset does not include it.
    pub fn file(&self, name: &str) -> Option<&ManifestFile> {
        self.files.iter().find(|file| file.name == name)
    }

    /// Returns the entry of a table's file, plain or compressed.
    pub fn of_table(&self, table: &Table) -> Option<&ManifestFile> {
        self.files.iter().find(|file| Table::of_file(&file.name) == Some(table))
    }
}

impl ManifestFile {
    /// Returns the difference from a file with this size and, if it is in S3, this ETag.
    pub fn difference(&self, size: u64, etag: Option<&str>) -> Option<String> {
        if let Some(expected) = self.size.filter(|expected| *expected != size) {
            return Some(format!("has {size} bytes: the manifest says {expected}"));
        }
        let (expected, found) = (self.etag.as_ref()?, etag?.trim_matches('"'));
        (expected != found).then(|| format!("has the ETag {found}: the manifest says {expected}"))
    }

    /// Returns whether it tells the file from every other one.
    pub fn identifies(&self) -> bool {
        self.size.is_some() && (self.etag.is_some() || self.sha256.is_some())
    }
}

/// An error in a manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It is not the expected JSON.
    #[error(r#"expected {{"files":[{{"name":"product.csv","size":123,"sha256":"…"}},…]}}: {0}"#)]
    Json(serde_json::Error),
    /// It lists an unknown file.
    #[error("lists {0:?}: expected only files of a dataset, such as product.csv")]
    UnknownFile(String),
    /// It does not list a required file.
    #[error("does not list {0}: expected the six required files")]
    Missing(&'static str),
    /// It lists a file twice.
    #[error("lists {0} more than once: expected each file once")]
    Duplicate(&'static str),
    /// It has an invalid hash.
    #[error("has {found:?} for the sha256 of {file}: expected 64 hexadecimal digits")]
    Hash {
        /// The file's name.
        file: String,
        /// The invalid value.
        found: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIX: &str = r#"{"name":"product.csv"},{"name":"features.csv"},{"name":"styles.csv"},
        {"name":"photos.csv"},{"name":"skus.csv"},{"name":"related.csv"}"#;

    fn parse(files: &str) -> Result<Manifest, String> {
        Manifest::parse(format!(r#"{{"files":[{files}]}}"#).as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_manifest_lists_six_files_and_optionally_the_carts() {
        assert!(parse(SIX).unwrap().file("cart.csv").is_none());
        let hash = "AB".repeat(32);
        let with_cart = format!(r#"{SIX},{{"name":"cart.csv","size":7,"sha256":"{hash}"}}"#);
        let manifest = parse(&with_cart).unwrap();
        let cart = manifest.file("cart.csv").unwrap();
        assert_eq!((cart.size, cart.sha256.as_deref()), (Some(7), Some(hash.to_lowercase().as_str())));
    }

    #[test]
    fn a_manifest_may_list_a_compressed_file() {
        let manifest = parse(&SIX.replace("photos.csv", "photos.csv.gz")).unwrap();
        assert!(manifest.file("photos.csv.gz").is_some() && manifest.file("photos.csv").is_none());
        assert_eq!(manifest.of_table(&TABLES[3]).unwrap().name, "photos.csv.gz");
    }

    #[test]
    fn a_file_is_identified_by_its_size_and_a_hash_of_its_content() {
        let cart = |more: &str| {
            let manifest = parse(&format!(r#"{SIX},{{"name":"cart.csv"{more}}}"#)).unwrap();
            manifest.file("cart.csv").unwrap().clone()
        };
        let whole = cart(r#","size":7,"etag":"\"ab-1\"""#);
        assert!(
            whole.identifies() && !cart(r#","size":7"#).identifies() && !cart(r#","etag":"a""#).identifies()
        );
        assert_eq!(whole.difference(7, Some("\"ab-1\"")), None);
        assert_eq!(whole.difference(7, None), None, "a file on disk has no ETag");
        assert_eq!(whole.difference(8, None).unwrap(), "has 8 bytes: the manifest says 7");
        assert_eq!(whole.difference(7, Some("ab-2")).unwrap(), "has the ETag ab-2: the manifest says ab-1");
    }

    #[test]
    fn an_error_says_what_is_wrong_with_the_manifest() {
        assert_eq!(
            parse(r#"{"name":"product.csv"}"#).unwrap_err(),
            "does not list features.csv: expected the six required files"
        );
        let error = |more: &str| parse(&format!("{SIX},{more}")).unwrap_err();
        assert!(error(r#"{"name":"sku.csv"}"#).starts_with("lists \"sku.csv\""));
        assert_eq!(error(r#"{"name":"skus.csv"}"#), "lists skus.csv more than once: expected each file once");
        assert_eq!(
            error(r#"{"name":"skus.csv.gz"}"#),
            "lists skus.csv more than once: expected each file once"
        );
        assert!(error(r#"{"name":"cart.csv","sha256":"123"}"#).contains("64 hexadecimal digits"));
        assert!(error(r#"{"name":"cart.csv","sizes":1}"#).contains("sizes"));
        assert!(error(r#"{"name":"cart.csv","size":-1}"#).contains("-1"));
    }
}
