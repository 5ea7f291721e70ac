//! `atelier-bench`: benchmarks of the loader, the host and the functions, as ratios to a baseline.
//!
//! A machine's speed changes within the hour, so only figures from the same minute are comparable. Both sides of each
//! ratio run in turn, round by round, and the ratio divides their medians.

mod base;
mod baseline_server;
mod bench_env;
mod fleet;
mod flood;
mod functions;
mod load;
mod read;
mod regions;
mod s3;
mod scale;
mod server;
mod wrk;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use local::Settings;

use crate::bench_env::BenchEnv;

/// Benchmark the loader, the host and the functions.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Compare `atelier-etl load` with a plain \copy of the same files: load_vs_raw_copy
    Load {
        #[command(flatten)]
        options: Options,
        /// Source of the files; s3 adds a load from a local stand-in for S3: s3_load_vs_raw_copy
        #[arg(long, value_enum, default_value_t = From::Disk)]
        from: From,
    },
    /// Compare `atelier-host` with a bare server that returns a fixed body: read_vs_baseline
    Read(Options),
    /// Measure size, cold start, throughput and memory of each Lambda function
    Functions(Options),
    /// Compare three hosts behind NGINX with three bare servers: peak throughput, latency at steady rates, costs
    Fleet(fleet::FleetOptions),
    /// Measure a visitor's latency while another address floods NGINX with list requests, as a Markdown table
    Flood(flood::FloodOptions),
    /// Compare loader, host and functions with those of an earlier commit: load_vs_base, read_vs_base
    Base {
        #[command(flatten)]
        options: Options,
        /// Folder with the programs of that commit; `make base` builds them
        #[arg(long, value_name = "DIR")]
        programs: PathBuf,
    },
    /// Measure load time by dataset size, as a Markdown table
    Scale(scale::Options),
    /// Measure a product page from 20, 80 and 200 ms away, as Markdown tables
    Regions(regions::Options),
    /// Run load, read and functions; load and read share one generated dataset
    All(Options),
    /// Return the same body for each request: the baseline of `read` and `fleet`
    #[command(hide = true)]
    BaselineServer {
        #[arg(long)]
        bytes: usize,
        #[arg(long, env = "LISTEN")]
        listen: SocketAddr,
    },
    /// Serve a folder's files as the objects of a stand-in for S3
    #[command(hide = true)]
    S3 {
        #[arg(long)]
        dir: PathBuf,
        #[arg(long, env = "LISTEN")]
        listen: SocketAddr,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum From {
    Disk,
    S3,
}

/// The benchmarks to run with one generated dataset.
struct Selection {
    load: Option<From>,
    read: bool,
}

/// Options that several benchmarks share.
#[derive(Debug, clap::Args)]
struct Options {
    /// Size of the generated dataset: 1 is a million products, 2.2 GB of files
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Number of rounds
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds of each run of `read`, and of warm invocations of each function
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Folder for temporary files and databases; it should be on a disk, because /tmp may be in memory
    #[arg(long, default_value = "/var/tmp")]
    dir: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Arguments::parse().verb {
        Verb::BaselineServer { bytes, listen } => baseline_server::serve(listen, bytes).await,
        Verb::S3 { dir, listen } => s3::serve(listen, dir).await,
        Verb::Load { options, from } => measure(&options, Selection { load: Some(from), read: false }).await,
        Verb::Read(options) => measure(&options, Selection { load: None, read: true }).await,
        Verb::Functions(options) => functions::measure(&options).await,
        Verb::Base { options, programs } => base::measure(&options, &programs).await,
        Verb::Fleet(options) => fleet::measure(&options).await,
        Verb::Flood(options) => flood::measure(&options).await,
        Verb::Scale(options) => scale::measure(&options).await,
        Verb::Regions(options) => regions::measure(&options).await,
        Verb::All(options) => match measure(&options, Selection { load: Some(From::Disk), read: true }).await
        {
            Ok(()) => functions::measure(&options).await,
            failed => failed,
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("atelier-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(options: &Options, wanted: Selection) -> anyhow::Result<()> {
    BenchEnv::with(&options.dir, options.scale, &Settings::durable(), async |env: &mut BenchEnv| {
        if let Some(from) = wanted.load {
            let s3 = if from == From::S3 { Some(s3::StandIn::start(env).await?) } else { None };
            load::measure(env, options.rounds, s3.as_ref()).await?;
            if let Some(s3) = s3 {
                s3.stop().await?;
            }
        }
        if wanted.read {
            read::measure(env, options).await?;
        }
        Ok(())
    })
    .await
}

/// Returns the median; the lower of the two in the middle for an even count.
fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get((sorted.len().max(1) - 1) / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn one_slow_run_does_not_move_the_median() {
        assert!((median(&[3.0, 1.0, 90.0]) - 3.0).abs() < f64::EPSILON);
        assert!((median(&[2.0]) - 2.0).abs() < f64::EPSILON);
    }
}
