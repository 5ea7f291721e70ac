//! `atelier-bench`: the loader and the host against the least that does the same work, as ratios; and the functions.
//!
//! A machine's speed changes within the hour, so a figure means something only beside another taken in the same
//! minute: both sides of each ratio run in turn, round by round, and the medians are divided.

mod base;
mod fleet;
mod functions;
mod hello;
mod load;
mod read;
mod regions;
mod s3;
mod scale;
mod server;
mod stage;
mod wrk;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use local::Settings;

use crate::stage::Stage;

/// Measures the loader and the host, and prints ratios; and the functions.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// `atelier-etl load` against a plain \copy of the same files: load_vs_raw_copy
    Load {
        #[command(flatten)]
        options: Options,
        /// Where the loader reads them; s3 is beside disk, from a stand-in on this machine: s3_load_vs_raw_copy
        #[arg(long, value_enum, default_value_t = From::Disk)]
        from: From,
    },
    /// `atelier-host` against a server with a fixed answer: read_vs_hello
    Read(Options),
    /// Each Lambda function: its size, its first answer, its speed and its memory
    Functions(Options),
    /// Three hosts behind NGINX against three servers with a fixed answer: peaks, latencies at steady rates, costs
    Fleet(fleet::FleetOptions),
    /// The present loader, host and functions against those of an earlier commit: load_vs_base, read_vs_base
    Base {
        #[command(flatten)]
        options: Options,
        /// The folder with the programs of that commit; `make base` builds them
        #[arg(long, value_name = "DIR")]
        programs: PathBuf,
    },
    /// How a load grows with the set, as a table in Markdown
    Scale(scale::Options),
    /// A product page from 20, 80 and 200 ms away, as a table in Markdown
    Regions(regions::Options),
    /// The first three, the first two on one generated set
    All(Options),
    /// Answer every request with the same bytes: the other side of `read`
    #[command(hide = true)]
    Hello {
        #[arg(long)]
        bytes: usize,
        #[arg(long, env = "LISTEN")]
        listen: SocketAddr,
    },
    /// Answer as S3 does, with a folder's files as the objects of every bucket
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

/// What is measured on one stage.
struct Wanted {
    load: Option<From>,
    read: bool,
}

/// How large and how long.
#[derive(Debug, clap::Args)]
struct Options {
    /// Size of the generated set: 1 is a million products, 2.2 GB of files
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// How often each side runs
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How long each run of `read` takes, and each function is kept busy
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Where files and databases are put, and removed from afterwards; a disk, where /tmp may be memory
    #[arg(long, default_value = "/var/tmp")]
    dir: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Arguments::parse().verb {
        Verb::Hello { bytes, listen } => hello::serve(listen, bytes).await,
        Verb::S3 { dir, listen } => s3::serve(listen, dir).await,
        Verb::Load { options, from } => measure(&options, Wanted { load: Some(from), read: false }).await,
        Verb::Read(options) => measure(&options, Wanted { load: None, read: true }).await,
        Verb::Functions(options) => functions::measure(&options).await,
        Verb::Base { options, programs } => base::measure(&options, &programs).await,
        Verb::Fleet(options) => fleet::measure(&options).await,
        Verb::Scale(options) => scale::measure(&options).await,
        Verb::Regions(options) => regions::measure(&options).await,
        Verb::All(options) => match measure(&options, Wanted { load: Some(From::Disk), read: true }).await {
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

async fn measure(options: &Options, wanted: Wanted) -> anyhow::Result<()> {
    Stage::with(&options.dir, options.scale, &Settings::durable(), async |stage: &mut Stage| {
        if let Some(from) = wanted.load {
            let s3 = if from == From::S3 { Some(s3::StandIn::start(stage).await?) } else { None };
            load::measure(stage, options.rounds, s3.as_ref()).await?;
            if let Some(s3) = s3 {
                s3.stop().await?;
            }
        }
        if wanted.read {
            read::measure(stage, options).await?;
        }
        Ok(())
    })
    .await
}

/// The middle one, or the lower of the middle two.
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
