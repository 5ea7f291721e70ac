//! Throughput of the host for the styles of uniformly random products, compared with a bare server.
//!
//! The bare server returns a fixed body of the host's average size, so both send the same number of bytes. The ratio
//! shows the cost of the host's further work: routing, a read of Postgres, headers.

use std::net::SocketAddr;
use std::process::Stdio;

use anyhow::Result;

use crate::bench_env::{BenchEnv, CATALOG};
use crate::load::{Source, load};
use crate::server::{Server, ask, baseline, host};
use crate::wrk::{self, Wrk};
use crate::{Options, median};

/// The number of responses for the average size.
const SAMPLE: u32 = 2_000;

/// Measures both in turn, plain and with gzip, and prints the lower ratio last.
pub(crate) async fn measure(env: &mut BenchEnv, options: &Options) -> Result<()> {
    if !env.loaded {
        load(env, Source::Disk, Stdio::inherit()).await?;
    }
    let highest = env.let_hosts_in(CATALOG).await?;
    let script = wrk::script(env)?;

    let host = Server::start(host(env, CATALOG, 0)?).await?;
    println!(
        "host: LOG_ACCESS=off, uncached; wrk: {} connections, 2 threads, styles of 1 to {highest}",
        wrk::CONNECTIONS
    );

    let mut ratios = Vec::new();
    for coding in ["identity", "gzip"] {
        let wrk = Wrk { script: &script, highest, coding, seconds: options.seconds };
        ratios.push(compare(&host, &wrk, options.rounds).await?);
    }
    host.stop().await?;
    println!(
        "read_vs_baseline: {:.2} (the lower of the two)",
        ratios.iter().copied().fold(f64::INFINITY, f64::min)
    );
    Ok(())
}

async fn compare(host: &Server, wrk: &Wrk<'_>, rounds: u32) -> Result<f64> {
    let coding = wrk.coding;
    let bytes = average_bytes(host.listen, wrk.highest, coding).await?;
    let baseline = Server::start(baseline(bytes)?).await?;
    println!("accept-encoding: {coding}, bodies of {bytes} bytes on average");
    wrk.run(host.listen).await?; // warms the caches of Postgres for the first round
    let (mut reads, mut baselines) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        let read = wrk.run(host.listen).await?;
        let bare = wrk.run(baseline.listen).await?;
        println!(
            "round {round}: host {:.0}/s (p99 {}), baseline {:.0}/s (p99 {})",
            read.rate, read.p99, bare.rate, bare.p99
        );
        reads.push(read.rate);
        baselines.push(bare.rate);
    }
    baseline.stop().await?;
    let ratio = median(&reads) / median(&baselines);
    println!(
        "medians: host {:.0}/s, baseline {:.0}/s; read_vs_baseline_{coding}: {ratio:.2}",
        median(&reads),
        median(&baselines)
    );
    Ok(ratio)
}

/// Returns the average size of a body of styles in this encoding.
pub(crate) async fn average_bytes(server: SocketAddr, highest: i32, coding: &str) -> Result<u64> {
    let mut sum = 0;
    for _ in 0..SAMPLE {
        let path = format!("/products/{}/styles", fastrand::i32(1..=highest));
        sum += ask(server, &path, coding).await?.len() as u64;
    }
    Ok(sum / u64::from(SAMPLE))
}
