//! One host: throughput compared with a bare server, instructions of a request, and memory of a full cache.
//!
//! The bare server returns a fixed body of the host's average size, so both send the same number of bytes. The ratio
//! shows the cost of the host's further work: routing, a read of Postgres or of the cache, headers.

use std::net::SocketAddr;
use std::process::Command;

use anyhow::{Context, Result};
use local::free_address;

use crate::Options;
use crate::env::{Env, memory_kib};
use crate::server::{Client, Server, baseline};
use crate::turns::{Subject, in_turn};
use crate::wrk::{CONNECTIONS, Paths, rate, request_all_styles};

/// The number of responses for the average size.
const SAMPLE: u32 = 2_000;

/// Products that hosts with a cache get requests for: few, so that a short run fills the cache.
const CACHED_PRODUCTS: i32 = 10_000;

/// The host's default cache, in bytes.
const CACHE_BYTES: u64 = 256 << 20;

/// Pages at the start and at the end of the list, of ten products each.
const PAGES: i32 = 100;

/// Requests of two runs under callgrind, which makes a program about fifty times slower. The difference between the
/// runs excludes the start and the end of the process. Each run repeats the same ten products, so later requests hit
/// the cache.
const COUNTED: [u32; 2] = [200, 1_200];

/// Measures hosts without and with a cache, and prints the tables.
pub(crate) async fn measure(env: &Env, options: &Options) -> Result<()> {
    let highest = env.load_all().await?;
    println!("hosts: LOG_ACCESS=off; wrk: {CONNECTIONS} connections, products 1 to {highest}");
    for coding in ["identity", "gzip"] {
        throughput(env, options, highest, coding).await?;
    }
    instructions(env).await?;
    memory(env, highest).await
}

async fn throughput(env: &Env, options: &Options, highest: i32, coding: &str) -> Result<()> {
    let (all, few) = (Paths::styles(highest), Paths::styles(highest.min(CACHED_PRODUCTS)));
    let list = |first: i32| Paths {
        path: "/products?count=10&page=%d",
        first,
        last: (first + PAGES - 1).min((highest / 10).max(1)),
    };
    let (start, end) = (list(1), list((highest / 10 - PAGES).max(1)));
    let mut servers = Vec::new();
    let mut subjects = Vec::new();
    let mut bytes = 0;
    for build in &env.builds {
        let uncached = Server::start(build.host(env, 0)?).await?;
        let cached = Server::start(build.host(env, 1 << 30)?).await?;
        for (what, compared_with, server, paths) in [
            ("host", "bare server", &uncached, all),
            ("host, cached", "bare server", &cached, few),
            ("first pages of the list", &build.label("host"), &uncached, start),
            ("last pages of the list", &build.label("first pages of the list"), &uncached, end),
        ] {
            subjects.push(build.subject(what, Some(compared_with), (server.listen, paths)));
        }
        if bytes == 0 {
            bytes = average_bytes(uncached.listen, highest, coding).await?;
        }
        servers.extend([uncached, cached]);
    }
    let metered = Server::start(with_metrics(env.builds[0].host(env, 1 << 30)?)?).await?;
    subjects.push(Subject::new("host, cached, with metrics", Some("host, cached"), (metered.listen, few)));
    servers.push(metered);
    let bare = Server::start(baseline(bytes)?).await?;
    subjects.insert(0, Subject::new("bare server", None, (bare.listen, all)));
    servers.push(bare);
    let measure = async |&(server, paths): &(SocketAddr, Paths)| {
        rate(env, server, paths, coding, options.seconds).await
    };
    for subject in &subjects {
        measure(&subject.of).await?; // fills the caches of hosts and Postgres
    }
    let rates = in_turn(options.rounds, "responses/s", &subjects, measure).await?;
    println!("\n## One host, {coding}, bodies of {bytes} bytes: higher is better\n\n{rates}");
    for server in servers {
        server.stop().await?;
    }
    Ok(())
}

/// Returns the command of a host that also serves metrics.
fn with_metrics(mut host: Command) -> Result<Command> {
    host.env("ADMIN_LISTEN", free_address()?.to_string());
    Ok(host)
}

/// Returns the average size of a body of styles in this encoding.
pub(crate) async fn average_bytes(server: SocketAddr, highest: i32, coding: &str) -> Result<u64> {
    let (client, mut sum) = (Client::new(), 0);
    for _ in 0..SAMPLE {
        let path = format!("/products/{}/styles", fastrand::i32(1..=highest));
        sum += client.get(server, &path, coding).await?.len() as u64;
    }
    Ok(sum / u64::from(SAMPLE))
}

/// Counts instructions of a request in user mode with callgrind. It counts exactly, and it works on virtual machines
/// without hardware counters, where `perf stat` does not.
async fn instructions(env: &Env) -> Result<()> {
    let mut subjects = vec![Subject::new("bare server", None, baseline(1_000)?)];
    for build in &env.builds {
        for (what, cache_bytes) in [("host", 0), ("host, cached", CACHE_BYTES)] {
            let host = build.host(env, cache_bytes)?;
            subjects.push(build.subject(what, Some("bare server"), host));
        }
    }
    let metered = with_metrics(env.builds[0].host(env, CACHE_BYTES)?)?;
    subjects.push(Subject::new("host, cached, with metrics", Some("host, cached"), metered));
    let count = async |server: &Command| {
        let fewer = counted(env, server, COUNTED[0]).await?;
        let more = counted(env, server, COUNTED[1]).await?;
        Ok((more - fewer) / f64::from(COUNTED[1] - COUNTED[0]))
    };
    let counts = in_turn(1, "instructions", &subjects, count).await?;
    println!("\n## Instructions of a request for styles, gzip, one connection: lower is better\n\n{counts}");
    Ok(())
}

/// Returns the instructions of a server that handles `count` requests, with its start and end.
async fn counted(env: &Env, server: &Command, count: u32) -> Result<f64> {
    let listen = free_address()?;
    let log = env.file("callgrind.log")?;
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    valgrind.arg(format!("--log-file={}", log.display())).arg(server.get_program()).args(server.get_args());
    valgrind.envs(server.get_envs().filter_map(|(name, value)| Some((name, value?))));
    valgrind.env("REQUEST_TIMEOUT", "30s").env("TOKIO_WORKER_THREADS", "1").env("WORKER_THREADS", "1");
    valgrind.env("LISTEN", listen.to_string());
    let server = Server::start_at(listen, &valgrind).await?;
    let client = Client::new();
    for number in 0..count {
        client.get(listen, &format!("/products/{}/styles", 1 + number % 10), "gzip").await?;
    }
    server.stop().await?;
    let output = std::fs::read_to_string(&log).with_context(|| format!("cannot read {}", log.display()))?;
    let collected = output.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    collected.with_context(|| format!("callgrind reported no count: {output}"))
}

/// Prints the peak memory of a host with a full cache.
async fn memory(env: &Env, highest: i32) -> Result<()> {
    let present = &env.builds[0];
    // A quarter of the documents of a small catalog always fills the cache.
    let cache = CACHE_BYTES.min(present.documents_bytes(env).await? / 4);
    let server = Server::start(present.host(env, cache)?).await?;
    request_all_styles(env, server.listen, highest).await?;
    let peak = memory_kib(server.pid(), "VmHWM");
    let peak = peak.context("/proc does not show the memory of the host")?;
    println!(
        "\n## Memory\n\nA host with a full cache of {:.1} MiB: {:.1} MiB",
        cache as f64 / f64::from(1 << 20),
        peak as f64 / 1024.0
    );
    server.stop().await
}
