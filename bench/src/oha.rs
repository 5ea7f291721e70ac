//! oha: latency at a steady rate, from the moment when a request is due (an open loop).

use std::net::SocketAddr;

use anyhow::{Context, Result};
use serde_json::Value;
use tokio::process::Command;

use crate::env::{Env, output_of};

/// The number of random URLs that requests choose from. More would not fit into a processor's cache beside the servers.
const URLS: u32 = 100_000;

/// The results of a run.
pub(crate) struct Report {
    /// Requests that became due.
    pub(crate) due: u64,
    /// Requests with another status than 200 to 299, or without a response.
    pub(crate) failed: u64,
    /// Requests that were due and not sent: at the end of a run, oha drops those that wait for a connection.
    pub(crate) unsent: u64,
    /// Milliseconds of all responses.
    pub(crate) mean: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
}

impl Report {
    /// Returns the number of failed and unsent requests as text.
    pub(crate) fn failures(&self) -> String {
        format!("{} of {} failed, {} not sent", self.failed, self.due, self.unsent)
    }
}

/// Sends GET requests at a rate per second over 64 connections. `path` makes a random path.
pub(crate) async fn run(
    env: &Env,
    server: SocketAddr,
    rate: f64,
    seconds: u32,
    path: impl Fn() -> String,
) -> Result<Report> {
    let urls = env.file("urls")?;
    let lines: String = (0..URLS).map(|_| format!("http://{server}{}\n", path())).collect();
    std::fs::write(&urls, lines).context("cannot write the URLs for oha")?;
    let mut oha = Command::new("oha");
    oha.args(["--no-tui", "--output-format", "json", "--latency-correction", "-c", "64", "-t", "10s"]);
    // Requests in flight at the end still get their response.
    oha.args(["-w", "-z", &format!("{seconds}s"), "-q", &format!("{rate:.0}")]);
    oha.args(["-H", "accept-encoding: gzip", "--urls-from-file"]).arg(urls);
    let output = output_of(&mut oha).await?;
    let due = (rate.round() * f64::from(seconds)).round();
    report(&output, due).with_context(|| format!("oha returned another report than expected: {output}"))
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a whole number of requests
fn report(output: &str, due: f64) -> Option<Report> {
    let report: Value = serde_json::from_str(output).ok()?;
    let counts = |of: &str| {
        let counts = report[of].as_object()?.iter();
        counts.map(|(name, count)| Some((name.clone(), count.as_u64()?))).collect::<Option<Vec<_>>>()
    };
    let (statuses, errors) = (counts("statusCodeDistribution")?, counts("errorDistribution")?);
    let (ok, other): (Vec<_>, Vec<_>) = statuses.into_iter().partition(|(status, _)| status.starts_with('2'));
    let failures: Vec<_> = other.into_iter().chain(errors).collect();
    if !failures.is_empty() {
        println!("failed requests: {failures:?}");
    }
    let sum = |counts: &[(String, u64)]| counts.iter().map(|(_, count)| count).sum::<u64>();
    let milliseconds = |seconds: &Value| Some(seconds.as_f64()? * 1e3);
    let percentile = |name: &str| milliseconds(&report["latencyPercentiles"][name]);
    let (ok, failed, due) = (sum(&ok), sum(&failures), due as u64);
    Some(Report {
        due,
        failed,
        unsent: due.saturating_sub(ok + failed),
        mean: milliseconds(&report["summary"]["average"])?,
        p50: percentile("p50")?,
        p99: percentile("p99")?,
        p999: percentile("p99.9")?,
    })
}

#[cfg(test)]
mod tests {
    use super::report;

    #[test]
    fn other_statuses_and_errors_are_failures_and_missing_requests_are_counted() {
        let output = r#"{"summary": {"average": 0.001}, "latencyPercentiles": {"p50": 0.002, "p99": 0.003,
            "p99.9": 0.004}, "statusCodeDistribution": {"200": 7, "503": 2}, "errorDistribution": {"timeout": 1}}"#;
        let report = report(output, 12.0).unwrap();
        assert_eq!((report.due, report.failed, report.unsent), (12, 3, 2));
        let times = [report.mean, report.p50, report.p99, report.p999];
        assert_eq!(times.map(|milliseconds| milliseconds.to_string()), ["1", "2", "3", "4"]);
    }

    #[test]
    fn a_report_without_a_figure_is_an_error() {
        assert!(report(r#"{"statusCodeDistribution": {"200": 7}, "errorDistribution": {}}"#, 7.0).is_none());
    }
}
