//! The files of a dataset, in a folder or in S3: found, told apart by version, and recognised by their header before
//! anything is loaded.

mod manifest;

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Instant, UNIX_EPOCH};

use futures_util::future::try_join_all;
use memchr::{memchr, memchr_iter};
use sha2::{Digest, Sha256};

use crate::csv::{KEPT_OF_LINE, Lines};
use crate::row::whole_number;
use crate::s3::{Object, ObjectReader, S3, S3Error, Url};
use crate::table::{TABLES, Table};

use manifest::LONGEST_MANIFEST;
pub use manifest::{MANIFEST, Manifest, ManifestError};

const BOM: &[u8] = b"\xef\xbb\xbf";

/// How much of a file is read to recognise its header, in bytes.
const HEAD: u64 = 64 << 10;

/// How far beyond its beginning a line is expected to end, in bytes. More is read where it does not.
pub(crate) const USUAL_LINE: u64 = 16 << 10;

/// Why a dataset cannot be loaded as it lies there.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A dataset's name is part of its record and of file names.
    #[error(
        "{0:?} can't be a dataset's name: expected 1 to 100 of A-Z a-z 0-9 . _ -, beginning with a letter or digit (--dataset NAME)"
    )]
    Name(String),
    /// The folder or a file cannot be read.
    #[error("cannot read {}: {cause}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// An object cannot be read.
    #[error(transparent)]
    S3(#[from] S3Error),
    /// A dataset is six files, or those its manifest lists; only cart.csv may be missing.
    #[error("{place} is not a whole dataset: {} missing", missing.join(", "))]
    Missing {
        /// Where the dataset is.
        place: String,
        /// The files it lacks.
        missing: Vec<&'static str>,
    },
    /// The manifest cannot be read as one.
    #[error("{place} {cause}")]
    Manifest {
        /// Where it is.
        place: String,
        /// What is wrong with it.
        cause: ManifestError,
    },
    /// A file is not the one that the manifest lists, or not yet.
    #[error("{place} has {found} bytes, and the manifest says {expected}")]
    ManifestSize {
        /// The file.
        place: String,
        /// Its size in bytes.
        found: u64,
        /// What it should be.
        expected: u64,
    },
    /// A file has the size that the manifest lists, and another content.
    #[error("{place} has the SHA-256 {found}, and the manifest says {expected}")]
    ManifestHash {
        /// The file.
        place: String,
        /// The hash of its content.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// The first line is neither the header nor a row.
    #[error("{place}: line 1 should be the header {expected:?} or a row of it, and is {found:?}")]
    Header {
        /// The file.
        place: String,
        /// The header a file of this name has.
        expected: String,
        /// The beginning of the line that is there.
        found: String,
    },
    /// A file with no rows is taken for one that was cut off.
    #[error("{place} has no rows")]
    NoRows {
        /// The file.
        place: String,
    },
    /// What was read is not one version of the file.
    #[error("{} was changed while it was read: load it again when it is complete", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// Time is up, and nothing has come for a while.
    #[error("stopped to be gone on with later")]
    OutOfTime,
}

impl SourceError {
    /// Whether the files would have to be others for this to be otherwise.
    pub fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Name(_)
                | Self::Manifest { .. }
                | Self::ManifestHash { .. }
                | Self::Header { .. }
                | Self::NoRows { .. }
                | Self::S3(S3Error::TooLarge { .. })
        )
    }

    /// Whether a file is not the version any more that was found.
    pub fn is_of_another_version(&self) -> bool {
        matches!(self, Self::Changed { .. } | Self::S3(S3Error::Gone(_) | S3Error::Replaced(_)))
    }

    /// What reading failed with: an error of this kind that a reader wrapped, or one of the system.
    fn of_reading(place: &Place, error: io::Error) -> Self {
        match (error.downcast::<S3Error>(), place) {
            (Ok(error), _) => Self::S3(error),
            (Err(error), _) if error.kind() == io::ErrorKind::TimedOut => Self::OutOfTime,
            (Err(cause), Place::Disk(path)) => Self::Unreadable { path: path.clone(), cause },
            (Err(cause), Place::S3(_, object)) => {
                Self::S3(S3Error::Failed { url: object.url.clone(), cause: cause.to_string() })
            }
        }
    }
}

/// Where the files of a dataset are.
#[derive(Clone, Debug)]
pub enum Location {
    /// In a folder.
    Folder(PathBuf),
    /// In S3, under a prefix.
    S3(S3, Url),
}

/// The files of one dataset.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// What it is called in the record.
    pub name: String,
    /// Where its files are: a folder's path, or `s3://bucket/prefix/`.
    pub source: String,
    /// Its files, parents before children; without cart.csv where there is none.
    pub files: Vec<SourceFile>,
}

/// One file of a dataset.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// The table it is loaded into.
    pub table: &'static Table,
    /// Its size in bytes.
    pub size: u64,
    /// What tells this version of it from another: the time of its last modification, in nanoseconds; in S3, its ETag.
    pub version: String,
    /// Where its first row begins, behind a byte order mark and a header.
    pub body_offset: u64,
    /// The SHA-256 that a manifest says it has, in hexadecimal digits.
    pub sha256: Option<String>,
    place: Place,
}

#[derive(Clone, Debug)]
enum Place {
    Disk(PathBuf),
    S3(S3, Object),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Disk(path) => path.display().fmt(f),
            Place::S3(_, object) => object.url.fmt(f),
        }
    }
}

impl Dataset {
    /// Looks at the files of a dataset. One that is not named is called as its folder, or the end of its prefix, is.
    ///
    /// # Errors
    /// What makes that no dataset, or keeps it from being read.
    pub async fn open(location: &Location, name: Option<&str>) -> Result<Self, SourceError> {
        match location {
            Location::Folder(dir) => Self::open_folder(dir, name).await,
            Location::S3(s3, prefix) => Self::open_prefix(s3, prefix, name).await,
        }
    }

    async fn open_folder(dir: &Path, name: Option<&str>) -> Result<Self, SourceError> {
        let unreadable = |cause| SourceError::Unreadable { path: dir.to_owned(), cause };
        let real = dir.canonicalize().map_err(unreadable)?;
        let of_folder = real.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.map_or_else(|| of_folder.unwrap_or_default(), str::to_owned);
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
        let places = tables.map(|table| (table, Place::Disk(dir.join(table.file)))).collect();
        Self::of_places(name, (real.display().to_string(), &dir.display()), places, manifest.as_ref()).await
    }

    async fn open_prefix(s3: &S3, prefix: &Url, name: Option<&str>) -> Result<Self, SourceError> {
        let of_prefix = prefix.key.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        let name = name.unwrap_or(of_prefix).to_owned();
        check_name(&name)?;
        let looking = TABLES.iter().map(|table| async move {
            match s3.look_at(&prefix.join(table.file)).await {
                Ok(object) => Ok(Some((table, object))),
                Err(S3Error::Gone(_)) => Ok(None),
                Err(error) => Err(error),
            }
        });
        let (manifest, found) = tokio::try_join!(Self::manifest_at(s3, prefix), async {
            try_join_all(looking).await.map_err(SourceError::from)
        })?;
        let objects = found.into_iter().flatten().collect();
        Self::of_objects(s3, prefix, name, objects, manifest.as_ref()).await
    }

    /// The manifest under a prefix, if there is one.
    ///
    /// # Errors
    /// That it cannot be read.
    pub async fn manifest_at(s3: &S3, prefix: &Url) -> Result<Option<Manifest>, SourceError> {
        let url = prefix.join(MANIFEST);
        let Some(json) = s3.small(&url, LONGEST_MANIFEST).await? else { return Ok(None) };
        Manifest::parse(&json)
            .map(Some)
            .map_err(|cause| SourceError::Manifest { place: url.to_string(), cause })
    }

    /// A dataset of objects that were found under a prefix.
    ///
    /// # Errors
    /// What makes that no dataset, or keeps it from being read.
    pub async fn of_objects(
        s3: &S3,
        prefix: &Url,
        name: String,
        objects: Vec<(&'static Table, Object)>,
        manifest: Option<&Manifest>,
    ) -> Result<Self, SourceError> {
        let source = prefix.join("").to_string();
        let in_s3 = |(table, object)| (table, Place::S3(s3.clone(), object));
        let places = objects.into_iter().map(in_s3).collect();
        Self::of_places(name, (source.clone(), &source), places, manifest).await
    }

    async fn of_places(
        name: String,
        (source, shown): (String, &(dyn fmt::Display + Sync)),
        places: Vec<(&'static Table, Place)>,
        manifest: Option<&Manifest>,
    ) -> Result<Self, SourceError> {
        // A manifest says what belongs to the dataset; without one it is what is there.
        let belongs = |table: &Table| manifest.is_none_or(|manifest| manifest.file(table.file).is_some());
        let is_present = |table: &Table| places.iter().any(|(present, _)| *present == table);
        let is_missing = |table: &&Table| {
            let needed = !table.optional || manifest.is_some_and(|m| m.file(table.file).is_some());
            needed && !is_present(table)
        };
        let missing: Vec<_> = TABLES.iter().filter(is_missing).map(|table| table.file).collect();
        if !missing.is_empty() {
            return Err(SourceError::Missing { place: shown.to_string(), missing });
        }
        let opening =
            places.into_iter().filter(|(table, _)| belongs(table)).map(|(table, place)| async move {
                let mut file = SourceFile::open(table, place).await?;
                if let Some(listed) = manifest.and_then(|manifest| manifest.file(table.file)) {
                    file.sha256.clone_from(&listed.sha256);
                    if let Some(expected) = listed.size.filter(|size| *size != file.size) {
                        let place = file.place.to_string();
                        return Err(SourceError::ManifestSize { place, found: file.size, expected });
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
    File::open(path)
        .and_then(|file| file.take(LONGEST_MANIFEST).read_to_end(&mut json))
        .map_err(unreadable)?;
    Manifest::parse(&json).map_err(|cause| SourceError::Manifest { place: path.display().to_string(), cause })
}

/// Fails for what cannot be the name of a dataset.
///
/// # Errors
/// [`SourceError::Name`].
pub fn check_name(name: &str) -> Result<(), SourceError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let begins_well = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if begins_well && name.len() <= 100 && name.chars().all(allowed) {
        return Ok(());
    }
    Err(SourceError::Name(name.to_owned()))
}

/// Reads a file in order. Its errors are told by [`SourceFile::failed`].
pub enum Reader {
    /// One on disk, which may be changed while it is read.
    Disk(File),
    /// One in S3, which cannot.
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
    /// Looks at an object of this version, as the file of a table.
    ///
    /// # Errors
    /// That it is another version by now, cannot be read, or is no such file.
    pub async fn of_object(s3: &S3, object: Object, table: &'static Table) -> Result<Self, SourceError> {
        Self::open(table, Place::S3(s3.clone(), object)).await
    }

    async fn open(table: &'static Table, place: Place) -> Result<Self, SourceError> {
        let (size, version, head) = match &place {
            Place::Disk(path) => {
                let unreadable = |cause| SourceError::Unreadable { path: path.clone(), cause };
                // Looked at before it is opened: opening a pipe would wait for someone to write to it.
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
            Place::S3(s3, object) => {
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
            return Err(SourceError::NoRows { place: place.to_string() });
        } else {
            let found = String::from_utf8_lossy(&line[..line.len().min(200)]).into_owned();
            return Err(SourceError::Header { place: place.to_string(), expected: table.header(), found });
        };
        if body_offset >= size && !table.optional {
            return Err(SourceError::NoRows { place: place.to_string() });
        }
        Ok(Self { table, size, version, body_offset, sha256: None, place })
    }

    /// Its path, if it is on a disk.
    pub fn path(&self) -> Option<&Path> {
        match &self.place {
            Place::Disk(path) => Some(path),
            Place::S3(..) => None,
        }
    }

    /// Reads it from `offset` on, as if to before `end`, where more can be read all the same. Fails if it is no longer the
    /// version that was found. On a thread that may wait; not beyond `until`, if nothing comes.
    ///
    /// # Errors
    /// That it cannot be read, or has changed.
    pub fn read_from(&self, offset: u64, end: u64, until: Option<Instant>) -> Result<Reader, SourceError> {
        match &self.place {
            Place::Disk(path) => {
                let mut file = File::open(path).map_err(|cause| self.failed(cause))?;
                self.check_same(path, &file)?;
                file.seek(SeekFrom::Start(offset)).map_err(|cause| self.failed(cause))?;
                Ok(Reader::Disk(file))
            }
            Place::S3(s3, object) => Ok(Reader::S3(Box::new(s3.read_from(object, offset, end, until)))),
        }
    }

    /// Fails if what was read is no longer the version that was found.
    ///
    /// # Errors
    /// [`SourceError::Changed`], or that the system cannot tell.
    pub fn check_unchanged(&self, reader: &Reader) -> Result<(), SourceError> {
        match (&self.place, reader) {
            (Place::Disk(path), Reader::Disk(file)) => self.check_same(path, file),
            _ => Ok(()), // each range was of this version, or an error
        }
    }

    fn check_same(&self, path: &Path, file: &File) -> Result<(), SourceError> {
        let now = size_and_version(file).map_err(|cause| self.failed(cause))?;
        if now == (self.size, self.version.clone()) {
            return Ok(());
        }
        Err(SourceError::Changed { path: path.to_owned() })
    }

    /// What reading it failed with.
    pub fn failed(&self, error: io::Error) -> SourceError {
        SourceError::of_reading(&self.place, error)
    }

    /// Whether its content is what the manifest says, which is told by reading all of it.
    ///
    /// # Errors
    /// [`SourceError::ManifestHash`], or that it cannot be read.
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
        Err(SourceError::ManifestHash { place: self.place.to_string(), found, expected: expected.clone() })
    }

    /// The line at each of `offsets`, which ascend, as it stands in the file: at most [`KEPT_OF_LINE`] bytes, and its
    /// length. Reads from the first to the last.
    ///
    /// # Errors
    /// That it cannot be read, or has changed.
    pub fn lines_at(
        &self,
        offsets: &[u64],
        until: Option<Instant>,
    ) -> Result<Vec<(Vec<u8>, u64)>, SourceError> {
        let mut found = Vec::with_capacity(offsets.len());
        let (Some(&first), Some(&last)) = (offsets.first(), offsets.last()) else { return Ok(found) };
        let mut lines = Lines::new(self.read_from(first, last + USUAL_LINE, until)?, first);
        while found.len() < offsets.len() {
            let Some(line) = lines.next_line().map_err(|error| self.failed(error))? else {
                return Err(self.failed(io::ErrorKind::UnexpectedEof.into()));
            };
            if line.offset == offsets[found.len()] {
                found.push((line.bytes[..line.bytes.len().min(KEPT_OF_LINE)].to_vec(), line.length));
            }
        }
        Ok(found)
    }

    /// The line number, from 1, that begins at each of `offsets`, which ascend.
    ///
    /// # Errors
    /// That it cannot be read, or has changed.
    pub fn line_numbers(&self, offsets: &[u64], until: Option<Instant>) -> Result<Vec<u64>, SourceError> {
        let mut reader = self.read_from(0, offsets.last().copied().unwrap_or(0), until)?;
        let mut block = vec![0; 1 << 20];
        let (mut position, mut line) = (0_u64, 1_u64);
        let mut numbers = Vec::with_capacity(offsets.len());
        for &offset in offsets {
            while position < offset {
                #[allow(clippy::cast_possible_truncation)] // no more than the block
                let wanted = (offset - position).min(block.len() as u64) as usize;
                let read = reader.read(&mut block[..wanted]).map_err(|error| self.failed(error))?;
                if read == 0 {
                    return Err(self.failed(io::ErrorKind::UnexpectedEof.into()));
                }
                line += memchr_iter(b'\n', &block[..read]).count() as u64;
                position += read as u64;
            }
            numbers.push(line);
        }
        Ok(numbers)
    }
}

fn size_and_version(file: &File) -> io::Result<(u64, String)> {
    let metadata = file.metadata()?;
    let modified = metadata.modified()?.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    Ok((metadata.len(), modified.to_string()))
}

/// Whether a line is the table's header, without regard to case, spaces, underscores and quotes.
fn is_header(line: &[u8], table: &Table) -> bool {
    let plain = |text: &[u8]| -> Vec<u8> {
        let kept = text.iter().filter(|byte| !matches!(byte, b' ' | b'_' | b'"' | b'\t'));
        kept.map(u8::to_ascii_lowercase).collect()
    };
    plain(line) == plain(table.header().as_bytes())
}

/// Whether a line begins with a number, as every row does and no header.
fn looks_like_row(line: &[u8]) -> bool {
    let first = &line[..memchr(b',', line).unwrap_or(line.len())];
    whole_number(first.trim_ascii()).is_some()
}
