//! The search for repeated strings: the LZ77 half of DEFLATE.

/// The max distance of a match (RFC 1951, section 3.2.5).
pub(super) const WINDOW: usize = 32_768;
/// The max length of a match.
pub(super) const MAX_MATCH: usize = 258;

/// The min length of a match. DEFLATE allows 3, but matches under 5 save little over literals and hide longer ones.
const MIN_MATCH: usize = 5;
/// The size of the hash table: clearing 2^12 positions of two bytes takes less than 0.1 µs, and the first-level cache still
/// has space for the text.
const TABLE_BITS: u32 = 12;
/// 2^64 divided by the golden ratio, which spreads all hashed bits over the upper bits of the product.
const HASH_MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
/// The number of rounds without a match after which the search starts to skip bytes, more with each round, to save time
/// in text that does not compress.
const MISSES_BEFORE_SKIP: usize = 32;
/// The distance before the end of a match at which one more position is entered: many strings recur together with their
/// successors.
const RESUME: usize = 2;
const WORD: usize = size_of::<u64>();

/// A receiver of the literals and matches of a text, in order.
pub(super) trait Tokens {
    /// Receives literal bytes, max [`MAX_LITERALS`].
    fn literals<const COUNT: usize>(&mut self, bytes: [u8; COUNT]);

    /// Receives a match: the next `length` bytes repeat those `distance` bytes before.
    fn copy(&mut self, length: usize, distance: usize);
}

/// The max number of literals per call, and the number of positions that a round probes.
pub(super) const MAX_LITERALS: usize = 2;

/// A match finder with a hash table of the last position of each string.
///
/// Positions are stored modulo 2^16. This halves the memory to clear for each text, allows texts of any length, and is
/// precise enough: it determines every distance within the window, and a comparison of the bytes verifies the match.
pub(super) struct Matcher {
    table: Box<[u16; 1 << TABLE_BITS]>,
}

/// An earlier position that may match.
struct Candidate {
    distance: usize,
    matches: bool,
}

impl Matcher {
    pub(super) fn new() -> Self {
        Self { table: Box::new([0; 1 << TABLE_BITS]) }
    }

    /// Divides `text` into literals and matches, independent of earlier texts.
    ///
    /// `tokens` is passed by value so that its state can stay in registers. Each round probes two positions: most rounds
    /// find nothing, and then two literals share the cost of a call.
    pub(super) fn search<T: Tokens>(&mut self, text: &[u8], mut tokens: T) -> T {
        self.table.fill(0);
        let mut at = 0;
        let mut misses = 0;
        while let (Some(word), Some(next_word)) = (word_at(text, at), word_at(text, at + 1)) {
            let [byte, next_byte, ..] = word.to_le_bytes();
            let here = self.probe(text, at, word);
            let next = self.probe(text, at + 1, next_word);
            if !here.matches && !next.matches {
                tokens.literals([byte, next_byte]);
                at += 2;
                misses += 1;
                if misses > MISSES_BEFORE_SKIP {
                    let skipped = &text[at..text.len().min(at + misses / MISSES_BEFORE_SKIP * 2)];
                    send_literals(skipped, &mut tokens);
                    at += skipped.len();
                }
                continue;
            }
            let distance = if here.matches {
                here.distance
            } else {
                tokens.literals([byte]);
                at += 1;
                next.distance
            };
            let length = match_length(text, at, distance);
            tokens.copy(length, distance);
            at += length;
            misses = 0;
            if let Some(word) = word_at(text, at - RESUME) {
                self.enter(word, at - RESUME);
            }
        }
        send_literals(&text[at..], &mut tokens);
        tokens
    }

    /// Searches an earlier position with the same first bytes as `word`, the text at `at`.
    ///
    /// It compares a candidate even outside the window: one branch is cheaper than two that are hard to predict.
    #[inline]
    fn probe(&mut self, text: &[u8], at: usize, word: u64) -> Candidate {
        let distance = self.enter(word, at);
        let earlier = word_at(text, at.saturating_sub(distance)).unwrap_or(!word);
        let in_window = (1..=WINDOW).contains(&distance);
        Candidate { distance, matches: in_window & (hashed_bytes(word) == hashed_bytes(earlier)) }
    }

    /// Stores `at` as the last position of the string at the start of `word`. Returns the distance to the one before.
    #[inline]
    #[allow(
        clippy::cast_possible_truncation,
        reason = "positions are stored modulo 2^16, and a hash has TABLE_BITS bits"
    )]
    fn enter(&mut self, word: u64, at: usize) -> usize {
        let hash = hashed_bytes(word).wrapping_mul(HASH_MULTIPLIER) >> (u64::BITS - TABLE_BITS);
        let before = std::mem::replace(&mut self.table[hash as usize], at as u16);
        usize::from((at as u16).wrapping_sub(before))
    }
}

/// Returns the first [`MIN_MATCH`] bytes of a word, moved to its upper end.
#[inline]
fn hashed_bytes(word: u64) -> u64 {
    word << (8 * (WORD - MIN_MATCH))
}

#[inline]
fn word_at(text: &[u8], at: usize) -> Option<u64> {
    text.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

/// Returns the number of bytes at `at` that repeat those `distance` bytes before.
#[inline]
fn match_length(text: &[u8], at: usize, distance: usize) -> usize {
    let end = text.len().min(at + MAX_MATCH);
    let (words, rest) = text[at..end].as_chunks::<WORD>();
    let (earlier_words, earlier_rest) = text[at - distance..end - distance].as_chunks::<WORD>();
    for (index, (word, earlier)) in words.iter().zip(earlier_words).enumerate() {
        let difference = u64::from_le_bytes(*word) ^ u64::from_le_bytes(*earlier);
        if difference != 0 {
            return index * WORD + difference.trailing_zeros() as usize / 8;
        }
    }
    words.len() * WORD + rest.iter().zip(earlier_rest).take_while(|(byte, earlier)| byte == earlier).count()
}

fn send_literals(bytes: &[u8], tokens: &mut impl Tokens) {
    let (pairs, last) = bytes.as_chunks::<2>();
    for pair in pairs {
        tokens.literals(*pair);
    }
    for byte in last {
        tokens.literals([*byte]);
    }
}
