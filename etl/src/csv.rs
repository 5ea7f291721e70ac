//! Lines and fields of the CSV files.
//!
//! A record never spans lines, which is what makes these files mendable: a closing quote that is missing at the end
//! of a line can only have belonged there. A reader that follows RFC 4180 would take the next lines for text, so
//! lines are cut first, and fields within a line after. Nothing here panics, whatever the bytes.

use std::io::{self, Read};

use memchr::memchr;

/// The longest line that is read as a record, in bytes. A longer one is set aside.
pub const LONGEST_LINE: usize = 1 << 20;

/// How much of a line that is set aside is kept, in bytes.
pub const KEPT_OF_LINE: usize = 64 << 10;

/// How much is read at a time, in bytes: what stays in the processor's cache until it is cut into lines.
const BLOCK: usize = 128 << 10;

/// One line, without its line ending (LF or CRLF).
#[derive(Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Where it begins, in bytes from the beginning of the file.
    pub offset: u64,
    /// Where the next one begins.
    pub end: u64,
    /// Its bytes; of one over [`LONGEST_LINE`] the first [`KEPT_OF_LINE`].
    pub bytes: &'a [u8],
    /// Its length, which is that of `bytes` but for an overlong line.
    pub length: u64,
}

/// Cuts a stream into lines, holding no more of it than [`LONGEST_LINE`] and a block.
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
    /// Reads from `input`, whose first byte is at `offset` of its file.
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

    /// The next line, or none at the end of the input. A last line without a line ending is a line.
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
            if searched > LONGEST_LINE {
                return self.skip_overlong().map(Some);
            }
            self.fill()?;
        }
    }

    /// Hands out `length` bytes and moves on by `advance`.
    fn take(&mut self, length: usize, advance: usize) -> Line<'_> {
        let offset = self.offset;
        let whole = &self.buffer[self.start..self.start + length];
        self.start += advance;
        self.offset += advance as u64;
        let bytes = whole.strip_suffix(b"\r").unwrap_or(whole);
        let length = bytes.len() as u64;
        let bytes = if bytes.len() > LONGEST_LINE { &bytes[..KEPT_OF_LINE] } else { bytes };
        Line { offset, end: self.offset, bytes, length }
    }

    /// Moves what is pending to the front and reads behind it.
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

    /// Passes over the rest of a line that is too long to be a record, keeping its beginning.
    fn skip_overlong(&mut self) -> io::Result<Line<'_>> {
        let offset = self.offset;
        self.overlong = self.buffer[self.start..self.start + KEPT_OF_LINE].to_vec();
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

/// One field of a line: its bytes, and how they were written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Field<'a> {
    /// What stands between the quotes, or between the commas.
    pub raw: &'a [u8],
    /// Whether it stood in quotes: a bare `null` is NULL, `"null"` is text.
    pub quoted: bool,
    /// Whether `raw` holds doubled quotes, each of which stands for one.
    pub doubled: bool,
}

/// What is wrong with a line as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// It has another number of fields than its file has columns; this many where that can be told.
    FieldCount(usize),
    /// Something other than a comma follows a closing quote, in the field of this index.
    TextAfterQuote(usize),
    /// A quote stands in the middle of a field that does not begin with one, of this index.
    QuoteInBareField(usize),
}

/// Splits a line into as many fields as `fields` has places; answers whether a missing closing quote had to be
/// added, which only the last field allows.
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

/// The field that began with a quote just before `rest`, and what follows its closing quote; none if there is none.
fn quoted(rest: &[u8]) -> Option<(Field<'_>, &[u8])> {
    let mut doubled = false;
    let mut end = memchr(b'"', rest)?;
    while rest.get(end + 1) == Some(&b'"') {
        doubled = true;
        end += 2 + memchr(b'"', &rest[end + 2..])?;
    }
    Some((Field { raw: &rest[..end], quoted: true, doubled }, &rest[end + 1..]))
}

/// How many fields a line has, commas inside quotes not counted.
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
