//! The results of a run.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::response::Head;

/// The max recorded latency in nanoseconds: two minutes. Longer ones count as this.
const MAX_LATENCY_NS: u64 = 120_000_000_000;

/// A kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// No connection could be opened.
    Connect,
    /// The status of the response is not from 200 to 299.
    Status,
    /// The connection ended within the response, or a new connection ended before it.
    Truncated,
    /// A reused connection ended before any byte of the response. The server may have closed it as idle at the moment
    /// when the request was sent; browsers retry.
    NoResponse,
    /// The request timed out while it waited for a connection or for the response.
    TimedOut,
    /// The received bytes are not an HTTP response.
    Malformed,
}

/// The results of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// Requests that became due, including those without a connection: the sum of `ok` and all failures.
    pub sent: u64,
    /// Responses with a status from 200 to 299.
    pub ok: u64,
    /// Failed requests by kind of failure.
    pub failures: BTreeMap<Failure, u64>,
    /// Retries of requests whose connection closed before any byte of the response.
    pub retried: u64,
    /// Responses by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Received bytes, including heads.
    pub bytes: u64,
    /// Bytes of the bodies of complete responses.
    pub bodies: u64,
    /// Started connections.
    pub connections: u64,
    /// The time in which requests became due: the duration of the profile, or the time until it was stopped.
    pub due_for: Duration,
    /// The time from the first request to the last response.
    pub elapsed: Duration,
    /// Latencies of successful requests, in nanoseconds.
    latencies: Histogram<u64>,
}

impl Report {
    pub(super) fn new() -> io::Result<Self> {
        let latencies = Histogram::new_with_max(MAX_LATENCY_NS, 3).map_err(io::Error::other)?;
        Ok(Self {
            sent: 0,
            ok: 0,
            failures: BTreeMap::new(),
            retried: 0,
            statuses: BTreeMap::new(),
            bytes: 0,
            bodies: 0,
            connections: 0,
            due_for: Duration::ZERO,
            elapsed: Duration::ZERO,
            latencies,
        })
    }

    pub(super) fn completed(&mut self, head: Head, latency: Duration) {
        let status = head.status;
        self.bodies += head.length;
        *self.statuses.entry(status).or_default() += 1;
        if (200..300).contains(&status) {
            self.ok += 1;
            self.latencies.saturating_record(nanoseconds(latency));
        } else {
            self.fail(Failure::Status);
        }
    }

    pub(super) fn fail(&mut self, kind: Failure) {
        *self.failures.entry(kind).or_default() += 1;
    }

    /// Returns the number of failed requests.
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// Returns the number of failures of one kind.
    pub fn failed_by(&self, kind: Failure) -> u64 {
        self.failures.get(&kind).copied().unwrap_or_default()
    }

    /// Returns the throughput in successful requests per second.
    pub fn rate(&self) -> f64 {
        self.ok as f64 / self.elapsed.as_secs_f64()
    }

    /// Returns the mean latency of successful requests, from the time when they were due.
    pub fn mean(&self) -> Duration {
        Duration::from_secs_f64(self.latencies.mean() / 1e9)
    }

    /// Returns the latency at a quantile of successful requests, for example 0.99.
    pub fn quantile(&self, share: f64) -> Duration {
        Duration::from_nanos(self.latencies.value_at_quantile(share))
    }

    /// Returns the number of successful requests with at least this latency, to three significant digits.
    pub fn slower_than(&self, latency: Duration) -> u64 {
        self.latencies.count_between(nanoseconds(latency), MAX_LATENCY_NS)
    }
}

fn nanoseconds(latency: Duration) -> u64 {
    u64::try_from(latency.as_nanos()).unwrap_or(MAX_LATENCY_NS)
}
