//! The access log: one line per request. Each line is also a record in CloudWatch's embedded metric format, so that
//! CloudWatch derives metrics from the log: <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use http::Method;
use serde::Serialize;
use shared::Outcome;
use shared::http::TraceParent;
use shared::log::{milliseconds, timestamp};

/// The route of requests without an endpoint, because a dimension of a metric must not be null.
const NO_ROUTE: &str = "none";

/// The part of a line that does not come from the response.
#[derive(Debug)]
pub(crate) struct Invocation<'a> {
    /// The function's name in Lambda. It is different in each deployment.
    pub(crate) function: &'a str,
    /// Lambda's id of the invocation.
    pub(crate) lambda_request_id: &'a str,
    /// Whether this is the first invocation of the process.
    pub(crate) cold_start: bool,
    pub(crate) method: &'a Method,
    /// The reason, if the adapter rejected the event.
    pub(crate) refused: Option<&'a str>,
    /// From the arrival of the event until the reply is complete.
    pub(crate) elapsed: Duration,
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(rename = "_aws")]
    metrics: Metrics,
    ts: &'a str,
    request_id: &'a str,
    lambda_request_id: &'a str,
    function: &'a str,
    cold_start: bool,
    method: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<&'a str>,
    route: &'a str,
    /// A string, because dimensions are strings.
    status: &'a str,
    ms: f64,
    db_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    span_id: Option<&'a str>,
}

/// The declaration of the line's metrics and dimensions. Ids are not dimensions, because each value would be a separate
/// metric with its own cost.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Metrics {
    /// Milliseconds since 1970.
    timestamp: u64,
    cloud_watch_metrics: [Directive; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Directive {
    namespace: &'static str,
    dimensions: [[&'static str; 3]; 1],
    metrics: [Metric; 2],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Metric {
    name: &'static str,
    unit: &'static str,
}

const DIRECTIVES: [Directive; 1] = [Directive {
    namespace: "Atelier",
    dimensions: [["function", "route", "status"]],
    metrics: [Metric { name: "ms", unit: "Milliseconds" }, Metric { name: "db_ms", unit: "Milliseconds" }],
}];

/// Writes the line before the reply is sent, because Lambda may freeze the process right after the reply.
pub(crate) fn write(
    mut output: impl Write,
    invocation: &Invocation<'_>,
    outcome: &Outcome,
) -> io::Result<()> {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let status = outcome.response.status();
    let line = Line {
        metrics: Metrics {
            timestamp: u64::try_from(since_1970.as_millis()).unwrap_or_default(),
            cloud_watch_metrics: DIRECTIVES,
        },
        ts: &timestamp(),
        request_id: outcome.request_id.as_str(),
        lambda_request_id: invocation.lambda_request_id,
        function: invocation.function,
        cold_start: invocation.cold_start,
        method: shared::log::method(invocation.method),
        refused: invocation.refused,
        route: outcome.route.unwrap_or(NO_ROUTE),
        status: status.as_str(),
        ms: milliseconds(invocation.elapsed),
        db_ms: milliseconds(outcome.database),
        trace_id: outcome.trace_parent.as_ref().map(TraceParent::trace_id),
        span_id: outcome.trace_parent.as_ref().map(TraceParent::span_id),
    };
    let mut text = serde_json::to_vec(&line)?;
    text.push(b'\n');
    output.write_all(&text) // one write, so that the lines of concurrent requests do not mix
}
