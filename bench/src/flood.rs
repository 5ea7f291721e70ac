//! A flood of list requests from one address, and the latency of a visitor from another one.
//!
//! The attacker requests distinct list pages, each on a connection of its own, and resets the connection before it has
//! the response. The control is the same attack with small pages. Both run in turn, round by round, against three hosts
//! behind NGINX with its default limits. The hosts have no cache, so each request of the visitor reads from Postgres.

mod attack;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use bench::open_loop::{LoadProfile, Rate, Report, Requests, Route};
use local::{Fleet, FleetSettings, LoadBalancerSettings, Settings, free_address};

use crate::base::Build;
use crate::bench_env::{BenchEnv, check_space};
use crate::fleet::{milliseconds, run_profile, target};
use crate::{Options, median};

/// The products per page of the attacker's requests.
const CONTROL_COUNT: u32 = 5;
const FLOOD_COUNT: u32 = 1_000;

/// The visitor's requests per second, and their timeout: longer than NGINX and the hosts take to return an error.
const VISITOR_RATE: f64 = 200.0;
const VISITOR_TIMEOUT: Duration = Duration::from_secs(10);

/// The time after each run in which only the visitor sends requests. Hosts complete their work, and Postgres writes its
/// statistics.
const SETTLE: Duration = Duration::from_secs(2);

/// The target: the max ratio of the visitor's p99 latencies, flood / control.
const MAX_RATIO: f64 = 5.0;

/// Options of the benchmark.
#[derive(Debug, clap::Args)]
pub(crate) struct FloodOptions {
    #[command(flatten)]
    common: Options,
    /// The folder with the programs of an earlier commit, whose hosts are measured too; `make base` builds them
    #[arg(long, value_name = "DIR")]
    base: Option<PathBuf>,
}

/// Three hosts of a build behind the load balancer, and the results of their runs.
struct Variant<'a> {
    build: &'a Build,
    fleet: Fleet,
    /// Product ids range from 1 to this.
    highest: u32,
    /// Results of the control and of the flood.
    runs: [Vec<Run>; 2],
}

/// The result of one run.
struct Run {
    /// Requests of the attacker.
    attacks: u64,
    /// Transactions of Postgres, until the end of [`SETTLE`]. A statement outside a transaction counts as one.
    transactions: i64,
    visitor: Report,
}

/// Runs the benchmark and prints the table.
pub(crate) async fn measure(options: &FloodOptions) -> Result<()> {
    let base = options.base.as_deref().map(Build::base);
    let builds: Vec<Build> = std::iter::once(Build::present()).chain(base).collect();
    let options = &options.common;
    check_space(&options.dir, builds.len() as f64 * options.scale).await?; // one database per build
    BenchEnv::with(&options.dir, options.scale, &Settings::durable(), async |env: &mut BenchEnv| {
        let mut variants = Vec::new();
        for build in &builds {
            build.load(env).await?;
            variants.push(Variant::start(env, build).await?);
        }
        println!(
            "flood: three hosts behind NGINX with its default limits, uncached, LOG_ACCESS=off; visitor {VISITOR_RATE}/s, \
             attacker {}/s",
            attack::RATE
        );
        for round in 1..=options.rounds {
            for variant in &mut variants {
                variant.run(env, round, Duration::from_secs(options.seconds.into())).await?;
            }
        }
        println!("\n{}", table(&variants));
        for variant in variants {
            variant.fleet.stop().await?;
        }
        Ok(())
    })
    .await
}

impl<'a> Variant<'a> {
    async fn start(env: &BenchEnv, build: &'a Build) -> Result<Self> {
        let highest = u32::try_from(build.let_hosts_in(env).await?)?;
        let load_balancer = LoadBalancerSettings { default_limits: true, ..LoadBalancerSettings::default() };
        let settings = FleetSettings { load_balancer, ..FleetSettings::default() };
        let directory = env.directory(&format!("fleet-{}", build.name))?;
        let fleet = Fleet::start(&directory, free_address()?, &build.host(env, 0)?, &settings).await?;
        let variant = Self { build, fleet, highest, runs: Default::default() };
        variant.visit(0, SETTLE).await?; // opens connections and prepares statements
        Ok(variant)
    }

    /// Runs the control and then the flood, each for a duration.
    async fn run(&mut self, env: &BenchEnv, round: u32, duration: Duration) -> Result<()> {
        for (index, count) in [CONTROL_COUNT, FLOOD_COUNT].into_iter().enumerate() {
            let before = self.build.transactions(env).await?;
            let attack = attack::run(self.fleet.address(), count, self.highest / count, duration);
            let (attacks, visitor) = tokio::try_join!(attack, self.visit(round, duration))?;
            self.visit(round, SETTLE).await?;
            let transactions = self.build.transactions(env).await? - before;
            println!(
                "round {round}: {}, {attacks} requests with count={count}, {transactions} transactions; visitor: \
                 {:?}, {} failed, p50 {:.2} ms, p99 {:.2}",
                self.build.name,
                visitor.statuses,
                visitor.failed(),
                milliseconds(visitor.quantile(0.5)),
                milliseconds(visitor.quantile(0.99)),
            );
            self.runs[index].push(Run { attacks, transactions, visitor });
        }
        Ok(())
    }

    /// Sends the visitor's requests at a steady rate.
    async fn visit(&self, seed: u32, duration: Duration) -> Result<Report> {
        let routes = vec![Route::Product, Route::Styles, Route::Related, Route::List];
        let requests = Requests { routes, seed: seed.into(), ..Requests::of(Route::List, self.highest) };
        let rate = Rate::PerSecond(VISITOR_RATE);
        let profile = LoadProfile::new(self.fleet.address(), rate, duration, requests);
        run_profile(LoadProfile { timeout: VISITOR_TIMEOUT, ..profile }).await
    }
}

/// Returns the table: requests are sums, other figures are medians.
fn table(variants: &[Variant<'_>]) -> String {
    let mut table = format!(
        "| hosts | attack | attacker's requests | transactions per run | visitor's failed | p50 | p99 | p50 / control \
         | p99 / control | {}\n|---|---|---:|---:|---:|---:|---:|---:|---:|---|---|\n",
        target::HEADS
    );
    for Variant { build, runs: [control, flood], .. } in variants {
        for (attack, runs) in [("control", control), ("flood", flood)] {
            let failed: u64 = runs.iter().map(|run| run.visitor.failed()).sum();
            let latency = |runs, share| median_of(runs, |run| milliseconds(run.visitor.quantile(share)));
            let (p50, p99) = (latency(runs, 0.5), latency(runs, 0.99));
            let (of_p50, of_p99) = (p50 / latency(control, 0.5), p99 / latency(control, 0.99));
            let target = match attack {
                "control" => target::NONE.to_owned(),
                _ => target::cells(
                    &format!("no failures, p99 at most {MAX_RATIO} times"),
                    failed == 0 && of_p99 <= MAX_RATIO,
                ),
            };
            table += &format!(
                "| {} | {attack} | {} | {} | {failed} of {} | {p50:.2} | {p99:.2} | {of_p50:.2} | {of_p99:.2} | {target}\n",
                build.name,
                runs.iter().map(|run| run.attacks).sum::<u64>(),
                median_of(runs, |run| run.transactions as f64),
                runs.iter().map(|run| run.visitor.sent).sum::<u64>(),
            );
        }
    }
    table
}

fn median_of(runs: &[Run], figure: impl Fn(&Run) -> f64) -> f64 {
    median(&runs.iter().map(figure).collect::<Vec<_>>())
}
