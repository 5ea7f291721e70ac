//! The loader, all four steps of it, against psql's `\copy` of the six large files into bare tables.
//!
//! The plain copy checks nothing, has no index, keeps no order and swallows lines after a missing quote: it is the
//! least that gets the bytes into Postgres. Each of its tables is made in the transaction that fills it, as the
//! loader's are, so that neither side writes a log of its rows.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use local::program;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::median;
use crate::stage::{CATALOG, Stage, memory_kib, psql, succeed};

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

/// Runs both in turn and prints what they took, `load_vs_raw_copy` last.
pub(crate) async fn measure(stage: &mut Stage, rounds: u32) -> Result<()> {
    let (mut raw, mut loads, mut memory) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=rounds {
        stage.empty_database(RAW).await?;
        raw.push(raw_copy(stage).await?);
        // Away with it before the other side begins: the disk need not hold both.
        stage.address().connect("postgres").await?.batch_execute(&format!("drop database {RAW}")).await?;
        let (seconds, peak) = load(stage, Stdio::null()).await?;
        loads.push(seconds);
        memory.extend(peak);
        println!("round {round}: raw copy {:.2} s, load {seconds:.2} s", raw.last().unwrap_or(&f64::NAN));
    }
    let (raw, load) = (median(&raw), median(&loads));
    println!("medians: raw copy {raw:.2} s, load {load:.2} s");
    if let Some(peak) = memory.iter().max() {
        println!("load_peak_memory_mib: {}", peak / 1024);
    }
    println!("load_vs_raw_copy: {:.2}", load / raw);
    Ok(())
}

/// Loads the set into a new database; answers with seconds and, where `/proc` tells, the peak memory in KiB.
pub(crate) async fn load(stage: &mut Stage, output: Stdio) -> Result<(f64, Option<u64>)> {
    stage.empty_database(CATALOG).await?;
    let url = stage.catalog_url();
    succeed(
        Command::new(program("atelier-etl")?).arg("migrate").env("DATABASE_URL", &url).stdout(Stdio::null()),
    )
    .await?;
    stage.address().connect("postgres").await?.batch_execute("checkpoint").await?;
    let since = Instant::now();
    let mut loader = Command::new(program("atelier-etl")?)
        .arg("load")
        .arg(stage.files())
        .args(["--dataset", "bench", "--rejects"])
        .arg(stage.scratch().join("rejects.csv"))
        .env("DATABASE_URL", &url)
        .stdout(output)
        .kill_on_drop(true)
        .spawn()
        .context("cannot run atelier-etl")?;
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
    stage.loaded = true;
    Ok((seconds, peak))
}

async fn raw_copy(stage: &Stage) -> Result<f64> {
    let mut script = String::new();
    for (file, columns) in TABLES {
        let path = stage.files().join(format!("{file}.csv")).display().to_string().replace('\'', "''");
        script += &format!(
            "begin;\ncreate table {file} ({columns});\n\
             \\copy {file} from '{path}' with (format csv, header, null 'null')\ncommit;\n"
        );
    }
    let since = Instant::now();
    let mut client = Command::new(psql()?)
        .args(["--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--file", "-", "--dbname"])
        .arg(stage.address().url(local::SUPERUSER, RAW))
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
