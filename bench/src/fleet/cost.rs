//! What an answer costs: in bytes, by the size of the catalog and the place in it, in instructions, in memory.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bench::open_loop::{Ids, Pace, Plan, Report, Requests, Route};

use super::Run;
use super::peak::Peaks;
use super::side::{Side, ask_for_all, fleet, so_many, well_answered};
use crate::load::loader;
use crate::median;
use crate::server::{Server, hello, host};
use crate::stage::{CATALOG, generate, memory_kib, succeed};
use crate::wrk::{self, Wrk};

/// Answers that bytes are counted of.
const SAMPLE: u64 = 2_000;

/// The small catalog, as a part of the other; the least that can be generated is twenty products.
const SMALL: f64 = 0.01;
const LEAST: f64 = 0.00002;

/// The database of the small catalog.
const SMALL_CATALOG: &str = "small";

/// Pages at the beginning, in the middle and at the end of the list that are asked for, of ten products each.
const PAGES: u32 = 100;

/// Requests under callgrind, which makes a program some fifty times slower: the longer run less the shorter one leaves
/// out the start and the end.
const COUNTED: (u64, u64) = (200, 1_200);

/// The products that those are for: the first run asks for each, so in a cache they are known from then on.
const COUNTED_IDS: u32 = 100;

/// The host's default, and with it what the memory is measured with where the catalog is large enough to fill it.
const CACHE_BYTES: u64 = 256 << 20;

/// gzip and plain beside each other.
pub(super) async fn of_codings(
    run: &Run<'_>,
    side: &Side,
    (gzip, plain): (&Peaks, &Peaks),
) -> Result<String> {
    let mut reports = Vec::new();
    for gzip in [true, false] {
        let requests = Requests { gzip, ..Requests::of(Route::Styles, run.highest) };
        reports.push(well_answered(so_many(side.address(), SAMPLE, requests)).await?);
    }
    let ratio = |figure: &dyn Fn(&Report) -> u64| {
        let figures: Vec<f64> = reports.iter().map(|report| figure(report) as f64).collect();
        figures.iter().copied().reduce(|gzip, plain| gzip / plain).unwrap_or(f64::NAN)
    };
    let mut rows = String::new();
    for ((gzip, plain), side) in gzip.hosts().iter().zip(plain.hosts()).zip(["cache off", "catalog in cache"])
    {
        rows += &format!("| answers a second, {side} | {:.2} | at least 1 |\n", gzip / plain);
    }
    Ok(format!(
        "## gzip, of what plain takes\n\n| figure | gzip over plain | aim |\n|---|---:|---|\n{rows}\
         | bytes of bodies | {:.2} | at most 0.30 |\n| bytes received, with heads | {:.2} | |\n\n",
        ratio(&|report| report.bodies),
        ratio(&|report| report.bytes)
    ))
}

/// The same requests of a small catalog and of the whole one, and of pages throughout the list, to one host each.
pub(super) async fn of_catalogs(run: &Run<'_>) -> Result<String> {
    let files = run.stage.directory(SMALL_CATALOG)?;
    generate((run.options.scale * SMALL).max(LEAST), &files).await?;
    let mut load = loader(run.stage, SMALL_CATALOG).await?;
    succeed(load.arg(&files).stdout(Stdio::null())).await?;
    let client = run.stage.address().connect(SMALL_CATALOG).await?;
    let highest: i32 = client.query_one("select max(id) from catalog.products", &[]).await?.get(0);

    let script = wrk::script(run.stage)?;
    let mut hosts = Vec::new();
    for (database, highest) in [(SMALL_CATALOG, highest), (CATALOG, i32::try_from(run.highest)?)] {
        let server = Server::start(host(run.stage, database, 0)?).await?;
        let wrk = Wrk { script: &script, highest, coding: "gzip", seconds: run.options.seconds };
        hosts.push((server, wrk, Vec::new()));
    }
    let pages = (run.highest / 10).max(1);
    let first_of_the_last = pages.saturating_sub(PAGES - 1).max(1);
    let middle = (pages / 2).clamp(1, first_of_the_last);
    let mut places = [("first", 1), ("middle", middle), ("last", first_of_the_last)]
        .map(|(name, first)| (name, first, Vec::new()));
    for round in 1..=run.options.rounds {
        for (server, wrk, rates) in &mut hosts {
            let rate = wrk.run(server.listen).await?.rate;
            println!("round {round}: styles of 1 to {}: {rate:.0}/s", wrk.highest);
            rates.push(rate);
        }
        let Some((server, ..)) = hosts.last() else { bail!("there is no host") };
        for (name, first, rates) in &mut places {
            let pages = *first..=(*first + PAGES - 1).min(pages);
            let requests = Requests { pages, counts: 10..=10, ..Requests::of(Route::List, run.highest) };
            let duration = Duration::from_secs(run.options.seconds.into());
            let plan = Plan::new(server.listen, Pace::Closed, duration, requests);
            let rate = well_answered(plan).await?.rate();
            println!("round {round}: {name} pages of the list: {rate:.0}/s");
            rates.push(rate);
        }
    }
    let mut table = "## The size of the catalog, and the place in it\n\n\
         One host, nothing cached, 64 connections. Aim: flat within 10 %.\n\n\
         | asked for | answers a second | of the first |\n|---|---:|---:|\n"
        .to_owned();
    let styles =
        hosts.iter().map(|(_, wrk, rates)| (format!("styles, {} products", wrk.highest), median(rates)));
    table += &beside_the_first(&styles.collect::<Vec<_>>());
    let lists = places.iter().map(|(name, _, rates)| (format!("{name} pages of ten"), median(rates)));
    table += &beside_the_first(&lists.collect::<Vec<_>>());
    for (server, ..) in hosts {
        server.stop().await?;
    }
    Ok(table + "\n")
}

fn beside_the_first(rates: &[(String, f64)]) -> String {
    let first = rates.first().map_or(f64::NAN, |(_, rate)| *rate);
    rates.iter().map(|(name, rate)| format!("| {name} | {rate:.0} | {:.2} |\n", rate / first)).collect()
}

/// Instructions in user mode for a request, as callgrind counts them: exactly, and on machines too whose processor does
/// not let itself be asked (`perf stat`), as most virtual ones.
pub(super) async fn in_instructions(run: &Run<'_>) -> Result<String> {
    let mut table = "## Instructions for a request\n\n\
         Styles, gzipped, one connection; in user mode, by callgrind.\n\n| server | instructions |\n|---|---:|\n"
        .to_owned();
    let servers = [
        ("a host, cache off", host(run.stage, CATALOG, 0)?),
        ("a host, from its cache", host(run.stage, CATALOG, CACHE_BYTES)?),
        ("a fixed body", hello(1_000)?),
    ];
    for (name, server) in servers {
        let mut counts = [0; 2];
        for (count, requests) in counts.iter_mut().zip([COUNTED.0, COUNTED.1]) {
            *count = instructions(run, &server, requests).await?;
        }
        let [fewer, more] = counts;
        let each = more.saturating_sub(fewer) / (COUNTED.1 - COUNTED.0);
        println!("{name}: {each} instructions for a request");
        table += &format!("| {name} | {each} |\n");
    }
    Ok(table + "\n")
}

/// All that a server carries out that answers so many requests.
async fn instructions(run: &Run<'_>, server: &Command, count: u64) -> Result<u64> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    valgrind.arg(server.get_program()).args(server.get_args());
    valgrind.envs(server.get_envs().filter_map(|(name, value)| Some((name, value?))));
    valgrind.env("REQUEST_TIMEOUT", "30s").env("TOKIO_WORKER_THREADS", "1");
    let fleet = fleet(run, "callgrind", &valgrind, 1).await?;
    let host = fleet.hosts().first().context("a fleet without hosts")?;
    let (address, log) = (host.address(), host.log().to_owned());
    let requests = Requests { ids: Ids::Ascending, ..Requests::of(Route::Styles, COUNTED_IDS) };
    well_answered(Plan { connections: 1, ..so_many(address, count, requests) }).await?;
    fleet.stop().await?;
    let said = std::fs::read_to_string(&log).with_context(|| format!("cannot read {}", log.display()))?;
    let collected = said.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    collected.with_context(|| format!("callgrind told no count: {said}"))
}

/// The most memory that a host had whose cache is full.
pub(super) async fn in_memory(run: &Run<'_>) -> Result<String> {
    // A quarter of a small catalog, so that it is full in any case.
    let cache = CACHE_BYTES.min(run.documents / 4);
    let fleet = fleet(run, "full cache", &host(run.stage, CATALOG, cache)?, 1).await?;
    let host = fleet.hosts().first().context("a fleet without hosts")?;
    ask_for_all(host.address(), run.highest).await?;
    let peak = host.pid().and_then(|pid| memory_kib(pid, "VmHWM"));
    let peak = peak.context("/proc does not tell the memory of a process")?;
    fleet.stop().await?;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    Ok(format!(
        "## Memory\n\n| CACHE_BYTES, full | the most that the host had | aim |\n|---:|---:|---:|\n\
         | {:.1} MiB | {:.1} MiB | at most {:.1} |\n",
        mib(cache),
        mib(peak * 1024),
        mib(cache + 50_000_000)
    ))
}
