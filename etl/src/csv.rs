//! Records and fields of the CSV files.
//!
//! A record is one line. Only the encoder knows whether a line that ends inside quotes lacks its closing quote or continues
//! in the next line, so [`Lines`] reads one line at a time and can extend a record by the next line and take that back.
//! Nothing here panics, whatever the bytes.

use std::io::{self, Read};

use memchr::memchr;

/// The max length of a line in bytes. The loader rejects longer lines.
pub const MAX_LINE: usize = 1 << 20;

/// The max length of a record of several lines, and the max number of bytes that the loader keeps of a rejected one.
pub const MAX_KEPT: usize = 64 << 10;

/// The size of a read in bytes: small enough to stay in the processor's cache.
const BLOCK: usize = 128 << 10;

/// One record: a line, or several, without the last line ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The offset of its first byte in the file.
    pub offset: u64,
    /// The number of its first line, from 1.
    pub line: u64,
    /// Its bytes; of a line over [`MAX_LINE`] only the first [`MAX_KEPT`].
    pub bytes: &'a [u8],
    /// Its length, which exceeds that of `bytes` if the line is too long.
    pub length: u64,
    /// Whether a line ending follows; only the last line of a file may lack one.
    pub terminated: bool,
}

/// A position to which [`Lines`] can return.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    end: usize,
    next: usize,
    last_line: usize,
    lines: u64,
    terminated: bool,
}

/// A reader of lines that buffers max [`MAX_LINE`] and a block, or a record of max [`MAX_KEPT`] and the line after it.
#[derive(Debug)]
pub struct Lines<R> {
    input: R,
    buffer: Vec<u8>,
    filled: usize,
    at_end: bool,
    /// The start of the record in the buffer, and its end before the line ending.
    start: usize,
    end: usize,
    /// The start of the record's last line, and of the line after it.
    last_line: usize,
    next: usize,
    /// The number of lines in the record.
    lines: u64,
    terminated: bool,
    /// The bytes of the record that are not in the buffer, because it is too long.
    skipped: u64,
    offset: u64,
    line: u64,
}

impl<R: Read> Lines<R> {
    /// Returns a reader of `input`, whose first byte is at `offset` of its file, in the line with the number `line`.
    pub fn new(input: R, offset: u64, line: u64) -> Self {
        Self {
            input,
            buffer: vec![0; 2 * BLOCK],
            filled: 0,
            at_end: false,
            start: 0,
            end: 0,
            last_line: 0,
            next: 0,
            lines: 0,
            terminated: true,
            skipped: 0,
            offset,
            line,
        }
    }

    /// Moves to the next line; false at the end of the file. A last line without a line ending counts.
    pub fn advance(&mut self) -> io::Result<bool> {
        self.offset = self.next_offset();
        self.line += self.lines;
        (self.start, self.skipped, self.lines) = (self.next, 0, 0);
        let Some(found) = self.find_line(MAX_LINE)? else { return Ok(false) };
        match found {
            Found::Line => {}
            Found::TooLong => self.skip_line()?,
        }
        Ok(true)
    }

    /// Adds the next line to the record; false at the end of the file, or if the line is over [`MAX_KEPT`].
    pub fn extend(&mut self) -> io::Result<bool> {
        Ok(matches!(self.find_line(MAX_KEPT)?, Some(Found::Line)))
    }

    /// Returns the record.
    pub fn record(&self) -> Record<'_> {
        let bytes = &self.buffer[self.start..self.end];
        let bytes = if bytes.len() > MAX_LINE { &bytes[..MAX_KEPT] } else { bytes };
        let length = (self.end - self.start) as u64 + self.skipped;
        Record { offset: self.offset, line: self.line, bytes, length, terminated: self.terminated }
    }

    /// Returns the last line of the record.
    pub fn last_line(&self) -> &[u8] {
        &self.buffer[self.last_line..self.end]
    }

    /// Returns the offset after the record and its line ending.
    pub fn next_offset(&self) -> u64 {
        self.offset + (self.next - self.start) as u64 + self.skipped
    }

    /// Returns the end of the record as it is, relative to its start: a read may move the buffer.
    pub fn mark(&self) -> Mark {
        let Self { start, end, next, last_line, lines, terminated, .. } = *self;
        Mark { end: end - start, next: next - start, last_line: last_line - start, lines, terminated }
    }

    /// Takes lines back that were added to the record since the mark.
    pub fn reset(&mut self, mark: Mark) {
        self.end = self.start + mark.end;
        self.next = self.start + mark.next;
        self.last_line = self.start + mark.last_line;
        (self.lines, self.terminated) = (mark.lines, mark.terminated);
    }

    /// Returns whether no line follows the record.
    pub fn is_last(&mut self) -> io::Result<bool> {
        while self.next == self.filled && !self.at_end {
            self.fill()?;
        }
        Ok(self.next == self.filled)
    }

    /// Returns the input.
    pub fn input(&self) -> &R {
        &self.input
    }

    /// Finds the line that starts at `next` and makes it the last line of the record; none at the end of the file.
    fn find_line(&mut self, max: usize) -> io::Result<Option<Found>> {
        let mut searched = 0;
        loop {
            let pending = &self.buffer[self.next..self.filled];
            let newline = memchr(b'\n', &pending[searched..]).map(|found| searched + found);
            searched = pending.len();
            if newline.is_none() && !self.at_end && searched <= max {
                self.fill()?;
                continue;
            }
            if newline.is_none() && searched == 0 {
                return Ok(None);
            }
            if newline.unwrap_or(searched) > max && (newline.is_none() || max < MAX_LINE) {
                return Ok(Some(Found::TooLong));
            }
            let length = newline.unwrap_or(searched);
            let line = &self.buffer[self.next..self.next + length];
            // Programs that write CRLF twice end a line with CR CR LF.
            let text = line.len() - line.iter().rev().take_while(|&&byte| byte == b'\r').count();
            self.last_line = self.next;
            self.end = self.next + text;
            self.next += length + usize::from(newline.is_some());
            self.terminated = newline.is_some();
            self.lines += 1;
            return Ok(Some(Found::Line));
        }
    }

    /// Moves the record and the unread bytes to the front of the buffer and reads more.
    fn fill(&mut self) -> io::Result<()> {
        self.buffer.copy_within(self.start..self.filled, 0);
        self.filled -= self.start;
        for position in [&mut self.end, &mut self.last_line, &mut self.next] {
            *position = position.saturating_sub(self.start);
        }
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

    /// Makes the beginning of a line that is too long the record, and skips the rest.
    fn skip_line(&mut self) -> io::Result<()> {
        let kept = self.start + MAX_KEPT;
        (self.last_line, self.end, self.next, self.lines) = (self.start, kept, kept, 1);
        loop {
            let pending = &self.buffer[self.next..self.filled];
            let newline = memchr(b'\n', pending);
            let passed = newline.unwrap_or(pending.len());
            self.skipped += passed as u64;
            // Removed from the buffer, because it counts as skipped.
            self.buffer.copy_within(self.next + passed..self.filled, self.next);
            self.filled -= passed;
            if newline.is_some() || self.at_end {
                self.terminated = newline.is_some();
                self.next += usize::from(newline.is_some());
                return Ok(());
            }
            self.fill()?;
        }
    }
}

/// The result of a search for the next line.
enum Found {
    Line,
    TooLong,
}

/// One field of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Field<'a> {
    /// The bytes between the quotes, or between the commas.
    pub raw: &'a [u8],
    /// Whether it was quoted: an unquoted `null` is NULL, `"null"` is text.
    pub quoted: bool,
    /// Whether `raw` contains doubled quotes, each of which means one quote.
    pub doubled: bool,
}

/// A syntax error of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The number of fields differs from the number of columns; the value is the number found.
    FieldCount(usize),
    /// A closing quote is not followed by a comma, in the field with this index.
    TextAfterQuote(usize),
    /// An unquoted field contains a quote; its index.
    QuoteInBareField(usize),
    /// The quotes of the field with this index, which is not the last one, are not closed.
    Unclosed(usize),
}

/// Splits a record into `fields`. Returns whether the last field lacks its closing quote.
pub fn split<'a>(record: &'a [u8], fields: &mut [Field<'a>]) -> Result<bool, Malformed> {
    let last = fields.len().saturating_sub(1);
    let mut rest = record;
    for (index, field) in fields.iter_mut().enumerate() {
        let (found, after) = if rest.first() == Some(&b'"') {
            match quoted(&rest[1..]) {
                Some(split) => split,
                None if index == last => {
                    let raw = &rest[1..];
                    *field = Field { raw, quoted: true, doubled: memchr(b'"', raw).is_some() };
                    return Ok(true);
                }
                None => return Err(Malformed::Unclosed(index)),
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
            [b',', ..] if index == last => return Err(Malformed::FieldCount(count_fields(record))),
            [b',', next @ ..] => rest = next,
            _ => return Err(Malformed::TextAfterQuote(index)),
        }
    }
    Err(Malformed::FieldCount(count_fields(record)))
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
fn count_fields(record: &[u8]) -> usize {
    let mut in_quotes = false;
    let commas = record.iter().filter(|&&byte| {
        in_quotes ^= byte == b'"';
        byte == b',' && !in_quotes
    });
    commas.count() + 1
}
#[cfg(test)]
mod tests;
