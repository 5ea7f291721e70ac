//! A gzip encoder for many small, similar texts.
//!
//! On small texts, a general encoder spends most of its time outside the search for matches: it counts symbols,
//! constructs codes and clears large tables. [`Gzip`] constructs its code once, from samples, and writes every token at
//! once. The bytes of a member depend only on its text and the samples.

mod huffman;
mod matches;
#[cfg(test)]
mod tests;

use huffman::{Bits, Code, CodeLengths, Frequencies, MAX_CODE_LENGTH};
use matches::{MAX_LITERALS, Matcher, Tokens};

/// RFC 1952, section 2.3: magic number, DEFLATE, no flags, no time, the fastest algorithm, an unknown file system.
const MEMBER_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255];

/// The max bytes of a stored block (RFC 1951, section 3.2.4).
const MAX_STORED_BLOCK: usize = 65_535;
/// A stored block's type and padding, its length, and the complement of its length.
const STORED_BLOCK_HEADER: usize = 5;
const STORED_BLOCK: Bits = Bits { value: 0, count: 2 };

/// The max bytes of a block. The encoder searches and codes each block separately, and stores it if that is smaller.
/// Blocks are so large that neither headers nor lost matches at the boundaries matter.
const MAX_BLOCK: usize = 4 * MAX_STORED_BLOCK;
/// A header has less than 320 codes of max 9 bits; the rest leaves space to write the last word completely.
const MAX_BLOCK_HEADER: usize = 512;
/// A token takes at most the bits of its bytes as literals with the longest code.
const MAX_CODED_BLOCK: usize = MAX_BLOCK * MAX_CODE_LENGTH as usize / 8 + MAX_BLOCK_HEADER;

/// The candidates for the min text length of the trained code. Training finds the length that justifies its header.
const TRAINED_FROM: [usize; 8] = [128, 256, 512, 1024, 2048, 4096, 8192, MAX_BLOCK];

const WORD: usize = size_of::<u64>();
/// A flush leaves up to 7 bits in the word; the bits before the next flush must fit too.
const _: () = assert!(7 + MAX_LITERALS * MAX_CODE_LENGTH as usize <= 8 * WORD);
const _: () = assert!(7 + (MAX_CODE_LENGTH + 5) + (MAX_CODE_LENGTH + 13) <= u64::BITS);

/// A compressor of texts to gzip members.
pub(super) struct Gzip {
    matcher: Matcher,
    fixed: Code,
    trained: Code,
    /// The min length for the trained code. Shorter blocks use the fixed code, whose header has two bits.
    trained_from: usize,
    /// A buffer for a coded block until its size is known, so that `out` need not grow for the worst case.
    coded: Box<[u8]>,
}

impl Default for Gzip {
    fn default() -> Self {
        Self::new()
    }
}

impl Gzip {
    /// Returns an encoder with the fixed code of DEFLATE, until it is trained.
    pub(super) fn new() -> Self {
        let fixed = CodeLengths::fixed();
        Self {
            matcher: Matcher::new(),
            fixed: Code::new(&fixed),
            trained: Code::new(&fixed),
            trained_from: usize::MAX,
            coded: vec![0; MAX_CODED_BLOCK].into_boxed_slice(),
        }
    }

    /// Replaces the code by one for texts like the samples.
    pub(super) fn train<'a>(&mut self, samples: impl Iterator<Item = &'a [u8]>) {
        let samples: Vec<&[u8]> = samples.collect();
        let fixed = CodeLengths::fixed();
        let dynamic = CodeLengths::dynamic(&self.frequencies(&samples, usize::MAX));
        let mut is_worth_its_header = |length: &usize| {
            let frequencies = self.frequencies(&samples, *length);
            dynamic.cost(&frequencies) < fixed.cost(&frequencies)
        };
        let from = TRAINED_FROM.into_iter().find(&mut is_worth_its_header);
        self.trained_from = from.unwrap_or(usize::MAX);
        self.trained = Code::new(&dynamic);
    }

    /// Counts the symbols of the first `length` bytes of each sample.
    fn frequencies(&mut self, samples: &[&[u8]], length: usize) -> Frequencies {
        let mut frequencies = Frequencies::new();
        for sample in samples {
            for (block, _) in pieces(&sample[..sample.len().min(length)], MAX_BLOCK) {
                frequencies = self.matcher.search(block, frequencies);
                frequencies.count_block();
            }
        }
        frequencies
    }

    /// Appends `text` to `out` as one member.
    pub(super) fn compress(&mut self, text: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(&MEMBER_HEADER);
        let mut tail = Bits::default();
        for (block, is_last) in pieces(text, MAX_BLOCK) {
            tail = self.compress_block(block, is_last, tail, out);
        }
        push_bits(tail, out);
        out.extend_from_slice(&crc32fast::hash(text).to_le_bytes());
        out.extend_from_slice(&length_modulo_2_32(text).to_le_bytes());
    }

    /// Appends a block after the `tail` of the one before, the bits that did not fill a byte, and returns its own.
    fn compress_block(&mut self, block: &[u8], is_last: bool, tail: Bits, out: &mut Vec<u8>) -> Bits {
        let code = if block.len() < self.trained_from { &self.fixed } else { &self.trained };
        let mut encoder = Encoder { code, writer: BitWriter::new(&mut self.coded, tail) };
        encoder.start_block(is_last);
        let writer = self.matcher.search(block, encoder).end_block();
        if writer.written().len() < stored_length(block) {
            out.extend_from_slice(writer.written());
            writer.tail()
        } else {
            store(block, is_last, tail, out);
            Bits::default()
        }
    }
}

/// A writer of tokens with a code.
struct Encoder<'a> {
    code: &'a Code,
    writer: BitWriter<'a>,
}

impl<'a> Encoder<'a> {
    fn start_block(&mut self, is_last: bool) {
        self.writer.put(last_block_bit(is_last));
        for piece in &self.code.header {
            self.writer.put(*piece);
            self.writer.flush();
        }
    }

    fn end_block(mut self) -> BitWriter<'a> {
        self.writer.put(self.code.end_of_block);
        self.writer.flush();
        self.writer
    }
}

impl Tokens for Encoder<'_> {
    #[inline]
    fn literals<const COUNT: usize>(&mut self, bytes: [u8; COUNT]) {
        for byte in bytes {
            self.writer.put(self.code.literals[usize::from(byte)]);
        }
        self.writer.flush();
    }

    #[inline]
    fn copy(&mut self, length: usize, distance: usize) {
        self.writer.put(self.code.lengths[length]);
        self.writer.put(self.code.distance(distance));
        self.writer.flush();
    }
}

/// A bit writer. It collects bits in a word and writes its whole bytes.
struct BitWriter<'a> {
    bytes: &'a mut [u8],
    at: usize,
    word: u64,
    count: u32,
}

impl<'a> BitWriter<'a> {
    fn new(bytes: &'a mut [u8], start: Bits) -> Self {
        Self { bytes, at: 0, word: u64::from(start.value), count: start.count }
    }

    #[inline]
    fn put(&mut self, bits: Bits) {
        self.word |= u64::from(bits.value) << self.count;
        self.count += bits.count;
    }

    /// Writes the word; the next flush overwrites the bytes after the whole ones.
    #[inline]
    fn flush(&mut self) {
        self.bytes[self.at..self.at + WORD].copy_from_slice(&self.word.to_le_bytes());
        let whole_bytes = self.count / 8;
        self.at += whole_bytes as usize;
        self.word >>= 8 * whole_bytes;
        self.count %= 8;
    }

    fn written(&self) -> &[u8] {
        &self.bytes[..self.at]
    }

    /// Returns the bits that a flush left over.
    #[allow(clippy::cast_possible_truncation, reason = "a flush leaves less than 8 bits")]
    fn tail(&self) -> Bits {
        Bits { value: self.word as u32, count: self.count }
    }
}

/// Divides bytes into pieces of max `limit`, at least one, and returns for each whether it is the last.
fn pieces(bytes: &[u8], limit: usize) -> impl Iterator<Item = (&[u8], bool)> {
    let count = bytes.len().div_ceil(limit).max(1);
    (1..=count).map(move |nth| (&bytes[(nth - 1) * limit..bytes.len().min(nth * limit)], nth == count))
}

fn stored_length(block: &[u8]) -> usize {
    block.len() + pieces(block, MAX_STORED_BLOCK).count() * STORED_BLOCK_HEADER
}

/// Appends a block as it is, after the `tail` of the one before.
#[allow(clippy::cast_possible_truncation, reason = "a piece has at most 65535 bytes")]
fn store(block: &[u8], is_last: bool, mut tail: Bits, out: &mut Vec<u8>) {
    for (piece, is_last_piece) in pieces(block, MAX_STORED_BLOCK) {
        let length = piece.len() as u16;
        push_bits(tail.then(last_block_bit(is_last && is_last_piece)).then(STORED_BLOCK), out);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&(!length).to_le_bytes());
        out.extend_from_slice(piece);
        tail = Bits::default();
    }
}

/// Appends bits, and zeros to the end of their last byte.
fn push_bits(bits: Bits, out: &mut Vec<u8>) {
    out.extend_from_slice(&bits.value.to_le_bytes()[..bits.count.div_ceil(8) as usize]);
}

fn last_block_bit(is_last: bool) -> Bits {
    Bits { value: u32::from(is_last), count: 1 }
}

#[allow(clippy::cast_possible_truncation, reason = "the format keeps the length modulo 2^32")]
fn length_modulo_2_32(text: &[u8]) -> u32 {
    text.len() as u32
}
