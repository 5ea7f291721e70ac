//! The environment of a benchmark: a generated dataset, a Postgres cluster, and the programs of one or two commits.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command as StdCommand, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use local::{Address, Binaries, HOST_LOGIN, SUPERUSER, create_host_login, free_address, program};
use rig::{Cluster, Settings};
use tokio::process::Command;
use tokio::sync::OnceCell;

use crate::Options;
use crate::turns::Subject;

/// Disk space at scale 1: 2.2 GB of files, about 8 GB of tables and indexes for each build, and WAL.
const GIB_AT_SCALE_1: f64 = 12.0;
/// Disk space of an empty cluster and its WAL, at any scale.
const GIB_AT_LEAST: f64 = 1.0;

/// A dataset, a cluster and the builds to measure. All files are removed when this process ends, even if it is killed.
pub(crate) struct Env {
    cluster: Cluster,
    /// The certificate of the cluster, as PEM. Connections over its port need it; those over its socket do not.
    pub(crate) certificate: String,
    /// The folder of the dataset.
    pub(crate) files: PathBuf,
    /// The present build and, with `--base`, an earlier one.
    pub(crate) builds: Vec<Build>,
    highest: OnceCell<i32>,
}

impl Env {
    /// Runs `act` with a dataset and a cluster. Removes both afterwards, even if `act` fails.
    pub(crate) async fn with(options: &Options, act: impl AsyncFnOnce(&Self) -> Result<()>) -> Result<()> {
        let mut builds = vec![Build { name: "present", programs: None }];
        builds.extend(options.base.clone().map(|folder| Build { name: "base", programs: Some(folder) }));
        check_space(&options.dir, builds.len() as f64 * options.scale).await?;
        let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let key = certificate.signing_key.serialize_pem();
        let certificate = certificate.cert.pem();
        let port = free_address()?.port().to_string();
        let settings = Settings::durable().and("listen_addresses", "localhost").and("port", port);
        let settings =
            settings.and("ssl", "on").and_file("ssl_cert_file", &certificate).and_file("ssl_key_file", key);
        println!("Postgres, the same for all: {settings}");
        let cluster = Cluster::start_temporary_in(&options.dir, &settings).await?;
        let files = cluster.directory("set")?;
        let env = Self { cluster, certificate, files, builds, highest: OnceCell::new() };
        let mut generate = Command::new(program("atelier-etl")?);
        generate.args(["generate", "--scale", &options.scale.to_string(), "--seed", "1"]).arg(&env.files);
        let acted = match succeed(&mut generate).await {
            Ok(()) => act(&env).await,
            failed => failed,
        };
        env.cluster.stop().await?;
        acted
    }

    /// Returns the folder of this name, which is removed with the cluster.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf> {
        Ok(self.cluster.directory(name)?)
    }

    /// Returns the path of a temporary file.
    pub(crate) fn file(&self, name: &str) -> Result<PathBuf> {
        Ok(self.folder("scratch")?.join(name))
    }

    pub(crate) fn address(&self) -> &Address {
        self.cluster.address()
    }

    /// Loads the dataset with each build and creates the login of hosts, once. Returns the highest product id; ids start
    /// at 1.
    pub(crate) async fn load_all(&self) -> Result<i32> {
        let load = async || {
            let mut highest = 0;
            for build in &self.builds {
                build.load(self, &self.disk()).await?;
                let client = self.address().connect(build.name).await?;
                create_host_login(&client).await?;
                // By name: `migrate` accepts a login of several databases only so.
                let grant = format!("grant connect on database {} to {HOST_LOGIN}", build.name);
                client.batch_execute(&grant).await?;
                highest = client.query_one("select max(id) from catalog.products", &[]).await?.get(0);
            }
            Ok(highest)
        };
        self.highest.get_or_try_init(load).await.copied()
    }

    /// Returns the dataset's folder as a source.
    pub(crate) fn disk(&self) -> Source {
        Source { location: self.files.clone().into(), variables: Vec::new() }
    }

    /// Replaces the database of this name with an empty one. Ends with a checkpoint, so that no earlier writes disturb
    /// a measurement.
    pub(crate) async fn empty_database(&self, name: &str) -> Result<()> {
        let server = self.address().connect("postgres").await?;
        for statement in ["drop database if exists", "create database"] {
            server.batch_execute(&format!("{statement} {name}")).await?;
        }
        server.batch_execute(&format!("revoke connect on database {name} from public")).await?;
        Ok(server.batch_execute("checkpoint").await?)
    }
}

/// Where a loader reads the dataset.
pub(crate) struct Source {
    /// A folder or an S3 URL.
    pub(crate) location: OsString,
    /// The loader's variables.
    pub(crate) variables: Vec<(&'static str, OsString)>,
}

/// The programs of one commit. Each build has a database of its own, because the schemas may differ.
pub(crate) struct Build {
    /// The name of the build and of its database.
    pub(crate) name: &'static str,
    /// The folder of the programs; `None` for those beside this one.
    programs: Option<PathBuf>,
}

impl Build {
    /// Returns the name of a thing of this build: "host", or "host, base".
    pub(crate) fn label(&self, what: &str) -> String {
        if self.programs.is_some() { format!("{what}, {}", self.name) } else { what.to_owned() }
    }

    /// Returns a thing of this build as a subject. A thing of the base is also compared with the present one.
    pub(crate) fn subject<S>(&self, what: &str, compared_with: Option<&str>, of: S) -> Subject<S> {
        let mut subject = Subject::new(self.label(what), compared_with, of);
        subject.compared_with.extend(self.programs.is_some().then(|| what.to_owned()));
        subject
    }

    fn program(&self, name: &str) -> Result<PathBuf> {
        let Some(folder) = &self.programs else { return Ok(program(name)?) };
        let path = folder.join(name).canonicalize();
        path.with_context(|| format!("no {name} in {}: run `make base`", folder.display()))
    }

    /// Returns the command of a host with a cache of `cache_bytes`, without an access log.
    pub(crate) fn host(&self, env: &Env, cache_bytes: u64) -> Result<StdCommand> {
        let mut command = StdCommand::new(self.program("atelier-host")?);
        command.env("DATABASE_URL", env.address().url(HOST_LOGIN, self.name));
        command.env("CACHE_BYTES", cache_bytes.to_string()).env("LOG_ACCESS", "off").env("LOG", "warn");
        Ok(command)
    }

    /// Returns the size of the catalog's documents in the database, in bytes.
    pub(crate) async fn documents_bytes(&self, env: &Env) -> Result<u64> {
        let size = "select pg_total_relation_size('catalog.documents')";
        let size: i64 = env.address().connect(self.name).await?.query_one(size, &[]).await?.get(0);
        Ok(size.try_into()?)
    }

    /// Loads the dataset into a new database. Returns the seconds, and prints the peak memory.
    pub(crate) async fn load(&self, env: &Env, source: &Source) -> Result<f64> {
        env.empty_database(self.name).await?;
        let etl = self.program("atelier-etl")?;
        let url = env.address().url(SUPERUSER, self.name);
        succeed(Command::new(&etl).arg("migrate").env("DATABASE_URL", &url).stdout(Stdio::null())).await?;
        let mut command = Command::new(&etl);
        command.args(["load", "--dataset", "bench", "--rejects"]).arg(env.file("rejects.csv")?);
        command.arg(&source.location).envs(source.variables.iter().cloned());
        command.env("DATABASE_URL", &url).kill_on_drop(true);
        let since = Instant::now();
        let mut loader = command.spawn().with_context(|| format!("cannot run {}", etl.display()))?;
        let (pid, mut peak) = (loader.id().unwrap_or_default(), None);
        let status = loop {
            tokio::select! {
                status = loader.wait() => break status?,
                () = tokio::time::sleep(Duration::from_millis(50)) => peak = peak.max(memory_kib(pid, "VmHWM")),
            }
        };
        let seconds = since.elapsed().as_secs_f64();
        ensure!(status.success(), "{} load failed ({status})", etl.display());
        println!("{} loader: peak memory {} MiB", self.name, peak.unwrap_or_default() / 1024);
        Ok(seconds)
    }
}

/// Returns a process's memory in KiB from `/proc`: `VmHWM` is the peak, `VmRSS` the current size.
pub(crate) fn memory_kib(pid: u32, figure: &str) -> Option<u64> {
    let report = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = report.lines().find_map(|line| line.strip_prefix(figure)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Returns the path of psql: beside the server's programs, or else from PATH.
pub(crate) fn psql() -> Result<PathBuf> {
    let beside = Binaries::find()?.program("psql");
    Ok(if beside.is_file() { beside } else { PathBuf::from("psql") })
}

/// Runs a command and shows its output. It is an error if the command fails.
pub(crate) async fn succeed(command: &mut Command) -> Result<()> {
    let name = command.as_std().get_program().display().to_string();
    let status = command.status().await.with_context(|| format!("cannot run {name}"))?;
    ensure!(status.success(), "{name} failed ({status})");
    Ok(())
}

/// Runs a command and returns its standard output. It is an error if the command fails or does not exist.
pub(crate) async fn output_of(command: &mut Command) -> Result<String> {
    let name = command.as_std().get_program().display().to_string();
    let output = command.kill_on_drop(true).output().await;
    let output =
        output.with_context(|| format!("cannot run {name}; scripts/install.sh {name} installs it"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{name} failed: {text}{}", String::from_utf8_lossy(&output.stderr));
    Ok(text)
}

/// Checks that a directory has enough space for a dataset of this scale and its database.
async fn check_space(directory: &Path, scale: f64) -> Result<()> {
    ensure!(scale > 0.0, "invalid scale {scale}: expected a number above 0");
    let needed_gib = GIB_AT_SCALE_1 * scale + GIB_AT_LEAST;
    let listed = output_of(Command::new("df").arg("-Pk").arg(directory)).await?;
    let free_kib = listed.lines().nth(1).and_then(|line| line.split_whitespace().nth(3)?.parse::<f64>().ok());
    let directory = directory.display();
    let free_kib = free_kib.with_context(|| format!("df does not show the free space of {directory}"))?;
    let free_gib = free_kib / f64::from(1024 * 1024);
    println!("Disk: {needed_gib:.1} GiB needed in {directory}, {free_gib:.1} GiB free");
    ensure!(
        free_gib > needed_gib,
        "too little space in {directory}: choose another folder with --dir, or a smaller dataset with --scale"
    );
    Ok(())
}
