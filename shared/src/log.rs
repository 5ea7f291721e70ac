//! The log format: lines of JSON, the same on every transport. The transport decides where lines go, and which further
//! fields a request's line has.

use http::Method;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// The lowest level that is logged: `off`, or `error` to `trace`.
pub type LogLevel = LevelFilter;

/// Starts writing log lines of at least this level to `lines`, including panics. Call it once per process.
pub fn init<W>(level: LogLevel, lines: W)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // At TRACE, lambda_runtime logs whole events, with cookies and Authorization headers.
    let levels =
        Targets::new().with_default(level).with_target("lambda_runtime", level.min(LevelFilter::DEBUG));
    let lines =
        tracing_subscriber::fmt::layer().json().flatten_event(true).with_target(false).with_writer(lines);
    tracing_subscriber::registry().with(levels).with(lines).init();
    std::panic::set_hook(Box::new(|panic| tracing::error!(%panic, "panicked")));
}

/// Returns the current time in the format of the log: `2026-01-31T12:00:00.000000Z`.
#[must_use]
pub fn timestamp() -> String {
    let mut timestamp = String::with_capacity(32);
    let _ = SystemTime.format_time(&mut Writer::new(&mut timestamp)); // writing to a String cannot fail
    timestamp
}

/// Returns a method for the log. A method that is longer than any endpoint's becomes `(other)`, because a client can
/// send 30 KB of text as a method, and lines are buffered in memory.
#[must_use]
pub fn method(method: &Method) -> &str {
    let name = method.as_str();
    if name.len() <= 16 { name } else { "(other)" }
}

/// Returns a duration in milliseconds for the log, rounded to the microsecond.
#[must_use]
pub fn milliseconds(duration: std::time::Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
