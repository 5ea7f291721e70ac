//! The files of a dataset: found, told apart by version, and recognised by their header before anything is loaded.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use memchr::{memchr, memchr_iter};

use crate::csv::{KEPT_OF_LINE, LONGEST_LINE, Lines};
use crate::row::whole_number;
use crate::table::{TABLES, Table};

const BOM: &[u8] = b"\xef\xbb\xbf";

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
    /// A dataset is six files; only cart.csv may be missing.
    #[error("{} is not a whole dataset: {} missing", dir.display(), missing.join(", "))]
    Missing {
        /// The dataset's folder.
        dir: PathBuf,
        /// The files it lacks.
        missing: Vec<&'static str>,
    },
    /// The first line is neither the header nor a row.
    #[error("{}: line 1 should be the header {expected:?} or a row of it, and is {found:?}", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// The header a file of this name has.
        expected: String,
        /// The beginning of the line that is there.
        found: String,
    },
    /// A file with no rows is taken for one that was cut off.
    #[error("{} has no rows", path.display())]
    NoRows {
        /// The file.
        path: PathBuf,
    },
    /// What was read is not one version of the file.
    #[error("{} was changed while it was read: load it again when it is complete", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
}

/// The files of one dataset in a folder.
#[derive(Debug)]
pub struct Dataset {
    /// What it is called in the record.
    pub name: String,
    /// Its files, parents before children; without cart.csv where there is none.
    pub files: Vec<SourceFile>,
}

/// One file of a dataset.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// The table it is loaded into.
    pub table: &'static Table,
    /// Where it is.
    pub path: PathBuf,
    /// Its size in bytes.
    pub size: u64,
    /// What tells this version of it from another: the time of its last modification, in nanoseconds.
    pub version: String,
    /// Where its first row begins, behind a byte order mark and a header.
    pub body_offset: u64,
}

impl Dataset {
    /// Looks at the files in `dir`. A dataset that is not named is called as its folder is.
    pub fn open(dir: &Path, name: Option<&str>) -> Result<Self, SourceError> {
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
        let is_present = |table: &&Table| present.iter().any(|file| file == table.file);
        let missing: Vec<_> =
            TABLES.iter().filter(|t| !t.optional && !is_present(t)).map(|t| t.file).collect();
        if !missing.is_empty() {
            return Err(SourceError::Missing { dir: dir.to_owned(), missing });
        }
        let files = TABLES.iter().filter(is_present).map(|table| SourceFile::open(dir, table));
        Ok(Self { name, files: files.collect::<Result<_, _>>()? })
    }
}

fn check_name(name: &str) -> Result<(), SourceError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let begins_well = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if begins_well && name.len() <= 100 && name.chars().all(allowed) {
        return Ok(());
    }
    Err(SourceError::Name(name.to_owned()))
}

impl SourceFile {
    fn open(dir: &Path, table: &'static Table) -> Result<Self, SourceError> {
        let path = dir.join(table.file);
        let unreadable = |cause| SourceError::Unreadable { path: path.clone(), cause };
        // Looked at before it is opened: opening a pipe would wait for someone to write to it.
        if !std::fs::metadata(&path).map_err(unreadable)?.is_file() {
            return Err(unreadable(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")));
        }
        let file = File::open(&path).map_err(unreadable)?;
        let (size, version) = size_and_version(&file).map_err(unreadable)?;
        let mut lines = Lines::new(file, 0);
        let first = lines.next_line().map_err(unreadable)?;
        let first = first.map(|line| (line.bytes.to_vec(), line.end));
        let (line, end) = first.unwrap_or_default();
        let (text, bom) = match line.strip_prefix(BOM) {
            Some(text) => (text, BOM.len() as u64),
            None => (line.as_slice(), 0),
        };
        let body_offset = if is_header(text, table) {
            end
        } else if looks_like_row(text) {
            bom
        } else {
            let found = String::from_utf8_lossy(&text[..text.len().min(200)]).into_owned();
            return Err(SourceError::Header { path, expected: table.header(), found });
        };
        if body_offset >= size && !table.optional {
            return Err(SourceError::NoRows { path });
        }
        Ok(Self { table, path, size, version, body_offset })
    }

    /// Opens the file at `offset`, and fails if it is no longer the version that was found.
    pub fn read_from(&self, offset: u64) -> Result<File, SourceError> {
        let mut file = File::open(&self.path).map_err(|cause| self.unreadable(cause))?;
        self.check_unchanged(&file)?;
        file.seek(SeekFrom::Start(offset)).map_err(|cause| self.unreadable(cause))?;
        Ok(file)
    }

    /// Fails if the open file is no longer the version that was found.
    pub fn check_unchanged(&self, file: &File) -> Result<(), SourceError> {
        let now = size_and_version(file).map_err(|cause| self.unreadable(cause))?;
        if now == (self.size, self.version.clone()) {
            return Ok(());
        }
        Err(SourceError::Changed { path: self.path.clone() })
    }

    /// What cannot be read of it, with what the system said.
    pub fn unreadable(&self, cause: io::Error) -> SourceError {
        SourceError::Unreadable { path: self.path.clone(), cause }
    }

    /// The line at each of `offsets`, as it stands in the file: at most [`KEPT_OF_LINE`] bytes, and its length.
    pub fn lines_at(&self, offsets: &[u64]) -> Result<Vec<(Vec<u8>, u64)>, SourceError> {
        let mut file = self.read_from(0)?;
        let mut lines = Vec::with_capacity(offsets.len());
        for &offset in offsets {
            file.seek(SeekFrom::Start(offset)).map_err(|cause| self.unreadable(cause))?;
            // A row that was loaded is no longer than a record may be.
            let mut line = Vec::new();
            let mut from_here = BufReader::new((&file).take(LONGEST_LINE as u64 + 2));
            from_here.read_until(b'\n', &mut line).map_err(|cause| self.unreadable(cause))?;
            let line = line.strip_suffix(b"\n").unwrap_or(&line);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            lines.push((line[..line.len().min(KEPT_OF_LINE)].to_vec(), line.len() as u64));
        }
        Ok(lines)
    }

    /// The line number, from 1, that begins at each of `offsets`, which ascend.
    pub fn line_numbers(&self, offsets: &[u64]) -> Result<Vec<u64>, SourceError> {
        let mut file = self.read_from(0)?;
        let mut block = vec![0; 1 << 20];
        let (mut position, mut line) = (0_u64, 1_u64);
        let mut numbers = Vec::with_capacity(offsets.len());
        for &offset in offsets {
            while position < offset {
                #[allow(clippy::cast_possible_truncation)] // no more than the block
                let wanted = (offset - position).min(block.len() as u64) as usize;
                let read = file.read(&mut block[..wanted]).map_err(|cause| self.unreadable(cause))?;
                if read == 0 {
                    return Err(SourceError::Changed { path: self.path.clone() });
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
