//! The log: lines of JSON on standard output, written by a thread of their own.
//!
//! A request never waits for the log. Lines wait in a bounded queue, and when it is full they are dropped and
//! counted; the count is itself logged.

use std::io::{self, Write};
use std::time::Duration;

use http::Method;
use serde::Serialize;
use shared::Outcome;
use shared::log::LogLevel;
use shared::log::{milliseconds, timestamp};
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};

/// Lines that may wait to be written: some 3 MB, and a tenth of a second of all a host can answer.
const QUEUE_LINES: usize = 16_384;

/// How often dropped lines are reported.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// Writes lines from a thread of its own. What still waits is written when it is dropped.
pub struct Log {
    lines: NonBlocking,
    dropped: ErrorCounter,
    _guard: WorkerGuard,
}

/// Writes a line for each request.
#[derive(Debug, Clone)]
pub struct AccessLog {
    lines: NonBlocking,
}

#[derive(Serialize)]
struct Line<'a> {
    ts: &'a str,
    request_id: &'a str,
    method: &'a str,
    route: Option<&'a str>,
    status: u16,
    ms: f64,
}

impl Log {
    /// Starts the thread, which writes to `output`.
    pub fn start(output: impl Write + Send + 'static) -> Self {
        let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(QUEUE_LINES);
        let (lines, guard) = builder.thread_name("log").finish(output);
        Self { dropped: lines.error_counter(), lines, _guard: guard }
    }

    /// Sends what the program says of itself here. Once a process.
    pub fn init(&self, level: LogLevel) {
        shared::log::init(level, self.lines.clone());
    }

    /// A log of requests that writes here.
    #[must_use]
    pub fn access(&self) -> AccessLog {
        AccessLog { lines: self.lines.clone() }
    }

    /// Says from time to time how many lines were dropped, if any were. Never ends.
    pub async fn report_dropped(&self) {
        let mut reported = 0;
        loop {
            tokio::time::sleep(REPORT_EVERY).await;
            reported = self.report_dropped_since(reported);
        }
    }

    /// Says how many lines were dropped in all, if that is more than `reported`, and returns it.
    pub fn report_dropped_since(&self, reported: usize) -> usize {
        let dropped = self.dropped.dropped_lines();
        if dropped > reported {
            tracing::warn!(dropped, "log lines were dropped: they could not be written as fast as they came");
        }
        dropped
    }
}

impl AccessLog {
    /// One line: who asked for what is not in it beyond the route. `elapsed` is from the header's arrival to
    /// the answer's completion, without the writing of it.
    pub(crate) fn write(&self, method: &Method, outcome: &Outcome, elapsed: Duration) {
        let line = Line {
            ts: &timestamp(),
            request_id: outcome.request_id.as_str(),
            method: shared::log::method(method),
            route: outcome.route,
            status: outcome.response.status().as_u16(),
            ms: milliseconds(elapsed),
        };
        let mut text = Vec::with_capacity(192);
        // The queue takes the line or counts it as dropped; neither fails.
        let _ = serde_json::to_writer(&mut text, &line).map_err(io::Error::from).and_then(|()| {
            text.push(b'\n');
            self.lines.clone().write_all(&text)
        });
    }
}
