//! Errors of datasets and their files.

use std::io;
use std::path::PathBuf;

use super::manifest::ManifestError;
use crate::s3::S3Error;

/// An error in a dataset, or in reading it.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The name is invalid: it is part of the ledger and of file names.
    #[error(
        "invalid dataset name {0:?}: expected 1 to 100 of A-Z a-z 0-9 . _ -, starting with a letter or digit (--dataset NAME)"
    )]
    Name(String),
    /// The folder or a file cannot be read.
    #[error("cannot read {}: {cause}; check the path and the rights of this user", path.display())]
    Unreadable {
        /// The folder or file.
        path: PathBuf,
        /// The error of the operating system.
        cause: io::Error,
    },
    /// An object cannot be read.
    #[error(transparent)]
    S3(#[from] S3Error),
    /// A required file, or one that the manifest lists, is missing.
    #[error("{location} is not a complete dataset: {} missing{found}", missing.join(", "))]
    Missing {
        /// The location of the dataset.
        location: String,
        /// The missing files.
        missing: Vec<String>,
        /// Files with similar names: ` (found Photos.csv)`, or nothing.
        found: String,
    },
    /// A table has two files.
    #[error("{location} has both {one} and {other}: expected only one of them")]
    Duplicate {
        /// The location of the dataset.
        location: String,
        /// The one file.
        one: String,
        /// The other file.
        other: String,
    },
    /// The manifest is invalid.
    #[error("{location} {cause}")]
    Manifest {
        /// Its location.
        location: String,
        /// The error in it.
        cause: ManifestError,
    },
    /// A file does not have the size or the ETag that the manifest lists, perhaps not yet.
    #[error("{location} {difference}; copy the file again, or correct the manifest")]
    ManifestMismatch {
        /// The file.
        location: String,
        /// The difference.
        difference: String,
    },
    /// A file has the size that the manifest lists, but another content.
    #[error(
        "{location} has the SHA-256 {found}: the manifest says {expected}; copy the file again, or correct the manifest"
    )]
    ManifestHash {
        /// The file.
        location: String,
        /// The hash of its content.
        found: String,
        /// The hash in the manifest.
        expected: String,
    },
    /// A file is not a CSV file of its table, or is damaged.
    #[error("{location} {cause}")]
    Content {
        /// The file.
        location: String,
        /// The error in it.
        cause: ContentError,
    },
    /// The file changed during the load.
    #[error("{} changed during the load: load it again when it is complete", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The deadline passed during a read.
    #[error("deadline reached")]
    DeadlineReached,
}

impl SourceError {
    /// Returns whether a retry with the same files must fail too.
    pub fn is_permanent(&self) -> bool {
        matches!(
            self,
            Self::Name(_)
                | Self::Duplicate { .. }
                | Self::Manifest { .. }
                | Self::ManifestHash { .. }
                | Self::Content { .. }
                | Self::S3(S3Error::TooLarge { .. })
        )
    }

    /// Returns whether a file is no longer the version that the load began with.
    pub fn is_stale_source(&self) -> bool {
        matches!(self, Self::Changed { .. } | Self::S3(S3Error::Gone(_) | S3Error::Replaced(_)))
    }
}

/// An error in the content of a file, as a part of a sentence that begins with the file's name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContentError {
    /// The gzip data has no end.
    #[error("ends in the middle of its gzip data: it looks truncated; copy the whole file again")]
    TruncatedGzip,
    /// The text ends within a row, in the line with this number.
    #[error(
        "looks truncated: line {0}, its last, is not a complete row and has no line ending; upload the whole file"
    )]
    Truncated(u64),
    /// The gzip data is invalid, or has another checksum.
    #[error("has corrupt gzip data: {0}; copy the file again")]
    CorruptGzip(String),
    /// The decompressed content is gzip again.
    #[error("is compressed with gzip twice; decompress it once")]
    GzipInGzip,
    /// The text has another encoding.
    #[error("is {0}; convert it to UTF-8")]
    Encoding(&'static str),
    /// Line 1 is not UTF-8.
    #[error("is not UTF-8 (perhaps Windows-1252 or ISO 8859-1); convert it to UTF-8")]
    NotUtf8,
    /// The file is no CSV.
    #[error("is {0}; expected CSV in UTF-8, plain or compressed with gzip")]
    Format(&'static str),
    /// Line 1 has a NUL byte.
    #[error("has a NUL byte at offset {0}: expected CSV in UTF-8")]
    Nul(usize),
    /// Lines end with CR alone.
    #[error("has old Mac line endings (CR); convert them to LF")]
    OldMac,
    /// The file has no header and no rows.
    #[error("is empty: expected the header {expected:?}")]
    Empty {
        /// The header of this file.
        expected: String,
    },
    /// The file has a header only, and needs rows.
    #[error("has no rows: expected at least one below the header")]
    NoRows,
    /// Line 1 has another separator.
    #[error("has {found} between the columns of line 1: expected commas, as in the header {expected:?}")]
    Separator {
        /// The separator, in the plural.
        found: &'static str,
        /// The header of this file.
        expected: String,
    },
    /// The header has other columns.
    #[error("has {found:?} in line 1, with {problem}: expected the header {expected:?}")]
    Columns {
        /// The beginning of line 1.
        found: String,
        /// The differences.
        problem: String,
        /// The header of this file.
        expected: String,
    },
    /// Line 1 is neither a header nor a row.
    #[error("has {found:?} in line 1: expected the header {expected:?}, or a row")]
    Header {
        /// The beginning of line 1.
        found: String,
        /// The header of this file.
        expected: String,
    },
}
