//! The search for repeated strings: the LZ77 half of DEFLATE.

/// The largest distance of a match (RFC 1951, section 3.2.5).
pub(super) const WINDOW: usize = 32_768;
/// The greatest length of a match.
pub(super) const MAX_MATCH: usize = 258;

/// DEFLATE knows matches from 3 bytes, but those under 5 save little over literals, and they hide longer ones.
const MIN_MATCH: usize = 5;
/// 2^12 places of two bytes are cleared in less than 0.1 µs, and leave the first-level cache room for the text.
const TABLE_BITS: u32 = 12;
/// 2^64 divided by the golden ratio: spreads all bits hashed over the upper bits of the product.
const HASH_MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
/// After so many rounds without a match the search begins to skip, ever further, to hurry through stretches that do
/// not compress.
const PATIENCE: usize = 32;
/// How far before the end of a match a place is entered once more, as many strings recur together with what follows.
const RESUME: usize = 2;
const WORD: usize = size_of::<u64>();

/// What the search makes of a text, told in order.
pub(super) trait Tokens {
    /// Bytes to be sent as they are, at most [`MAX_LITERALS`].
    fn literals<const COUNT: usize>(&mut self, bytes: [u8; COUNT]);

    /// The next `length` bytes repeat those `distance` bytes before.
    fn copy(&mut self, length: usize, distance: usize);
}

/// The most literals told at once, and the number of places probed in a round.
pub(super) const MAX_LITERALS: usize = 2;

/// Finds matches by a hash table with the last place of each string.
///
/// Places are kept modulo 2^16. This halves the memory to be cleared for each text, takes texts of any length, and is
/// precise enough: a distance within the window can be told from it, and the bytes compared tell whether it is a match.
pub(super) struct Matcher {
    table: Box<[u16; 1 << TABLE_BITS]>,
}

/// An earlier place that may repeat.
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
    /// `tokens` is passed by value so that its state can live in registers. Each round probes two places, since most
    /// rounds find nothing and then share the cost of sending literals.
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
                if misses > PATIENCE {
                    let skipped = &text[at..text.len().min(at + misses / PATIENCE * 2)];
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

    /// Looks for an earlier place with the same first bytes as `at`, where `word` stands.
    ///
    /// A candidate is compared even outside the window: one branch on the outcome is cheaper than two that are hard to
    /// predict.
    #[inline]
    fn probe(&mut self, text: &[u8], at: usize, word: u64) -> Candidate {
        let distance = self.enter(word, at);
        let earlier = word_at(text, at.saturating_sub(distance)).unwrap_or(!word);
        let in_window = (1..=WINDOW).contains(&distance);
        Candidate { distance, matches: in_window & (hashed_bytes(word) == hashed_bytes(earlier)) }
    }

    /// Makes `at` the last place of the string that `word` begins with, and returns the distance to the one before.
    #[inline]
    #[allow(
        clippy::cast_possible_truncation,
        reason = "places are kept modulo 2^16, and a hash has TABLE_BITS bits"
    )]
    fn enter(&mut self, word: u64, at: usize) -> usize {
        let hash = hashed_bytes(word).wrapping_mul(HASH_MULTIPLIER) >> (u64::BITS - TABLE_BITS);
        let before = std::mem::replace(&mut self.table[hash as usize], at as u16);
        usize::from((at as u16).wrapping_sub(before))
    }
}

/// The first [`MIN_MATCH`] bytes of a word, moved to its upper end.
#[inline]
fn hashed_bytes(word: u64) -> u64 {
    word << (8 * (WORD - MIN_MATCH))
}

#[inline]
fn word_at(text: &[u8], at: usize) -> Option<u64> {
    text.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

/// For how many bytes the text at `at` repeats what is `distance` bytes before.
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
