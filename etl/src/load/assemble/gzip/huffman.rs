//! The Huffman codes of DEFLATE (RFC 1951, section 3.2), constructed once for many texts.

use super::matches::{MAX_MATCH, Tokens, WINDOW};

/// The max code length of a literal, a length or a distance.
pub(super) const MAX_CODE_LENGTH: u32 = 15;
/// The max code length of a code length.
const MAX_CODE_LENGTH_CODE: u32 = 7;

const LITERALS: usize = 256;
const END_OF_BLOCK: usize = 256;
const FIRST_LENGTH_SYMBOL: usize = 257;
const LITERAL_LENGTH_SYMBOLS: usize = 286;
/// The fixed code has two more symbols, which never occur but affect its construction.
const FIXED_LITERAL_LENGTH_SYMBOLS: usize = 288;
const DISTANCE_SYMBOLS: usize = 30;
const MIN_LENGTH: usize = 3;

/// Lengths have four symbols for each number of extra bits, distances two.
const LENGTH_CLASS_BITS: u32 = 2;
const DISTANCE_CLASS_BITS: u32 = 1;

const FIXED_BLOCK: Bits = Bits { value: 1, count: 2 };
const DYNAMIC_BLOCK: Bits = Bits { value: 2, count: 2 };

/// The order in which a dynamic block's header gives the code lengths of the code length alphabet.
const CODE_LENGTH_ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
/// The code length symbol that repeats the previous length 3 to 6 times; two extra bits have the number.
const REPEAT_PREVIOUS: usize = 16;
const MIN_REPEAT: usize = 3;
const MAX_REPEAT: usize = 6;

/// Training assumes that every symbol occurs at least once in this number of blocks. So each symbol has a code, and texts
/// unlike the samples compress too.
const BLOCKS_PER_LITERAL_LENGTH: u64 = 8;
/// The same for distances. This alphabet has few symbols, and large distances occur only in large texts.
const BLOCKS_PER_DISTANCE: u64 = 1;

/// A string of up to 32 bits, sent from the lowest bit.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub(super) struct Bits {
    pub(super) value: u32,
    pub(super) count: u32,
}

impl Bits {
    #[allow(
        clippy::cast_possible_truncation,
        reason = "lengths, distances and header fields have less than 32 bits"
    )]
    pub(super) fn new(value: usize, count: u32) -> Self {
        Self { value: value as u32, count }
    }

    pub(super) fn then(self, next: Self) -> Self {
        Self { value: self.value | (next.value << self.count), count: self.count + next.count }
    }
}

/// Returns the symbol and the extra bits of a length or a distance, counted from its min value.
///
/// Both alphabets of RFC 1951 follow one rule: each number of extra bits serves a class of 2^`class_bits` symbols,
/// but none extra serves two classes.
#[inline]
fn symbol_and_extra(value: usize, class_bits: u32) -> (usize, Bits) {
    let extra_count = (value | 1 << class_bits).ilog2() - class_bits;
    let symbol = ((extra_count as usize) << class_bits) + (value >> extra_count);
    (symbol, Bits::new(value & ((1 << extra_count) - 1), extra_count))
}

fn length_symbol(length: usize) -> (usize, Bits) {
    if length == MAX_MATCH {
        return (LITERAL_LENGTH_SYMBOLS - 1, Bits::default());
    }
    let (symbol, extra) = symbol_and_extra(length - MIN_LENGTH, LENGTH_CLASS_BITS);
    (FIRST_LENGTH_SYMBOL + symbol, extra)
}

#[inline]
fn distance_symbol(distance: usize) -> (usize, Bits) {
    debug_assert!((1..=WINDOW).contains(&distance));
    symbol_and_extra(distance - 1, DISTANCE_CLASS_BITS)
}

/// The frequencies of symbols in some blocks.
pub(super) struct Frequencies {
    literal_length: [u64; LITERAL_LENGTH_SYMBOLS],
    distance: [u64; DISTANCE_SYMBOLS],
}

impl Frequencies {
    pub(super) fn new() -> Self {
        Self { literal_length: [0; LITERAL_LENGTH_SYMBOLS], distance: [0; DISTANCE_SYMBOLS] }
    }

    pub(super) fn count_block(&mut self) {
        self.literal_length[END_OF_BLOCK] += 1;
    }

    fn blocks(&self) -> u64 {
        self.literal_length[END_OF_BLOCK]
    }
}

impl Tokens for Frequencies {
    fn literals<const COUNT: usize>(&mut self, bytes: [u8; COUNT]) {
        for byte in bytes {
            self.literal_length[usize::from(byte)] += 1;
        }
    }

    fn copy(&mut self, length: usize, distance: usize) {
        self.literal_length[length_symbol(length).0] += 1;
        self.distance[distance_symbol(distance).0] += 1;
    }
}

/// The code lengths of both alphabets, and the start of a block that uses them.
pub(super) struct CodeLengths {
    header: Vec<Bits>,
    literal_length: Vec<u32>,
    distance: Vec<u32>,
}

impl CodeLengths {
    /// Returns the fixed code of RFC 1951.
    pub(super) fn fixed() -> Self {
        let mut literal_length = vec![8; FIXED_LITERAL_LENGTH_SYMBOLS];
        literal_length[144..256].fill(9);
        literal_length[256..280].fill(7);
        Self { header: vec![FIXED_BLOCK], literal_length, distance: vec![5; DISTANCE_SYMBOLS] }
    }

    /// Returns a code for blocks with these frequencies, which also covers every other symbol.
    pub(super) fn dynamic(frequencies: &Frequencies) -> Self {
        let blocks = frequencies.blocks().max(1);
        let lengths = |counts: &[u64], blocks_per_symbol: u64| {
            let weights: Vec<u64> =
                counts.iter().map(|count| (count * blocks_per_symbol).max(blocks)).collect();
            code_lengths(&even_out(&weights, blocks * blocks_per_symbol), MAX_CODE_LENGTH)
        };
        let literal_length = lengths(&frequencies.literal_length, BLOCKS_PER_LITERAL_LENGTH);
        let distance = lengths(&frequencies.distance, BLOCKS_PER_DISTANCE);
        Self { header: dynamic_header(&literal_length, &distance), literal_length, distance }
    }

    /// Returns the size in bits of blocks with these frequencies, without the extra bits, which no code changes.
    pub(super) fn cost(&self, frequencies: &Frequencies) -> u64 {
        let bits = |lengths: &[u32], counts: &[u64]| -> u64 {
            lengths.iter().zip(counts).map(|(length, count)| u64::from(*length) * count).sum()
        };
        let header: u64 = self.header.iter().map(|piece| u64::from(piece.count)).sum();
        frequencies.blocks() * header
            + bits(&self.literal_length, &frequencies.literal_length)
            + bits(&self.distance, &frequencies.distance)
    }
}

/// A code: the bits of every part of a block.
pub(super) struct Code {
    /// The start of the block, after the last-block bit.
    pub(super) header: Vec<Bits>,
    pub(super) literals: [Bits; LITERALS],
    /// By length, with the extra bits.
    pub(super) lengths: [Bits; MAX_MATCH + 1],
    pub(super) end_of_block: Bits,
    /// By symbol; the length is a power of two so that the compiler removes the bounds check.
    distances: [Bits; DISTANCE_SYMBOLS.next_power_of_two()],
}

impl Code {
    pub(super) fn new(code: &CodeLengths) -> Self {
        let literal_length = canonical_code(&code.literal_length);
        let distance = canonical_code(&code.distance);
        Self {
            header: code.header.clone(),
            literals: std::array::from_fn(|literal| literal_length[literal]),
            lengths: std::array::from_fn(|length| {
                let (symbol, extra) = length_symbol(length.max(MIN_LENGTH));
                literal_length[symbol].then(extra)
            }),
            end_of_block: literal_length[END_OF_BLOCK],
            distances: std::array::from_fn(|symbol| distance.get(symbol).copied().unwrap_or_default()),
        }
    }

    /// Returns the code and the extra bits of a distance.
    #[inline]
    pub(super) fn distance(&self, distance: usize) -> Bits {
        let (symbol, extra) = distance_symbol(distance);
        self.distances[symbol % self.distances.len()].then(extra)
    }
}

/// Gives runs of adjacent symbols their mean weight, if that saves more in headers than it costs in texts.
///
/// Symbols with the same weight get the same code length, and runs of the same length are cheap in a header, which takes a
/// tenth of the bits of a small text. Dynamic programming finds the cheapest division up to each end of a run.
/// `blocks` is the weight of a symbol that occurs once in every block.
#[allow(clippy::cast_precision_loss, reason = "the costs are estimates")]
fn even_out(weights: &[u64], blocks: u64) -> Vec<u64> {
    let total: u64 = weights.iter().sum();
    let mut cheapest = vec![(0.0, 0)];
    for end in 1..=weights.len() {
        let mut run_weight = 0;
        let divisions = (0..end).rev().map(|start| {
            run_weight += weights[start];
            let mean = run_weight as f64 / (end - start) as f64;
            let text_bits = run_weight as f64 * (total as f64 / mean).log2();
            let header_bits = (blocks * run_bits(end - start)) as f64;
            (cheapest[start].0 + text_bits + header_bits, start)
        });
        let cheapest_division = divisions.min_by(|one, other| one.0.total_cmp(&other.0));
        cheapest.extend(cheapest_division);
    }
    let mut evened = weights.to_vec();
    let mut end = weights.len();
    while end > 0 {
        let start = cheapest[end].1;
        let mean = weights[start..end].iter().sum::<u64>() / (end - start) as u64;
        evened[start..end].fill(mean);
        end = start;
    }
    evened
}

/// Estimates the bits of a run of equal code lengths in a header; compare [`run_lengths`].
fn run_bits(run: usize) -> u64 {
    const BITS_PER_SYMBOL: u64 = 5;
    let (full_repeats, rest) = ((run - 1) / MAX_REPEAT, (run - 1) % MAX_REPEAT);
    let last = if rest < MIN_REPEAT { rest } else { 1 };
    BITS_PER_SYMBOL * (1 + full_repeats + last) as u64
}

/// A coin of the package-merge algorithm: a symbol or a package of cheaper coins.
#[derive(Clone)]
struct Coin {
    weight: u64,
    symbols: Vec<usize>,
}

/// Returns optimal code lengths of max `limit` bits for all symbols with a weight, by package-merge (Larmore and
/// Hirschberg 1990).
///
/// Each round pairs the coins of one denomination and merges the pairs with new coins of the next. In the end, each
/// occurrence of a symbol among the cheapest coins adds a bit to its code.
pub(super) fn code_lengths(weights: &[u64], limit: u32) -> Vec<u32> {
    let symbols = weights.iter().enumerate().filter(|(_, weight)| **weight > 0);
    let mut fresh: Vec<Coin> =
        symbols.map(|(symbol, &weight)| Coin { weight, symbols: vec![symbol] }).collect();
    fresh.sort_by_key(|coin| coin.weight);
    let mut coins = fresh.clone();
    for _ in 1..limit {
        let (pairs, _) = coins.as_chunks::<2>();
        let packages = pairs.iter().map(|[one, other]| Coin {
            weight: one.weight + other.weight,
            symbols: [one.symbols.as_slice(), &other.symbols].concat(),
        });
        coins = packages.chain(fresh.iter().cloned()).collect();
        coins.sort_by_key(|coin| coin.weight);
    }
    let mut lengths = vec![0; weights.len()];
    let spent = (2 * fresh.len()).saturating_sub(2);
    for &symbol in coins.iter().take(spent).flat_map(|coin| &coin.symbols) {
        lengths[symbol] += 1;
    }
    lengths
}

/// Derives the code from code lengths (RFC 1951, section 3.2.2).
pub(super) fn canonical_code(lengths: &[u32]) -> Vec<Bits> {
    let mut codes = vec![Bits::default(); lengths.len()];
    let mut next = 0_u32;
    for count in 1..=MAX_CODE_LENGTH {
        next <<= 1;
        for (code, _) in codes.iter_mut().zip(lengths).filter(|(_, length)| **length == count) {
            // Codes, unlike all other values, are sent from the most significant bit.
            *code = Bits { value: next.reverse_bits() >> (u32::BITS - count), count };
            next += 1;
        }
    }
    codes
}

/// Returns the start of a block with a dynamic code (RFC 1951, section 3.2.7), in as few pieces as possible.
fn dynamic_header(literal_length: &[u32], distance: &[u32]) -> Vec<Bits> {
    let sequence = run_lengths(&[literal_length, distance].concat());
    let mut frequencies = [0; CODE_LENGTH_ORDER.len()];
    for (symbol, _) in &sequence {
        frequencies[*symbol] += 1;
    }
    let lengths = code_lengths(&frequencies, MAX_CODE_LENGTH_CODE);
    let codes = canonical_code(&lengths);
    let unused = CODE_LENGTH_ORDER.iter().rev().take_while(|symbol| lengths[**symbol] == 0).count();
    let sent = &CODE_LENGTH_ORDER[..CODE_LENGTH_ORDER.len() - unused];
    let counts = [
        DYNAMIC_BLOCK,
        Bits::new(literal_length.len() - 257, 5),
        Bits::new(distance.len() - 1, 5),
        Bits::new(sent.len() - 4, 4),
    ];
    let code_lengths = sent.iter().map(|symbol| Bits { value: lengths[*symbol], count: 3 });
    let coded_sequence = sequence.iter().map(|(symbol, extra)| codes[*symbol].then(*extra));
    join(counts.into_iter().chain(code_lengths).chain(coded_sequence))
}

/// Returns code lengths as symbols of the code length alphabet with their extra bits. No length is 0, so it does not need
/// the symbols for runs of 0.
fn run_lengths(lengths: &[u32]) -> Vec<(usize, Bits)> {
    let mut sequence = Vec::new();
    for run in lengths.chunk_by(|one, next| one == next) {
        let plain = (run[0] as usize, Bits::default());
        sequence.push(plain);
        for repeats in run[1..].chunks(MAX_REPEAT).map(<[u32]>::len) {
            if repeats < MIN_REPEAT {
                sequence.extend(std::iter::repeat_n(plain, repeats));
            } else {
                sequence.push((REPEAT_PREVIOUS, Bits::new(repeats - MIN_REPEAT, 2)));
            }
        }
    }
    sequence
}

fn join(pieces: impl Iterator<Item = Bits>) -> Vec<Bits> {
    let mut joined: Vec<Bits> = Vec::new();
    for piece in pieces {
        match joined.last_mut() {
            Some(last) if last.count + piece.count <= u32::BITS => *last = last.then(piece),
            _ => joined.push(piece),
        }
    }
    joined
}
