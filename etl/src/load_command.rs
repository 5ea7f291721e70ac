//! `atelier-etl load`: runs a load, prints its summary and writes its metrics.

use std::time::Instant;

use etl::ledger::{FileNote, RejectCount};
use etl::load::{self, LoadOptions, OutputTarget, Record, Summary};
use etl::progress::Progress;
use etl::s3::S3;
use etl::shown::shown_in_line;
use etl::source::{Dataset, DatasetLocation};
use shared::variables::environment;

use crate::arguments::{LoadArguments, PathOrUrl};
use crate::metrics_file::MetricsFile;
use crate::{megabytes, print};

pub(crate) async fn run(arguments: LoadArguments) -> anyhow::Result<()> {
    for name in arguments.former_options() {
        eprintln!("warning: {name} has no effect and will be removed: a load resumes by file");
    }
    let location = match &arguments.source {
        PathOrUrl::Disk(dir) => DatasetLocation::Folder(dir.clone()),
        PathOrUrl::S3(url) => DatasetLocation::S3(S3::from_environment().await, url.clone()),
    };
    let name = arguments.dataset.clone().unwrap_or_else(|| location.name());
    let metrics = arguments.metrics.clone();
    metrics.as_ref().map_or(Ok(()), MetricsFile::check)?;
    let (started, record) = (Instant::now(), Record::default());
    let done = load(arguments, &location, record.clone()).await;
    let write = |file: &MetricsFile| file.write(&name, started.elapsed(), &record.known(), done.is_ok());
    if let Some(Err(error)) = metrics.as_ref().map(write) {
        eprintln!("warning: {}", shown_in_line(&format!("{error:#}"))); // the exit code is that of the load
    }
    print_summary(&done?)
}

async fn load(
    arguments: LoadArguments,
    location: &DatasetLocation,
    record: Record,
) -> anyhow::Result<Summary> {
    // Wrong settings end the command before anything is read.
    let (database, disk_bytes) = (arguments.database.connect_options()?, load::disk_bytes(&environment)?);
    let dataset = Dataset::open(location, arguments.dataset.as_deref()).await?;
    let rejects = match arguments.rejects {
        Some(PathOrUrl::S3(url)) => OutputTarget::S3(S3::from_environment().await, url),
        Some(PathOrUrl::Disk(path)) => OutputTarget::File(path),
        None => OutputTarget::File(format!("rejects/{}.csv", dataset.name).into()),
    };
    let options = LoadOptions {
        limit: arguments.max_rejects,
        workers: arguments.workers.into(),
        disk_bytes,
        publish: !arguments.no_publish,
        record,
        ..LoadOptions::new(rejects, Progress::for_stderr())
    };
    Ok(load::load(&database, dataset, options).await?)
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
