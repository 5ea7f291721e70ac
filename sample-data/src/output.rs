//! A file writer that writes a mebibyte at a time.

use std::fs::File;
use std::io::{self, Write as _};

/// The size of a write in bytes. The seven buffers are all the memory that a set needs.
const CHUNK_BYTES: usize = 1 << 20;

/// A buffered writer of rows. The caller starts a row, then appends its text in pieces.
pub(crate) struct Output<'a> {
    file: File,
    buffer: Vec<u8>,
    line_end: &'static [u8],
    rows: u64,
    bytes: u64,
    is_empty: bool,
    on_chunk: &'a dyn Fn(u64, u64),
}

impl<'a> Output<'a> {
    /// Returns a writer that calls `on_chunk` after each write with the current product and the written bytes.
    pub(crate) fn new(file: File, line_end: &'static [u8], on_chunk: &'a dyn Fn(u64, u64)) -> Self {
        let buffer = Vec::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 8);
        Self { file, buffer, line_end, rows: 0, bytes: 0, is_empty: true, on_chunk }
    }

    /// Writes the header.
    pub(crate) fn header(&mut self, text: &str) -> &mut Self {
        self.is_empty = false;
        self.text(text)
    }

    /// Starts a row of this product. The line ending comes before the next row, so the last row has none.
    pub(crate) fn row(&mut self, product_id: u64) -> io::Result<&mut Self> {
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
    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    /// Appends bytes as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.buffer.extend_from_slice(bytes);
        self
    }

    /// Appends a whole number.
    pub(crate) fn number(&mut self, number: u64) -> &mut Self {
        self.text(itoa::Buffer::new().format(number))
    }

    /// Writes the rest and returns the number of rows and bytes.
    pub(crate) fn finish(mut self, product_id: u64) -> io::Result<(u64, u64)> {
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
