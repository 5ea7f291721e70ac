//! The loader with all four steps, compared with psql's `\copy` of the six large files into bare tables.
//!
//! The loader can also read the files from a stand-in for S3 on the same machine. The extra cost is that of the
//! loader's client and of the stand-in; the benchmark prints the stand-in's processor time.
//!
//! The plain copy is the minimum that gets the bytes into Postgres. It checks nothing, has no index, keeps no order,
//! and swallows lines after a missing quote. As with the loader, the transaction that creates a table also fills it,
//! so neither side writes WAL for its rows.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use local::{SUPERUSER, program};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::bench_env::{BenchEnv, CATALOG, memory_kib, psql, succeed};
use crate::median;
use crate::s3::StandIn;

const RAW: &str = "raw_copy";

/// The six large files with columns of the types that the loader's tables have.
const TABLES: [(&str, &str); 6] = [
    ("product", "id int, name text, slogan text, description text, category text, default_price int"),
    ("features", "id int, product_id int, feature text, value text"),
    ("styles", "id int, product_id int, name text, sale_price int, original_price int, default_style int"),
    ("photos", "id int, style_id int, url text, thumbnail_url text"),
    ("skus", "id int, style_id int, size text, quantity int"),
    ("related", "id int, current_product_id int, related_product_id int"),
];

/// The source of a load.
#[derive(Clone, Copy)]
pub(crate) enum Source<'a> {
    /// The folder of the generated dataset.
    Disk,
    /// The same files in a bucket.
    S3(&'a StandIn),
}

/// Runs copies and loads in turn, also from S3 if given. Prints the times, and `load_vs_raw_copy` last.
pub(crate) async fn measure(env: &mut BenchEnv, rounds: u32, s3: Option<&StandIn>) -> Result<()> {
    let (mut raw, mut disk, mut from_s3) = (Vec::new(), Vec::new(), Vec::new());
    let (mut memory, mut memory_s3, mut share) = (None, None, Vec::new());
    for round in 1..=rounds {
        env.empty_database(RAW).await?;
        let copied = raw_copy(env).await?;
        raw.push(copied);
        // Dropped before the load, so that the disk need not hold both.
        env.address().connect("postgres").await?.batch_execute(&format!("drop database {RAW}")).await?;
        let (seconds, peak) = load(env, Source::Disk, Stdio::null()).await?;
        disk.push(seconds);
        memory = memory.max(peak);
        let mut line = format!("round {round}: raw copy {copied:.2} s, load {seconds:.2} s");
        if let Some(s3) = s3 {
            let before = s3.cpu_seconds()?;
            let (seconds, peak) = load(env, Source::S3(s3), Stdio::null()).await?;
            let spent = s3.cpu_seconds()? - before;
            from_s3.push(seconds);
            share.push(spent);
            memory_s3 = memory_s3.max(peak);
            line += &format!(", load from S3 {seconds:.2} s (processor time of the stand-in {spent:.2} s)");
        }
        println!("{line}");
    }
    let (raw, disk) = (median(&raw), median(&disk));
    println!("medians: raw copy {raw:.2} s, load {disk:.2} s");
    if s3.is_some() {
        let (load, share) = (median(&from_s3), median(&share));
        println!("medians: load from S3 {load:.2} s, processor time of the stand-in {share:.2} s");
        if let Some(peak) = memory_s3 {
            println!("s3_load_peak_memory_mib: {}", peak / 1024);
        }
        println!("s3_load_vs_raw_copy: {:.2}", load / raw);
    }
    if let Some(peak) = memory {
        println!("load_peak_memory_mib: {}", peak / 1024);
    }
    println!("load_vs_raw_copy: {:.2}", disk / raw);
    Ok(())
}

/// Loads the dataset into a new database. Returns the seconds and, if `/proc` shows it, the peak memory in KiB.
pub(crate) async fn load(
    env: &mut BenchEnv,
    source: Source<'_>,
    output: Stdio,
) -> Result<(f64, Option<u64>)> {
    let mut command = loader(env, CATALOG).await?;
    match source {
        Source::Disk => command.arg(env.files()),
        Source::S3(s3) => command.arg(s3.url()).envs(s3.variables()),
    };
    command.stdout(output);
    let since = Instant::now();
    let mut loader = command.spawn().context("cannot run atelier-etl")?;
    let pid = loader.id().unwrap_or_default();
    let mut peak = None;
    let status = loop {
        tokio::select! {
            status = loader.wait() => break status?,
            () = tokio::time::sleep(Duration::from_millis(50)) => peak = peak.max(memory_kib(pid, "VmHWM")),
        }
    };
    let seconds = since.elapsed().as_secs_f64();
    ensure!(status.success(), "atelier-etl load failed ({status})");
    env.loaded = true;
    Ok((seconds, peak))
}

/// Returns the command `atelier-etl load` for a new database of this name. The caller adds the source.
pub(crate) async fn loader(env: &BenchEnv, database: &str) -> Result<Command> {
    loader_of(&program("atelier-etl")?, env, database).await
}

/// Returns the same command for a loader whose program is in this file.
pub(crate) async fn loader_of(program: &Path, env: &BenchEnv, database: &str) -> Result<Command> {
    env.empty_database(database).await?;
    let url = env.address().url(SUPERUSER, database);
    succeed(Command::new(program).arg("migrate").env("DATABASE_URL", &url).stdout(Stdio::null())).await?;
    env.address().connect("postgres").await?.batch_execute("checkpoint").await?;
    let mut command = Command::new(program);
    command.args(["load", "--dataset", "bench", "--rejects"]).arg(env.scratch().join("rejects.csv"));
    command.env("DATABASE_URL", &url).kill_on_drop(true);
    Ok(command)
}

async fn raw_copy(env: &BenchEnv) -> Result<f64> {
    let mut script = String::new();
    for (file, columns) in TABLES {
        let path = env.files().join(format!("{file}.csv")).display().to_string().replace('\'', "''");
        script += &format!(
            "begin;\ncreate table {file} ({columns});\n\
             \\copy {file} from '{path}' with (format csv, header, null 'null')\ncommit;\n"
        );
    }
    let since = Instant::now();
    let mut client = Command::new(psql()?)
        .args(["--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--file", "-", "--dbname"])
        .arg(env.address().url(SUPERUSER, RAW))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("cannot run psql")?;
    let mut input = client.stdin.take().context("psql has no standard input")?;
    input.write_all(script.as_bytes()).await?;
    drop(input);
    let status = client.wait().await?;
    ensure!(status.success(), "the raw copy failed ({status})");
    Ok(since.elapsed().as_secs_f64())
}
