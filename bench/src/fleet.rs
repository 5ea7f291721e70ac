//! The deployed topology, three hosts behind NGINX, compared with the baseline: the same NGINX in front of three bare
//! servers that return a fixed body of the same size.
//!
//! All variants run at the same time and are measured in turn, round by round: the baseline, hosts without a cache, and
//! hosts with the whole catalog in their cache.

mod chart;

use std::process::Command;
use std::thread::available_parallelism;

use anyhow::{Context, Result};
use local::{Fleet, FleetSettings, free_address};

use crate::Options;
use crate::env::Env;
use crate::oha::{self, Report};
use crate::read::average_bytes;
use crate::server::baseline;
use crate::turns::{Comparison, Subject, figures_in_turn, in_turn, median};
use crate::wrk::{CONNECTIONS, Paths, rate, request_all_styles};

/// The page that the tables are part of, the lines around them, and the chart on that page.
const PAGE: &str = "benchmarks.md";
const BEGIN: &str = "<!-- begin: written by make bench-fleet -->";
const END: &str = "<!-- end: written by make bench-fleet -->";
const CHART: &str = "img/latency.svg";

/// The number of servers, as in a deployment.
const SERVERS: usize = 3;

/// Steady rates in requests per second, and as shares of the baseline's peak throughput.
const RATES: [f64; 3] = [1_000.0, 5_000.0, 10_000.0];
const SHARES: [f64; 3] = [0.15, 0.30, 0.45];

/// The variant that the others are compared with.
const BASELINE: &str = "baseline";

/// Three running servers behind the load balancer.
type Variant = Subject<Fleet>;

/// The results of a variant at a rate: sums and medians of the rounds. Times are in milliseconds.
struct Point {
    variant: String,
    rate: f64,
    due: u64,
    failed: u64,
    unsent: u64,
    mean: f64,
    p50: f64,
    p99: f64,
    p999: f64,
}

/// Measures all variants, prints the tables, and writes them and the chart into the folder of `--output`.
pub(crate) async fn measure(env: &Env, options: &Options) -> Result<()> {
    let output = &options.output;
    std::fs::create_dir_all(output.join(CHART).with_file_name(""))
        .with_context(|| format!("cannot create the folder {}", output.display()))?;
    let path = output.join(PAGE);
    let page = std::fs::read_to_string(&path).unwrap_or_else(|_| format!("{BEGIN}\n{END}\n"));
    let page_with = |tables: &str| {
        with_tables(&page, tables)
            .with_context(|| format!("{}: expected lines {BEGIN} and {END}", path.display()))
    };
    page_with("")?; // before minutes of work
    let highest = env.load_all().await?;
    let variants = start(env, highest).await?;
    let peaks = in_turn(options.rounds, "responses/s", &variants, async |fleet: &Fleet| {
        rate(env, fleet.address(), Paths::styles(highest), "gzip", options.seconds).await
    });
    let peaks = peaks.await?;
    let points = steady(env, options, &variants, peaks.median(BASELINE), highest).await?;
    for variant in variants {
        variant.of.stop().await?;
    }
    let tables = tables(options, highest, &peaks, &points)?;
    println!("\n{tables}");
    let write = |name: &str, content: &str| {
        let path = output.join(name);
        std::fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))
    };
    write(PAGE, &page_with(&tables)?)?;
    write(CHART, &chart::latency(&points)?)
}

/// Starts all variants and fills the caches.
async fn start(env: &Env, highest: i32) -> Result<Vec<Variant>> {
    let mut variants = Vec::new();
    for build in &env.builds {
        // Twice the size in the database, and more for small catalogs, because the cache has an overhead per entry.
        let whole_catalog = 2 * build.documents_bytes(env).await? + (64 << 20);
        let [uncached, cached] = ["uncached", "cached"].map(|what| format!("{}-{what}", build.name));
        let uncached = start_three(env, &uncached, build.host(env, 0)?).await?;
        let cached = start_three(env, &cached, build.host(env, whole_catalog)?).await?;
        for host in cached.hosts() {
            request_all_styles(env, host.address(), highest).await?;
        }
        variants.push(build.subject("uncached", Some(BASELINE), uncached));
        variants.push(build.subject("cached", Some(BASELINE), cached));
    }
    let bytes = average_bytes(variants[0].of.address(), highest, "gzip").await?;
    println!("bodies of {bytes} bytes on average with gzip; {CONNECTIONS} connections");
    let bare = start_three(env, BASELINE, baseline(bytes)?).await?;
    variants.insert(0, Subject::new(BASELINE, None, bare));
    Ok(variants)
}

/// Starts three servers with a third of the processors each, without access logs.
async fn start_three(env: &Env, name: &str, mut server: Command) -> Result<Fleet> {
    let threads = available_parallelism().map_or(1, |all| (all.get() / SERVERS).max(1));
    server.env("TOKIO_WORKER_THREADS", threads.to_string());
    let settings = FleetSettings { hosts: SERVERS, ..FleetSettings::default() };
    Ok(Fleet::start(&env.folder(name)?, free_address()?, &server, &settings).await?)
}

/// Measures each variant at each rate, given the baseline's peak throughput. The points of a rate follow each other in
/// the order of the variants, the baseline first.
async fn steady(
    env: &Env,
    options: &Options,
    variants: &[Variant],
    peak: f64,
    highest: i32,
) -> Result<Vec<Point>> {
    let mut points = Vec::new();
    for rate in RATES.into_iter().chain(SHARES.map(|share| share * peak)) {
        let measure = async |round: u32, variant: &Variant| {
            let path = || format!("/products/{}/styles", fastrand::i32(1..=highest));
            let report = oha::run(env, variant.of.address(), rate, options.seconds, path).await?;
            let (name, p99, failures) = (&variant.name, report.p99, report.failures());
            println!("round {round}: {rate:.0}/s, {name}: p99 {p99:.2} ms, {failures}");
            Ok(report)
        };
        let reports = figures_in_turn(options.rounds, variants, measure).await?;
        points.extend(variants.iter().zip(&reports).map(|(variant, reports)| {
            let figure = |of: fn(&Report) -> f64| median(&reports.iter().map(of).collect::<Vec<_>>());
            Point {
                variant: variant.name.clone(),
                rate,
                due: reports.iter().map(|report| report.due).sum(),
                failed: reports.iter().map(|report| report.failed).sum(),
                unsent: reports.iter().map(|report| report.unsent).sum(),
                mean: figure(|report| report.mean),
                p50: figure(|report| report.p50),
                p99: figure(|report| report.p99),
                p999: figure(|report| report.p999),
            }
        }));
    }
    Ok(points)
}

fn tables(options: &Options, highest: i32, peaks: &Comparison, points: &[Point]) -> Result<String> {
    let mut tables = format!(
        "## Fleet\n\n\
         Three hosts behind the load balancer, measured by `atelier-bench fleet --scale {} --rounds {} --seconds {}`. The \
         catalog has {highest} products. Everything runs on one machine with {} processors, and figures are medians of the \
         rounds.\n\n\
         - *baseline*: NGINX in front of three bare servers. They return a fixed body of the average size of a host's \
         responses.\n\
         - *uncached*: the same NGINX in front of three hosts without a cache.\n\
         - *cached*: the same NGINX in front of three hosts that have the whole catalog in their cache.\n\n\
         ### Peak throughput\n\n\
         Styles of random products over {CONNECTIONS} connections, with gzip.\n\n{peaks}\n\
         ### Latency at a steady rate\n\n\
         Styles of 100,000 random products in each run, with gzip, over 64 connections. Latency is in milliseconds, from the \
         moment when a request is due. *Not sent* were due at the end of a run and waited for a connection.\n\n\
         | rate | variant | failed | not sent | mean | p50 | p99 | p99.9 | mean / baseline | p99 / baseline |\n\
         |---|---|---:|---:|---:|---:|---:|---:|---:|---:|\n",
        options.scale,
        options.rounds,
        options.seconds,
        available_parallelism()?
    );
    for at_rate in points.chunk_by(|_, next| next.variant != BASELINE) {
        let baseline = &at_rate[0];
        for Point { variant, rate, due, failed, unsent, mean, p50, p99, p999 } in at_rate {
            tables += &format!(
                "| {rate:.0}/s | {variant} | {failed} of {due} | {unsent} | {mean:.2} | {p50:.2} | {p99:.2} | {p999:.2} \
                 | {:.3} | {:.3} |\n",
                mean / baseline.mean,
                p99 / baseline.p99
            );
        }
    }
    Ok(tables + "\n![p50 and p99 latency at each steady rate](img/latency.svg)\n")
}

/// Returns a page with these tables in place of those between its markers; none if it has no markers.
fn with_tables(page: &str, tables: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", tables.trim()))
}

#[cfg(test)]
mod tests {
    use super::with_tables;

    #[test]
    fn tables_replace_those_between_the_markers_and_nothing_else() {
        let page = "# Page\n\n<!-- begin: written by make bench-fleet -->\n\nold\n\n\
                    <!-- end: written by make bench-fleet -->\n\nrest\n";
        assert_eq!(with_tables(page, "new\n"), Some(page.replace("old", "new")));
        assert_eq!(with_tables("# Page\n", "new\n"), None);
    }
}
