//! The host, asked for the styles of uniformly random products, against a server with a fixed body.
//!
//! The fixed body has the average size of what the host really sends, so both move the same bytes; what is measured
//! is all that the host does beyond that: routing, a read of Postgres, headers.

use std::net::SocketAddr;
use std::process::Stdio;

use anyhow::Result;

use crate::load::{Source, load};
use crate::server::{Server, ask, hello, host};
use crate::stage::{CATALOG, Stage};
use crate::wrk::{self, Wrk};
use crate::{Options, median};

/// How many answers their average size is taken of.
const SAMPLE: u32 = 2_000;

/// Runs both in turn, without gzip and with it, and prints the lower ratio last.
pub(crate) async fn measure(stage: &mut Stage, options: &Options) -> Result<()> {
    if !stage.loaded {
        load(stage, Source::Disk, Stdio::inherit()).await?;
    }
    let highest = stage.let_hosts_in().await?;
    let script = wrk::script(stage)?;

    let host = Server::start(host(stage, CATALOG, 0)?).await?;
    println!(
        "host: LOG_ACCESS=off, nothing cached; wrk: {} connections, 2 threads, styles of 1 to {highest}",
        wrk::CONNECTIONS
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
    let hello = Server::start(hello(bytes)?).await?;
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

/// The average size of the body of styles, as `coding` has it.
pub(crate) async fn average_bytes(server: SocketAddr, highest: i32, coding: &str) -> Result<u64> {
    let mut sum = 0;
    for _ in 0..SAMPLE {
        let path = format!("/products/{}/styles", fastrand::i32(1..=highest));
        sum += ask(server, &path, coding).await?.len() as u64;
    }
    Ok(sum / u64::from(SAMPLE))
}
