//! What both measurements stand on: a generated set of files, a cluster of Postgres, and the programs.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use local::{Address, Binaries, Cluster, Settings, create_host_login, program};
use tokio::process::Command;

/// The database that the loader fills and the host reads.
pub(crate) const CATALOG: &str = "atelier";

/// At scale 1: 2.2 GB of files, some 8 GB of tables and indexes, and what Postgres keeps of its log.
const GIB_AT_SCALE_1: f64 = 12.0;
/// An empty cluster and its log, whatever the scale.
const GIB_AT_LEAST: f64 = 1.0;

/// The set and the cluster, both removed when this process ends, however that comes about.
pub(crate) struct Stage {
    files: PathBuf,
    scratch: PathBuf,
    cluster: Cluster,
    /// Whether the catalog was loaded already.
    pub(crate) loaded: bool,
}

impl Stage {
    /// Does something on a stage with a set of this scale and a cluster with these settings, both in `dir`, and strikes
    /// it, whatever has become of that.
    pub(crate) async fn with<T>(
        dir: &Path,
        scale: f64,
        settings: &Settings,
        act: impl AsyncFnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        let mut stage = Self::set(dir, scale, settings).await?;
        let acted = act(&mut stage).await;
        stage.cluster.stop().await?;
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

    /// A folder for whatever else is written.
    pub(crate) fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// A folder beside those, which whoever removes them all can remove too.
    pub(crate) fn directory(&self, name: &str) -> Result<PathBuf> {
        Ok(self.cluster.directory(name)?)
    }

    pub(crate) fn address(&self) -> &Address {
        self.cluster.address()
    }

    /// A new, empty database in place of any that had the name, with nothing left to be written out for another.
    pub(crate) async fn empty_database(&self, name: &str) -> Result<()> {
        let server = self.address().connect("postgres").await?;
        server.batch_execute(&format!("drop database if exists {name}")).await?;
        server.batch_execute(&format!("create database {name}")).await?;
        server.batch_execute("checkpoint").await?;
        Ok(())
    }

    /// Makes the login of hosts, and answers with the highest id of a product: they have the ids from 1 to that.
    pub(crate) async fn let_hosts_in(&self) -> Result<i32> {
        let client = self.address().connect(CATALOG).await?;
        create_host_login(&client).await?;
        Ok(client.query_one("select max(id) from catalog.products", &[]).await?.get(0))
    }
}

/// Writes a set of this scale into a folder.
pub(crate) async fn generate(scale: f64, files: &Path) -> Result<()> {
    let mut generate = Command::new(program("atelier-etl")?);
    generate.args(["generate", "--scale", &scale.to_string(), "--seed", "1"]).arg(files);
    succeed(&mut generate).await
}

/// A figure of `/proc` about a process's memory, in KiB: `VmHWM`, the most that it had, or `VmRSS`, what it has.
pub(crate) fn memory_kib(pid: u32, figure: &str) -> Option<u64> {
    let report = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = report.lines().find_map(|line| line.strip_prefix(figure)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The processor time that a process has used, in seconds, of `/proc`: there, a second has 100 ticks.
pub(crate) fn cpu_seconds(pid: u32) -> Option<f64> {
    let report = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // After the name, which may have anything in it: the state is the 3rd field, the times are the 14th and 15th.
    let mut times = report.rsplit_once(')')?.1.split_whitespace().skip(11).map(str::parse::<f64>);
    Some((times.next()?.ok()? + times.next()?.ok()?) / 100.0)
}

/// The client of the server in use, or of the path where that came without one.
pub(crate) fn psql() -> Result<PathBuf> {
    let beside = Binaries::find()?.program("psql");
    Ok(if beside.is_file() { beside } else { PathBuf::from("psql") })
}

/// Runs a command with its output shown; an error if it fails.
pub(crate) async fn succeed(command: &mut Command) -> Result<()> {
    let name = command.as_std().get_program().to_string_lossy().into_owned();
    let status = command.status().await.with_context(|| format!("cannot run {name}"))?;
    if !status.success() {
        bail!("{name} failed ({status})");
    }
    Ok(())
}

/// Checks that a set of this scale, loaded, has room in a directory, as it will take it.
pub(crate) async fn check_space(directory: &Path, scale: f64) -> Result<()> {
    ensure!(scale > 0.0, "the scale is {scale}: expected a number above 0");
    let needed_gib = GIB_AT_SCALE_1 * scale + GIB_AT_LEAST;
    let output = Command::new("df").arg("-Pk").arg(directory).output().await.context("cannot run df")?;
    let listed = String::from_utf8_lossy(&output.stdout);
    let free_kib = listed.lines().nth(1).and_then(|line| line.split_whitespace().nth(3)?.parse::<f64>().ok());
    let free_kib =
        free_kib.with_context(|| format!("df cannot tell the free space of {}", directory.display()))?;
    let free_gib = free_kib / f64::from(1024 * 1024);
    let directory = directory.display();
    println!("Disk: {needed_gib:.1} GiB needed in {directory}, {free_gib:.1} GiB free");
    ensure!(
        free_gib > needed_gib,
        "too little space in {directory}; --dir chooses another place, --scale a smaller set"
    );
    Ok(())
}
