//! wrk: the throughput of a server in a closed loop.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use crate::env::{Env, output_of};

const SCRIPT: &str = include_str!("../wrk.lua");
pub(crate) const CONNECTIONS: &str = "64";

/// The requests to send: a path with `%d` for a random number of a range.
#[derive(Clone, Copy)]
pub(crate) struct Paths {
    pub(crate) path: &'static str,
    pub(crate) first: i32,
    pub(crate) last: i32,
}

impl Paths {
    /// Returns the styles of the products up to this id.
    pub(crate) fn styles(last: i32) -> Self {
        Self { path: "/products/%d/styles", first: 1, last }
    }
}

/// Sends requests with random numbers for some seconds. Returns responses per second.
pub(crate) async fn rate(
    env: &Env,
    server: SocketAddr,
    paths: Paths,
    coding: &str,
    seconds: u32,
) -> Result<f64> {
    let report = run(env, server, "2", paths, &[coding, "random"], seconds).await?;
    let rate = field(&report, "Requests/sec:").and_then(|rate| rate.parse().ok());
    rate.with_context(|| format!("wrk reported no throughput: {report}"))
}

/// Requests the styles of each product once, or more often, to fill a cache.
pub(crate) async fn request_all_styles(env: &Env, server: SocketAddr, highest: i32) -> Result<()> {
    let mut first = 1;
    while first <= highest {
        let paths = Paths { first, ..Paths::styles(highest) };
        let report = run(env, server, "1", paths, &["gzip", "ascending"], 2).await?;
        let sent = report.lines().find_map(|line| line.trim().split_once(" requests in")?.0.parse().ok());
        // Requests without a response at the end of a run are not counted and are sent again.
        first += sent.unwrap_or(0).max(1);
    }
    Ok(())
}

async fn run(
    env: &Env,
    server: SocketAddr,
    threads: &str,
    paths: Paths,
    further: &[&str],
    seconds: u32,
) -> Result<String> {
    let script = env.file("wrk.lua")?;
    std::fs::write(&script, SCRIPT).context("cannot write the script for wrk")?;
    let mut wrk = Command::new("wrk");
    wrk.args(["--threads", threads, "--connections", CONNECTIONS, &format!("--duration={seconds}s")]);
    wrk.arg("--script").arg(script).args([&format!("http://{server}/"), "--", paths.path]);
    let report =
        output_of(wrk.arg(paths.first.to_string()).arg(paths.last.to_string()).args(further)).await?;
    match field(&report, "Non-2xx or 3xx responses:").or_else(|| field(&report, "Socket errors:")) {
        Some(failures) => bail!("some requests to {server} failed: {failures}"),
        None => Ok(report),
    }
}

fn field<'a>(report: &'a str, label: &str) -> Option<&'a str> {
    report.lines().find_map(|line| line.trim().strip_prefix(label)).map(str::trim)
}
