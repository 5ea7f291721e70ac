//! The arguments of `atelier-etl`.

use std::path::PathBuf;
use std::str::FromStr;

use crate::metrics_file::MetricsFile;
use clap::{Parser, Subcommand};
use etl::load::{DATABASE_DISK_BYTES, DEFAULT_WORKERS, RejectLimit};
use etl::prune;
use etl::s3::{S3Url, S3UrlError};
use shared::database::{ConnectOptions, DATABASE_AUTH, DATABASE_CA_FILE, DATABASE_URL};
use shared::variables::{ReadBy, Variable, environment};

/// Loads the Atelier catalog: CSV files in, a published catalog out.
///
/// A dataset is a folder or an S3 prefix with product.csv, features.csv, styles.csv, photos.csv, skus.csv and
/// related.csv, and optionally cart.csv. A load does not change the served catalog until its last step, which replaces
/// the whole catalog in one transaction. The previous catalog stays for a rollback.
#[derive(Parser)]
#[command(name = "atelier-etl", version = cli::LONG_VERSION, max_term_width = 110)]
#[command(after_help = cli::exit_codes_help(EXIT_CODES))]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The exit code of a load with too many rejected rows.
pub(crate) const TOO_MANY_REJECTS: u8 = 3;

/// The exit codes of all commands.
pub(crate) const EXIT_CODES: &cli::ExitCodes = &[
    (0, "success"),
    (1, "failure; the error says what to do, and a failed load leaves the served catalog as it is"),
    (cli::WRONG_ARGUMENTS, "wrong arguments, or an invalid variable; nothing has changed"),
    (TOO_MANY_REJECTS, "a load with too many rejected rows; the served catalog stays"),
];

/// The arguments of commands that connect to a database.
#[derive(clap::Args)]
pub(crate) struct DatabaseArguments {
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
pub(crate) enum Command {
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
    Load(Box<LoadArguments>),
    /// Bring the schema and the roles of the database up to date
    Migrate {
        #[command(flatten)]
        database: DatabaseArguments,
    },
    /// Show the served catalog, the latest loads, and deliveries in S3 that are not loaded
    Status {
        #[command(flatten)]
        database: DatabaseArguments,
        /// Print JSON: docs/load-data.md describes the fields
        #[arg(long)]
        json: bool,
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
    /// Print the completion script of a shell
    ///
    /// For example: atelier-etl completions bash >/etc/bash_completion.d/atelier-etl
    Completions {
        /// The shell
        shell: cli::Shell,
    },
    /// Write the man pages of this program into a folder
    ///
    /// For example: atelier-etl man-pages /usr/local/share/man/man1
    ManPages {
        /// The folder; created if missing
        folder: PathBuf,
    },
}

/// The arguments of a load.
#[derive(clap::Args)]
pub(crate) struct LoadArguments {
    #[command(flatten)]
    pub(crate) database: DatabaseArguments,
    /// The name of the dataset [default: the name of the folder]
    #[arg(long, value_name = "NAME")]
    pub(crate) dataset: Option<String>,
    /// The max number of rejected rows per file: a number, or a percentage, which always allows 10
    #[arg(long, value_name = "N|P%", default_value = "0.1%")]
    pub(crate) max_rejects: RejectLimit,
    /// The CSV file for the rejected rows, with a JSON summary beside it; in S3 a prefix for NAME/GENERATION.csv
    /// [default: ./rejects/NAME.csv]
    #[arg(long, value_name = "FILE|s3://…")]
    pub(crate) rejects: Option<PathOrUrl>,
    /// Write metrics of the load to a file, for node_exporter's textfile collector, also if the load fails; the name ends
    /// in .prom
    #[arg(long, value_name = "FILE")]
    pub(crate) metrics: Option<MetricsFile>,
    /// Build the catalog without publishing it; `atelier-etl publish` publishes it later
    #[arg(long)]
    pub(crate) no_publish: bool,
    /// Parallel tasks: the number of processors that the database can spare
    #[arg(long, value_name = "N", default_value_t = DEFAULT_WORKERS, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) workers: u8,
    #[arg(long, hide = true)]
    pub(crate) commit_bytes: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) range_bytes: Option<String>,
    /// The folder with the files, or s3://bucket/prefix/
    #[arg(value_name = "DIR|s3://…")]
    pub(crate) source: PathOrUrl,
}

/// A path or an S3 URL.
#[derive(Clone, Debug)]
pub(crate) enum PathOrUrl {
    Disk(PathBuf),
    S3(S3Url),
}

impl FromStr for PathOrUrl {
    type Err = S3UrlError;

    fn from_str(text: &str) -> Result<Self, S3UrlError> {
        if text.starts_with("s3:") { text.parse().map(Self::S3) } else { Ok(Self::Disk(text.into())) }
    }
}

impl LoadArguments {
    /// Returns the options of an earlier release that are set and have no effect.
    pub(crate) fn former_options(&self) -> impl Iterator<Item = &'static str> {
        let former = [("--commit-bytes", &self.commit_bytes), ("--range-bytes", &self.range_bytes)];
        former.into_iter().filter(|(_, value)| value.is_some()).map(|(name, _)| name)
    }
}

impl DatabaseArguments {
    pub(crate) fn connect_options(&self) -> Result<ConnectOptions, shared::variables::Error> {
        let lookup = |name: &str| match name {
            "DATABASE_URL" => Some(self.database_url.clone()),
            "DATABASE_CA_FILE" => self.database_ca_file.clone(),
            "DATABASE_AUTH" => Some(self.database_auth.clone()),
            _ => environment(name), // AWS_…
        };
        ConnectOptions::from_lookup(&lookup)
    }
}

/// Returns the variables that the command line reads, for its man page.
pub(crate) fn variables() -> Vec<&'static Variable> {
    let is_read = |variable: &&Variable| matches!(variable.read_by, ReadBy::All | ReadBy::Loader);
    shared::database::VARIABLES.into_iter().chain([&DATABASE_DISK_BYTES]).filter(is_read).collect()
}
