//! `atelier-local`: the service on one machine, with one host or a fleet.

mod dev_env;
mod run;
mod serve_fleet;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use local::{Account, Address, SUPERUSER, project_directory};

/// The exit codes of all commands.
const EXIT_CODES: &cli::ExitCodes = &[
    (0, "success, also after Ctrl-C"),
    (1, "failure; the error says what to do"),
    (cli::WRONG_ARGUMENTS, "wrong arguments"),
];

/// Run Atelier on one machine: a private Postgres, a sample catalog, and one host, or several behind NGINX.
///
/// It uses the installed Postgres (PATH, the folders of Debian and Homebrew, or PG_BIN) with a separate data directory
/// and a unix socket. Postgres stops with the command that started it.
#[derive(Debug, Parser)]
#[command(name = "atelier-local", version = cli::LONG_VERSION, after_help = cli::exit_codes_help(EXIT_CODES))]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Serve a catalog with Postgres and one host, until Ctrl-C. Generates a catalog if none is published
    Run(run::Options),
    /// Serve the catalog of `run` with several hosts behind NGINX, until Ctrl-C
    Fleet(serve_fleet::Options),
    /// Print the DATABASE_URL of the database of `run` and `fleet`, for `atelier-etl` and `psql`
    Url {
        #[command(flatten)]
        data: DataDir,
    },
}

/// Options of the catalog that is served.
#[derive(Clone, Debug, clap::Args)]
struct CatalogOptions {
    /// Size of the generated catalog, if none is published: 1 is a million products
    #[arg(long, default_value = "0.01", value_name = "FRACTION")]
    scale: String,
    #[command(flatten)]
    data: DataDir,
}

/// The data directory of `run` and `fleet`.
#[derive(Clone, Debug, clap::Args)]
struct DataDir {
    /// Data directory [default: .local in the current directory; for root /var/tmp/atelier-HASH, because Postgres does
    /// not run as root]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl DataDir {
    fn directory(&self) -> anyhow::Result<PathBuf> {
        if let Some(directory) = &self.dir {
            return std::path::absolute(directory).with_context(|| format!("--dir {}", directory.display()));
        }
        let project = std::env::current_dir().context("cannot find the current directory")?;
        Ok(project_directory(&project, Account::unprivileged()?))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let done = match Arguments::parse().verb {
        Verb::Run(options) => run::run(&options).await.map(|()| ExitCode::SUCCESS),
        Verb::Fleet(options) => serve_fleet::serve_fleet(&options).await.map(|()| ExitCode::SUCCESS),
        Verb::Url { data } => data.directory().map(|root| {
            println!("{}", Address::of_root(&root).url(SUPERUSER, dev_env::DATABASE));
            ExitCode::SUCCESS
        }),
    };
    done.unwrap_or_else(|error| {
        cli::report(format!("{error:#}"));
        ExitCode::FAILURE
    })
}
