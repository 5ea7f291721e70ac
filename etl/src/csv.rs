//! Lines and fields of the CSV files.
//!
//! A record never spans lines. That makes a missing closing quote at the end of a line repairable: a reader that
//! follows RFC 4180 would treat the next lines as text. So the loader splits lines first, then the fields within a
//! line. Nothing here panics, whatever the bytes.

use std::io::{self, Read};

use memchr::memchr;

/// The max length of a record in bytes. The loader rejects longer lines.
pub const MAX_LINE: usize = 1 << 20;

/// The max number of bytes that the loader keeps of a rejected line.
pub const MAX_KEPT: usize = 64 << 10;

/// The size of a read in bytes: small enough to stay in the processor's cache.
const BLOCK: usize = 128 << 10;

/// One line, without its line ending (LF or CRLF).
#[derive(Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The offset of its first byte in the file.
    pub offset: u64,
    /// The offset of the next line.
    pub end: u64,
    /// Its bytes; of a line over [`MAX_LINE`] only the first [`MAX_KEPT`].
    pub bytes: &'a [u8],
    /// Its length, which exceeds that of `bytes` if the line is too long.
    pub length: u64,
}

/// A line reader that buffers max [`MAX_LINE`] and a block.
#[derive(Debug)]
pub struct Lines<R> {
    input: R,
    buffer: Vec<u8>,
    start: usize,
    filled: usize,
    offset: u64,
    at_end: bool,
    overlong: Vec<u8>,
}

impl<R: Read> Lines<R> {
    /// Returns a reader of `input`, whose first byte is at `offset` of its file.
    pub fn new(input: R, offset: u64) -> Self {
        Self {
            input,
            buffer: vec![0; 2 * BLOCK],
            start: 0,
            filled: 0,
            offset,
            at_end: false,
            overlong: Vec::new(),
        }
    }

    /// Returns the next line; none at the end. A last line without a line ending counts.
    pub fn next_line(&mut self) -> io::Result<Option<Line<'_>>> {
        let mut searched = 0;
        loop {
            let pending = &self.buffer[self.start..self.filled];
            if let Some(found) = memchr(b'\n', &pending[searched..]) {
                let length = searched + found;
                return Ok(Some(self.take(length, length + 1)));
            }
            searched = pending.len();
            if self.at_end {
                return Ok((searched > 0).then(|| self.take(searched, searched)));
            }
            if searched > MAX_LINE {
                return self.skip_overlong().map(Some);
            }
            self.fill()?;
        }
    }

    /// Returns a line of `length` bytes and advances by `advance`.
    fn take(&mut self, length: usize, advance: usize) -> Line<'_> {
        let offset = self.offset;
        let whole = &self.buffer[self.start..self.start + length];
        self.start += advance;
        self.offset += advance as u64;
        let bytes = whole.strip_suffix(b"\r").unwrap_or(whole);
        let length = bytes.len() as u64;
        let bytes = if bytes.len() > MAX_LINE { &bytes[..MAX_KEPT] } else { bytes };
        Line { offset, end: self.offset, bytes, length }
    }

    /// Moves the unread bytes to the front of the buffer and reads more.
    fn fill(&mut self) -> io::Result<()> {
        self.buffer.copy_within(self.start..self.filled, 0);
        self.filled -= self.start;
        self.start = 0;
        if self.buffer.len() - self.filled < BLOCK {
            self.buffer.resize(self.filled + BLOCK, 0);
        }
        let read = loop {
            match self.input.read(&mut self.buffer[self.filled..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        self.filled += read;
        self.at_end = read == 0;
        Ok(())
    }

    /// Skips the rest of a line that is too long, and keeps its beginning.
    fn skip_overlong(&mut self) -> io::Result<Line<'_>> {
        let offset = self.offset;
        self.overlong = self.buffer[self.start..self.start + MAX_KEPT].to_vec();
        let mut length = 0;
        loop {
            let pending = &self.buffer[self.start..self.filled];
            let newline = memchr(b'\n', pending);
            let passed = newline.unwrap_or(pending.len());
            length += passed as u64;
            self.start += passed;
            if newline.is_some() || self.at_end {
                break;
            }
            self.fill()?;
        }
        let line_ending = usize::from(self.start < self.filled);
        self.start += line_ending;
        self.offset = offset + length + line_ending as u64;
        Ok(Line { offset, end: self.offset, bytes: &self.overlong, length })
    }
}

/// One field of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Field<'a> {
    /// The bytes between the quotes, or between the commas.
    pub raw: &'a [u8],
    /// Whether it was quoted: an unquoted `null` is NULL, `"null"` is text.
    pub quoted: bool,
    /// Whether `raw` contains doubled quotes, each of which means one quote.
    pub doubled: bool,
}

/// A syntax error of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The number of fields differs from the number of columns; the value is the number found.
    FieldCount(usize),
    /// A closing quote is not followed by a comma, in the field with this index.
    TextAfterQuote(usize),
    /// An unquoted field contains a quote; its index.
    QuoteInBareField(usize),
}

/// Splits a line into `fields`. Returns whether it had to add a missing closing quote, which is possible only in the
/// last field.
pub fn split<'a>(line: &'a [u8], fields: &mut [Field<'a>]) -> Result<bool, Malformed> {
    let last = fields.len().saturating_sub(1);
    let mut rest = line;
    for (index, field) in fields.iter_mut().enumerate() {
        let (found, after) = if rest.first() == Some(&b'"') {
            match quoted(&rest[1..]) {
                Some(split) => split,
                None if index == last => {
                    let raw = &rest[1..];
                    *field = Field { raw, quoted: true, doubled: memchr(b'"', raw).is_some() };
                    return Ok(true);
                }
                None => return Err(Malformed::FieldCount(index + 1)),
            }
        } else {
            let end = memchr(b',', rest).unwrap_or(rest.len());
            let raw = &rest[..end];
            if memchr(b'"', raw).is_some() {
                return Err(Malformed::QuoteInBareField(index));
            }
            (Field { raw, quoted: false, doubled: false }, &rest[end..])
        };
        *field = found;
        match after {
            [] if index == last => return Ok(false),
            [] => return Err(Malformed::FieldCount(index + 1)),
            [b',', ..] if index == last => return Err(Malformed::FieldCount(count_fields(line))),
            [b',', next @ ..] => rest = next,
            _ => return Err(Malformed::TextAfterQuote(index)),
        }
    }
    Err(Malformed::FieldCount(count_fields(line)))
}

/// Returns the quoted field that starts at `rest`, and the bytes after its closing quote; none if that is missing.
fn quoted(rest: &[u8]) -> Option<(Field<'_>, &[u8])> {
    let mut doubled = false;
    let mut end = memchr(b'"', rest)?;
    while rest.get(end + 1) == Some(&b'"') {
        doubled = true;
        end += 2 + memchr(b'"', &rest[end + 2..])?;
    }
    Some((Field { raw: &rest[..end], quoted: true, doubled }, &rest[end + 1..]))
}

/// Returns the number of fields. Commas inside quotes do not count.
fn count_fields(line: &[u8]) -> usize {
    let mut in_quotes = false;
    let commas = line.iter().filter(|&&byte| {
        in_quotes ^= byte == b'"';
        byte == b',' && !in_quotes
    });
    commas.count() + 1
}
#[cfg(test)]
mod tests;
