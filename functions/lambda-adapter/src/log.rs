//! A line for each request. It is a record in CloudWatch's embedded metric format too, so that what is logged is
//! measured without anything being sent: <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use http::Method;
use serde::Serialize;
use shared::Outcome;
use shared::log::{milliseconds, timestamp};

/// What a request that has no route counts under: a metric's dimension needs a text.
const NO_ROUTE: &str = "none";

/// What the line says of the invocation, beside the answer to it.
#[derive(Debug)]
pub(crate) struct Invocation<'a> {
    /// The function's name in Lambda, which tells one deployment from another.
    pub(crate) function: &'a str,
    /// Lambda's own id of it.
    pub(crate) lambda_request_id: &'a str,
    /// Whether it is the first of its process.
    pub(crate) cold_start: bool,
    pub(crate) method: &'a Method,
    /// Why the event was refused, if it was.
    pub(crate) refused: Option<&'a str>,
    /// From the event's arrival to the answer's completion.
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
    /// A text, as dimensions are.
    status: &'a str,
    ms: f64,
    db_ms: f64,
}

/// Which of the line's members are metrics, and by what they are told apart. Ids are no dimensions: each value of one
/// would be a metric of its own, and be paid for.
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

/// Writes the line at once: a process may be frozen as soon as it has answered.
pub(crate) fn write(mut output: impl Write, invocation: &Invocation<'_>, answer: &Outcome) -> io::Result<()> {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let status = answer.response.status();
    let line = Line {
        metrics: Metrics {
            timestamp: u64::try_from(since_1970.as_millis()).unwrap_or_default(),
            cloud_watch_metrics: DIRECTIVES,
        },
        ts: &timestamp(),
        request_id: answer.request_id.as_str(),
        lambda_request_id: invocation.lambda_request_id,
        function: invocation.function,
        cold_start: invocation.cold_start,
        method: shared::log::method(invocation.method),
        refused: invocation.refused,
        route: answer.route.unwrap_or(NO_ROUTE),
        status: status.as_str(),
        ms: milliseconds(invocation.elapsed),
        db_ms: milliseconds(answer.database),
    };
    let mut text = serde_json::to_vec(&line)?;
    text.push(b'\n');
    output.write_all(&text) // in one piece, so that lines of requests answered together do not mix
}
