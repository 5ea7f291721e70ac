//! `atelier-local`: the service on a laptop, by one host or by a fleet, and a Postgres for the tests.

mod run;
mod serve_fleet;
mod stage;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use local::testing::CLUSTER_VARIABLE;
use local::{Account, Address, Cluster, SUPERUSER, Settings, project_directory};

/// The Atelier service on one machine: a private Postgres, a sample catalog, and the host, or several behind NGINX.
///
/// The Postgres is the machine's own (PATH, Debian's or Homebrew's folders; PG_BIN overrides), in a directory of its
/// own, and reachable by a unix socket only. It stops with the command that started it.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Serve the catalog: start Postgres and the host, with a generated catalog if there is none. Ctrl-C stops both
    Run(run::Options),
    /// Serve the catalog from several hosts behind NGINX, on the database of `run`. Ctrl-C stops all of it
    Fleet(serve_fleet::Options),
    /// Run a command, such as `cargo test`, beside an empty Postgres that is removed afterwards
    ///
    /// The command finds the directory of its socket in ATELIER_TEST_CLUSTER.
    Exec {
        /// The command and its arguments
        #[arg(trailing_var_arg = true, required = true, value_name = "COMMAND")]
        command: Vec<String>,
    },
    /// Print the DATABASE_URL with which `atelier-etl` and `psql` reach the database of `run` and `fleet`
    Url {
        #[command(flatten)]
        place: Place,
    },
}

/// What is served.
#[derive(Clone, Debug, clap::Args)]
struct Catalog {
    /// Size of the catalog that is generated when there is none: 1 is a million products
    #[arg(long, default_value = "0.01", value_name = "FRACTION")]
    scale: String,
    #[command(flatten)]
    place: Place,
}

/// Where the data of `run` and `fleet` is kept.
#[derive(Clone, Debug, clap::Args)]
struct Place {
    /// Directory of the data [default: .local here; for root /var/tmp/atelier-HASH, as Postgres never runs as root]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Place {
    fn directory(&self) -> anyhow::Result<PathBuf> {
        if let Some(directory) = &self.dir {
            return std::path::absolute(directory).with_context(|| format!("--dir {}", directory.display()));
        }
        let project = std::env::current_dir().context("cannot tell the current directory")?;
        Ok(project_directory(&project, Account::unprivileged()?))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let done = match Arguments::parse().verb {
        Verb::Run(options) => run::run(&options).await.map(|()| ExitCode::SUCCESS),
        Verb::Fleet(options) => serve_fleet::serve_fleet(&options).await.map(|()| ExitCode::SUCCESS),
        Verb::Exec { command } => exec(&command).await,
        Verb::Url { place } => place.directory().map(|root| {
            println!("{}", Address::of_root(&root).url(SUPERUSER, stage::DATABASE));
            ExitCode::SUCCESS
        }),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

async fn exec(command: &[String]) -> anyhow::Result<ExitCode> {
    let cluster = Cluster::start_temporary(&Settings::disposable()).await?;
    let (program, arguments) = command.split_first().context("no command given")?;
    let status = tokio::process::Command::new(program)
        .args(arguments)
        .env(CLUSTER_VARIABLE, cluster.address().sockets())
        .status()
        .await;
    cluster.stop().await?;
    let status = status.with_context(|| format!("cannot run {program}"))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from)) // a signal has no code
}
