//! The beginning of a file: its encoding, its header, and where its rows begin.

use std::io::{self, Read};

use flate2::bufread::MultiGzDecoder;
use memchr::{memchr, memchr_iter, memmem};

use super::error::ContentError;
use super::reader::gzip_error;
use crate::row::parse_u31;
use crate::table::Table;

/// The bytes of a file that the loader reads to check its header, and the max size of their text.
pub(super) const HEAD: u64 = 64 << 10;

/// The byte order mark of UTF-8.
pub(super) const BOM: &[u8] = b"\xef\xbb\xbf";
const GZIP: &[u8] = b"\x1f\x8b";
/// The max length of a text in an error, in bytes.
const MAX_SHOWN: usize = 200;
/// The max number of unknown columns in an error.
const MAX_PROBLEMS: usize = 5;

/// How files begin that are no CSV.
const SIGNATURES: [(&[u8], &str); 10] = [
    (b"\x28\xb5\x2f\xfd", "a Zstandard file"),
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ\0", "an xz file"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"PAR1", "a Parquet file"),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook (.xls)"),
    (b"%PDF", "a PDF document"),
    (b"<", "an HTML or XML document"),
    (b"{", "a JSON document"),
    (b"[", "a JSON document"),
];

/// The result of the check of a file's beginning.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Whether the file is compressed, whatever its name.
    pub(super) is_gzip: bool,
    /// The offset of the first row in the text.
    pub(super) body_offset: u64,
    /// The average length of the first lines in bytes.
    pub(super) line_bytes: u64,
    /// The size of the text in bytes, an estimate for a compressed file.
    pub(super) text_bytes: u64,
}

/// Checks the stored bytes at the beginning of a file of `size` bytes.
///
/// # Errors
/// A content that is no CSV of this table.
pub(super) fn check(stored: &[u8], size: u64, table: &Table) -> Result<Head, ContentError> {
    let is_gzip = stored.starts_with(GZIP);
    let is_whole = stored.len() as u64 >= size;
    if !is_gzip {
        let body_offset = body_offset(stored, is_whole, table)?;
        return Ok(Head { is_gzip, body_offset, line_bytes: line_bytes(stored), text_bytes: size });
    }
    let (text, read, is_whole) = decompress(stored, is_whole)?;
    if text.starts_with(GZIP) {
        return Err(ContentError::GzipInGzip);
    }
    let text_bytes = size.saturating_mul(text.len() as u64) / read.max(1) as u64;
    let body_offset = body_offset(&text, is_whole, table)?;
    Ok(Head { is_gzip, body_offset, line_bytes: line_bytes(&text), text_bytes })
}

fn line_bytes(text: &[u8]) -> u64 {
    (text.len() / memchr_iter(b'\n', text).count().max(1)).max(1) as u64
}

/// Returns the beginning of the text, the number of stored bytes that hold it, and whether it is the whole text.
fn decompress(stored: &[u8], is_whole: bool) -> Result<(Vec<u8>, usize, bool), ContentError> {
    let (mut text, mut decoder) = (Vec::new(), MultiGzDecoder::new(stored));
    let result = decoder.by_ref().take(HEAD).read_to_end(&mut text);
    let read = stored.len() - decoder.get_ref().len();
    match result {
        Ok(length) => Ok((text, read, (length as u64) < HEAD)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && !is_whole => Ok((text, read, false)),
        Err(error) => Err(match gzip_error(error).downcast() {
            Ok(error) => error,
            Err(error) => ContentError::CorruptGzip(error.to_string()),
        }),
    }
}

fn body_offset(text: &[u8], is_whole: bool, table: &Table) -> Result<u64, ContentError> {
    check_format(text)?;
    let bom = if text.starts_with(BOM) { BOM.len() } else { 0 };
    if is_whole && is_blank(&text[bom..]) {
        return Err(ContentError::Empty { expected: table.header() });
    }
    let line_end = memchr(b'\n', text);
    let line = &text[bom..line_end.unwrap_or(text.len())];
    if let Some(offset) = memchr(0, line) {
        return Err(ContentError::Nul(bom + offset));
    }
    let line = match str::from_utf8(line) {
        Ok(line) => line,
        // The head may end in the middle of a character.
        Err(error) if !is_whole && line_end.is_none() && error.error_len().is_none() => {
            str::from_utf8(&line[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return Err(ContentError::NotUtf8),
    };
    let line = line.trim_end_matches('\r');
    if let Some((first, _)) = line.split_once('\r')
        && (line_end.is_none() || is_header(first, table))
    {
        return Err(ContentError::OldMac);
    }
    if !is_header(line, table) {
        // Every row begins with a number, and no header does.
        return if is_number(fields(line, ',').next()) {
            Ok(bom as u64)
        } else {
            Err(unexpected(line, table))
        };
    }
    let end = line_end.map_or(text.len(), |end| end + 1);
    match is_whole && is_blank(&text[end..]) {
        false => Ok(end as u64),
        true if table.is_ranked() => Err(ContentError::NoRows), // a catalog has products
        true => Ok(text.len() as u64),
    }
}

fn is_blank(text: &[u8]) -> bool {
    text.iter().all(u8::is_ascii_whitespace)
}

/// Checks that the text has no other format or encoding.
fn check_format(text: &[u8]) -> Result<(), ContentError> {
    let all_begin = |width: usize, is_character: fn(&[u8]) -> bool| {
        text.len() >= 2 * width && text.chunks_exact(width).take(4).all(is_character)
    };
    let is_utf32 = |unit: &[u8]| matches!(unit, [1..=255, 0, 0, 0] | [0, 0, 0, 1..=255]);
    let is_utf16 = |unit: &[u8]| matches!(unit, [1..=255, 0] | [0, 1..=255]);
    if text.starts_with(b"\xff\xfe\0\0") || text.starts_with(b"\0\0\xfe\xff") || all_begin(4, is_utf32) {
        return Err(ContentError::Encoding("UTF-32"));
    }
    if text.starts_with(b"\xff\xfe") || text.starts_with(b"\xfe\xff") || all_begin(2, is_utf16) {
        return Err(ContentError::Encoding("UTF-16"));
    }
    if text.starts_with(b"PK\x03\x04") {
        let is_excel =
            memmem::find(text, b"xl/").is_some() || memmem::find(text, b"[Content_Types]").is_some();
        let found = if is_excel { "an Excel workbook (.xlsx)" } else { "a ZIP archive" };
        return Err(ContentError::Format(found));
    }
    if text.get(257..262) == Some(b"ustar") {
        return Err(ContentError::Format("a tar archive"));
    }
    match SIGNATURES.iter().find(|(signature, _)| text.starts_with(signature)) {
        Some((_, found)) => Err(ContentError::Format(found)),
        None => Ok(()),
    }
}

/// Returns the fields of line 1 for comparisons: case, spaces, tabs, underscores and quotes do not matter.
fn fields(line: &str, separator: char) -> impl Iterator<Item = String> {
    line.split(separator).map(|field| {
        let kept = field.chars().filter(|c| !matches!(c, ' ' | '\t' | '_' | '"'));
        kept.map(|c| c.to_ascii_lowercase()).collect()
    })
}

/// Returns the index of the column that a field of the header names: as in the file, or as in the table.
fn column_of(field: &str, table: &Table) -> Option<usize> {
    let is_it = |name: &str| fields(name, ',').next().is_some_and(|name| name == field);
    table.columns.iter().position(|column| is_it(column.header) || is_it(column.name))
}

fn is_header(line: &str, table: &Table) -> bool {
    let columns = fields(line, ',').map(|field| column_of(&field, table));
    columns.eq((0..table.columns.len()).map(Some))
}

fn is_number(field: Option<String>) -> bool {
    field.is_some_and(|field| parse_u31(field.as_bytes()).is_some())
}

/// Returns the error for a line 1 that is neither the header nor a row.
fn unexpected(line: &str, table: &Table) -> ContentError {
    let (shown, expected) = (shortened(line), table.header());
    for (separator, found) in [(';', "semicolons"), ('\t', "tabs"), ('|', "vertical bars")] {
        let known = fields(line, separator).filter(|field| column_of(field, table).is_some()).count();
        let is_row = fields(line, separator).count() == table.columns.len();
        if known > 1 || (is_row && is_number(fields(line, separator).next())) {
            return ContentError::Separator { found, expected };
        }
    }
    let found: Vec<_> = fields(line, ',').map(|field| column_of(&field, table)).collect();
    if found.iter().flatten().count() == 0 {
        return ContentError::Header { found: shown, expected };
    }
    let mut problems = Vec::new();
    for (index, column) in table.columns.iter().enumerate() {
        match found.iter().filter(|found| **found == Some(index)).count() {
            0 => problems.push(format!("no column {}", column.header)),
            1 => {}
            _ => problems.push(format!("more than one column {}", column.header)),
        }
    }
    let unknown = line.split(',').zip(&found).filter(|(_, found)| found.is_none());
    let unknown =
        unknown.map(|(name, _)| format!("an unknown column {:?}", shortened(name.trim_matches(['"', ' ']))));
    problems.extend(unknown.take(MAX_PROBLEMS));
    let problem =
        if problems.is_empty() { "another order of columns".to_owned() } else { problems.join(", ") };
    ContentError::Columns { found: shown, problem, expected }
}

/// Returns the beginning of a text.
fn shortened(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_SHOWN)].to_owned()
}

#[cfg(test)]
mod tests;
