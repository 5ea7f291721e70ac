//! The log: JSON lines on standard output, written by a separate thread.
//!
//! A request never waits for the log. Lines go into a bounded queue. When the queue is full, the host drops lines,
//! counts them, and logs the count.

use std::io::{self, Write};
use std::time::Duration;

use http::Method;
use serde::Serialize;
use shared::Outcome;
use shared::http::TraceParent;
use shared::log::{LogLevel, milliseconds, timestamp};
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};

/// Max lines in the queue: about 3 MB, or 0.1 s at a host's max throughput.
const QUEUE_LINES: usize = 16_384;

/// How often dropped lines are reported.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// A log with a writer thread. When dropped, it writes the lines that are still in the queue.
pub struct Log {
    lines: NonBlocking,
    dropped: ErrorCounter,
    _guard: WorkerGuard,
}

/// A log with one line per request.
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
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    span_id: Option<&'a str>,
}

impl Log {
    /// Starts the thread that writes to `output`.
    pub fn start(output: impl Write + Send + 'static) -> Self {
        let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(QUEUE_LINES);
        let (lines, guard) = builder.thread_name("log").finish(output);
        Self { dropped: lines.error_counter(), lines, _guard: guard }
    }

    /// Makes this the log of the program's own events. Call it once per process.
    pub fn init(&self, level: LogLevel) {
        shared::log::init(level, self.lines.clone());
    }

    /// Returns an access log that writes to the same output.
    #[must_use]
    pub fn access(&self) -> AccessLog {
        AccessLog { lines: self.lines.clone() }
    }

    /// Returns the counter of dropped lines.
    #[must_use]
    pub fn dropped(&self) -> ErrorCounter {
        self.dropped.clone()
    }

    /// Logs the number of dropped lines regularly, if it has grown. Never returns.
    pub async fn report_dropped(&self) {
        let mut reported = 0;
        loop {
            tokio::time::sleep(REPORT_EVERY).await;
            reported = self.report_dropped_since(reported);
        }
    }

    /// Returns the total of dropped lines, and logs it if it exceeds `reported`.
    pub fn report_dropped_since(&self, reported: usize) -> usize {
        let dropped = self.dropped.dropped_lines();
        if dropped > reported {
            tracing::warn!(dropped, "log queue was full, dropped lines");
        }
        dropped
    }
}

impl AccessLog {
    /// Writes one line. Of the request's target, the line has only the route. `elapsed` runs from the arrival of the
    /// headers until the response is complete, without the time to send it.
    pub(crate) fn write(&self, method: &Method, outcome: &Outcome, elapsed: Duration) {
        let line = Line {
            ts: &timestamp(),
            request_id: outcome.request_id.as_str(),
            method: shared::log::method(method),
            route: outcome.route,
            status: outcome.response.status().as_u16(),
            ms: milliseconds(elapsed),
            trace_id: outcome.trace_parent.as_ref().map(TraceParent::trace_id),
            span_id: outcome.trace_parent.as_ref().map(TraceParent::span_id),
        };
        let mut text = Vec::with_capacity(192);
        // The queue accepts the line or counts it as dropped: neither is an error.
        let _ = serde_json::to_writer(&mut text, &line).map_err(io::Error::from).and_then(|()| {
            text.push(b'\n');
            self.lines.clone().write_all(&text)
        });
    }
}
