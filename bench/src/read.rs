//! The host, asked for the styles of uniformly random products, against a server with a fixed body.
//!
//! The fixed body has the average size of what the host really sends, so both move the same bytes; what is measured
//! is all that the host does beyond that: routing, a read of Postgres, headers.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command as StdCommand, Stdio};

use anyhow::{Context, Result, bail, ensure};
use local::{HOST_LOGIN, create_host_login, program};
use tokio::process::Command;

use crate::load::{Source, load};
use crate::server::{Server, ask, free_port};
use crate::stage::{CATALOG, Stage};
use crate::{Options, median};

const SCRIPT: &str = include_str!("../wrk.lua");
const CONNECTIONS: &str = "64";
/// How many answers their average size is taken of.
const SAMPLE: u32 = 2_000;

/// Runs both in turn, without gzip and with it, and prints the lower ratio last.
pub(crate) async fn measure(stage: &mut Stage, options: &Options) -> Result<()> {
    if !stage.loaded {
        load(stage, Source::Disk, Stdio::inherit()).await?;
    }
    let client = stage.address().connect(CATALOG).await?;
    create_host_login(&client).await?;
    let highest: i32 = client.query_one("select max(id) from catalog.products", &[]).await?.get(0);
    let script = stage.scratch().join("wrk.lua");
    std::fs::write(&script, SCRIPT).context("cannot write the script for wrk")?;

    let listen = free_port()?;
    let mut command = StdCommand::new(program("atelier-host")?);
    command.env("DATABASE_URL", stage.address().url(HOST_LOGIN, CATALOG)).env("LISTEN", listen.to_string());
    command.env("LOG_ACCESS", "off").env("LOG", "warn");
    let host = Server::start(&command, listen).await?;
    println!(
        "host: LOG_ACCESS=off, nothing cached; wrk: {CONNECTIONS} connections, 2 threads, styles of 1 to {highest}"
    );

    let mut ratios = Vec::new();
    for coding in ["identity", "gzip"] {
        let wrk = Wrk { script: &script, highest, coding, seconds: options.seconds };
        ratios.push(compare(&host, &wrk, options.rounds).await?);
    }
    host.stop().await?;
    println!(
        "read_vs_hello: {:.2} (the lower of the two)",
        ratios.iter().copied().fold(f64::INFINITY, f64::min)
    );
    Ok(())
}

async fn compare(host: &Server, wrk: &Wrk<'_>, rounds: u32) -> Result<f64> {
    let coding = wrk.coding;
    let bytes = average_bytes(host.listen, wrk.highest, coding).await?;
    let listen = free_port()?;
    let mut command = StdCommand::new(program("atelier-bench")?);
    command.args(["hello", "--bytes", &bytes.to_string(), "--listen", &listen.to_string()]);
    let hello = Server::start(&command, listen).await?;
    println!("accept-encoding: {coding}, bodies of {bytes} bytes on average");
    wrk.run(host.listen).await?; // so that the first round finds the memory of Postgres as the others do
    let (mut reads, mut hellos) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        let read = wrk.run(host.listen).await?;
        let fixed = wrk.run(hello.listen).await?;
        println!(
            "round {round}: host {:.0}/s (p99 {}), fixed {:.0}/s (p99 {})",
            read.rate, read.p99, fixed.rate, fixed.p99
        );
        reads.push(read.rate);
        hellos.push(fixed.rate);
    }
    hello.stop().await?;
    let ratio = median(&reads) / median(&hellos);
    println!(
        "medians: host {:.0}/s, fixed {:.0}/s; read_vs_hello_{coding}: {ratio:.2}",
        median(&reads),
        median(&hellos)
    );
    Ok(ratio)
}

/// One way of asking, of either server.
struct Wrk<'a> {
    script: &'a Path,
    highest: i32,
    coding: &'a str,
    seconds: u32,
}

struct Figures {
    rate: f64,
    p99: String,
}

impl Wrk<'_> {
    async fn run(&self, server: SocketAddr) -> Result<Figures> {
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
            .context("cannot run wrk; scripts/install.sh wrk installs it")?;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "wrk failed: {said}{}", String::from_utf8_lossy(&output.stderr));
        let of = |label: &str| {
            let value = said.lines().find_map(|line| line.trim().strip_prefix(label));
            value.map(str::trim)
        };
        if let Some(failures) = of("Non-2xx or 3xx responses:").or_else(|| of("Socket errors:")) {
            bail!("{server} failed some requests: {failures}");
        }
        let rate = of("Requests/sec:").and_then(|rate| rate.parse().ok());
        let rate = rate.with_context(|| format!("wrk reported no rate: {said}"))?;
        Ok(Figures { rate, p99: of("99%").unwrap_or("unknown").to_owned() })
    }
}

async fn average_bytes(server: SocketAddr, highest: i32, coding: &str) -> Result<u64> {
    let mut sum = 0;
    for _ in 0..SAMPLE {
        let path = format!("/products/{}/styles", fastrand::i32(1..=highest));
        sum += ask(server, &path, coding).await?.len() as u64;
    }
    Ok(sum / u64::from(SAMPLE))
}
