//! Random numbers that depend only on the seed and the purpose.
//!
//! Each file has its own thread, and no thread holds the whole set. Each thread computes values that two files share
//! (the number of styles of a product, its price) from the seed, a purpose and an id.

/// The purpose of a random number. The sequences of different purposes are independent.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
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

/// A random sequence (SplitMix64): small, and the same with every compiler and version.
#[derive(Debug)]
pub(crate) struct Draw {
    state: u64,
}

impl Draw {
    /// Returns the sequence of one id for one purpose.
    pub(crate) fn new(seed: u64, purpose: Purpose, id: u64) -> Self {
        let mut start = Self { state: seed ^ ((purpose as u64 + 1) << 56) };
        Self { state: start.next() ^ id.wrapping_mul(0xd6e8_feb8_6659_fd93) }
    }

    /// Returns the next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number from 0 to `bound`, exclusive. The bias of the remainder is negligible here.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// Returns true once in `times` calls on average.
    pub(crate) fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// Returns an element of a list, which must not be empty.
    pub(crate) fn one_of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.index(list.len())]
    }

    /// Returns an index into a list of this length.
    pub(crate) fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap_or_default()
    }

    /// Returns a count: `n` in `weights[n]` of 100,000 cases.
    pub(crate) fn count(&mut self, weights: &[u64]) -> u64 {
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
