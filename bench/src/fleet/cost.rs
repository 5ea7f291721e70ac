//! Costs of a response: bytes, instructions and memory, and the effect of catalog size and page number.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bench::open_loop::{Ids, LoadProfile, Rate, Report, Requests, Route};

use super::peak::{Coding, Peaks};
use super::variant::{
    CACHED, UNCACHED, Variant, closed_loop, fleet, request_all_styles, run_without_failures,
};
use super::{Run, target};
use crate::bench_env::{CATALOG, generate, memory_kib, succeed};
use crate::load::loader;
use crate::median;
use crate::server::{Server, baseline, host};
use crate::wrk::{self, Wrk};

/// The number of responses whose bytes are counted.
const SAMPLE: u64 = 2_000;

/// The size of the small catalog, as a share of the other, and the min scale: twenty products.
const SMALL: f64 = 0.01;
const MIN_SCALE: f64 = 0.00002;

/// The database of the small catalog.
const SMALL_CATALOG: &str = "small";

/// The number of pages requested at the start, in the middle and at the end of the list, of ten products each.
const PAGES: u32 = 100;

/// Requests of two runs under callgrind, which makes a program about fifty times slower. The difference between the
/// runs excludes the start and the end of the process.
const COUNTED: (u64, u64) = (200, 1_200);

/// The number of products in these requests. The first run requests all of them, so later ones hit the cache.
const COUNTED_IDS: u32 = 100;

/// The host's default cache size. Memory is measured with it if the catalog is large enough to fill it.
const CACHE_BYTES: u64 = 256 << 20;

/// Compares gzip with plain responses.
pub(super) async fn of_codings(run: &Run<'_>, variant: &Variant, peaks: &Peaks) -> Result<String> {
    let mut reports = Vec::new();
    for gzip in [true, false] {
        let requests = Requests { gzip, ..Requests::of(Route::Styles, run.highest) };
        reports.push(run_without_failures(closed_loop(variant.address(), SAMPLE, requests)).await?);
    }
    let [gzip, plain] = reports.as_slice() else { bail!("expected reports of two encodings") };
    let mut table = format!(
        "### gzip compared with plain\n\n\
         Styles. Throughput is from the table above, bytes are from the same {SAMPLE} responses.\n\n\
         | figure | gzip | plain | gzip / plain | {}\n|---|---:|---:|---:|---|---|\n",
        target::HEADS
    );
    let row = |compared: &str, gzip: f64, plain: f64, target: &dyn Fn(f64) -> String| {
        let ratio = gzip / plain;
        format!("| {compared} | {gzip:.0} | {plain:.0} | {ratio:.3} | {}\n", target(ratio))
    };
    for variant in [UNCACHED, CACHED] {
        let [gzip, plain] = [Coding::Gzip, Coding::Plain].map(|coding| peaks.rate(variant, coding));
        let compared = format!("responses/s, {variant}");
        table += &row(&compared, gzip, plain, &|ratio| target::at_least(ratio, 1.0));
    }
    let each = |report: &Report, bytes: u64| bytes as f64 / report.ok as f64;
    let [of_gzip, of_plain] = [each(gzip, gzip.bytes), each(plain, plain.bytes)];
    table +=
        &row("bytes per response, with headers", of_gzip, of_plain, &|ratio| target::at_most(ratio, 0.30));
    let [of_gzip, of_plain] = [each(gzip, gzip.bodies), each(plain, plain.bodies)];
    table += &row("bytes per body", of_gzip, of_plain, &|_| target::NONE.to_owned());
    Ok(table + "\n")
}

/// Compares a small catalog with the whole one, and pages throughout the list.
pub(super) async fn of_catalogs(run: &Run<'_>) -> Result<String> {
    let files = run.env.directory(SMALL_CATALOG)?;
    generate((run.options.scale * SMALL).max(MIN_SCALE), &files).await?;
    let mut load = loader(run.env, SMALL_CATALOG).await?;
    succeed(load.arg(&files).stdout(Stdio::null())).await?;
    let client = run.env.address().connect(SMALL_CATALOG).await?;
    let highest: i32 = client.query_one("select max(id) from catalog.products", &[]).await?.get(0);

    let script = wrk::script(run.env)?;
    let mut hosts = Vec::new();
    for (database, highest) in [(SMALL_CATALOG, highest), (CATALOG, i32::try_from(run.highest)?)] {
        let server = Server::start(host(run.env, database, 0)?).await?;
        let wrk = Wrk { script: &script, highest, coding: "gzip", seconds: run.options.seconds };
        hosts.push((server, wrk, Vec::new()));
    }
    let pages = (run.highest / 10).max(1);
    let first_of_the_last = pages.saturating_sub(PAGES - 1).max(1);
    let middle = (pages / 2).clamp(1, first_of_the_last);
    let mut sections = [("first", 1), ("middle", middle), ("last", first_of_the_last)]
        .map(|(name, first)| (name, first, Vec::new()));
    for round in 1..=run.options.rounds {
        for (server, wrk, rates) in &mut hosts {
            let rate = wrk.run(server.listen).await?.rate;
            println!("round {round}: styles of 1 to {}: {rate:.0}/s", wrk.highest);
            rates.push(rate);
        }
        let Some((server, ..)) = hosts.last() else { bail!("the fleet has no hosts") };
        for (name, first, rates) in &mut sections {
            let pages = *first..=(*first + PAGES - 1).min(pages);
            let requests = Requests { pages, counts: 10..=10, ..Requests::of(Route::List, run.highest) };
            let duration = Duration::from_secs(run.options.seconds.into());
            let profile = LoadProfile::new(server.listen, Rate::ClosedLoop, duration, requests);
            let rate = run_without_failures(profile).await?.rate();
            println!("round {round}: {name} pages of the list: {rate:.0}/s");
            rates.push(rate);
        }
    }
    let mut table = format!(
        "### Catalog size and page number\n\n\
         One host, uncached, 64 connections.\n\n\
         | requests | responses/s | compared with | ratio | {}\n|---|---:|---|---:|---|---|\n",
        target::HEADS
    );
    let styles =
        hosts.iter().map(|(_, wrk, rates)| (format!("styles of {} products", wrk.highest), median(rates)));
    table += &compared_with_first(&styles.collect::<Vec<_>>());
    let lists = sections.iter().map(|(name, _, rates)| (format!("list, {name} pages of ten"), median(rates)));
    table += &compared_with_first(&lists.collect::<Vec<_>>());
    for (server, ..) in hosts {
        server.stop().await?;
    }
    Ok(table + "\n")
}

fn compared_with_first(rates: &[(String, f64)]) -> String {
    let Some(((first, rate), others)) = rates.split_first() else { return String::new() };
    let mut rows = format!("| {first} | {rate:.0} | | | {}\n", target::NONE);
    for (name, other) in others {
        let ratio = other / rate;
        rows += &format!("| {name} | {other:.0} | {first} | {ratio:.3} | {}\n", target::flat(ratio, 0.10));
    }
    rows
}

/// Measures instructions per request in user mode with callgrind. It counts exactly, and it works on virtual machines
/// without hardware counters, where `perf stat` does not.
pub(super) async fn in_instructions(run: &Run<'_>) -> Result<String> {
    let mut table = format!(
        "### Instructions per request\n\n\
         Styles with gzip over one connection, in user mode, counted by callgrind.\n\n\
         | server | instructions | / bare server | {}\n|---|---:|---:|---|---|\n",
        target::HEADS
    );
    // The first server is the baseline of the others.
    let mut servers = vec![
        ("bare server", baseline(1_000)?),
        ("host, uncached", host(run.env, CATALOG, 0)?),
        ("host, cached", host(run.env, CATALOG, CACHE_BYTES)?),
    ];
    if let Some(base) = &run.base {
        servers.push(("base, uncached", base.host(run.env, 0)?));
        servers.push(("base, cached", base.host(run.env, CACHE_BYTES)?));
    }
    let mut baseline = None;
    for (name, server) in servers {
        let mut counts = [0; 2];
        for (count, requests) in counts.iter_mut().zip([COUNTED.0, COUNTED.1]) {
            *count = instructions(run, &server, requests).await?;
        }
        let [fewer, more] = counts;
        let each = more.saturating_sub(fewer) / (COUNTED.1 - COUNTED.0);
        println!("{name}: {each} instructions per request");
        let ratio = each as f64 / *baseline.get_or_insert(each) as f64;
        table += &format!("| {name} | {each} | {ratio:.2} | {}\n", target::NONE);
    }
    Ok(table + "\n")
}

/// Returns the instructions of a server that handles `count` requests, with its start and end.
async fn instructions(run: &Run<'_>, server: &Command, count: u64) -> Result<u64> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    valgrind.arg(server.get_program()).args(server.get_args());
    valgrind.envs(server.get_envs().filter_map(|(name, value)| Some((name, value?))));
    valgrind.env("REQUEST_TIMEOUT", "30s").env("TOKIO_WORKER_THREADS", "1");
    let fleet = fleet(run, "callgrind", &valgrind, 1).await?;
    let host = fleet.hosts().first().context("the fleet has no hosts")?;
    let (address, log) = (host.address(), host.log().to_owned());
    let requests = Requests { ids: Ids::Ascending, ..Requests::of(Route::Styles, COUNTED_IDS) };
    run_without_failures(LoadProfile { connections: 1, ..closed_loop(address, count, requests) }).await?;
    fleet.stop().await?;
    let output = std::fs::read_to_string(&log).with_context(|| format!("cannot read {}", log.display()))?;
    let collected = output.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    collected.with_context(|| format!("callgrind reported no count: {output}"))
}

/// Measures the peak memory of a host with a full cache.
pub(super) async fn in_memory(run: &Run<'_>) -> Result<String> {
    // A quarter of the documents of a small catalog always fills the cache.
    let cache = CACHE_BYTES.min(run.documents / 4);
    let fleet = fleet(run, "full cache", &host(run.env, CATALOG, cache)?, 1).await?;
    let host = fleet.hosts().first().context("the fleet has no hosts")?;
    request_all_styles(host.address(), run.highest).await?;
    let peak = host.pid().and_then(|pid| memory_kib(pid, "VmHWM"));
    let peak = peak.context("/proc does not show the memory of the host")?;
    fleet.stop().await?;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let [cache, peak, max] = [cache, peak * 1024, cache + 50_000_000].map(mib);
    Ok(format!(
        "### Memory of a host with a full cache\n\n\
         One host that has served the styles of every product, in MiB. The target allows 50 MB beyond the cache.\n\n\
         | cache (`CACHE_BYTES`) | peak memory | {}\n|---:|---:|---|---|\n\
         | {cache:.1} | {peak:.1} | {}\n",
        target::HEADS,
        target::at_most(peak, max)
    ))
}
