//! `atelier-bench`: benchmarks of the loader, hosts and functions, as ratios of things that run in turn.
//!
//! A machine's speed changes within the hour, so only figures from the same minute are comparable. All sides of a
//! comparison run in turn, round by round, and a ratio divides their medians.

mod env;
mod fleet;
mod flood;
mod functions;
mod lists;
mod load;
mod oha;
mod read;
mod regions;
mod s3;
mod server;
mod turns;
mod wrk;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use crate::env::Env;

/// The exit codes.
const EXIT_CODES: &cli::ExitCodes =
    &[(0, "success"), (1, "failure; the error says what to do"), (cli::WRONG_ARGUMENTS, "wrong arguments")];

/// Benchmark the loader, hosts and functions on a generated dataset.
#[derive(Debug, Parser)]
#[command(name = "atelier-bench", version = cli::LONG_VERSION, after_help = cli::exit_codes_help(EXIT_CODES))]
struct Options {
    /// The benchmarks to run, in this order
    #[arg(required = true, value_enum)]
    benchmarks: Vec<Benchmark>,
    /// Size of the generated dataset: 1 is a million products, 2.2 GB of files
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Number of rounds
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds of each run of read, fleet and flood, and of warm invocations of each function
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Folder for temporary files and databases; it should be on a disk, because /tmp may be in memory
    #[arg(long, default_value = "/var/tmp")]
    dir: PathBuf,
    /// Folder with the programs of an earlier commit, which are measured too; `make base` builds them
    #[arg(long, value_name = "DIR")]
    base: Option<PathBuf>,
    /// The folder to which fleet writes benchmarks.md (its tables, between the marker lines) and img/latency.svg
    #[arg(long, value_name = "DIR", default_value = "target")]
    output: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Benchmark {
    /// Loads from disk and from S3, compared with a plain \copy of the same files
    Load,
    /// One host: throughput compared with a bare server, instructions of a request, memory of a full cache
    Read,
    /// Latency of pages, categories, searches and cards on a host without a cache
    Lists,
    /// Size, cold start, throughput and memory of each Lambda function
    Functions,
    /// Three hosts behind NGINX, compared with three bare servers: peak throughput, latency at steady rates
    Fleet,
    /// A visitor's latency while another address floods NGINX with list requests
    Flood,
    /// A product page from 20, 80 and 200 ms away
    Regions,
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    match Env::with(&options, async |env: &Env| run(env, &options).await).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            cli::report(format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(env: &Env, options: &Options) -> anyhow::Result<()> {
    for benchmark in &options.benchmarks {
        match benchmark {
            Benchmark::Load => load::measure(env, options).await?,
            Benchmark::Read => read::measure(env, options).await?,
            Benchmark::Lists => lists::measure(env, options).await?,
            Benchmark::Functions => functions::measure(env, options).await?,
            Benchmark::Fleet => fleet::measure(env, options).await?,
            Benchmark::Flood => flood::measure(env, options).await?,
            Benchmark::Regions => regions::measure(env).await?,
        }
    }
    Ok(())
}
