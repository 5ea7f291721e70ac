//! `atelier-etl`: the loader's command line.

mod arguments;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use arguments::{Arguments, Command, EXIT_CODES, PathOrUrl, TOO_MANY_REJECTS};
use clap::{CommandFactory, Parser};
use etl::ledger::{FileNote, RejectCount};
use etl::load::{self, LoadError, LoadOptions, OutputTarget, Summary};
use etl::progress::Progress;
use etl::prune::{self, PruneOptions};
use etl::s3::S3;
use etl::shown::{shown, shown_in_line};
use etl::source::{Dataset, DatasetLocation};
use etl::{abandon, database, migrate, status};
use shared::variables::{self, environment};

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
            // Wrong settings end the command before anything is read.
            let (database, disk_bytes) = (database.connect_options()?, load::disk_bytes(&environment)?);
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
                disk_bytes,
                publish: !no_publish,
                ..LoadOptions::new(rejects, Progress::for_stderr())
            };
            print_summary(&load::load(&database, dataset, options).await?)
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
