//! The files of a dataset, in a folder or in S3. The loader finds them, records their versions and checks their headers
//! before it loads anything.

mod manifest;

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Instant, UNIX_EPOCH};

use futures_util::future::try_join_all;
use memchr::memchr;
use sha2::{Digest, Sha256};

use crate::csv::Record;
use crate::row::parse_u31;
use crate::s3::{Object, ObjectReader, S3, S3Error, S3Url};
use crate::table::{TABLES, Table};

use manifest::MAX_MANIFEST;
pub use manifest::{MANIFEST, Manifest, ManifestError};

const BOM: &[u8] = b"\xef\xbb\xbf";

/// The bytes of a file that the loader reads to check its header.
const HEAD: u64 = 64 << 10;

/// An error in a dataset, or in reading it.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The name is invalid: it is part of the ledger and of file names.
    #[error(
        "invalid dataset name {0:?}: expected 1 to 100 of A-Z a-z 0-9 . _ -, starting with a letter or digit (--dataset NAME)"
    )]
    Name(String),
    /// The folder or a file cannot be read.
    #[error("cannot read {}: {cause}", path.display())]
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
    #[error("{location} is not a complete dataset: {} missing", missing.join(", "))]
    Missing {
        /// The location of the dataset.
        location: String,
        /// The missing files.
        missing: Vec<&'static str>,
    },
    /// The manifest is invalid.
    #[error("{location} {cause}")]
    Manifest {
        /// Its location.
        location: String,
        /// The error in it.
        cause: ManifestError,
    },
    /// A file does not have the size that the manifest lists, perhaps not yet.
    #[error("{location} has {found} bytes: the manifest says {expected}")]
    ManifestSize {
        /// The file.
        location: String,
        /// Its size in bytes.
        found: u64,
        /// The size in the manifest.
        expected: u64,
    },
    /// A file has the size that the manifest lists, but another content.
    #[error("{location} has the SHA-256 {found}: the manifest says {expected}")]
    ManifestHash {
        /// The file.
        location: String,
        /// The hash of its content.
        found: String,
        /// The hash in the manifest.
        expected: String,
    },
    /// The first line is neither the header nor a row.
    #[error("{location}: line 1 is {found:?}: expected the header {expected:?}, or a row")]
    Header {
        /// The file.
        location: String,
        /// The header of this file.
        expected: String,
        /// The beginning of line 1.
        found: String,
    },
    /// A file has no rows: it is probably truncated.
    #[error("{location} has no rows")]
    NoRows {
        /// The file.
        location: String,
    },
    /// The file ends within a row.
    #[error(
        "{location} looks truncated: it ends in line {line}, which is no complete row and has no line ending; upload the \
         whole file"
    )]
    Truncated {
        /// The file.
        location: String,
        /// The number of its last line.
        line: u64,
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
                | Self::Manifest { .. }
                | Self::ManifestHash { .. }
                | Self::Header { .. }
                | Self::NoRows { .. }
                | Self::Truncated { .. }
                | Self::S3(S3Error::TooLarge { .. })
        )
    }

    /// Returns whether a file is no longer the version that the load began with.
    pub fn is_stale_source(&self) -> bool {
        matches!(self, Self::Changed { .. } | Self::S3(S3Error::Gone(_) | S3Error::Replaced(_)))
    }

    /// Converts an error of a [`Reader`].
    fn from_read_error(location: &FileLocation, error: io::Error) -> Self {
        match (error.downcast::<S3Error>(), location) {
            (Ok(error), _) => Self::S3(error),
            (Err(error), _) if error.kind() == io::ErrorKind::TimedOut => Self::DeadlineReached,
            (Err(cause), FileLocation::Disk(path)) => Self::Unreadable { path: path.clone(), cause },
            (Err(cause), FileLocation::S3(_, object)) => {
                Self::S3(S3Error::Failed { url: object.url.clone(), cause: cause.to_string() })
            }
        }
    }
}

/// The location of a dataset.
#[derive(Clone, Debug)]
pub enum DatasetLocation {
    /// A folder.
    Folder(PathBuf),
    /// A prefix in S3.
    S3(S3, S3Url),
}

/// The files of one dataset.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// Its name in the ledger.
    pub name: String,
    /// Its location: the path of a folder, or `s3://bucket/prefix/`.
    pub source: String,
    /// Its files, parents before children.
    pub files: Vec<SourceFile>,
}

/// One file of a dataset.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// Its table.
    pub table: &'static Table,
    /// Its size in bytes.
    pub size: u64,
    /// Its version: on disk the modification time in nanoseconds, in S3 the ETag.
    pub version: String,
    /// The offset of its first row, after a byte order mark and a header.
    pub body_offset: u64,
    /// The SHA-256 in the manifest, in hexadecimal digits.
    pub sha256: Option<String>,
    location: FileLocation,
}

#[derive(Clone, Debug)]
enum FileLocation {
    Disk(PathBuf),
    S3(S3, Object),
}

impl fmt::Display for FileLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileLocation::Disk(path) => path.display().fmt(f),
            FileLocation::S3(_, object) => object.url.fmt(f),
        }
    }
}

impl Dataset {
    /// Opens and checks the files of a dataset. Its default name is that of the folder, or the last part of the prefix.
    ///
    /// # Errors
    /// An incomplete or invalid dataset, or a failed read.
    pub async fn open(location: &DatasetLocation, name: Option<&str>) -> Result<Self, SourceError> {
        match location {
            DatasetLocation::Folder(dir) => Self::open_folder(dir, name).await,
            DatasetLocation::S3(s3, prefix) => Self::open_prefix(s3, prefix, name).await,
        }
    }

    async fn open_folder(dir: &Path, name: Option<&str>) -> Result<Self, SourceError> {
        let unreadable = |cause| SourceError::Unreadable { path: dir.to_owned(), cause };
        let real = dir.canonicalize().map_err(unreadable)?;
        let folder_name = real.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.map_or_else(|| folder_name.unwrap_or_default(), str::to_owned);
        check_name(&name)?;
        let present: Vec<_> = std::fs::read_dir(dir)
            .map_err(unreadable)?
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect::<Result<_, _>>()
            .map_err(unreadable)?;
        let is_present = |name: &str| present.iter().any(|file| file == name);
        let manifest = match is_present(MANIFEST) {
            true => Some(read_manifest(&dir.join(MANIFEST))?),
            false => None,
        };
        let tables = TABLES.iter().filter(|table| is_present(table.file));
        let locations = tables.map(|table| (table, FileLocation::Disk(dir.join(table.file)))).collect();
        Self::from_locations(name, (real.display().to_string(), &dir.display()), locations, manifest.as_ref())
            .await
    }

    async fn open_prefix(s3: &S3, prefix: &S3Url, name: Option<&str>) -> Result<Self, SourceError> {
        let last_part = prefix.key.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        let name = name.unwrap_or(last_part).to_owned();
        check_name(&name)?;
        let looking = TABLES.iter().map(|table| async move {
            match s3.head(&prefix.join(table.file)).await {
                Ok(object) => Ok(Some((table, object))),
                Err(S3Error::Gone(_)) => Ok(None),
                Err(error) => Err(error),
            }
        });
        let (manifest, found) = tokio::try_join!(Self::manifest_at(s3, prefix), async {
            try_join_all(looking).await.map_err(SourceError::from)
        })?;
        let objects = found.into_iter().flatten().collect();
        Self::from_objects(s3, prefix, name, objects, manifest.as_ref()).await
    }

    /// Returns the manifest below a prefix, if there is one.
    ///
    /// # Errors
    /// An invalid manifest, or a failed read.
    pub async fn manifest_at(s3: &S3, prefix: &S3Url) -> Result<Option<Manifest>, SourceError> {
        let url = prefix.join(MANIFEST);
        let Some(json) = s3.get_small(&url, MAX_MANIFEST).await? else { return Ok(None) };
        Manifest::parse(&json)
            .map(Some)
            .map_err(|cause| SourceError::Manifest { location: url.to_string(), cause })
    }

    /// Opens and checks a dataset of these objects below a prefix.
    ///
    /// # Errors
    /// An incomplete or invalid dataset, or a failed read.
    pub async fn from_objects(
        s3: &S3,
        prefix: &S3Url,
        name: String,
        objects: Vec<(&'static Table, Object)>,
        manifest: Option<&Manifest>,
    ) -> Result<Self, SourceError> {
        let source = prefix.join("").to_string();
        let in_s3 = |(table, object)| (table, FileLocation::S3(s3.clone(), object));
        let locations = objects.into_iter().map(in_s3).collect();
        Self::from_locations(name, (source.clone(), &source), locations, manifest).await
    }

    async fn from_locations(
        name: String,
        (source, shown): (String, &(dyn fmt::Display + Sync)),
        locations: Vec<(&'static Table, FileLocation)>,
        manifest: Option<&Manifest>,
    ) -> Result<Self, SourceError> {
        // A manifest decides which files the dataset has; without one, all present files belong to it.
        let belongs = |table: &Table| manifest.is_none_or(|manifest| manifest.file(table.file).is_some());
        let is_present = |table: &Table| locations.iter().any(|(present, _)| *present == table);
        let is_missing = |table: &&Table| {
            let needed = !table.optional || manifest.is_some_and(|m| m.file(table.file).is_some());
            needed && !is_present(table)
        };
        let missing: Vec<_> = TABLES.iter().filter(is_missing).map(|table| table.file).collect();
        if !missing.is_empty() {
            return Err(SourceError::Missing { location: shown.to_string(), missing });
        }
        let opening =
            locations.into_iter().filter(|(table, _)| belongs(table)).map(|(table, location)| async move {
                let mut file = SourceFile::open(table, location).await?;
                if let Some(listed) = manifest.and_then(|manifest| manifest.file(table.file)) {
                    file.sha256.clone_from(&listed.sha256);
                    if let Some(expected) = listed.size.filter(|size| *size != file.size) {
                        let location = file.location.to_string();
                        return Err(SourceError::ManifestSize { location, found: file.size, expected });
                    }
                }
                Ok(file)
            });
        Ok(Self { name, source, files: try_join_all(opening).await? })
    }
}

fn read_manifest(path: &Path) -> Result<Manifest, SourceError> {
    let unreadable = |cause| SourceError::Unreadable { path: path.to_owned(), cause };
    let mut json = Vec::new();
    File::open(path).and_then(|file| file.take(MAX_MANIFEST).read_to_end(&mut json)).map_err(unreadable)?;
    Manifest::parse(&json)
        .map_err(|cause| SourceError::Manifest { location: path.display().to_string(), cause })
}

/// Checks the name of a dataset.
///
/// # Errors
/// [`SourceError::Name`] if it is invalid.
pub fn check_name(name: &str) -> Result<(), SourceError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if starts_well && name.len() <= 100 && name.chars().all(allowed) {
        return Ok(());
    }
    Err(SourceError::Name(name.to_owned()))
}

/// A sequential reader of a file. [`SourceFile::failed`] converts its errors.
pub enum Reader {
    /// A file on disk, which may change during the read.
    Disk(File),
    /// An object in S3, which cannot.
    S3(Box<ObjectReader>),
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Reader::Disk(file) => file.read(buffer),
            Reader::S3(object) => object.read(buffer),
        }
    }
}

impl SourceFile {
    /// Opens a version of an object as the file of a table and checks its header.
    ///
    /// # Errors
    /// A replaced object, a failed read, or a wrong header.
    pub async fn from_object(s3: &S3, object: Object, table: &'static Table) -> Result<Self, SourceError> {
        Self::open(table, FileLocation::S3(s3.clone(), object)).await
    }

    async fn open(table: &'static Table, location: FileLocation) -> Result<Self, SourceError> {
        let (size, version, head) = match &location {
            FileLocation::Disk(path) => {
                let unreadable = |cause| SourceError::Unreadable { path: path.clone(), cause };
                // Checked before opening: opening a pipe blocks until another process writes to it.
                if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
                    return Err(unreadable(io::Error::new(
                        io::ErrorKind::InvalidInput,
                        "not a regular file",
                    )));
                }
                let file = File::open(path).map_err(unreadable)?;
                let (size, version) = size_and_version(&file).map_err(unreadable)?;
                let mut head = Vec::new();
                file.take(HEAD).read_to_end(&mut head).map_err(unreadable)?;
                (size, version, head.into())
            }
            FileLocation::S3(s3, object) => {
                let head = s3.range(object, 0, object.size.min(HEAD)).await?;
                (object.size, object.etag.clone(), head)
            }
        };
        let (text, bom) = match head.strip_prefix(BOM) {
            Some(text) => (text, BOM.len() as u64),
            None => (&head[..], 0),
        };
        let (line, end) = match memchr(b'\n', text) {
            Some(length) => (&text[..length], bom + length as u64 + 1),
            None => (text, bom + text.len() as u64),
        };
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let body_offset = if is_header(line, table) {
            end
        } else if looks_like_row(line) {
            bom
        } else if size == 0 && !table.optional {
            return Err(SourceError::NoRows { location: location.to_string() });
        } else {
            let found = String::from_utf8_lossy(&line[..line.len().min(200)]).into_owned();
            return Err(SourceError::Header {
                location: location.to_string(),
                expected: table.header(),
                found,
            });
        };
        if body_offset >= size && !table.optional {
            return Err(SourceError::NoRows { location: location.to_string() });
        }
        Ok(Self { table, size, version, body_offset, sha256: None, location })
    }

    /// Returns its path, if it is on disk.
    pub fn path(&self) -> Option<&Path> {
        match &self.location {
            FileLocation::Disk(path) => Some(path),
            FileLocation::S3(..) => None,
        }
    }

    /// Returns a reader from `offset`. `end` is a hint; the reader can read past it. Reads block, and time out at `until`.
    ///
    /// # Errors
    /// A failed read, or a changed file.
    pub fn read_from(&self, offset: u64, end: u64, until: Option<Instant>) -> Result<Reader, SourceError> {
        match &self.location {
            FileLocation::Disk(path) => {
                let mut file = File::open(path).map_err(|cause| self.failed(cause))?;
                self.check_same(path, &file)?;
                file.seek(SeekFrom::Start(offset)).map_err(|cause| self.failed(cause))?;
                Ok(Reader::Disk(file))
            }
            FileLocation::S3(s3, object) => {
                Ok(Reader::S3(Box::new(s3.read_from(object, offset, end, until))))
            }
        }
    }

    /// Checks that the file did not change during the read.
    ///
    /// # Errors
    /// [`SourceError::Changed`], or a failed read.
    pub fn check_unchanged(&self, reader: &Reader) -> Result<(), SourceError> {
        match (&self.location, reader) {
            (FileLocation::Disk(path), Reader::Disk(file)) => self.check_same(path, file),
            _ => Ok(()), // S3 checked the version of every range
        }
    }

    fn check_same(&self, path: &Path, file: &File) -> Result<(), SourceError> {
        let now = size_and_version(file).map_err(|cause| self.failed(cause))?;
        if now == (self.size, self.version.clone()) {
            return Ok(());
        }
        Err(SourceError::Changed { path: path.to_owned() })
    }

    /// Converts an error of its [`Reader`].
    pub fn failed(&self, error: io::Error) -> SourceError {
        SourceError::from_read_error(&self.location, error)
    }

    /// Reads the whole file and compares its SHA-256 with the manifest.
    ///
    /// # Errors
    /// [`SourceError::ManifestHash`], or a failed read.
    pub fn check_hash(&self, until: Option<Instant>) -> Result<(), SourceError> {
        let Some(expected) = &self.sha256 else { return Ok(()) };
        let mut reader = self.read_from(0, self.size, until)?;
        let (mut hash, mut block) = (Sha256::new(), vec![0; 1 << 20]);
        loop {
            match reader.read(&mut block).map_err(|error| self.failed(error))? {
                0 => break,
                length => hash.update(&block[..length]),
            }
        }
        self.check_unchanged(&reader)?;
        let found: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        if found == *expected {
            return Ok(());
        }
        Err(SourceError::ManifestHash {
            location: self.location.to_string(),
            found,
            expected: expected.clone(),
        })
    }

    /// Returns the number of the line at `body_offset`, from 1.
    pub fn body_line(&self) -> u64 {
        if self.body_offset > BOM.len() as u64 { 2 } else { 1 }
    }

    /// Returns an upper bound of the bytes of text in it.
    pub fn max_text_size(&self) -> u64 {
        self.size
    }

    /// Checks that the file does not end within a record: a suspicious one without a line ending.
    ///
    /// # Errors
    /// [`SourceError::Truncated`].
    pub fn check_end(&self, record: &Record<'_>, is_suspicious: bool) -> Result<(), SourceError> {
        if record.terminated || !is_suspicious {
            return Ok(());
        }
        Err(SourceError::Truncated { location: self.location.to_string(), line: record.line })
    }
}

fn size_and_version(file: &File) -> io::Result<(u64, String)> {
    let metadata = file.metadata()?;
    let modified = metadata.modified()?.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    Ok((metadata.len(), modified.to_string()))
}

/// Returns whether a line is the table's header. Case, spaces, tabs, underscores and quotes do not matter.
fn is_header(line: &[u8], table: &Table) -> bool {
    let plain = |text: &[u8]| -> Vec<u8> {
        let kept = text.iter().filter(|byte| !matches!(byte, b' ' | b'_' | b'"' | b'\t'));
        kept.map(u8::to_ascii_lowercase).collect()
    };
    plain(line) == plain(table.header().as_bytes())
}

/// Returns whether a line begins with a number, as every row does and no header.
fn looks_like_row(line: &[u8]) -> bool {
    let first = &line[..memchr(b',', line).unwrap_or(line.len())];
    parse_u31(first.trim_ascii()).is_some()
}
