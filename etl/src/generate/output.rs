//! One file being written, a mebibyte at a time.

use std::fs::File;
use std::io::{self, Write as _};

/// How much is gathered before it goes to the file; seven of these are all the memory that a set takes.
const CHUNK_BYTES: usize = 1 << 20;

/// Rows on their way into one file. Text is appended in pieces, and a row is begun before its first piece.
pub(super) struct Output<'a> {
    file: File,
    buffer: Vec<u8>,
    line_end: &'static [u8],
    rows: u64,
    bytes: u64,
    is_empty: bool,
    on_chunk: &'a dyn Fn(u64, u64),
}

impl<'a> Output<'a> {
    /// `on_chunk` is told, after each chunk, the product that is being written and the bytes so far.
    pub(super) fn new(file: File, line_end: &'static [u8], on_chunk: &'a dyn Fn(u64, u64)) -> Self {
        let buffer = Vec::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 8);
        Self { file, buffer, line_end, rows: 0, bytes: 0, is_empty: true, on_chunk }
    }

    /// Writes the line of column names.
    pub(super) fn header(&mut self, text: &str) -> &mut Self {
        self.is_empty = false;
        self.text(text)
    }

    /// Begins a row that belongs to this product. A line ends where the next begins: nothing follows the last one.
    pub(super) fn row(&mut self, product_id: u64) -> io::Result<&mut Self> {
        if self.buffer.len() >= CHUNK_BYTES {
            self.flush(product_id)?;
        }
        if !self.is_empty {
            self.buffer.extend_from_slice(self.line_end);
        }
        self.is_empty = false;
        self.rows += 1;
        Ok(self)
    }

    /// Appends text as it is.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    /// Appends bytes as they are.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.buffer.extend_from_slice(bytes);
        self
    }

    /// Appends a whole number.
    pub(super) fn number(&mut self, number: u64) -> &mut Self {
        self.text(itoa::Buffer::new().format(number))
    }

    /// Appends what is left and answers with rows and bytes in all.
    pub(super) fn finish(mut self, product_id: u64) -> io::Result<(u64, u64)> {
        self.flush(product_id)?;
        Ok((self.rows, self.bytes))
    }

    fn flush(&mut self, product_id: u64) -> io::Result<()> {
        self.file.write_all(&self.buffer)?;
        self.bytes += self.buffer.len() as u64;
        self.buffer.clear();
        (self.on_chunk)(product_id, self.bytes);
        Ok(())
    }
}
