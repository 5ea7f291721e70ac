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
    /// Requests with a response from 200 to 299.
    pub(crate) ok: u64,
    /// Requests with another status, or without a response.
    pub(crate) failed: u64,
    /// Milliseconds of all responses.
    pub(crate) mean: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
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
    // Requests that are due at the end still get their response.
    oha.args(["-w", "-z", &format!("{seconds}s"), "-q", &format!("{rate:.0}")]);
    oha.args(["-H", "accept-encoding: gzip", "--urls-from-file"]).arg(urls);
    let output = output_of(&mut oha).await?;
    report(&output).with_context(|| format!("oha returned another report than expected: {output}"))
}

fn report(output: &str) -> Option<Report> {
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
    let sum = |counts: &[(String, u64)]| counts.iter().map(|(_, count)| count).sum();
    let milliseconds = |seconds: &Value| Some(seconds.as_f64()? * 1e3);
    let percentile = |name: &str| milliseconds(&report["latencyPercentiles"][name]);
    Some(Report {
        ok: sum(&ok),
        failed: sum(&failures),
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
    fn other_statuses_and_errors_are_failures() {
        let output = r#"{"summary": {"average": 0.001}, "latencyPercentiles": {"p50": 0.002, "p99": 0.003,
            "p99.9": 0.004}, "statusCodeDistribution": {"200": 7, "503": 2}, "errorDistribution": {"timeout": 1}}"#;
        let report = report(output).unwrap();
        assert_eq!((report.ok, report.failed), (7, 3));
        let times = [report.mean, report.p50, report.p99, report.p999];
        assert_eq!(times.map(|milliseconds| milliseconds.to_string()), ["1", "2", "3", "4"]);
    }

    #[test]
    fn a_report_without_a_figure_is_an_error() {
        assert!(report(r#"{"statusCodeDistribution": {"200": 7}, "errorDistribution": {}}"#).is_none());
    }
}
