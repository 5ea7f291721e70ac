//! A product page, asked for from another region: how long it takes until all of it is there, by how far the service is
//! away and how it is asked.
//!
//! One host with nothing cached is behind a line that delays ([`bench::distance`]), and all ways of asking take turns,
//! page by page. What is measured are round trips; what host and Postgres need beside them is in the row without delay.

mod browser;
mod page;
mod trouble;

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use bench::distance::Line;
use local::Settings;

use crate::load::{Source, load};
use crate::median;
use crate::server::{Server, host};
use crate::stage::{CATALOG, Stage};
use browser::Browser;
use page::{CONNECTIONS, SIZES, Taken, Way};
use trouble::Trouble;

/// From where, how often, and where to.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Size of the generated set: 1 is a million products, 2.2 GB of files
    #[arg(long, default_value_t = 0.01)]
    scale: f64,
    /// Round trips to the service, in milliseconds
    #[arg(long, value_delimiter = ',', default_value = "0,20,80,200")]
    round_trips: Vec<u64>,
    /// How often each way of asking has its turn, each time for a random product
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    pages: u32,
    /// Where files and databases are put, and removed from afterwards; a disk, where /tmp may be memory
    #[arg(long, default_value = "/var/tmp")]
    dir: PathBuf,
    /// The file that the tables are written to
    #[arg(long, default_value = "target/regions.md")]
    output: PathBuf,
}

/// Measures, prints the tables and writes them.
pub(crate) async fn measure(options: &Options) -> Result<()> {
    // First, so that minutes of work do not end at a folder that is not there.
    let output = &options.output;
    let cannot = || format!("cannot write {}", output.display());
    if let Some(folder) = output.parent() {
        std::fs::create_dir_all(folder).with_context(cannot)?;
    }
    let on_stage = async |stage: &mut Stage| {
        load(stage, Source::Disk, Stdio::inherit()).await?;
        measure_on(stage, options).await
    };
    let tables = Stage::with(&options.dir, options.scale, &Settings::durable(), on_stage).await?;
    println!("\n{tables}");
    std::fs::write(output, &tables).with_context(cannot)
}

async fn measure_on(stage: &Stage, options: &Options) -> Result<String> {
    let highest = stage.let_hosts_in().await?;
    let host = Server::start(host(stage, CATALOG, 0)?).await?;
    println!("regions: one host, LOG_ACCESS=off, nothing cached; products 1 to {highest}");
    let mut rows = Vec::new();
    for &round_trip in &options.round_trips {
        let line = Line::to(host.listen, Duration::from_millis(round_trip)).await?;
        let connections = take_turns(&CONNECTIONS, &line, options.pages, highest).await?;
        let sizes = take_turns(&SIZES, &line, options.pages, highest).await?;
        let troubles = befall(&line, options.pages, highest).await?;
        println!("{round_trip} ms: done");
        rows.push(Row { round_trip, connections, sizes, troubles });
    }
    host.stop().await?;
    Ok(tables(&rows))
}

/// What was measured at one distance, by column.
struct Row {
    round_trip: u64,
    connections: Vec<Taken>,
    sizes: Vec<Taken>,
    /// In milliseconds.
    troubles: Vec<f64>,
}

/// Runs each way `pages` times in turn and returns the medians by way.
async fn take_turns(ways: &[Way], line: &Line, pages: u32, highest: i32) -> Result<Vec<Taken>> {
    let mut browsers: Vec<_> = ways.iter().map(|way| Browser::new(line.address(), way.kept)).collect();
    let mut taken = vec![Vec::new(); ways.len()];
    for page in 0..=pages {
        let product = fastrand::i32(1..=highest);
        for ((way, browser), taken) in ways.iter().zip(&mut browsers).zip(&mut taken) {
            let visited = way.visit(browser, product).await?;
            // The first page finds no connection and no statement prepared.
            if page > 0 {
                taken.push(visited);
            }
        }
    }
    Ok(taken.iter().map(|taken| median_of(taken)).collect())
}

async fn befall(line: &Line, pages: u32, highest: i32) -> Result<Vec<f64>> {
    let mut taken = [const { Vec::new() }; Trouble::ALL.len()];
    for _ in 0..pages {
        for (trouble, taken) in Trouble::ALL.into_iter().zip(&mut taken) {
            taken.push(trouble.befall(line, fastrand::i32(1..=highest)).await?);
        }
    }
    Ok(taken.iter().map(|taken| median(taken)).collect())
}

fn median_of(taken: &[Taken]) -> Taken {
    let milliseconds: Vec<f64> = taken.iter().map(|taken| taken.milliseconds).collect();
    let mut bytes: Vec<usize> = taken.iter().map(|taken| taken.bytes).collect();
    bytes.sort_unstable();
    Taken {
        milliseconds: median(&milliseconds),
        bytes: bytes.get(bytes.len() / 2).copied().unwrap_or_default(),
    }
}

fn tables(rows: &[Row]) -> String {
    let of = |ways: &[Way], taken: fn(&Row) -> &[Taken]| {
        let names: Vec<&str> = ways.iter().map(|way| way.name).collect();
        table(&names, rows, |row| taken(row).iter().map(|taken| taken.milliseconds).collect())
    };
    let connections = of(&CONNECTIONS, |row| &row.connections);
    let mut sizes = of(&SIZES, |row| &row.sizes);
    if let Some(row) = rows.first() {
        let bytes: Vec<String> = row.sizes.iter().map(|taken| taken.bytes.to_string()).collect();
        sizes += &format!("| bytes of bodies | {} |\n", bytes.join(" | "));
    }
    let troubles = table(&Trouble::ALL.map(Trouble::name), rows, |row| row.troubles.clone());
    format!(
        "Milliseconds until the page is complete, with gzip:\n\n{connections}\n\
         The same over reused connections, by encoding of the responses:\n\n{sizes}\n\
         Milliseconds until the overview is complete, if the connection fails right after the request:\n\n{troubles}"
    )
}

/// A table with a row for each distance.
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
    use super::{CONNECTIONS, Row, SIZES, Taken, tables};

    #[test]
    fn every_distance_has_a_row_in_each_table_and_every_way_a_column() {
        let row = |round_trip: u64| {
            let taken = Taken { milliseconds: round_trip as f64, bytes: 7 };
            let (connections, sizes) = (vec![taken; CONNECTIONS.len()], vec![taken; SIZES.len()]);
            Row { round_trip, connections, sizes, troubles: vec![1.0, 2.0, 3.0] }
        };
        let tables = tables(&[row(20), row(80)]);
        assert_eq!(tables.matches("\n| 20 ms | 20.0 | 20.0 | 20.0 | 20.0 | 20.0 | 20.0 |\n").count(), 2);
        assert_eq!(tables.matches("\n| 80 ms |").count(), 3);
        assert!(tables.ends_with("| 80 ms | 1.0 | 2.0 | 3.0 |\n"), "{tables}");
        assert!(tables.contains("| bytes of bodies | 7 | 7 | 7 | 7 | 7 | 7 |\n"), "{tables}");
    }
}
