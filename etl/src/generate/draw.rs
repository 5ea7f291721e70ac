//! Numbers that depend on nothing but the seed and what they are drawn for.
//!
//! Each file is written by a thread of its own, and none of them holds the set. What two files must agree on (how
//! many styles a product has, what it costs) is therefore drawn anew by each from the seed, a purpose and an id.

/// What a number is drawn for: one purpose's numbers tell nothing about another's.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    ProductText,
    Price,
    Features,
    StyleCount,
    DefaultStyle,
    StyleRow,
    Photos,
    Skus,
    Related,
    Cart,
    Oddity,
}

/// A sequence of numbers (SplitMix64): short, and the same with every compiler and version.
#[derive(Debug)]
pub(super) struct Draw {
    state: u64,
}

impl Draw {
    /// The sequence of one id for one purpose.
    pub(super) fn new(seed: u64, purpose: Purpose, id: u64) -> Self {
        let mut start = Self { state: seed ^ ((purpose as u64 + 1) << 56) };
        Self { state: start.next() ^ id.wrapping_mul(0xd6e8_feb8_6659_fd93) }
    }

    /// The next number of the sequence.
    pub(super) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 up to and without `bound`. The bias of the remainder is nothing at these sizes.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// True once in so many times.
    pub(super) fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// One of a list, which must not be empty.
    pub(super) fn one_of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.index(list.len())]
    }

    /// An index into a list of this length.
    pub(super) fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap_or_default()
    }

    /// How many of something there are: `weights[n]` of 100,000 times it is `n`.
    pub(super) fn count(&mut self, weights: &[u64]) -> u64 {
        let mut rest = self.below(100_000);
        for (count, weight) in (0..).zip(weights) {
            match rest.checked_sub(*weight) {
                Some(less) => rest = less,
                None => return count,
            }
        }
        0
    }
}
