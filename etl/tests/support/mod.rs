//! Test support: a folder with a dataset, a database, and the program itself.

#![allow(dead_code)] // each test binary uses a part

use std::process::{Command, Output};

use rig::Database;
use sample_data::Options;
use tempfile::TempDir;

/// Returns a working directory with a small dataset in its folder `set`.
pub(crate) fn work_dir() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { scale: 0.000_5, seed: 7, legacy_format: false };
    sample_data::generate(&options, &dir.path().join("set"), |_| {}).unwrap();
    dir
}

pub(crate) fn atelier_etl(dir: &TempDir, url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_atelier-etl"));
    command.args(arguments).current_dir(dir.path()).env("DATABASE_URL", url);
    command
}

pub(crate) fn run(dir: &TempDir, url: &str, arguments: &[&str]) -> Output {
    atelier_etl(dir, url, arguments).output().unwrap()
}

pub(crate) fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Returns the error line without `error: `.
pub(crate) fn error(output: &Output) -> String {
    assert!(!output.status.success());
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    let line = text.lines().last().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or_else(|| panic!("no error line in {text}")).to_owned()
}

pub(crate) fn edit(dir: &TempDir, file: &str, change: impl FnOnce(&mut Vec<String>)) {
    let path = dir.path().join("set").join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    change(&mut lines);
    std::fs::write(&path, lines.join("\n")).unwrap();
}

pub(crate) async fn number(database: &Database, select: &str) -> i64 {
    database.connect().await.unwrap().query_one(select, &[]).await.unwrap().get(0)
}
