//! Load time by dataset size. Each dataset is generated, loaded and removed before the next one.

use std::fmt::Write as _;
use std::fs::File;
use std::path::PathBuf;

use anyhow::{Context, Result};
use local::Settings;

use crate::bench_env::{BenchEnv, CATALOG, check_space};
use crate::load::{Source, load};
use crate::median;

/// The steps of a load, as the loader reports them.
const STEPS: [&str; 4] = ["load", "index", "assemble", "publish"];

/// Options of the benchmark.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Sizes of the generated datasets: 1 is a million products, 2.2 GB of files
    #[arg(long, value_delimiter = ',', default_value = "0.01,0.1,1,3")]
    scales: Vec<f64>,
    /// Number of loads per size; the table shows the medians
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Folder for temporary files and databases; it should be on a disk, because /tmp may be in memory
    #[arg(long, default_value = "/var/tmp")]
    dir: PathBuf,
}

/// Loads a dataset of each size and prints the table.
pub(crate) async fn measure(options: &Options) -> Result<()> {
    // Checked for the max scale first, so that hours of work do not fail at a full disk.
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
    let loads = async |env: &mut BenchEnv| loads(env, options.rounds, scale).await;
    BenchEnv::with(&options.dir, scale, &Settings::durable(), loads).await
}

async fn loads(env: &mut BenchEnv, rounds: u32, scale: f64) -> Result<String> {
    let (mut steps, mut totals, mut memory) = ([const { Vec::new() }; STEPS.len()], Vec::new(), None);
    for round in 1..=rounds {
        let path = env.scratch().join("output");
        let output = File::create(&path).context("cannot create the file for the loader's output")?;
        let (seconds, peak) = load(env, Source::Disk, output.into()).await?;
        println!("scale {scale}, round {round}: {seconds:.2} s");
        let report = std::fs::read_to_string(&path).context("cannot read the loader's output")?;
        for (step, figures) in STEPS.iter().zip(&mut steps) {
            figures.push(
                step_seconds(&report, step)
                    .with_context(|| format!("no time of step {step} in: {report}"))?,
            );
        }
        totals.push(seconds);
        memory = memory.max(peak);
    }
    let client = env.address().connect(CATALOG).await?;
    let counts =
        "select sum(rows_loaded)::bigint, sum(size_bytes)::bigint, pg_database_size(current_database())
                  from etl.load_file";
    let counts = client.query_one(counts, &[]).await?;
    let (rows, files, database): (i64, i64, i64) = (counts.get(0), counts.get(1), counts.get(2));
    let total = median(&totals);
    let steps: Vec<String> = steps.iter().map(|figures| format!("{:.1} s", median(figures))).collect();
    Ok(format!(
        "| {scale} | {} | {} | {} | {total:.1} s | {:.1} s | {} | {} |",
        grouped(rows),
        size(files),
        steps.join(" | "),
        total / (rows as f64 / 1e6),
        memory.map_or("unknown".to_owned(), |kib| format!("{} MiB", kib / 1024)),
        size(database)
    ))
}

/// Returns the seconds in the loader's line about a step: `index          12.3 s`.
fn step_seconds(report: &str, step: &str) -> Option<f64> {
    report.lines().find_map(|line| {
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

/// Formats a number with a comma after every three digits.
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
    fn the_seconds_of_a_step_are_read_from_the_loaders_output() {
        let report = "file  rows read\nload.csv  3 s\n\nload              0.1 s\nindex            12.3 s\n\nload 3 rows\n";
        assert_eq!(step_seconds(report, "load"), Some(0.1));
        assert_eq!(step_seconds(report, "index"), Some(12.3));
        assert_eq!(step_seconds(report, "publish"), None);
    }

    #[test]
    fn numbers_and_sizes_are_readable() {
        assert_eq!([0, 999, 1000, 26_470_123].map(grouped), ["0", "999", "1,000", "26,470,123"]);
        assert_eq!([2_100_000, 2_200_000_000].map(size), ["2.1 MB", "2.20 GB"]);
    }
}
