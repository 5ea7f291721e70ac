//! What the fuzz targets share.

use std::io::{self, Read};

/// A reader that returns a text in pieces, as a network may.
#[derive(Debug)]
pub struct Pieces<'a> {
    text: &'a [u8],
    max: usize,
}

impl<'a> Pieces<'a> {
    /// Returns a reader of `text` in at most 256 pieces of `size` bytes, or of `size` times 2,000 if it is 128 or more.
    pub fn new(text: &'a [u8], size: u8) -> Self {
        let max = if size < 128 { usize::from(size) + 1 } else { usize::from(size) * 2000 };
        Self { text, max: max.max(text.len() / 256) }
    }
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.max.min(self.text.len()).min(buffer.len());
        let (piece, rest) = self.text.split_at(count);
        buffer[..count].copy_from_slice(piece);
        self.text = rest;
        Ok(count)
    }
}

/// Splits an input into a text and the size of its pieces. After a size of 240 or more, each byte 1 of the text becomes
/// 32,766 letters, up to 33 times, so that short inputs reach the limits of lines and records; few do, as it takes longer.
pub fn text_and_size(data: &[u8]) -> Option<(Vec<u8>, u8)> {
    let (&size, data) = data.split_last()?;
    let mut left = if size < 240 { 0 } else { 33 };
    let mut text = Vec::with_capacity(data.len());
    for &byte in data {
        if byte == 1 && left > 0 {
            left -= 1;
            text.resize(text.len() + 32_766, b'x');
        } else {
            text.push(byte);
        }
    }
    Some((text, size))
}
