//! The time that a request spends waiting for the database.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::HeaderValue;

/// How long a request waited for what.
#[derive(Debug, Default)]
pub struct Timing {
    database_ns: AtomicU64,
}

impl Timing {
    /// Waits for something the database is asked, and counts the wait as the database's.
    pub async fn database<F: Future>(&self, asked: F) -> F::Output {
        let started = Instant::now();
        let answered = asked.await;
        let waited = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.database_ns.fetch_add(waited, Ordering::Relaxed);
        answered
    }

    /// How long the database was waited for.
    pub(crate) fn of_database(&self) -> Duration {
        Duration::from_nanos(self.database_ns.load(Ordering::Relaxed))
    }

    /// `db;dur=` and milliseconds, rounded up to a tenth; nothing if the request did not wait for the database.
    pub(crate) fn header(&self) -> Option<HeaderValue> {
        let tenths = self.of_database().as_micros().div_ceil(100);
        if tenths == 0 {
            return None;
        }
        HeaderValue::try_from(format!("db;dur={}.{}", tenths / 10, tenths % 10)).ok()
    }
}
