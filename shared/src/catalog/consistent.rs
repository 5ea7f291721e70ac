//! Responses of several reads, which must be of the same catalog.

use std::time::Duration;

use crate::database::{Error, Kind};

/// Where a read looks first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadFrom {
    /// In the cache, which can be a second behind a publish.
    Cache,
    /// In the database.
    Database,
}

/// The pauses before further attempts. With several servers, one may be a second behind another, until the host notices
/// that: [`crate::database`].
const PAUSES: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(20),
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_millis(700),
];

/// Repeats reads while they fail with [`Kind::Changed`], from the second attempt on without the cache.
pub(super) async fn consistent<T, F>(read: impl Fn(ReadFrom) -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let mut result = read(ReadFrom::Cache).await;
    for pause in PAUSES {
        match &result {
            Err(error) if error.kind() == Kind::Changed => {
                tokio::time::sleep(pause).await;
                result = read(ReadFrom::Database).await;
            }
            _ => break,
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::ReadFrom::{Cache, Database};
    use super::*;

    #[tokio::test]
    async fn reads_of_two_catalogs_are_repeated_without_the_cache() {
        for (changes, expected, all) in [
            (0, Some(7), vec![Cache]),
            (2, Some(7), vec![Cache, Database, Database]),
            (9, None, vec![Cache, Database, Database, Database, Database, Database]),
        ] {
            let reads = RefCell::new(Vec::new());
            let result = consistent(async |from| {
                reads.borrow_mut().push(from);
                if reads.borrow().len() <= changes { Err(Error::CHANGED) } else { Ok(7) }
            });
            assert_eq!((result.await.ok(), reads.into_inner()), (expected, all));
        }
    }

    #[tokio::test]
    async fn another_error_is_returned_at_once() {
        let reads = RefCell::new(Vec::new());
        let result = consistent(async |from| {
            reads.borrow_mut().push(from);
            Err::<(), _>(Error::TIMED_OUT)
        });
        assert_eq!((result.await.unwrap_err().kind(), reads.into_inner()), (Kind::Timeout, vec![Cache]));
    }
}
