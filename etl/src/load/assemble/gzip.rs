//! The gzip encoder of the documents.

use libdeflater::{CompressionError, CompressionLvl, Compressor};

/// A compressor of texts to gzip members, with reused buffers.
pub(super) struct Gzip {
    compressor: Compressor,
    member: Vec<u8>,
}

impl Gzip {
    /// Returns an encoder of level 1. A higher level takes much longer and saves 2 % of the bytes.
    pub(super) fn new() -> Self {
        let level = CompressionLvl::new(1).unwrap_or_default();
        Self { compressor: Compressor::new(level), member: Vec::new() }
    }

    /// Returns `text` as one member.
    pub(super) fn compress(&mut self, text: &[u8]) -> Result<&[u8], CompressionError> {
        let bound = self.compressor.gzip_compress_bound(text.len());
        if self.member.len() < bound {
            self.member.resize(bound, 0);
        }
        let length = self.compressor.gzip_compress(text, &mut self.member)?;
        Ok(&self.member[..length])
    }
}
