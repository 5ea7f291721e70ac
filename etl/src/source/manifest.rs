//! `manifest.json`, which may lie beside the files of a dataset and says what they must be:
//!
//! ```json
//! {"files": [{"name": "product.csv", "size": 213900000, "sha256": "9f86d081884c7d65…"}, …]}
//! ```
//! It lists the files that make the dataset whole, cart.csv among them if that belongs to it. `size` (bytes) and
//! `sha256` (64 hexadecimal digits) may be left out; what is said is checked, the size before a file is loaded, the
//! hash while it is read once for that.

use serde::Deserialize;

use crate::table::TABLES;

/// What the file is called.
pub const MANIFEST: &str = "manifest.json";

/// The longest that one may be, in bytes.
pub(super) const LONGEST_MANIFEST: u64 = 1 << 20;

/// What a dataset must be.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    files: Vec<ManifestFile>,
}

/// What a file must be.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestFile {
    /// Its name.
    pub name: String,
    /// Its size in bytes.
    pub size: Option<u64>,
    /// The SHA-256 of its content, in hexadecimal digits.
    pub sha256: Option<String>,
}

impl Manifest {
    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with it, for a person.
    pub fn parse(json: &[u8]) -> Result<Self, ManifestError> {
        let mut manifest: Self = serde_json::from_slice(json).map_err(ManifestError::Json)?;
        for file in &mut manifest.files {
            if !TABLES.iter().any(|table| table.file == file.name) {
                return Err(ManifestError::UnknownFile(file.name.clone()));
            }
            if let Some(hash) = &mut file.sha256 {
                hash.make_ascii_lowercase();
                if hash.len() != 64 || !hash.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                    return Err(ManifestError::Hash { file: file.name.clone(), found: hash.clone() });
                }
            }
        }
        for table in &TABLES {
            match manifest.files.iter().filter(|file| file.name == table.file).count() {
                0 if !table.optional => return Err(ManifestError::Lacks(table.file)),
                0 | 1 => {}
                _ => return Err(ManifestError::Twice(table.file)),
            }
        }
        Ok(manifest)
    }

    /// What it says of a file; none if that is no part of the dataset.
    pub fn file(&self, name: &str) -> Option<&ManifestFile> {
        self.files.iter().find(|file| file.name == name)
    }
}

/// Why a manifest says nothing.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It is not the JSON that is expected.
    #[error(r#"expected {{"files":[{{"name":"product.csv","size":123,"sha256":"…"}},…]}}: {0}"#)]
    Json(serde_json::Error),
    /// It lists a file that no dataset has.
    #[error("lists {0:?}: expected the files of a dataset, product.csv and so on")]
    UnknownFile(String),
    /// It does not list a file that every dataset has.
    #[error("does not list {0}")]
    Lacks(&'static str),
    /// It lists a file twice.
    #[error("lists {0} more than once")]
    Twice(&'static str),
    /// What should be a hash is none.
    #[error("has {found:?} for the sha256 of {file}: expected 64 hexadecimal digits")]
    Hash {
        /// The file's name.
        file: String,
        /// What is there.
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
    fn a_manifest_lists_the_six_files_and_perhaps_the_carts() {
        assert!(parse(SIX).unwrap().file("cart.csv").is_none());
        let hash = "AB".repeat(32);
        let with_cart = format!(r#"{SIX},{{"name":"cart.csv","size":7,"sha256":"{hash}"}}"#);
        let manifest = parse(&with_cart).unwrap();
        let cart = manifest.file("cart.csv").unwrap();
        assert_eq!((cart.size, cart.sha256.as_deref()), (Some(7), Some(hash.to_lowercase().as_str())));
    }

    #[test]
    fn what_is_wrong_with_a_manifest_is_named() {
        assert_eq!(parse(r#"{"name":"product.csv"}"#).unwrap_err(), "does not list features.csv");
        let error = |more: &str| parse(&format!("{SIX},{more}")).unwrap_err();
        assert!(error(r#"{"name":"sku.csv"}"#).starts_with("lists \"sku.csv\""));
        assert_eq!(error(r#"{"name":"skus.csv"}"#), "lists skus.csv more than once");
        assert!(error(r#"{"name":"cart.csv","sha256":"123"}"#).contains("64 hexadecimal digits"));
        assert!(error(r#"{"name":"cart.csv","sizes":1}"#).contains("sizes"));
        assert!(error(r#"{"name":"cart.csv","size":-1}"#).contains("-1"));
    }
}
