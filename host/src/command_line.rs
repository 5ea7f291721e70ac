//! The arguments of `atelier-host`. Without a command, the host serves.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory, Parser, Subcommand};
use shared::config::host_variables;
use shared::variables;

use crate::check;

/// Serves the catalog and the carts over HTTP, until SIGTERM or SIGINT.
#[derive(Parser)]
#[command(name = "atelier-host", version = cli::LONG_VERSION, after_help = help())]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Check the configuration and the database, and say what is wrong
    ///
    /// Reads the same variables as a host that serves, and changes nothing. Exits with 1 if a check failed.
    Check {
        /// Print JSON: {"ok":…,"checks":[{"check":…,"ok":…,"detail":…,"remedy":…},…]}
        #[arg(long)]
        json: bool,
    },
    /// Print the completion script of a shell
    ///
    /// For example: atelier-host completions bash >/etc/bash_completion.d/atelier-host
    Completions {
        /// The shell
        shell: cli::Shell,
    },
    /// Write the man pages of this program into a folder
    ///
    /// For example: atelier-host man-pages /usr/local/share/man/man1
    ManPages {
        /// The folder; created if missing
        folder: PathBuf,
    },
}

/// The exit codes of the host.
const EXIT_CODES: &cli::ExitCodes = &[
    (0, "stopped by SIGTERM or SIGINT; of `check`: nothing is wrong"),
    (1, "failure, such as a port in use; the error says what to do; of `check`: something is wrong"),
    (cli::WRONG_ARGUMENTS, "wrong arguments, or an invalid variable"),
];

fn help() -> String {
    format!("{}\n{}", cli::exit_codes_help(EXIT_CODES), variables::help(&host_variables()))
}

/// Carries out the command of the arguments; without one, `serve`.
pub(crate) fn run(serve: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<ExitCode> {
    match Arguments::parse().command {
        None => serve()?,
        Some(Command::Check { json }) => return check::check(json),
        Some(Command::Completions { shell }) => {
            let script = cli::completions(Arguments::command(), shell);
            std::io::stdout().write_all(script.as_bytes()).context("cannot write to standard output")?;
        }
        Some(Command::ManPages { folder }) => {
            cli::write_man_pages(Arguments::command(), &host_variables(), EXIT_CODES, &folder)
                .with_context(|| format!("cannot write the man pages to {}", folder.display()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the exit code of an error.
pub(crate) fn exit_code(error: &anyhow::Error) -> ExitCode {
    if error.is::<variables::Error>() { cli::WRONG_ARGUMENTS.into() } else { ExitCode::FAILURE }
}
