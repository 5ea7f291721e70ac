//! The host, asked for the styles of uniformly random products, against a server with a fixed body.
//!
//! The fixed body has the average size of what the host really sends, so both move the same bytes; what is measured
//! is all that the host does beyond that: routing, a read of Postgres, headers.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command as StdCommand, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use local::{Guarded, HOST_LOGIN, Watch, create_host_login, program};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::stage::{CATALOG, Stage};
use crate::{Options, load, median};

const SCRIPT: &str = include_str!("../wrk.lua");
const CONNECTIONS: &str = "64";
/// How many answers their average size is taken of.
const SAMPLE: u32 = 2_000;

/// Runs both in turn, without gzip and with it, and prints the lower ratio last.
pub(crate) async fn measure(stage: &mut Stage, options: &Options) -> Result<()> {
    if !stage.loaded {
        load::load(stage, Stdio::inherit()).await?;
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

/// A server of this workspace, which ends with this process.
struct Server {
    guarded: Guarded,
    listen: SocketAddr,
}

impl Server {
    async fn start(command: &StdCommand, listen: SocketAddr) -> Result<Self> {
        let guarded =
            Guarded::spawn(command, Watch { stop_with: "TERM", remove: None, account: None }, None)?;
        let mut server = Self { guarded, listen };
        while ask(listen, "/readyz", "identity").await.is_err() {
            if let Some(status) = server.guarded.ended()? {
                bail!("{} has ended ({status})", command.get_program().display());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(server)
    }

    async fn stop(self) -> Result<()> {
        self.guarded.stop().await?;
        Ok(())
    }
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
        sum += ask(server, &path, coding).await?;
    }
    Ok(sum / u64::from(SAMPLE))
}

/// Asks once and answers with the length of the body. Too little HTTP is needed here for a client library.
async fn ask(server: SocketAddr, path: &str, coding: &str) -> Result<u64> {
    let mut stream = BufReader::new(TcpStream::connect(server).await?);
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: {server}\r\naccept-encoding: {coding}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let (mut line, mut length) = (String::new(), 0);
    stream.read_line(&mut line).await?;
    ensure!(line.starts_with("HTTP/1.1 200"), "{server}{path} answered {}", line.trim());
    while line != "\r\n" {
        line.clear();
        ensure!(stream.read_line(&mut line).await? > 0, "{server}{path} ended within its headers");
        if let Some(("content-length", value)) = line.split_once(':') {
            length = value.trim().parse()?;
        }
    }
    stream.read_to_end(&mut Vec::new()).await?;
    Ok(length)
}

/// Free now; nothing else on this machine is expected to take it within the next moment.
pub(crate) fn free_port() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
