//! wrk: the throughput of a server for the styles of uniformly random products.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use tokio::process::Command;

use crate::bench_env::BenchEnv;

const SCRIPT: &str = include_str!("../wrk.lua");
pub(crate) const CONNECTIONS: &str = "64";

/// Writes the script that generates the requests.
pub(crate) fn script(env: &BenchEnv) -> Result<PathBuf> {
    let script = env.scratch().join("wrk.lua");
    std::fs::write(&script, SCRIPT).context("cannot write the script for wrk")?;
    Ok(script)
}

/// The options of a run of wrk.
pub(crate) struct Wrk<'a> {
    pub(crate) script: &'a Path,
    pub(crate) highest: i32,
    pub(crate) coding: &'a str,
    pub(crate) seconds: u32,
}

/// The results of a run of wrk.
pub(crate) struct Figures {
    pub(crate) rate: f64,
    pub(crate) p99: String,
}

impl Wrk<'_> {
    pub(crate) async fn run(&self, server: SocketAddr) -> Result<Figures> {
        let output = Command::new("wrk")
            .args(["--threads", "2", "--connections", CONNECTIONS, "--latency"])
            .arg(format!("--duration={}s", self.seconds))
            .arg("--script")
            .arg(self.script)
            .args([
                format!("http://{server}/"),
                "--".to_owned(),
                self.highest.to_string(),
                self.coding.to_owned(),
            ])
            .kill_on_drop(true)
            .output()
            .await
            .context("cannot run wrk; install it with scripts/install.sh wrk")?;
        let report = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "wrk failed: {report}{}", String::from_utf8_lossy(&output.stderr));
        let of = |label: &str| {
            let value = report.lines().find_map(|line| line.trim().strip_prefix(label));
            value.map(str::trim)
        };
        if let Some(failures) = of("Non-2xx or 3xx responses:").or_else(|| of("Socket errors:")) {
            bail!("some requests to {server} failed: {failures}");
        }
        let rate = of("Requests/sec:").and_then(|rate| rate.parse().ok());
        let rate = rate.with_context(|| format!("wrk reported no throughput: {report}"))?;
        Ok(Figures { rate, p99: of("99%").unwrap_or("unknown").to_owned() })
    }
}
