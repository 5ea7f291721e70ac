//! One file of a dataset: its version, its readers and the check of its hash.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Instant, UNIX_EPOCH};

use sha2::{Digest, Sha256};

use super::error::{ContentError, SourceError};
use super::head::{self, HEAD, Head};
use super::reader::{Reader, Source};
use crate::csv::Record;
use crate::s3::{Object, S3, S3Error};
use crate::table::Table;

/// The max number of bytes that one byte of gzip data becomes.
const MAX_GZIP_RATIO: u64 = 1032;

/// One file of a dataset. Offsets are those in its text; for a compressed file, in the decompressed text.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// Its table.
    pub table: &'static Table,
    /// Its size in bytes, as it is stored.
    pub size: u64,
    /// Its version: on disk the modification time in nanoseconds, in S3 the ETag.
    pub version: String,
    /// Whether it is compressed with gzip, whatever its name.
    pub is_gzip: bool,
    /// The offset of its first row, after a byte order mark and a header.
    pub body_offset: u64,
    /// The average length of the first lines in bytes.
    pub line_bytes: u64,
    /// The size of its text in bytes, an estimate if it is compressed.
    pub text_bytes: u64,
    /// The SHA-256 of its stored bytes in the manifest, in hexadecimal digits.
    pub sha256: Option<String>,
    pub(super) location: FileLocation,
}

#[derive(Clone, Debug)]
pub(super) enum FileLocation {
    Disk(PathBuf),
    S3(S3, Object),
}

impl FileLocation {
    /// Returns the file's name, such as `photos.csv.gz`.
    pub(super) fn name(&self) -> &str {
        match self {
            FileLocation::Disk(path) => path.file_name().and_then(|name| name.to_str()).unwrap_or_default(),
            FileLocation::S3(_, object) => object.url.key.rsplit('/').next().unwrap_or_default(),
        }
    }
}

impl fmt::Display for FileLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileLocation::Disk(path) => path.display().fmt(f),
            FileLocation::S3(_, object) => object.url.fmt(f),
        }
    }
}

impl SourceFile {
    /// Opens a version of an object as the file of a table and checks its header.
    ///
    /// # Errors
    /// A replaced object, a failed read, or a wrong content.
    pub async fn from_object(s3: &S3, object: Object, table: &'static Table) -> Result<Self, SourceError> {
        Self::open(table, FileLocation::S3(s3.clone(), object)).await
    }

    pub(super) async fn open(table: &'static Table, location: FileLocation) -> Result<Self, SourceError> {
        let (size, version, head) = match &location {
            FileLocation::Disk(path) => {
                read_head(path).map_err(|cause| SourceError::Unreadable { path: path.clone(), cause })?
            }
            FileLocation::S3(s3, object) => {
                let head = s3.range(object, 0, object.size.min(HEAD)).await?;
                (object.size, object.etag.clone(), head.to_vec())
            }
        };
        let head = head::check(&head, size, table)
            .map_err(|cause| SourceError::Content { location: location.to_string(), cause })?;
        let Head { is_gzip, body_offset, line_bytes, text_bytes } = head;
        Ok(Self {
            table,
            size,
            version,
            is_gzip,
            body_offset,
            line_bytes,
            text_bytes,
            sha256: None,
            location,
        })
    }

    /// Returns its path, if it is on disk.
    pub fn path(&self) -> Option<&Path> {
        match &self.location {
            FileLocation::Disk(path) => Some(path),
            FileLocation::S3(..) => None,
        }
    }

    /// Returns a reader of its rows, whose first byte is at [`Self::body_offset`]. Reads block, and time out at `until`.
    ///
    /// # Errors
    /// A failed read, or a changed file.
    pub fn read_rows(&self, until: Option<Instant>) -> Result<Reader, SourceError> {
        self.read_from(self.body_offset, self.size, until)
    }

    /// Returns a reader from `offset`, which is probably not needed after `end`. For a compressed file, it decompresses
    /// everything before.
    ///
    /// # Errors
    /// A failed read, or a changed file.
    pub fn read_from(&self, offset: u64, end: u64, until: Option<Instant>) -> Result<Reader, SourceError> {
        if !self.is_gzip {
            return Ok(Reader::new(self.stored_from(offset, end, until)?, offset, false));
        }
        let mut reader = Reader::new(self.stored_from(0, self.size, until)?, 0, true);
        io::copy(&mut reader.by_ref().take(offset), &mut io::sink()).map_err(|error| self.failed(error))?;
        Ok(reader)
    }

    fn stored_from(&self, offset: u64, end: u64, until: Option<Instant>) -> Result<Source, SourceError> {
        match &self.location {
            FileLocation::Disk(path) => {
                let mut file = open(path).map_err(|cause| self.failed(cause))?;
                self.check_same(path, &file)?;
                file.seek(SeekFrom::Start(offset)).map_err(|cause| self.failed(cause))?;
                Ok(Source::Disk(file))
            }
            FileLocation::S3(s3, object) => {
                Ok(Source::S3(Box::new(s3.read_from(object, offset, end, until))))
            }
        }
    }

    /// Returns the number of the line at [`Self::body_offset`], from 1.
    pub fn body_line(&self) -> u64 {
        if self.body_offset > head::BOM.len() as u64 { 2 } else { 1 }
    }

    /// Returns an upper bound of the bytes of its text.
    pub fn max_text_size(&self) -> u64 {
        if self.is_gzip { self.size.saturating_mul(MAX_GZIP_RATIO) } else { self.size }
    }

    /// Checks that the file does not end within a record: a suspicious one without a line ending.
    ///
    /// # Errors
    /// [`ContentError::Truncated`].
    pub fn check_end(&self, record: &Record<'_>, is_suspicious: bool) -> Result<(), SourceError> {
        match record.terminated || !is_suspicious {
            true => Ok(()),
            false => Err(self.damaged(ContentError::Truncated(record.line))),
        }
    }

    /// Checks that the file did not change during the read.
    ///
    /// # Errors
    /// [`SourceError::Changed`], or a failed read.
    pub fn check_unchanged(&self, reader: &Reader) -> Result<(), SourceError> {
        match (&self.location, reader.source()) {
            (FileLocation::Disk(path), Source::Disk(file)) => self.check_same(path, file),
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
        let error = match error.downcast::<S3Error>() {
            Ok(error) => return SourceError::S3(error),
            Err(error) => error,
        };
        let cause = match error.downcast::<ContentError>() {
            Ok(cause) => return self.damaged(cause),
            Err(error) => error,
        };
        match &self.location {
            _ if cause.kind() == io::ErrorKind::TimedOut => SourceError::DeadlineReached,
            FileLocation::Disk(path) => SourceError::Unreadable { path: path.clone(), cause },
            FileLocation::S3(_, object) => {
                S3Error::Failed { url: object.url.clone(), cause: cause.to_string() }.into()
            }
        }
    }

    fn damaged(&self, cause: ContentError) -> SourceError {
        // A file that is still being written looks truncated.
        if let FileLocation::Disk(path) = &self.location
            && let Ok(file) = open(path)
            && let Err(changed) = self.check_same(path, &file)
        {
            return changed;
        }
        SourceError::Content { location: self.location.to_string(), cause }
    }

    /// Reads the stored bytes and compares their SHA-256 with the manifest.
    ///
    /// # Errors
    /// [`SourceError::ManifestHash`], or a failed read.
    pub fn check_hash(&self, until: Option<Instant>) -> Result<(), SourceError> {
        let Some(expected) = &self.sha256 else { return Ok(()) };
        let mut reader = Reader::new(self.stored_from(0, self.size, until)?, 0, false);
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
}

/// Returns the size of a file on disk, its version and its first bytes.
fn read_head(path: &Path) -> io::Result<(u64, String, Vec<u8>)> {
    let file = open(path)?;
    let (size, version) = size_and_version(&file)?;
    let mut head = Vec::new();
    file.take(HEAD).read_to_end(&mut head)?;
    Ok((size, version, head))
}

/// Opens a regular file of a dataset.
///
/// A symbolic link must belong to the user of this process or to the owner of its target. Otherwise other users who may
/// write into the folder could have the loader read a file for them, and errors and rejected rows show its lines.
///
/// # Errors
/// Another kind of file, a link of another user, or a failed read.
pub(super) fn open(path: &Path) -> io::Result<File> {
    open_as(path, rustix::process::geteuid().as_raw())
}

fn open_as(path: &Path, user: u32) -> io::Result<File> {
    // Checked before opening: opening a pipe blocks until another process writes to it.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let file = File::open(path)?;
    // Checked after opening, because the path may have been replaced meanwhile.
    let (entry, target) = (std::fs::symlink_metadata(path)?, file.metadata()?);
    let is_allowed = match entry.is_symlink() {
        true => [user, target.uid()].contains(&entry.uid()),
        false => (entry.dev(), entry.ino()) == (target.dev(), target.ino()),
    };
    let refusal = "a symbolic link of another user: expected one of your own or of the owner of its target";
    if is_allowed { Ok(file) } else { Err(io::Error::new(io::ErrorKind::PermissionDenied, refusal)) }
}

fn size_and_version(file: &File) -> io::Result<(u64, String)> {
    let metadata = file.metadata()?;
    let modified = metadata.modified()?.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    Ok((metadata.len(), modified.to_string()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, symlink};

    use super::*;

    #[test]
    fn a_link_of_another_user_is_followed_to_files_of_that_user_only() {
        let folder = tempfile::tempdir().unwrap();
        let (own, link) = (folder.path().join("own"), folder.path().join("link"));
        std::fs::write(&own, "").unwrap();
        let user = own.metadata().unwrap().uid();
        // A file of a different user than this one, which may be root.
        let other = if user == 0 {
            let other = folder.path().join("other");
            std::fs::write(&other, "").unwrap();
            chown(&other, Some(65_534), None).unwrap();
            other
        } else {
            "/etc/passwd".into()
        };
        let follow = |target: &Path, user| {
            let _ = std::fs::remove_file(&link);
            symlink(target, &link).unwrap();
            open_as(&link, user).map(drop).map_err(|error| error.kind())
        };
        assert_eq!(follow(&own, user), Ok(()));
        assert_eq!(follow(&other, user), Ok(()));
        assert_eq!(follow(&own, user + 1), Ok(()));
        assert_eq!(follow(&other, user + 1), Err(io::ErrorKind::PermissionDenied));
        assert_eq!(follow(Path::new("/dev/null"), user), Err(io::ErrorKind::InvalidInput));
        assert!(open_as(&own, user + 1).is_ok());
    }
}
