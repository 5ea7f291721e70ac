//! Load time of a product page from another region, by round-trip time and by strategy of the client.
//!
//! One uncached host is behind a proxy that adds latency ([`bench::distance`]). All strategies run in turn, page by
//! page. The benchmark measures round trips; the row without latency shows the time of host and Postgres.

mod browser;
mod fault;
mod page;

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use bench::distance::DelayProxy;
use local::Settings;

use crate::bench_env::{BenchEnv, CATALOG};
use crate::load::{Source, load};
use crate::median;
use crate::server::{Server, host};
use browser::Browser;
use fault::Fault;
use page::{CONNECTIONS, SIZES, Strategy, Timing};

/// Options of the benchmark.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Size of the generated dataset: 1 is a million products, 2.2 GB of files
    #[arg(long, default_value_t = 0.01)]
    scale: f64,
    /// Round-trip times to the service, in milliseconds
    #[arg(long, value_delimiter = ',', default_value = "0,20,80,200")]
    round_trips: Vec<u64>,
    /// Number of pages per strategy, each of a random product
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    pages: u32,
    /// Folder for temporary files and databases; it should be on a disk, because /tmp may be in memory
    #[arg(long, default_value = "/var/tmp")]
    dir: PathBuf,
    /// Output file for the tables
    #[arg(long, default_value = "target/regions.md")]
    output: PathBuf,
}

/// Runs the benchmark, and prints and writes the tables.
pub(crate) async fn measure(options: &Options) -> Result<()> {
    // Checked first, so that minutes of work do not fail at a missing folder.
    let output = &options.output;
    let cannot = || format!("cannot write {}", output.display());
    if let Some(folder) = output.parent() {
        std::fs::create_dir_all(folder).with_context(cannot)?;
    }
    let with_stage = async |env: &mut BenchEnv| {
        load(env, Source::Disk, Stdio::inherit()).await?;
        measure_on(env, options).await
    };
    let tables = BenchEnv::with(&options.dir, options.scale, &Settings::durable(), with_stage).await?;
    println!("\n{tables}");
    std::fs::write(output, &tables).with_context(cannot)
}

async fn measure_on(env: &BenchEnv, options: &Options) -> Result<String> {
    let highest = env.let_hosts_in(CATALOG).await?;
    let host = Server::start(host(env, CATALOG, 0)?).await?;
    println!("regions: one host, LOG_ACCESS=off, uncached; products 1 to {highest}");
    let mut rows = Vec::new();
    for &round_trip in &options.round_trips {
        let proxy = DelayProxy::to(host.listen, Duration::from_millis(round_trip)).await?;
        let connections = measure_in_turn(&CONNECTIONS, &proxy, options.pages, highest).await?;
        let sizes = measure_in_turn(&SIZES, &proxy, options.pages, highest).await?;
        let faults = measure_faults(&proxy, options.pages, highest).await?;
        println!("{round_trip} ms: done");
        rows.push(Row { round_trip, connections, sizes, faults });
    }
    host.stop().await?;
    Ok(tables(&rows))
}

/// The results at one round-trip time, by column.
struct Row {
    round_trip: u64,
    connections: Vec<Timing>,
    sizes: Vec<Timing>,
    /// Milliseconds.
    faults: Vec<f64>,
}

/// Runs each strategy `pages` times in turn, and returns the medians by strategy.
async fn measure_in_turn(
    strategies: &[Strategy],
    proxy: &DelayProxy,
    pages: u32,
    highest: i32,
) -> Result<Vec<Timing>> {
    let mut browsers: Vec<_> =
        strategies.iter().map(|strategy| Browser::new(proxy.address(), strategy.reuses)).collect();
    let mut timings = vec![Vec::new(); strategies.len()];
    for page in 0..=pages {
        let product = fastrand::i32(1..=highest);
        for ((strategy, browser), timings) in strategies.iter().zip(&mut browsers).zip(&mut timings) {
            let timing = strategy.request(browser, product).await?;
            // The first page opens connections and prepares statements, so it does not count.
            if page > 0 {
                timings.push(timing);
            }
        }
    }
    Ok(timings.iter().map(|timings| median_of(timings)).collect())
}

async fn measure_faults(proxy: &DelayProxy, pages: u32, highest: i32) -> Result<Vec<f64>> {
    let mut timings = [const { Vec::new() }; Fault::ALL.len()];
    for _ in 0..pages {
        for (fault, timings) in Fault::ALL.into_iter().zip(&mut timings) {
            timings.push(fault.inject(proxy, fastrand::i32(1..=highest)).await?);
        }
    }
    Ok(timings.iter().map(|timings| median(timings)).collect())
}

fn median_of(timings: &[Timing]) -> Timing {
    let milliseconds: Vec<f64> = timings.iter().map(|timing| timing.milliseconds).collect();
    let mut bytes: Vec<usize> = timings.iter().map(|timing| timing.bytes).collect();
    bytes.sort_unstable();
    Timing {
        milliseconds: median(&milliseconds),
        bytes: bytes.get(bytes.len() / 2).copied().unwrap_or_default(),
    }
}

fn tables(rows: &[Row]) -> String {
    let of = |strategies: &[Strategy], timings: fn(&Row) -> &[Timing]| {
        let names: Vec<&str> = strategies.iter().map(|strategy| strategy.name).collect();
        table(&names, rows, |row| timings(row).iter().map(|timing| timing.milliseconds).collect())
    };
    let connections = of(&CONNECTIONS, |row| &row.connections);
    let mut sizes = of(&SIZES, |row| &row.sizes);
    if let Some(row) = rows.first() {
        let bytes: Vec<String> = row.sizes.iter().map(|timing| timing.bytes.to_string()).collect();
        sizes += &format!("| bytes of bodies | {} |\n", bytes.join(" | "));
    }
    let faults = table(&Fault::ALL.map(Fault::name), rows, |row| row.faults.clone());
    format!(
        "Milliseconds until the page is complete, with gzip:\n\n{connections}\n\
         The same over reused connections, by encoding of the responses:\n\n{sizes}\n\
         Milliseconds until the overview is complete, if the connection fails right after the request:\n\n{faults}"
    )
}

/// Returns a table with a row per round-trip time.
fn table(columns: &[&str], rows: &[Row], figures: impl Fn(&Row) -> Vec<f64>) -> String {
    let mut table =
        format!("| round trip | {} |\n|{}\n", columns.join(" | "), "---:|".repeat(columns.len() + 1));
    for row in rows {
        let figures: Vec<String> = figures(row).iter().map(|figure| format!("{figure:.1}")).collect();
        table += &format!("| {} ms | {} |\n", row.round_trip, figures.join(" | "));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::{CONNECTIONS, Row, SIZES, Timing, tables};

    #[test]
    fn each_table_has_a_row_per_round_trip_time_and_a_column_per_strategy() {
        let row = |round_trip: u64| {
            let timing = Timing { milliseconds: round_trip as f64, bytes: 7 };
            let (connections, sizes) = (vec![timing; CONNECTIONS.len()], vec![timing; SIZES.len()]);
            Row { round_trip, connections, sizes, faults: vec![1.0, 2.0, 3.0] }
        };
        let tables = tables(&[row(20), row(80)]);
        assert_eq!(tables.matches("\n| 20 ms | 20.0 | 20.0 | 20.0 | 20.0 | 20.0 | 20.0 |\n").count(), 2);
        assert_eq!(tables.matches("\n| 80 ms |").count(), 3);
        assert!(tables.ends_with("| 80 ms | 1.0 | 2.0 | 3.0 |\n"), "{tables}");
        assert!(tables.contains("| bytes of bodies | 7 | 7 | 7 | 7 | 7 | 7 |\n"), "{tables}");
    }
}
