//! The form of the log: lines of JSON, the same on every transport. Where they go, and what a request's line holds
//! beyond its route and its status, is the transport's.

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

/// Writes log lines of at least this level to `lines`, panics included. To be called once in a process.
pub fn init<W>(level: LogLevel, lines: W)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // At TRACE this library logs whole events, cookies and Authorization among them.
    let levels =
        Targets::new().with_default(level).with_target("lambda_runtime", level.min(LevelFilter::DEBUG));
    let lines =
        tracing_subscriber::fmt::layer().json().flatten_event(true).with_target(false).with_writer(lines);
    tracing_subscriber::registry().with(levels).with(lines).init();
    std::panic::set_hook(Box::new(|panic| tracing::error!(%panic, "panicked")));
}

/// Now, as a line says it: `2026-01-31T12:00:00.000000Z`.
#[must_use]
pub fn timestamp() -> String {
    let mut timestamp = String::with_capacity(32);
    let _ = SystemTime.format_time(&mut Writer::new(&mut timestamp)); // a String takes everything
    timestamp
}

/// A method as it is logged: one that no endpoint could ever have may be 30 KB of a client's own text, and lines
/// wait in memory.
#[must_use]
pub fn method(method: &Method) -> &str {
    let name = method.as_str();
    if name.len() <= 16 { name } else { "(other)" }
}

/// Milliseconds as a line says them, to the microsecond.
#[must_use]
pub fn milliseconds(duration: std::time::Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
