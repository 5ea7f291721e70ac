//! The limit of rejected rows of a file.

use std::fmt;
use std::str::FromStr;

use crate::ledger::Counts;

/// The max number of rejected rows per file. Above it, the load fails.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RejectLimit {
    /// A number of rows.
    Rows(u64),
    /// A percentage of the rows, but always at least 10.
    Percent(f64),
}

/// An invalid limit.
#[derive(Debug, thiserror::Error)]
#[error(
    "invalid limit {0:?}: expected a number of rows such as 500, or a percentage of a file's rows such as 0.1%"
)]
pub struct RejectLimitError(String);

impl Default for RejectLimit {
    fn default() -> Self {
        Self::Percent(0.1)
    }
}

impl FromStr for RejectLimit {
    type Err = RejectLimitError;

    fn from_str(text: &str) -> Result<Self, RejectLimitError> {
        let error = || RejectLimitError(text.to_owned());
        match text.strip_suffix('%') {
            Some(percent) => {
                let percent: f64 = percent.trim().parse().map_err(|_| error())?;
                (0.0..=100.0).contains(&percent).then_some(Self::Percent(percent)).ok_or_else(error)
            }
            None => text.parse().map(Self::Rows).map_err(|_| error()),
        }
    }
}

impl RejectLimit {
    /// Returns the max number of rejected rows of a file with `rows` rows.
    pub fn allowed(self, rows: u64) -> u64 {
        match self {
            Self::Rows(allowed) => allowed,
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
            Self::Percent(percent) => ((rows as f64 * percent / 100.0) as u64).max(MIN_ALLOWED),
        }
    }

    /// Returns whether a file has too many rejected rows even if its `unread` bytes are valid rows of the minimum size.
    pub(super) fn is_exceeded_before_the_end(self, counts: &Counts, unread: u64) -> bool {
        counts.rejected > self.allowed(counts.read.saturating_add(unread.div_ceil(MIN_ROW)))
    }

    /// Returns whether a file has too many rejected rows. No file may lose half of its rows, whatever the limit.
    pub(super) fn is_exceeded(self, counts: &Counts) -> bool {
        counts.rejected > self.allowed(counts.read) || loses_half(counts.rejected, counts.read)
    }
}

fn loses_half(rejected: u64, read: u64) -> bool {
    rejected > 0 && 2 * rejected >= read
}

/// The number of rejected rows that a percentage always allows.
const MIN_ALLOWED: u64 = 10;

/// A file with too many rejected rows.
#[derive(Debug)]
pub struct TooManyRejects {
    /// Its name.
    pub file: &'static str,
    /// The number of rows that were read, and how many of them were rejected.
    pub read: u64,
    /// The number of rejected rows.
    pub rejected: u64,
    /// The limit.
    pub allowed: u64,
    /// The most frequent reason.
    pub reason: String,
    /// The location of the rejected rows.
    pub rejects: String,
}

impl fmt::Display for TooManyRejects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, read, rejected, allowed, reason, rejects } = self;
        if rejected == read {
            write!(f, "{file} would lose all of its rows: {rejected} of {read} rejected")?;
        } else if loses_half(*rejected, *read) {
            write!(f, "{file} would lose half of its rows or more: {rejected} of {read} rejected")?;
        } else {
            write!(f, "{file}: {rejected} of {read} rows rejected; the limit is {allowed} (--max-rejects)")?;
        }
        write!(f, ", most often because of: {reason}; see {rejects}; the current catalog stays")
    }
}

/// The min size of a row in bytes: `1,1,1` and a line ending.
const MIN_ROW: u64 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_number_of_rows_or_a_percentage() {
        assert_eq!("500".parse::<RejectLimit>().unwrap(), RejectLimit::Rows(500));
        assert_eq!("0.5%".parse::<RejectLimit>().unwrap(), RejectLimit::Percent(0.5));
        for wrong in ["", "-1", "1.5", "%", "101%", "-1%", "NaN%", "many"] {
            assert!(wrong.parse::<RejectLimit>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_percentage_always_allows_ten_rows() {
        assert_eq!(RejectLimit::default().allowed(50), 10);
        assert_eq!(RejectLimit::default().allowed(5_000_000), 5_000);
        assert_eq!(RejectLimit::Rows(0).allowed(5_000_000), 0);
    }

    #[test]
    fn no_file_may_lose_half_of_its_rows() {
        let counts = |read, rejected| Counts { read, rejected, ..Counts::default() };
        let generous = RejectLimit::Percent(100.0);
        assert!(generous.is_exceeded(&counts(1, 1)));
        assert!(generous.is_exceeded(&counts(20, 10)));
        assert!(!generous.is_exceeded(&counts(21, 10)));
        assert!(!RejectLimit::Rows(0).is_exceeded(&counts(0, 0)), "an empty table loses nothing");
    }
}
