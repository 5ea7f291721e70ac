//! What the service measures of its connections, for metrics.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;

/// The upper bounds of histograms of durations, in seconds. The usual ones begin at 5 ms: more than most requests take.
const DURATION_BUCKETS: [f64; 14] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];

/// The upper bounds of the histogram of batch sizes, in ids: up to the largest batch.
const BATCH_BUCKETS: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0];

/// The measurements of one server. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct ServerMetrics {
    /// Attempts to connect after the first of each connection.
    pub(super) reconnects: Counter,
    /// The durations of statements other than status queries, in seconds.
    pub(super) statements: Histogram,
}

impl Default for ServerMetrics {
    fn default() -> Self {
        Self { reconnects: Counter::default(), statements: duration_histogram() }
    }
}

/// The state of a connection. It serves requests only while it is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConnectionState {
    Up,
    /// Statements are in flight, and the server has not responded for a while.
    Stalled,
    /// Its server lacks the latest publication.
    Lagging,
    /// Its server accepts no writes, which this pool needs.
    ReadOnly,
    Down,
}

impl ConnectionState {
    /// Every state, with its name in metrics.
    pub(crate) const ALL: [(Self, &str); 5] = [
        (Self::Up, "up"),
        (Self::Stalled, "stalled"),
        (Self::Lagging, "lagging"),
        (Self::ReadOnly, "read_only"),
        (Self::Down, "down"),
    ];
}

/// The connections of a pool to one server.
#[derive(Debug)]
pub(crate) struct ServerStatistics {
    /// The server's host and port.
    pub(crate) server: String,
    /// The state of each connection.
    pub(crate) connections: Vec<ConnectionState>,
    /// The number of attempts to connect again.
    pub(crate) reconnects: u64,
    /// The durations of its statements.
    pub(crate) statements: Histogram,
}

/// A pool and its queue.
#[derive(Debug)]
pub(crate) struct PoolStatistics {
    pub(crate) servers: Vec<ServerStatistics>,
    /// Statements in flight.
    pub(crate) in_flight: usize,
    /// Requests that wait for the database. Those of batch loaders with a share of the queue count there.
    pub(crate) queued: usize,
    /// The queue limit.
    pub(crate) queue_limit: usize,
}

/// Returns an empty histogram of durations in seconds.
#[must_use]
pub fn duration_histogram() -> Histogram {
    Histogram::new(DURATION_BUCKETS)
}

/// Returns an empty histogram of batch sizes.
pub(crate) fn batch_histogram() -> Histogram {
    Histogram::new(BATCH_BUCKETS)
}
