//! How a load grows with the set: one scale after another, each generated, loaded and removed.

use std::fmt::Write as _;
use std::fs::File;
use std::path::PathBuf;

use anyhow::{Context, Result};
use local::Settings;

use crate::load::{Source, load};
use crate::median;
use crate::stage::{CATALOG, Stage, check_space};

/// The steps of a load, as the loader reports them.
const STEPS: [&str; 4] = ["load", "index", "assemble", "publish"];

/// Which scales, and where.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Sizes of the sets: 1 is a million products, 2.2 GB of files
    #[arg(long, value_delimiter = ',', default_value = "0.01,0.1,1,3")]
    scales: Vec<f64>,
    /// How often each is loaded; the medians are told
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Where files and databases are put, and removed from afterwards; a disk, where /tmp may be memory
    #[arg(long, default_value = "/var/tmp")]
    dir: PathBuf,
}

/// Loads each scale and prints the table.
pub(crate) async fn measure(options: &Options) -> Result<()> {
    // The largest first, so that hours of work do not end at a full disk; each is removed before the next.
    check_space(&options.dir, options.scales.iter().copied().fold(0.0, f64::max)).await?;
    let mut table = format!(
        "| scale | rows | files | {} | total | per million rows | loader's memory | database size |\n|{}\n",
        STEPS.join(" | "),
        "---:|".repeat(STEPS.len() + 7)
    );
    let mut done = Ok(());
    for &scale in &options.scales {
        match line(options, scale).await {
            Ok(line) => writeln!(table, "{line}")?,
            Err(error) => {
                done = Err(error.context(format!("at scale {scale}")));
                break;
            }
        }
    }
    println!("\n{table}");
    done
}

async fn line(options: &Options, scale: f64) -> Result<String> {
    let loads = async |stage: &mut Stage| loads(stage, options.rounds, scale).await;
    Stage::with(&options.dir, scale, &Settings::durable(), loads).await
}

async fn loads(stage: &mut Stage, rounds: u32, scale: f64) -> Result<String> {
    let (mut steps, mut whole, mut memory) = ([const { Vec::new() }; STEPS.len()], Vec::new(), None);
    for round in 1..=rounds {
        let path = stage.scratch().join("output");
        let output = File::create(&path).context("cannot write what the loader says")?;
        let (seconds, peak) = load(stage, Source::Disk, output.into()).await?;
        println!("scale {scale}, round {round}: {seconds:.2} s");
        let said = std::fs::read_to_string(&path).context("cannot read what the loader said")?;
        for (step, figures) in STEPS.iter().zip(&mut steps) {
            figures
                .push(step_seconds(&said, step).with_context(|| format!("no time for {step} in: {said}"))?);
        }
        whole.push(seconds);
        memory = memory.max(peak);
    }
    let client = stage.address().connect(CATALOG).await?;
    let counts =
        "select sum(rows_loaded)::bigint, sum(size_bytes)::bigint, pg_database_size(current_database())
                  from etl.load_file";
    let counts = client.query_one(counts, &[]).await?;
    let (rows, files, database): (i64, i64, i64) = (counts.get(0), counts.get(1), counts.get(2));
    let whole = median(&whole);
    let steps: Vec<String> = steps.iter().map(|figures| format!("{:.1} s", median(figures))).collect();
    Ok(format!(
        "| {scale} | {} | {} | {} | {whole:.1} s | {:.1} s | {} | {} |",
        grouped(rows),
        size(files),
        steps.join(" | "),
        whole / (rows as f64 / 1e6),
        memory.map_or("unknown".to_owned(), |kib| format!("{} MiB", kib / 1024)),
        size(database)
    ))
}

/// The seconds in the loader's line about a step: `index          12.3 s`.
fn step_seconds(said: &str, step: &str) -> Option<f64> {
    said.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        if words.next() != Some(step) {
            return None;
        }
        let seconds = words.next()?.parse().ok()?;
        (words.next() == Some("s") && words.next().is_none()).then_some(seconds)
    })
}

fn size(bytes: i64) -> String {
    let bytes = bytes as f64;
    if bytes < 1e9 { format!("{:.1} MB", bytes / 1e6) } else { format!("{:.2} GB", bytes / 1e9) }
}

/// With a comma after every three digits.
fn grouped(number: i64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::{grouped, size, step_seconds};

    #[test]
    fn the_seconds_of_a_step_are_read_from_what_the_loader_says() {
        let said = "file  rows read\nload.csv  3 s\n\nload              0.1 s\nindex            12.3 s\n\nload 3 rows\n";
        assert_eq!(step_seconds(said, "load"), Some(0.1));
        assert_eq!(step_seconds(said, "index"), Some(12.3));
        assert_eq!(step_seconds(said, "publish"), None);
    }

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!([0, 999, 1000, 26_470_123].map(grouped), ["0", "999", "1,000", "26,470,123"]);
        assert_eq!([2_100_000, 2_200_000_000].map(size), ["2.1 MB", "2.20 GB"]);
    }
}
