//! The loader with all four steps, from disk and from S3, compared with psql's `\copy` of the six large files into bare
//! tables.
//!
//! The plain copy is the minimum that gets the bytes into Postgres. It checks nothing, has no index, keeps no order,
//! and swallows lines after a missing quote. As with the loader, the transaction that creates a table also fills it,
//! so neither side writes WAL for its rows.

use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use local::SUPERUSER;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::Options;
use crate::env::{Build, Env, Source, psql};
use crate::s3::S3;
use crate::turns::{Subject, in_turn};

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

/// Runs copies and loads in turn, and prints their times and ratios.
pub(crate) async fn measure(env: &Env, options: &Options) -> Result<()> {
    let s3 = S3::start(env).await?;
    let mut subjects = vec![Subject::new("raw copy", None, None)];
    for build in &env.builds {
        for (what, source) in [("load", env.disk()), ("load from S3", s3.source())] {
            subjects.push(build.subject(what, Some("raw copy"), Some((build, source))));
        }
    }
    let measure = async |load: &Option<(&Build, Source)>| match load {
        Some((build, source)) => build.load(env, source).await,
        None => raw_copy(env).await,
    };
    let loads = in_turn(options.rounds, "seconds", &subjects, measure).await?;
    println!("\n## Loads, scale {}: lower is better\n\n{loads}", options.scale);
    s3.stop().await
}

/// Copies the files into bare tables of a new database, drops it, and returns the seconds of the copy.
async fn raw_copy(env: &Env) -> Result<f64> {
    env.empty_database(RAW).await?;
    let mut script = String::new();
    for (file, columns) in TABLES {
        let path = env.files.join(format!("{file}.csv")).display().to_string().replace('\'', "''");
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
    let seconds = since.elapsed().as_secs_f64();
    // The disk need not hold both this database and a catalog.
    env.address().connect("postgres").await?.batch_execute(&format!("drop database {RAW}")).await?;
    Ok(seconds)
}
