//! The memory for large bodies: a budget in bytes, and a limit of bodies in the making.
//!
//! Most bodies have a few kilobytes. But a body may have 50 MB, each client may request another one, and a client that
//! reads slowly holds its body for as long as it likes. So each large body reserves its bytes until it is dropped.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::database::Error;

/// The size above which a body is large: far above the usual size, and at most what a socket buffers anyway. Smaller
/// bodies are made without delay, and neither counted nor limited.
pub(crate) const LARGE_ABOVE_BYTES: usize = 128 << 10;

/// The budget.
const BUDGET_BYTES: usize = 256 << 20;

/// The bytes of one permit.
const PERMIT_BYTES: usize = 1024;

/// How many large bodies are decoded or encoded at a time. This leaves processors to the other requests.
const MAX_WORKERS: usize = 2;

/// The budget of a process for large bodies. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct MemoryBudget {
    permits: Arc<Semaphore>,
    workers: Arc<Semaphore>,
}

/// Bytes of the budget, until it is dropped.
#[derive(Debug)]
pub(crate) struct Reservation(OwnedSemaphorePermit);

/// A body and its reservation.
struct Reserved {
    body: Bytes,
    _reservation: Reservation,
}

impl Default for MemoryBudget {
    fn default() -> Self {
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        Self { permits: semaphore(BUDGET_BYTES / PERMIT_BYTES), workers: semaphore(MAX_WORKERS) }
    }
}

impl MemoryBudget {
    /// Reserves bytes for a large body.
    ///
    /// # Errors
    /// The budget is exhausted.
    pub(crate) fn reserve(&self, bytes: usize) -> Result<Reservation, Error> {
        let permits = u32::try_from(bytes.div_ceil(PERMIT_BYTES)).map_err(|_| Error::OVERLOADED)?;
        let permit = Arc::clone(&self.permits).try_acquire_many_owned(permits);
        permit.map(Reservation).map_err(|_| Error::OVERLOADED)
    }

    /// Decodes or encodes a large body on a thread for blocking work. If the client leaves, the work goes on and counts
    /// until it ends.
    ///
    /// # Errors
    /// The work panics.
    pub(crate) async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let permit = Arc::clone(&self.workers).acquire_owned().await.map_err(Error::internal)?;
        let working = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        working.await.map_err(Error::internal)
    }
}

impl Reservation {
    /// Returns a body that keeps its part of the reservation until its last copy is dropped. The rest returns to the
    /// budget at once.
    pub(crate) fn attach(mut self, body: Bytes) -> Bytes {
        let unused = self.0.num_permits().saturating_sub(body.len().div_ceil(PERMIT_BYTES));
        drop(self.0.split(unused));
        Bytes::from_owner(Reserved { body, _reservation: self })
    }
}

impl AsRef<[u8]> for Reserved {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_keeps_its_part_of_the_budget_until_its_last_copy_is_dropped() {
        let budget = MemoryBudget::default();
        let body = budget.reserve(BUDGET_BYTES).unwrap().attach(Bytes::from(vec![b'x'; BUDGET_BYTES / 2]));
        let copy = body.slice(7..9);
        drop(body);
        assert_eq!(copy, "xx");
        assert_eq!(budget.reserve(BUDGET_BYTES / 2 + 1).unwrap_err().kind(), Error::OVERLOADED.kind());
        let other = budget.reserve(BUDGET_BYTES / 2).unwrap();
        drop(copy);
        drop(other);
        assert!(budget.reserve(BUDGET_BYTES).is_ok());
    }

    #[tokio::test]
    async fn work_that_panics_or_whose_client_leaves_returns_its_permit_when_it_ends() {
        let budget = MemoryBudget::default();
        assert!(budget.work(|| panic!("tested")).await.is_err());
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let mut left = Box::pin(budget.work(move || ended.recv()));
        assert!(futures_util::poll!(&mut left).is_pending());
        drop(left);
        assert_eq!(budget.workers.available_permits(), MAX_WORKERS - 1);
        drop(end);
        assert!(Arc::clone(&budget.workers).acquire_many(2).await.is_ok());
    }
}
