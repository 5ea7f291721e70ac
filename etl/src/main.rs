//! `atelier-etl`: the loader's command line.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::{Context, anyhow};
use clap::{Parser, Subcommand};
use etl::generate;
use etl::load::{
    self, DEFAULT_WORKERS, LoadError, LoadOptions, RejectLimit, RejectsPlace, Summary, WHOLE_FILES,
};
use etl::progress::Progress;
use etl::prune::{self, PruneOptions};
use etl::s3::{S3, Url, UrlError};
use etl::source::{Dataset, Location};
use etl::{database, migrate, status};
use shared::database::{ConnectOptions, DATABASE_AUTH, DATABASE_CA_FILE, DATABASE_URL};
use shared::variables::{Reader, Variable, environment};

/// Loads the Atelier catalog: CSV files in, a published catalog out.
///
/// A dataset is a folder, or a prefix in S3, with product.csv, features.csv, styles.csv, photos.csv, skus.csv and
/// related.csv, and cart.csv if there is one. Loading it changes nothing that is served until the last step, which
/// swaps the whole catalog at once; the one before is kept for a rollback.
///
/// Exit codes: 0 done; 1 failed, and the catalog that was served is still served; 2 wrong arguments; 3 too many rows
/// could not be loaded.
#[derive(Parser)]
#[command(name = "atelier-etl", version, max_term_width = 110)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// A database, for the commands that need one.
#[derive(clap::Args)]
struct Database {
    #[arg(long, env = DATABASE_URL.name, hide_env_values = true, value_name = "URL")]
    #[arg(help = DATABASE_URL.summary, long_help = long_help(&DATABASE_URL))]
    database_url: String,
    #[arg(long, env = DATABASE_CA_FILE.name, value_name = "FILE")]
    #[arg(help = DATABASE_CA_FILE.summary, long_help = long_help(&DATABASE_CA_FILE))]
    database_ca_file: Option<String>,
    #[arg(long, env = DATABASE_AUTH.name, value_name = "password|iam", default_value = "password")]
    #[arg(help = DATABASE_AUTH.summary, long_help = long_help(&DATABASE_AUTH))]
    database_auth: String,
}

fn long_help(variable: &Variable) -> String {
    format!("{}\n\n{}", variable.summary, variable.details)
}

#[derive(Subcommand)]
enum Command {
    /// Write a synthetic dataset, with everything odd that the real files have
    Generate {
        /// Share of the full size: 1 is a million products, 26 million rows, 2.2 GB
        #[arg(long, default_value_t = 0.01)]
        scale: f64,
        /// Equal seeds make equal files
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Write the files in the legacy format: BOM, CRLF, `$` before prices, spaces in header names
        #[arg(long, alias = "older-copy")]
        legacy_format: bool,
        /// The folder to write to; made where it does not exist
        dir: PathBuf,
    },
    /// Load a dataset and publish it as the catalog
    ///
    /// S3 is reached as the AWS SDK is told: AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and so on.
    ///
    /// A load that was stopped is taken up again by a load of the very same files. A manifest.json beside the files lists
    /// what they must be: {"files":[{"name":"product.csv","size":123,"sha256":"…"},…]}
    Load {
        #[command(flatten)]
        database: Database,
        /// What the dataset is called in the record [default: the folder's name]
        #[arg(long, value_name = "NAME")]
        dataset: Option<String>,
        /// How many rows of a file may be set aside: a number, or a percentage, which allows 100 in any case
        #[arg(long, value_name = "N|P%", default_value = "0.1%")]
        max_rejects: RejectLimit,
        /// Where the rows that were set aside are written as CSV, and a summary beside it as JSON; in S3, as
        /// NAME/GENERATION.csv below a prefix [default: ./rejects/NAME.csv]
        #[arg(long, value_name = "FILE|s3://…")]
        rejects: Option<Place>,
        /// Stop before the last step; `atelier-etl publish` takes it, when it suits
        #[arg(long)]
        no_publish: bool,
        /// How many things are done at a time: as many as the database has cores to spare
        #[arg(long, value_name = "N", default_value_t = DEFAULT_WORKERS, value_parser = clap::value_parser!(u8).range(1..=64))]
        workers: u8,
        /// Commit so many bytes of a file at a time: a crash costs no more, but the rows take longer to write [default:
        /// a file at a time]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        commit_bytes: Option<u64>,
        /// Read a file of more bytes in several ranges at a time, for a database with many cores [default: as one]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        range_bytes: Option<u64>,
        /// The folder with the files, or s3://bucket/prefix/
        #[arg(value_name = "DIR|s3://…")]
        place: Place,
    },
    /// Bring the database's schema and roles up to date
    Migrate {
        #[command(flatten)]
        database: Database,
    },
    /// Tell which catalog is served since when, and what became of the latest loads
    Status {
        #[command(flatten)]
        database: Database,
    },
    /// Serve the catalog of a load that was told --no-publish
    Publish {
        #[command(flatten)]
        database: Database,
    },
    /// Remove old carts and records, and what a load that came to nothing has left
    ///
    /// A load that was stopped and can be taken up again is left alone.
    Prune {
        #[command(flatten)]
        database: Database,
        /// Carts that nobody has touched for so many days, and records of loads that ended as long ago
        #[arg(long, value_name = "N", default_value_t = 90)]
        days: u16,
        /// The previous catalog too: nothing can be rolled back then until the next load
        #[arg(long)]
        previous: bool,
    },
    /// Serve the previous catalog again, at once; a second rollback takes back the first
    Rollback {
        #[command(flatten)]
        database: Database,
    },
}

/// A path, or a place in S3.
#[derive(Clone, Debug)]
enum Place {
    Disk(PathBuf),
    S3(Url),
}

impl FromStr for Place {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        if text.starts_with("s3:") { text.parse().map(Self::S3) } else { Ok(Self::Disk(text.into())) }
    }
}

impl Database {
    fn connect_options(&self) -> Result<ConnectOptions, shared::variables::Error> {
        let lookup = |name: &str| match name {
            "DATABASE_URL" => Some(self.database_url.clone()),
            "DATABASE_CA_FILE" => self.database_ca_file.clone(),
            "DATABASE_AUTH" => Some(self.database_auth.clone()),
            _ => environment(name), // AWS_…
        };
        ConnectOptions::read(&Reader::new(&lookup))
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse().command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            let too_many = matches!(error.downcast_ref(), Some(LoadError::TooManyRejects { .. }));
            ExitCode::from(if too_many { 3 } else { 1 })
        }
    }
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Generate { scale, seed, legacy_format, dir } => {
            generate_dataset(generate::Options { scale, seed, legacy_format }, &dir)
        }
        Command::Load {
            database,
            dataset,
            max_rejects,
            rejects,
            no_publish,
            workers,
            commit_bytes,
            range_bytes,
            place,
        } => {
            let location = match place {
                Place::Disk(dir) => Location::Folder(dir),
                Place::S3(url) => Location::S3(S3::from_environment().await, url),
            };
            let dataset = Dataset::open(&location, dataset.as_deref()).await?;
            let rejects = match rejects {
                Some(Place::S3(url)) => RejectsPlace::S3(S3::from_environment().await, url),
                Some(Place::Disk(path)) => RejectsPlace::File(path),
                None => RejectsPlace::File(format!("rejects/{}.csv", dataset.name).into()),
            };
            let options = LoadOptions {
                limit: max_rejects,
                workers: workers.into(),
                commit_bytes: commit_bytes.unwrap_or(WHOLE_FILES),
                range_bytes: range_bytes.unwrap_or(WHOLE_FILES),
                publish: !no_publish,
                ..LoadOptions::new(rejects, Progress::for_stderr())
            };
            print_summary(&load::load(&database.connect_options()?, dataset, options).await?)
        }
        Command::Migrate { database } => {
            let applied = migrate::migrate(&database.connect_options()?).await?;
            match applied.as_slice() {
                [] => print("the schema is up to date\n"),
                applied => print(&format!("applied {}\n", applied.join(", "))),
            }
        }
        Command::Status { database } => {
            let status = status::status(&database.connect_options()?).await;
            let status =
                status.map_err(|error| anyhow!("the database failed: {}", database::describe(&error)))?;
            print(&status.to_string())
        }
        Command::Publish { database } => {
            let generation = load::publish(&database.connect_options()?, &Progress::for_stderr()).await?;
            print(&format!("generation {generation} is being served\n"))
        }
        Command::Prune { database, days, previous } => {
            let options = PruneOptions { days, previous };
            let pruned = prune::prune(&database.connect_options()?, options, &Progress::for_stderr()).await?;
            print(&pruned.to_string())
        }
        Command::Rollback { database } => {
            let waiting = || eprintln!("a catalog is being published: waiting for it");
            let generation = load::rollback(&database.connect_options()?, waiting).await?;
            print(&format!("serving generation {generation} again\n"))
        }
    }
}

/// Standard output may be a pipe that was closed; that is no reason to panic.
fn print(text: &str) -> anyhow::Result<()> {
    std::io::stdout().write_all(text.as_bytes()).context("cannot write to standard output")
}

fn generate_dataset(options: generate::Options, dir: &Path) -> anyhow::Result<()> {
    let begun = std::time::Instant::now();
    let progress = Progress::for_stderr();
    let tasks = generate::FILES.map(|file| (file, progress.steps(file, 0)));
    let summary = generate::generate(&options, dir, |written| {
        if let Some((_, task)) = tasks.iter().find(|(file, _)| *file == written.file) {
            task.reach(written.products_done, written.products);
        }
    })?;
    for (_, task) in &tasks {
        task.clear();
    }
    let bytes: u64 = summary.files.iter().map(|file| file.bytes).sum();
    let mut text = String::new();
    for file in &summary.files {
        text += &format!("{:<13}{:>12} rows {:>9.1} MB\n", file.file, file.rows, megabytes(file.bytes));
    }
    text += &format!(
        "{} products, {:.1} MB in {:.1} s in {}\n",
        summary.products,
        megabytes(bytes),
        begun.elapsed().as_secs_f64(),
        dir.display()
    );
    print(&text)
}

fn print_summary(summary: &Summary) -> anyhow::Result<()> {
    let mut text = format!(
        "\n{:<13}{:>12}{:>10}{:>11}{:>12}{:>9}{:>9}\n",
        "file", "rows read", "repaired", "set aside", "loaded", "seconds", "MB/s"
    );
    for file in &summary.files {
        let counts = &file.counts;
        text += &format!(
            "{:<13}{:>12}{:>10}{:>11}{:>12}{:>9.1}{:>9.1}\n",
            file.file,
            counts.read,
            counts.repaired,
            counts.set_aside,
            counts.loaded,
            counts.seconds,
            megabytes(file.size) / counts.seconds.max(0.001)
        );
    }
    text.push('\n');
    for (step, seconds) in &summary.steps {
        text += &format!("{:<13}{seconds:>8.1} s\n", step.name());
    }
    if !summary.reasons.is_empty() {
        text += &format!("\nset aside, in {}:\n", summary.rejects);
        for (file, reason, rows) in &summary.reasons {
            text += &format!("{rows:>10}  {file}: {reason}\n");
        }
    }
    text += &match summary.published {
        true => format!("\ngeneration {} is being served\n", summary.generation),
        false => format!("\ngeneration {} is built: atelier-etl publish serves it\n", summary.generation),
    };
    if let Some(peak) = peak_memory() {
        text += &format!("peak memory of the loader: {:.0} MB\n", megabytes(peak));
    }
    print(&text)
}

/// The most memory this process had at any time, in bytes, where the system tells (Linux).
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// For people: a file of more than 9 PB may lose its last digits.
#[allow(clippy::cast_precision_loss)]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
