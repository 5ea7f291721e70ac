//! The deployed topology, three hosts behind NGINX, compared with the baseline: the same NGINX in front of three bare
//! servers that return a fixed body of the same size.
//!
//! All variants run at the same time and are measured in turn, round by round: the baseline, hosts without a cache, and
//! hosts with the whole catalog in their cache.

mod cost;
mod peak;
mod plot;
mod steady;
pub(crate) mod target;
mod variant;

use std::path::PathBuf;
use std::process::Stdio;
use std::thread::available_parallelism;

use anyhow::{Context, Result};
use local::Settings;

use crate::Options;
use crate::base::Build;
use crate::bench_env::{BenchEnv, CATALOG, check_space};
use crate::load::{Source, load};
use crate::server::host;
use peak::Coding;
pub(crate) use steady::milliseconds;
pub(crate) use variant::run_profile;
use variant::{BASE_CACHED, BASE_UNCACHED, BASELINE, CACHED, UNCACHED, Variant};

/// The page that the tables are part of, and the lines around them.
const PAGE: &str = "benchmarks.md";
const BEGIN: &str = "<!-- begin: written by make bench-fleet -->";
const END: &str = "<!-- end: written by make bench-fleet -->";

/// The chart on that page.
const CHART: &str = "img/latency.svg";

/// Options of the benchmark.
#[derive(Debug, clap::Args)]
pub(crate) struct FleetOptions {
    #[command(flatten)]
    common: Options,
    /// The folder to write benchmarks.md (its tables, between the marker lines) and img/latency.svg to
    #[arg(long, default_value = "target")]
    output: PathBuf,
    /// The folder with the programs of an earlier commit, whose hosts are measured too; `make base` builds them
    #[arg(long, value_name = "DIR")]
    base: Option<PathBuf>,
}

/// The context of all measurements of a run.
struct Run<'a> {
    env: &'a BenchEnv,
    options: &'a Options,
    /// Product ids range from 1 to this.
    highest: u32,
    /// The size of the catalog's documents in the database, in bytes.
    documents: u64,
    /// An earlier commit to compare with.
    base: Option<Build>,
}

/// Runs the benchmark, prints the tables, and writes them and the chart.
pub(crate) async fn measure(options: &FleetOptions) -> Result<()> {
    let output = &options.output;
    std::fs::create_dir_all(output.join(CHART).with_file_name(""))
        .with_context(|| format!("cannot create the folder {}", output.display()))?;
    let base = options.base.as_deref().map(Build::base);
    let options = &options.common;
    if base.is_some() {
        check_space(&options.dir, 2.0 * options.scale).await?; // two databases
    }
    let on_stage = async |env: &mut BenchEnv| {
        load(env, Source::Disk, Stdio::inherit()).await?;
        if let Some(base) = &base {
            base.load(env).await?;
        }
        measure_on(env, options, base).await
    };
    let (tables, points) =
        BenchEnv::with(&options.dir, options.scale, &Settings::durable(), on_stage).await?;
    println!("\n{tables}");
    let write = |name: &str, content: &str| {
        let path = output.join(name);
        std::fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))
    };
    let page = std::fs::read_to_string(output.join(PAGE)).unwrap_or_default();
    write(PAGE, &with_tables(&page, &tables))?;
    write(CHART, &plot::latency(&points)?)
}

/// Returns a page with these tables in place of those between its markers, or the tables if it has no markers.
fn with_tables(page: &str, tables: &str) -> String {
    let parts = page.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    match parts {
        Some((before, after)) => format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", tables.trim()),
        None => tables.to_owned(),
    }
}

async fn measure_on(
    env: &BenchEnv,
    options: &Options,
    base: Option<Build>,
) -> Result<(String, Vec<steady::Point>)> {
    let highest = env.let_hosts_in(CATALOG).await?;
    let client = env.address().connect(CATALOG).await?;
    let size = "select pg_total_relation_size('catalog.documents')";
    let documents: i64 = client.query_one(size, &[]).await?.get(0);
    let documents = u64::try_from(documents)?;
    let run = Run { env, options, highest: u32::try_from(highest)?, documents, base };
    println!("fleet: three hosts behind NGINX, LOG_ACCESS=off; products 1 to {highest}");

    let present = |cache_bytes| host(env, CATALOG, cache_bytes);
    let mut variants = vec![Variant::of_hosts(UNCACHED, &run, &present(0)?).await?];
    // Twice the size in the database, and more for small catalogs, because the cache has an overhead per entry.
    let whole_catalog = 2 * documents + (64 << 20);
    variants.push(Variant::of_hosts(CACHED, &run, &present(whole_catalog)?).await?);
    if let Some(base) = &run.base {
        base.let_hosts_in(env).await?;
        variants.push(Variant::of_hosts(BASE_UNCACHED, &run, &base.host(env, 0)?).await?);
        variants.push(Variant::of_hosts(BASE_CACHED, &run, &base.host(env, whole_catalog)?).await?);
    }
    for variant in variants.iter().filter(|variant| [CACHED, BASE_CACHED].contains(&variant.name)) {
        variant.warm(&run).await?;
    }
    let (peaks, baseline) = peak::measure(&run, &variants).await?;
    let mut tables = format!(
        "## Fleet\n\n\
         Three hosts behind the load balancer, measured by `atelier-bench fleet --scale {} --rounds {} --seconds {}`. The \
         catalog has {highest} products. Everything runs on one machine with {} processors, and figures are medians of the \
         rounds.\n\n\
         - *{BASELINE}*: NGINX in front of three bare servers. They return a fixed body of the average size of a host's \
         responses.\n\
         - *{UNCACHED}*: the same NGINX in front of three hosts without a cache.\n\
         - *{CACHED}*: the same NGINX in front of three hosts that have the whole catalog in their cache.\n{}\n",
        options.scale,
        options.rounds,
        options.seconds,
        available_parallelism()?,
        if run.base.is_some() { "- *base*: the same two with the hosts of the base commit.\n" } else { "" }
    );
    tables += &peaks.table();

    let peak = peaks.rate(BASELINE, Coding::Gzip);
    variants.insert(0, baseline);
    let points = steady::measure(&run, peak, &variants).await?;
    tables += &steady::table(&points);
    let uncached =
        variants.iter().find(|variant| variant.name == UNCACHED).context("no hosts without a cache")?;
    tables += &cost::of_codings(&run, uncached, &peaks).await?;
    for variant in variants {
        variant.stop().await?;
    }
    tables += &cost::of_catalogs(&run).await?;
    tables += &cost::in_instructions(&run).await?;
    tables += &cost::in_memory(&run).await?;
    Ok((tables, points))
}

#[cfg(test)]
mod tests {
    use super::with_tables;

    #[test]
    fn tables_replace_those_between_the_markers_and_nothing_else() {
        let page = "# Page\n\n<!-- begin: written by make bench-fleet -->\n\nold\n\n\
                    <!-- end: written by make bench-fleet -->\n\nrest\n";
        assert_eq!(with_tables(page, "new\n"), page.replace("old", "new"));
        assert_eq!(with_tables("", "new\n"), "new\n");
    }
}
