//! Responses of several statements, which must read the same catalog.

use crate::database::{Error, Kind};

/// How often a read is tried. Publishes are minutes apart, so a second attempt finds one catalog.
const ATTEMPTS: usize = 5;

/// Repeats a read while it fails with [`Kind::Changed`].
pub(super) async fn consistent<T, F>(read: impl Fn() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    for _ in 1..ATTEMPTS {
        match read().await {
            Err(error) if error.kind() == Kind::Changed => {}
            result => return result,
        }
    }
    read().await
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn a_read_of_two_catalogs_is_repeated_up_to_five_times() {
        for (changes, expected, reads) in [(0, Some(7), 1), (4, Some(7), 5), (5, None, 5)] {
            let read = Cell::new(0);
            let result = consistent(async || {
                read.set(read.get() + 1);
                if read.get() <= changes { Err(Error::CHANGED) } else { Ok(7) }
            });
            assert_eq!((result.await.ok(), read.get()), (expected, reads));
        }
    }

    #[tokio::test]
    async fn another_error_is_returned_at_once() {
        let read = Cell::new(0);
        let result = consistent(async || {
            read.set(read.get() + 1);
            Err::<(), _>(Error::TIMED_OUT)
        });
        assert_eq!((result.await.unwrap_err().kind(), read.get()), (Kind::Timeout, 1));
    }
}
