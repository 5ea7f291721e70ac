//! The irregularities of the set: the first occurrence and the rate of each.

use crate::draw::{Draw, Purpose};

/// An irregularity of one certain row, style or product, and of others at random.
///
/// The certain one is among the first, so that the smallest set has all irregularities.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Oddity {
    /// The certain id.
    at: u64,
    /// The rate for other ids: one in this number.
    one_in: u64,
    /// A salt that makes its random numbers independent of other irregularities.
    salt: u64,
}

/// The rate of an irregularity without further occurrences.
const NEVER: u64 = u64::MAX;

impl Oddity {
    const fn new(salt: u64, at: u64, one_in: u64) -> Self {
        Self { at, one_in, salt }
    }

    /// Returns whether it applies to this id.
    pub(crate) fn applies_to(self, seed: u64, id: u64) -> bool {
        id == self.at
            || self.one_in != NEVER && {
                Draw::new(seed ^ (self.salt << 40), Purpose::Oddity, id).once_in(self.one_in)
            }
    }
}

// By product. Further occurrences of the first three come from the counts.
pub(crate) const NO_STYLES: Oddity = Oddity::new(1, 3, NEVER);
pub(crate) const NO_FEATURES: Oddity = Oddity::new(2, 4, NEVER);
pub(crate) const NO_RELATED: Oddity = Oddity::new(3, 5, NEVER);
pub(crate) const NO_DEFAULT: Oddity = Oddity::new(4, 6, 10);
pub(crate) const LATER_DEFAULT: Oddity = Oddity::new(5, 2, 8);
pub(crate) const FREE: Oddity = Oddity::new(6, 7, 5_000);
pub(crate) const DEAREST: Oddity = Oddity::new(7, 8, 50_000);

// By style.
pub(crate) const REPEATED_SIZE: Oddity = Oddity::new(11, 1, 50);
pub(crate) const SWAPPED_PHOTOS: Oddity = Oddity::new(12, 2, 40);
pub(crate) const SWAPPED_SKUS: Oddity = Oddity::new(13, 2, 40);
pub(crate) const PHOTO_ID_GAP: Oddity = Oddity::new(14, 3, 31_000);
pub(crate) const UNCLOSED_QUOTES: Oddity = Oddity::new(15, 4, 13_500);
pub(crate) const ODD_SCHEME: Oddity = Oddity::new(16, 5, NEVER);
pub(crate) const BARE_STYLE: Oddity = Oddity::new(17, 6, 33);
pub(crate) const SALE_OF_ZERO: Oddity = Oddity::new(18, 7, 40);
pub(crate) const SALE: Oddity = Oddity::new(19, 8, 5);
pub(crate) const STYLE_PRICE: Oddity = Oddity::new(20, 9, 20);

// By row of their file.
pub(crate) const NULL_AS_TEXT: Oddity = Oddity::new(31, 2, 100_000);
pub(crate) const SPACED_QUANTITY: Oddity = Oddity::new(32, 5, 20_000);
pub(crate) const RELATED_TO_ZERO: Oddity = Oddity::new(33, 3, 77_700);
pub(crate) const RELATED_TO_ITSELF: Oddity = Oddity::new(34, 5, 200);
pub(crate) const RELATED_AGAIN: Oddity = Oddity::new(35, 7, 100);
