//! The environment of a benchmark: a generated dataset, a Postgres cluster, and the programs.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use local::{Address, Binaries, Cluster, Settings, create_host_login, program};
use tokio::process::Command;

/// The database that the loader fills and the host reads.
pub(crate) const CATALOG: &str = "atelier";

/// Disk space at scale 1: 2.2 GB of files, about 8 GB of tables and indexes, and WAL.
const GIB_AT_SCALE_1: f64 = 12.0;
/// Disk space of an empty cluster and its WAL, at any scale.
const GIB_AT_LEAST: f64 = 1.0;

/// A dataset and a cluster. Both are removed when this process ends, even if it is killed.
pub(crate) struct BenchEnv {
    files: PathBuf,
    scratch: PathBuf,
    cluster: Cluster,
    /// Whether the catalog is loaded.
    pub(crate) loaded: bool,
}

impl BenchEnv {
    /// Runs `act` with a dataset of this scale and a cluster with these settings, both in `dir`. Removes both
    /// afterwards, even if `act` fails.
    pub(crate) async fn with<T>(
        dir: &Path,
        scale: f64,
        settings: &Settings,
        act: impl AsyncFnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        let mut env = Self::set(dir, scale, settings).await?;
        let acted = act(&mut env).await;
        env.cluster.stop().await?;
        acted
    }

    async fn set(dir: &Path, scale: f64, settings: &Settings) -> Result<Self> {
        check_space(dir, scale).await?;
        println!("Postgres, the same for all: {settings}");
        let cluster = Cluster::start_temporary_in(dir, settings).await?;
        let files = cluster.directory("set")?;
        let scratch = cluster.directory("scratch")?;
        generate(scale, &files).await?;
        Ok(Self { files, scratch, cluster, loaded: false })
    }

    pub(crate) fn files(&self) -> &Path {
        &self.files
    }

    /// Returns a folder for other files.
    pub(crate) fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// Returns a further folder of this name, which is removed with the cluster.
    pub(crate) fn directory(&self, name: &str) -> Result<PathBuf> {
        Ok(self.cluster.directory(name)?)
    }

    pub(crate) fn address(&self) -> &Address {
        self.cluster.address()
    }

    /// Replaces the database of this name with an empty one. Ends with a checkpoint, so that no earlier writes disturb
    /// a measurement.
    pub(crate) async fn empty_database(&self, name: &str) -> Result<()> {
        let server = self.address().connect("postgres").await?;
        server.batch_execute(&format!("drop database if exists {name}")).await?;
        server.batch_execute(&format!("create database {name}")).await?;
        server.batch_execute("checkpoint").await?;
        Ok(())
    }

    /// Creates the host's login. Returns the highest product id; ids start at 1.
    pub(crate) async fn let_hosts_in(&self, database: &str) -> Result<i32> {
        let client = self.address().connect(database).await?;
        create_host_login(&client).await?;
        Ok(client.query_one("select max(id) from catalog.products", &[]).await?.get(0))
    }
}

/// Generates a dataset of this scale in a folder.
pub(crate) async fn generate(scale: f64, files: &Path) -> Result<()> {
    let mut generate = Command::new(program("atelier-etl")?);
    generate.args(["generate", "--scale", &scale.to_string(), "--seed", "1"]).arg(files);
    succeed(&mut generate).await
}

/// Returns a process's memory in KiB from `/proc`: `VmHWM` is the peak, `VmRSS` the current size.
pub(crate) fn memory_kib(pid: u32, figure: &str) -> Option<u64> {
    let report = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = report.lines().find_map(|line| line.strip_prefix(figure)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Returns the processor time of a process in seconds, from `/proc`, which counts 100 ticks per second.
pub(crate) fn cpu_seconds(pid: u32) -> Option<f64> {
    let report = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may contain any character, so parse after it. The state is the 3rd field, the times are the 14th and
    // 15th.
    let mut times = report.rsplit_once(')')?.1.split_whitespace().skip(11).map(str::parse::<f64>);
    Some((times.next()?.ok()? + times.next()?.ok()?) / 100.0)
}

/// Returns the path of psql: beside the server's programs, or else from PATH.
pub(crate) fn psql() -> Result<PathBuf> {
    let beside = Binaries::find()?.program("psql");
    Ok(if beside.is_file() { beside } else { PathBuf::from("psql") })
}

/// Runs a command and shows its output. It is an error if the command fails.
pub(crate) async fn succeed(command: &mut Command) -> Result<()> {
    let name = command.as_std().get_program().to_string_lossy().into_owned();
    let status = command.status().await.with_context(|| format!("cannot run {name}"))?;
    if !status.success() {
        bail!("{name} failed ({status})");
    }
    Ok(())
}

/// Checks that a directory has enough space for a dataset of this scale and its database.
pub(crate) async fn check_space(directory: &Path, scale: f64) -> Result<()> {
    ensure!(scale > 0.0, "invalid scale {scale}: expected a number above 0");
    let needed_gib = GIB_AT_SCALE_1 * scale + GIB_AT_LEAST;
    let output = Command::new("df").arg("-Pk").arg(directory).output().await.context("cannot run df")?;
    let listed = String::from_utf8_lossy(&output.stdout);
    let free_kib = listed.lines().nth(1).and_then(|line| line.split_whitespace().nth(3)?.parse::<f64>().ok());
    let free_kib =
        free_kib.with_context(|| format!("df does not show the free space of {}", directory.display()))?;
    let free_gib = free_kib / f64::from(1024 * 1024);
    let directory = directory.display();
    println!("Disk: {needed_gib:.1} GiB needed in {directory}, {free_gib:.1} GiB free");
    ensure!(
        free_gib > needed_gib,
        "too little space in {directory}: choose another folder with --dir, or a smaller dataset with --scale"
    );
    Ok(())
}
