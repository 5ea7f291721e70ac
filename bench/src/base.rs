//! The present programs against those of the recorded base commit (bench/base), in turn: `make bench BASE=1`.
//!
//! Each build loads the same files into a database of its own, since their schemas may differ.

use std::path::{Path, PathBuf};
use std::process::{Command as StdCommand, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};
use local::{Settings, program};

use crate::bench_env::{BenchEnv, check_space, succeed};
use crate::load::loader_of;
use crate::server::{Server, host_of};
use crate::wrk::{self, Wrk};
use crate::{Options, median};

/// Products of the cached comparison: few, so that a short run fills the cache.
const CACHED_PRODUCTS: i32 = 10_000;

/// The programs of one commit, and the database that they load and read.
pub(crate) struct Build {
    pub(crate) name: &'static str,
    database: &'static str,
    /// The folder of the programs; `None` for those beside this one.
    programs: Option<PathBuf>,
}

impl Build {
    /// Returns the programs beside this one.
    pub(crate) fn present() -> Self {
        Self { name: "present", database: "present", programs: None }
    }

    /// Returns the programs of the base commit, which are in this folder.
    pub(crate) fn base(programs: &Path) -> Self {
        Self { name: "base", database: "base", programs: Some(programs.to_owned()) }
    }

    /// Returns the path of a program of this build.
    fn program(&self, name: &str) -> Result<PathBuf> {
        match &self.programs {
            Some(folder) => {
                let path = folder.join(name).canonicalize();
                path.with_context(|| format!("no {name} in {}: run `make base`", folder.display()))
            }
            None => Ok(program(name)?),
        }
    }

    /// Returns the command of a host with a cache of `cache_bytes`, without an access log.
    pub(crate) fn host(&self, env: &BenchEnv, cache_bytes: u64) -> Result<StdCommand> {
        Ok(host_of(&self.program("atelier-host")?, env, self.database, cache_bytes))
    }

    /// Creates the login of hosts in the database and returns the highest id of a product.
    pub(crate) async fn let_hosts_in(&self, env: &BenchEnv) -> Result<i32> {
        env.let_hosts_in(self.database).await
    }

    /// Returns the number of transactions that the database has committed. Postgres updates it about once per second.
    pub(crate) async fn transactions(&self, env: &BenchEnv) -> Result<i64> {
        let number = "select xact_commit from pg_stat_database where datname = current_database()";
        Ok(env.address().connect(self.database).await?.query_one(number, &[]).await?.get(0))
    }

    /// Loads the dataset into a new database and returns the seconds that the load took.
    pub(crate) async fn load(&self, env: &BenchEnv) -> Result<f64> {
        let mut load = loader_of(&self.program("atelier-etl")?, env, self.database).await?;
        load.arg(env.files()).stdout(Stdio::null());
        let since = Instant::now();
        succeed(&mut load).await?;
        Ok(since.elapsed().as_secs_f64())
    }
}

/// Measures loads and reads of both builds and prints the ratios, present over base, and the sizes of programs.
pub(crate) async fn measure(options: &Options, base: &Path) -> Result<()> {
    check_space(&options.dir, 2.0 * options.scale).await?; // two databases
    let builds = [Build::present(), Build::base(base)];
    BenchEnv::with(&options.dir, options.scale, &Settings::durable(), async |env: &mut BenchEnv| {
        loads(env, &builds, options.rounds).await?;
        let mut highest = 0;
        for build in &builds {
            highest = build.let_hosts_in(env).await?;
        }
        reads(env, &builds, options, "uncached", 0, highest).await?;
        reads(env, &builds, options, "cached", 1 << 30, highest.min(CACHED_PRODUCTS)).await
    })
    .await?;
    sizes(&builds)
}

async fn loads(env: &BenchEnv, builds: &[Build; 2], rounds: u32) -> Result<()> {
    let mut seconds = [Vec::new(), Vec::new()];
    for round in 1..=rounds {
        for index in order(round) {
            let took = builds[index].load(env).await?;
            println!("round {round}: {}, load {took:.2} s", builds[index].name);
            seconds[index].push(took);
        }
    }
    println!("load_vs_base: {:.3} (seconds; lower is better)", ratio(&seconds));
    Ok(())
}

async fn reads(
    env: &BenchEnv,
    builds: &[Build; 2],
    options: &Options,
    what: &str,
    cache_bytes: u64,
    highest: i32,
) -> Result<()> {
    let script = wrk::script(env)?;
    let mut hosts = Vec::new();
    for build in builds {
        hosts.push(Server::start(build.host(env, cache_bytes)?).await?);
    }
    for coding in ["identity", "gzip"] {
        let wrk = Wrk { script: &script, highest, coding, seconds: options.seconds };
        for host in &hosts {
            wrk.run(host.listen).await?; // warms caches
        }
        let mut rates = [Vec::new(), Vec::new()];
        for round in 1..=options.rounds {
            for index in order(round) {
                let figures = wrk.run(hosts[index].listen).await?;
                println!(
                    "round {round}: {}, {what}, {coding}: {:.0}/s (p99 {})",
                    builds[index].name, figures.rate, figures.p99
                );
                rates[index].push(figures.rate);
            }
        }
        println!("read_vs_base_{what}_{coding}: {:.3} (responses/s; higher is better)", ratio(&rates));
    }
    for host in hosts {
        host.stop().await?;
    }
    Ok(())
}

/// Prints the sizes of the programs that both builds have.
fn sizes([present, base]: &[Build; 2]) -> Result<()> {
    for name in ["atelier-host", "atelier-etl", "list-products", "get-product", "add-to-cart", "not-found"] {
        let (Ok(now), Ok(before)) = (present.program(name), base.program(name)) else { continue };
        let [now, before] = [std::fs::metadata(now)?.len(), std::fs::metadata(before)?.len()];
        println!("{name}: {:.2} MB, base {:.2} MB", now as f64 / 1e6, before as f64 / 1e6);
    }
    Ok(())
}

/// Returns the order of the builds in a round: they take turns to be the first.
fn order(round: u32) -> [usize; 2] {
    if round.is_multiple_of(2) { [1, 0] } else { [0, 1] }
}

fn ratio([present, base]: &[Vec<f64>; 2]) -> f64 {
    median(present) / median(base)
}
