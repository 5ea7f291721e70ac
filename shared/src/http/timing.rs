//! The time that a request spends waiting for the database.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::HeaderValue;

/// The time that a request spends waiting, by cause.
#[derive(Debug, Default)]
pub struct Timing {
    database_ns: AtomicU64,
}

impl Timing {
    /// Waits for a query, and adds the time to that of the database.
    pub async fn database<F: Future>(&self, query: F) -> F::Output {
        let started = Instant::now();
        let result = query.await;
        self.add_database(started.elapsed());
        result
    }

    /// Adds a time that the request waited for the database.
    pub(crate) fn add_database(&self, waited: Duration) {
        let waited = u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX);
        self.database_ns.fetch_add(waited, Ordering::Relaxed);
    }

    /// Returns how long the request waited for the database.
    pub(crate) fn database_time(&self) -> Duration {
        Duration::from_nanos(self.database_ns.load(Ordering::Relaxed))
    }

    /// Returns the `Server-Timing` header: `db;dur=` and milliseconds, rounded up to a tenth. `None` if the request did
    /// not wait for the database.
    pub(crate) fn header(&self) -> Option<HeaderValue> {
        let tenths = self.database_time().as_micros().div_ceil(100);
        if tenths == 0 {
            return None;
        }
        HeaderValue::try_from(format!("db;dur={}.{}", tenths / 10, tenths % 10)).ok()
    }
}
