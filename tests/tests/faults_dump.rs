//! Publishes while `pg_dump` reads the whole database.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod support;

use std::process::Stdio;

use local::Binaries;
use rig::{Database, until};
use support::load_into;
use support::loader::{generated, number};
use support::marked::write_marked;
use tokio::io::AsyncReadExt;
use tokio::process::Command;

/// The number of catalogs that wait to be dropped.
const OLD: &str = "select count(*) from pg_namespace where nspname like 'catalog\\_old\\_%'";

#[tokio::test]
async fn fifty_publishes_outlast_a_running_dump() {
    // The dump waits for its reader in the middle of the first large table.
    let database = Database::create().await.unwrap();
    for seed in [1, 2] {
        load_into(database.clone(), generated(0.001, seed).path()).await;
    }
    let mut dump = Command::new(Binaries::find().unwrap().program("pg_dump"));
    let mut dump = dump.arg(database.url()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let locked = "select count(*) from pg_locks join pg_stat_activity using (pid)
                  where application_name = 'pg_dump' and datname = current_database()
                      and relation in ('catalog.documents'::regclass, 'catalog_prev.documents'::regclass)";
    until("the dump has locked both catalogs", async || number(&database, locked).await == 2).await;

    for mark in 1..=50 {
        let dataset = tempfile::tempdir().unwrap();
        write_marked(dataset.path(), mark % 40 + 1);
        let published = load_into(database.clone(), dataset.path()).await.summary.generation;
        let served = "select generation::bigint from catalog.documents limit 1";
        assert_eq!(number(&database, served).await, i64::from(published));
        assert!(number(&database, OLD).await <= 2, "only what the dump reads is left");
    }
    assert_eq!(number(&database, OLD).await, 2);

    let mut dumped = Vec::new();
    dump.stdout.take().unwrap().read_to_end(&mut dumped).await.unwrap();
    assert!(dump.wait().await.unwrap().success());
    let dumped = String::from_utf8_lossy(&dumped);
    assert!(dumped.contains("-- PostgreSQL database dump complete"), "{}", dumped.len());
    let dataset = tempfile::tempdir().unwrap();
    write_marked(dataset.path(), 1);
    load_into(database.clone(), dataset.path()).await;
    assert_eq!(number(&database, OLD).await, 0);
}
