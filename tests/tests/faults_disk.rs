//! A server with data and WAL on one small disk: no load fills it, whatever its size.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use rig::{Cluster, Database, Settings, until};
use support::incoming::{Incoming, TIME, content, failed, message, undisturbed};
use support::loader::{Loader, generated, number, serving, until_blocked_by_a_lock};

const MIB: u64 = 1 << 20;

/// A server with all its files on one disk, and a served catalog.
struct SmallDisk {
    cluster: Cluster,
    database: Database,
}

impl SmallDisk {
    async fn create() -> Self {
        // The WAL of a load takes as much space as its tables.
        let settings = Settings::disposable().and("wal_level", "replica").and_disk("data", 700 * MIB);
        let cluster = Cluster::start_temporary(&settings).await.unwrap();
        let database = serving(Database::create_in(&cluster).await.unwrap()).await;
        Self { cluster, database }
    }

    /// Leaves this many bytes free, after Postgres has removed the WAL that it does not need.
    async fn leave_free(&self, bytes: u64) {
        let client = self.database.connect().await.unwrap();
        client.batch_execute("checkpoint").await.unwrap();
        self.cluster.leave_free(bytes).unwrap();
    }

    async fn size(&self) -> i64 {
        number(&self.database, "select pg_database_size(current_database())").await
    }

    /// Adds to a cart.
    async fn add_to_a_cart(&self) {
        let client = self.database.connect().await.unwrap();
        let added = client.query_one("select cart.add(sha256('a shopper'), 1, 1)", &[]).await.unwrap();
        assert_eq!(added.get::<_, &str>(0), "added");
    }

    /// Checks that a failed load left the catalog as it was, and that `abandon` frees its space.
    async fn abandon(&mut self, served: &str, size: i64) {
        assert!(content(&self.database).await == served);
        self.add_to_a_cart().await;
        let printed = Loader::new(&self.database, &["abandon"]).succeeds().await;
        assert!(printed.contains("abandoned the unfinished load"), "{printed}");
        assert!(self.size().await - size < 1_000_000, "{printed}");
        assert!(self.cluster.ended().unwrap().is_none());
    }
}

/// Returns the number before `MB` and after `before` in an error, in bytes.
fn bytes_after(error: &str, before: &str) -> u64 {
    let (_, rest) = error.split_once(before).unwrap_or_else(|| panic!("no {before:?} in {error}"));
    rest.split(' ').next().unwrap().parse::<u64>().unwrap() * 1_000_000
}

/// Makes the first rows of a file much longer than the others, which the loader then takes for as long.
fn begin_with_long_rows(folder: &Path, file: &str) {
    let text = fs::read_to_string(folder.join(file)).unwrap();
    let mut lines = text.lines();
    let mut long = format!("{}\n", lines.next().unwrap());
    for line in lines {
        let padding = if long.len() < 64 << 10 { " ".repeat(2000) } else { String::new() };
        let (id, rest) = line.split_once(',').unwrap();
        long += &format!("{id}{padding},{rest}\n");
    }
    fs::write(folder.join(file), long).unwrap();
}

#[tokio::test]
async fn a_load_stops_before_it_fills_the_disk_of_data_and_wal() {
    let mut disk = SmallDisk::create().await;
    let (exact, longer, compressed) = (generated(0.01, 3), generated(0.03, 4), generated(0.01, 7));
    for file in ["skus.csv", "related.csv", "features.csv", "styles.csv"] {
        begin_with_long_rows(longer.path(), file);
    }
    let files = fs::read_dir(compressed.path()).unwrap().map(|file| file.unwrap().path());
    assert!(Command::new("gzip").args(files).status().unwrap().success());
    let mut outcomes = Vec::new();
    // From a fifth of the estimate to 1.1 times as much, and beyond where the estimate is uncertain.
    for (dataset, twentieths) in [
        (exact.path(), &[4, 6, 8, 10, 12, 14, 16, 18, 20, 22][..]),
        (longer.path(), &[10, 18, 19, 20, 21, 22, 23, 24, 25, 26]),
        (compressed.path(), &[8, 18, 20, 22, 30]),
    ] {
        let loader = Loader::of_folder(&disk.database, dataset, &[]);
        let new = undisturbed(dataset).await;
        disk.leave_free(80 * MIB).await;
        let error = loader.fails().await;
        let needed = bytes_after(&error, "needs about ") + bytes_after(&error, "free, and ");
        let mut old = content(&disk.database).await;
        let mut size = disk.size().await;
        disk.abandon(&old, size).await;
        for &twentieth in twentieths {
            let free = needed * twentieth / 20 + MIB;
            disk.leave_free(free).await;
            let output = loader.run().await;
            let printed = String::from_utf8_lossy(&output.stderr).into_owned();
            let is_exact = dataset == exact.path();
            if output.status.success() {
                assert!(free >= needed, "{free} of {needed}");
                assert!(content(&disk.database).await == new);
                disk.add_to_a_cart().await;
                Loader::new(&disk.database, &["prune", "--previous"]).succeeds().await;
                (old, size) = (new.clone(), disk.size().await);
                outcomes.push("loaded");
            } else {
                let is_refused = printed.contains("are missing on the disk of the database's tables and WAL");
                assert_eq!(is_refused, free < needed, "{free} of {needed}: {printed}");
                assert!(
                    is_refused || printed.contains("is almost full") && !is_exact,
                    "{free} of {needed}: {printed}"
                );
                disk.abandon(&old, size).await;
                outcomes.push(if is_refused { "refused" } else { "stopped" });
            }
        }
    }
    println!("{outcomes:?}");
    assert_eq!(outcomes.len(), 25);
    assert_eq!(outcomes[..10].iter().filter(|one| **one == "loaded").count(), 2, "{outcomes:?}");
    assert!(outcomes[10..20].contains(&"stopped"), "{outcomes:?}");
    assert_eq!(outcomes[24], "loaded", "{outcomes:?}");
}

/// A statement that waits for a lock, or builds an index, asks the loader for nothing until it ends.
#[tokio::test]
async fn the_functions_load_stops_during_a_long_statement_and_a_later_invocation_resumes_it() {
    let mut disk = SmallDisk::create().await;
    let dataset = generated(0.01, 5);
    let incoming = Incoming::of(disk.database.clone(), &[]).await;
    let records = incoming.put_folder("large", dataset.path()).await;
    let record = &records[0];
    disk.leave_free(500 * MIB).await;
    let old = content(&disk.database).await;

    let reader = disk.database.connect().await.unwrap();
    let event = message("1", record);
    let invocation = incoming.handle(&event, TIME);
    let filling = async {
        // As pg_dump does: the primary key waits for it.
        let lock = "begin; lock table catalog_next.products in access share mode";
        until("a table is loaded", async || {
            let locked = reader.batch_execute(lock).await.is_ok();
            if !locked {
                reader.batch_execute("rollback").await.unwrap();
            }
            locked
        })
        .await;
        until_blocked_by_a_lock(&disk.database).await;
        disk.leave_free(30 * MIB).await;
    };
    let (reply, ()) = tokio::join!(invocation, filling);
    assert_eq!(failed(&reply), ["1"]);
    let waiting = "select count(*) from pg_locks where not granted";
    until("the statement ends", async || number(&disk.database, waiting).await == 0).await;
    let reason = incoming.text("select reason from etl.load order by generation desc limit 1").await;
    assert!(reason.contains("is almost full"), "{reason}");
    assert!(content(&disk.database).await == old);
    disk.add_to_a_cart().await;

    reader.batch_execute("rollback").await.unwrap();
    disk.leave_free(500 * MIB).await;
    assert!(incoming.is_done(record).await);
    assert_eq!(incoming.published().await, 2);
    assert!(content(&disk.database).await == undisturbed(dataset.path()).await);
    let resumed = number(&disk.database, "select count(*) from etl.load").await;
    assert_eq!(resumed, 2, "the same load was resumed");
    assert!(disk.cluster.ended().unwrap().is_none());
}

/// Publishing needs next to no space, so a built catalog is published even on a disk that is almost full.
#[tokio::test]
async fn a_built_catalog_is_published_on_a_disk_that_is_almost_full() {
    let disk = SmallDisk::create().await;
    let dataset = generated(0.01, 6);
    Loader::of_folder(&disk.database, dataset.path(), &["--no-publish"]).succeeds().await;
    disk.leave_free(20 * MIB).await;
    Loader::of_folder(&disk.database, dataset.path(), &[]).succeeds().await;
    disk.add_to_a_cart().await;
    assert!(content(&disk.database).await == undisturbed(dataset.path()).await);
}
