//! What came of it.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::answer::Head;

/// The longest latency, in nanoseconds, that is told apart from longer ones: two minutes.
const LONGEST_NS: u64 = 120_000_000_000;

/// How a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// No connection could be opened for it.
    Connect,
    /// It was answered, but not with a status from 200 to 299.
    Status,
    /// The connection ended within the answer, or a new one before it.
    CutOff,
    /// A connection that had brought answers before ended before a byte of this one came. It may have been closed
    /// for being idle at the moment when the request was sent; browsers ask again.
    Unanswered,
    /// It waited too long: for a connection or for the answer.
    TimedOut,
    /// What came was not an answer.
    Unreadable,
}

/// What was asked, and what came of it.
#[derive(Clone, Debug)]
pub struct Report {
    /// Requests whose time had come, those that found no connection included: `ok` and all failures together.
    pub sent: u64,
    /// Those that were answered with a status from 200 to 299.
    pub ok: u64,
    /// How many of the others failed how.
    pub failures: BTreeMap<Failure, u64>,
    /// Requests that were sent over another connection, since the first closed before it brought any of the answer.
    pub asked_again: u64,
    /// How many answers had which status.
    pub statuses: BTreeMap<u16, u64>,
    /// Bytes that were received, heads included.
    pub bytes: u64,
    /// Bytes of the bodies of whole answers.
    pub bodies: u64,
    /// Connections that were opened, or begun to be.
    pub connections: u64,
    /// For how long requests became due: as long as was planned, or until the plan was told to stop.
    pub due_for: Duration,
    /// From the first request until the last answer.
    pub elapsed: Duration,
    /// Of those that were answered well, in nanoseconds.
    latencies: Histogram<u64>,
}

impl Report {
    pub(super) fn new() -> io::Result<Self> {
        let latencies = Histogram::new_with_max(LONGEST_NS, 3).map_err(io::Error::other)?;
        Ok(Self {
            sent: 0,
            ok: 0,
            failures: BTreeMap::new(),
            asked_again: 0,
            statuses: BTreeMap::new(),
            bytes: 0,
            bodies: 0,
            connections: 0,
            due_for: Duration::ZERO,
            elapsed: Duration::ZERO,
            latencies,
        })
    }

    pub(super) fn answered(&mut self, head: Head, latency: Duration) {
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

    pub(super) fn fail(&mut self, how: Failure) {
        *self.failures.entry(how).or_default() += 1;
    }

    /// How many requests failed.
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// How many failed in this way.
    pub fn failed_by(&self, how: Failure) -> u64 {
        self.failures.get(&how).copied().unwrap_or_default()
    }

    /// Good answers a second.
    pub fn rate(&self) -> f64 {
        self.ok as f64 / self.elapsed.as_secs_f64()
    }

    /// The mean latency of good answers, from when their requests were due.
    pub fn mean(&self) -> Duration {
        Duration::from_secs_f64(self.latencies.mean() / 1e9)
    }

    /// The latency that this share of good answers, 0.99 for instance, did not exceed.
    pub fn quantile(&self, share: f64) -> Duration {
        Duration::from_nanos(self.latencies.value_at_quantile(share))
    }

    /// How many good answers took at least so long; latencies are told apart by three digits.
    pub fn slower_than(&self, latency: Duration) -> u64 {
        self.latencies.count_between(nanoseconds(latency), LONGEST_NS)
    }
}

fn nanoseconds(latency: Duration) -> u64 {
    u64::try_from(latency.as_nanos()).unwrap_or(LONGEST_NS)
}
