//! `atelier-etl`: the loader's command line.

mod arguments;
mod load_command;
mod metrics_file;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use arguments::{Arguments, Command, EXIT_CODES, TOO_MANY_REJECTS};
use clap::{CommandFactory, Parser};
use etl::load::{self, LoadError};
use etl::progress::Progress;
use etl::prune::{self, PruneOptions};
use etl::shown::{shown, shown_in_line};
use etl::{abandon, database, migrate, status};
use shared::variables;

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse().command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            cli::report(shown_in_line(&format!("{error:#}")));
            exit_code(&error)
        }
    }
}

fn exit_code(error: &anyhow::Error) -> ExitCode {
    if matches!(error.downcast_ref(), Some(LoadError::TooManyRejects(_))) {
        return TOO_MANY_REJECTS.into();
    }
    if error.is::<variables::Error>() { cli::WRONG_ARGUMENTS.into() } else { ExitCode::FAILURE }
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Generate { scale, seed, legacy_format, dir } => {
            generate_dataset(sample_data::Options { scale, seed, legacy_format }, &dir)
        }
        Command::Load(arguments) => load_command::run(*arguments).await,
        Command::Migrate { database } => {
            let applied = migrate::migrate(&database.connect_options()?).await?;
            match applied.as_slice() {
                [] => print("the schema is up to date\n"),
                applied => print(&format!("applied {}\n", applied.join(", "))),
            }
        }
        Command::Status { database, json } => {
            let status = status::status(&database.connect_options()?).await;
            let status =
                status.map_err(|error| anyhow!("the database failed: {}", database::describe(&error)))?;
            match json {
                // The strings are escaped: a JSON string has no control characters.
                true => print(&format!("{}\n", serde_json::to_string_pretty(&status)?)),
                false => print(&status.to_string()),
            }
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
        Command::Completions { shell } => print(&cli::completions(Arguments::command(), shell)),
        Command::ManPages { folder } => {
            cli::write_man_pages(Arguments::command(), &arguments::variables(), EXIT_CODES, &folder)
                .with_context(|| format!("cannot write the man pages to {}", folder.display()))
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

/// Converts bytes for people. The precision is enough up to 9 PB.
#[allow(clippy::cast_precision_loss)]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
