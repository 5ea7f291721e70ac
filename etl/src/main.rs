//! `atelier-etl`: the loader's command line.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::{Context, anyhow};
use clap::{Parser, Subcommand};
use etl::ledger::{FileNote, RejectCount};
use etl::load::{self, DEFAULT_WORKERS, LoadError, LoadOptions, OutputTarget, RejectLimit, Summary};
use etl::progress::Progress;
use etl::prune::{self, PruneOptions};
use etl::s3::{S3, S3Url, S3UrlError};
use etl::shown::{shown, shown_in_line};
use etl::source::{Dataset, DatasetLocation};
use etl::{abandon, database, migrate, status};
use shared::database::{ConnectOptions, DATABASE_AUTH, DATABASE_CA_FILE, DATABASE_URL};
use shared::variables::{Variable, environment};

/// Loads the Atelier catalog: CSV files in, a published catalog out.
///
/// A dataset is a folder or an S3 prefix with product.csv, features.csv, styles.csv, photos.csv, skus.csv and
/// related.csv, and optionally cart.csv. A load does not change the served catalog until its last step, which replaces
/// the whole catalog in one transaction. The previous catalog stays for a rollback.
///
/// Exit codes: 0 success; 1 failure, the current catalog stays; 2 wrong arguments; 3 too many rejected rows.
#[derive(Parser)]
#[command(name = "atelier-etl", version, max_term_width = 110)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// The arguments of commands that connect to a database.
#[derive(clap::Args)]
struct DatabaseArguments {
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
    /// Write a synthetic dataset with all the irregularities of the real files
    Generate {
        /// Size relative to the full set: 1 is a million products, 26 million rows, 2.2 GB
        #[arg(long, default_value_t = 0.01)]
        scale: f64,
        /// Seed of the random data: the same seed writes the same files
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Write the files in the legacy format: BOM, CRLF, `$` before prices, spaces in header names
        #[arg(long, alias = "older-copy")]
        legacy_format: bool,
        /// The folder to write to; created if missing
        dir: PathBuf,
    },
    /// Load a dataset and publish it as the catalog
    ///
    /// For S3, the usual variables of the AWS SDK apply: AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID
    /// and so on.
    ///
    /// A load stops before it fills the database's disk: one that this machine sees, or one of DATABASE_DISK_BYTES bytes.
    ///
    /// A load of the same files resumes an interrupted load. An optional manifest.json beside the files lists their
    /// sizes and hashes: {"files":[{"name":"product.csv","size":123,"sha256":"…"},…]}
    Load {
        #[command(flatten)]
        database: DatabaseArguments,
        /// The name of the dataset [default: the name of the folder]
        #[arg(long, value_name = "NAME")]
        dataset: Option<String>,
        /// The max number of rejected rows per file: a number, or a percentage, which always allows 10
        #[arg(long, value_name = "N|P%", default_value = "0.1%")]
        max_rejects: RejectLimit,
        /// The CSV file for the rejected rows, with a JSON summary beside it; in S3 a prefix for NAME/GENERATION.csv
        /// [default: ./rejects/NAME.csv]
        #[arg(long, value_name = "FILE|s3://…")]
        rejects: Option<PathOrUrl>,
        /// Build the catalog without publishing it; `atelier-etl publish` publishes it later
        #[arg(long)]
        no_publish: bool,
        /// Parallel tasks: the number of processors that the database can spare
        #[arg(long, value_name = "N", default_value_t = DEFAULT_WORKERS, value_parser = clap::value_parser!(u8).range(1..=64))]
        workers: u8,
        #[arg(long, hide = true)]
        commit_bytes: Option<String>,
        #[arg(long, hide = true)]
        range_bytes: Option<String>,
        /// The folder with the files, or s3://bucket/prefix/
        #[arg(value_name = "DIR|s3://…")]
        source: PathOrUrl,
    },
    /// Bring the schema and the roles of the database up to date
    Migrate {
        #[command(flatten)]
        database: DatabaseArguments,
    },
    /// Show the served catalog, the latest loads, and deliveries in S3 that are not loaded
    Status {
        #[command(flatten)]
        database: DatabaseArguments,
    },
    /// Publish the catalog of a --no-publish load
    Publish {
        #[command(flatten)]
        database: DatabaseArguments,
    },
    /// Drop an unfinished load and free its disk space; the served catalog does not change
    Abandon {
        #[command(flatten)]
        database: DatabaseArguments,
    },
    /// Delete old carts, old records and the tables of failed loads
    ///
    /// An interrupted load that can resume stays: `atelier-etl abandon` drops it.
    Prune {
        #[command(flatten)]
        database: DatabaseArguments,
        /// Max age in days, of carts since their last use and of records since the end of their load
        #[arg(long, value_name = "N", default_value_t = prune::DEFAULT_DAYS)]
        days: u16,
        /// Max age in days of carts of anonymous sessions that were used once only, as a flood of requests leaves
        /// [default: --days]
        #[arg(long, value_name = "N")]
        used_once_days: Option<u16>,
        /// Also drop the previous catalog: no rollback is possible until the next load
        #[arg(long)]
        previous: bool,
    },
    /// Serve the previous catalog again, at once; a second rollback undoes the first
    Rollback {
        #[command(flatten)]
        database: DatabaseArguments,
    },
}

/// A path or an S3 URL.
#[derive(Clone, Debug)]
enum PathOrUrl {
    Disk(PathBuf),
    S3(S3Url),
}

impl FromStr for PathOrUrl {
    type Err = S3UrlError;

    fn from_str(text: &str) -> Result<Self, S3UrlError> {
        if text.starts_with("s3:") { text.parse().map(Self::S3) } else { Ok(Self::Disk(text.into())) }
    }
}

impl DatabaseArguments {
    fn connect_options(&self) -> Result<ConnectOptions, shared::variables::Error> {
        let lookup = |name: &str| match name {
            "DATABASE_URL" => Some(self.database_url.clone()),
            "DATABASE_CA_FILE" => self.database_ca_file.clone(),
            "DATABASE_AUTH" => Some(self.database_auth.clone()),
            _ => environment(name), // AWS_…
        };
        ConnectOptions::from_lookup(&lookup)
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse().command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", shown_in_line(&format!("{error:#}")));
            let too_many = matches!(error.downcast_ref(), Some(LoadError::TooManyRejects(_)));
            ExitCode::from(if too_many { 3 } else { 1 })
        }
    }
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Generate { scale, seed, legacy_format, dir } => {
            generate_dataset(sample_data::Options { scale, seed, legacy_format }, &dir)
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
            source,
        } => {
            let former = [("--commit-bytes", commit_bytes), ("--range-bytes", range_bytes)];
            for (name, _) in former.iter().filter(|(_, value)| value.is_some()) {
                eprintln!("warning: {name} has no effect and will be removed: a load resumes by file");
            }
            let location = match source {
                PathOrUrl::Disk(dir) => DatasetLocation::Folder(dir),
                PathOrUrl::S3(url) => DatasetLocation::S3(S3::from_environment().await, url),
            };
            let dataset = Dataset::open(&location, dataset.as_deref()).await?;
            let rejects = match rejects {
                Some(PathOrUrl::S3(url)) => OutputTarget::S3(S3::from_environment().await, url),
                Some(PathOrUrl::Disk(path)) => OutputTarget::File(path),
                None => OutputTarget::File(format!("rejects/{}.csv", dataset.name).into()),
            };
            let options = LoadOptions {
                limit: max_rejects,
                workers: workers.into(),
                disk_bytes: load::disk_bytes(&environment)?,
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
            print(&format!("serving generation {generation}\n"))
        }
        Command::Abandon { database } => {
            print(&abandon::abandon(&database.connect_options()?).await?.to_string())
        }
        Command::Prune { database, days, used_once_days, previous } => {
            let options = PruneOptions { days, used_once_days, previous };
            let database = database.connect_options()?;
            let pruned = prune::prune(&database, options, None, &Progress::for_stderr()).await?;
            print(&pruned.to_string())
        }
        Command::Rollback { database } => {
            let on_wait = || eprintln!("another session is replacing the catalog: waiting for it to finish");
            let generation = load::rollback(&database.connect_options()?, on_wait).await?;
            print(&format!("serving generation {generation} again\n"))
        }
    }
}

/// Writes to standard output; a closed pipe is an error, not a panic.
fn print(text: &str) -> anyhow::Result<()> {
    std::io::stdout().write_all(shown(text).as_bytes()).context("cannot write to standard output")
}

fn generate_dataset(options: sample_data::Options, dir: &Path) -> anyhow::Result<()> {
    let started = std::time::Instant::now();
    let progress = Progress::for_stderr();
    let tasks = sample_data::FILES.map(|file| (file, progress.steps(file, 0)));
    let summary = sample_data::generate(&options, dir, |written| {
        if let Some((_, task)) = tasks.iter().find(|(file, _)| *file == written.file) {
            task.set(written.products_done, written.products);
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
        started.elapsed().as_secs_f64(),
        dir.display()
    );
    print(&text)
}

fn print_summary(summary: &Summary) -> anyhow::Result<()> {
    let mut text = format!(
        "\n{:<13}{:>12}{:>10}{:>11}{:>12}{:>9}{:>9}\n",
        "file", "rows read", "repaired", "rejected", "loaded", "seconds", "MB/s"
    );
    for file in &summary.files {
        let counts = &file.counts;
        text += &format!(
            "{:<13}{:>12}{:>10}{:>11}{:>12}{:>9.1}{:>9.1}\n",
            file.file,
            counts.read,
            counts.repaired,
            counts.rejected,
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
        text += &format!("\nrejected rows, in {}:\n", summary.rejects);
        for RejectCount { file, reason, rows } in &summary.reasons {
            text += &format!("{rows:>10}  {file}: {reason}\n");
        }
    }
    for (title, is_repair) in [("repaired rows", true), ("accepted spellings", false)] {
        let notes: Vec<_> = summary.notes.iter().filter(|note| note.is_repair == is_repair).collect();
        if !notes.is_empty() {
            text += &format!("\n{title}:\n");
        }
        for FileNote { file, note, rows, lines, .. } in notes {
            let first = lines.first().map(|line| format!(", first in line {line}")).unwrap_or_default();
            text += &format!("{rows:>10}  {file}: {note}{first}\n");
        }
    }
    text += &match summary.published {
        true => format!("\nserving generation {}\n", summary.generation),
        false => {
            format!("\ngeneration {} is built: run atelier-etl publish to serve it\n", summary.generation)
        }
    };
    if let Some(peak) = peak_memory() {
        text += &format!("peak memory of the loader: {:.0} MB\n", megabytes(peak));
    }
    print(&text)
}

/// Returns the peak memory of this process in bytes; none where the system does not report it (only Linux does).
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// Converts bytes for people. The precision is enough up to 9 PB.
#[allow(clippy::cast_precision_loss)]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
