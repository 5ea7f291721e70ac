//! A server with data and WAL on one small disk: no load fills it, whatever its size.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod support;

use std::fs;
use std::path::Path;

use rig::{Cluster, Database, Settings};
use support::incoming::{content, undisturbed};
use support::loader::{Loader, generated, number, serving};

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
    let (exact, longer) = (generated(0.01, 3), generated(0.03, 4));
    for file in ["skus.csv", "related.csv", "features.csv", "styles.csv"] {
        begin_with_long_rows(longer.path(), file);
    }
    let mut outcomes = Vec::new();
    // From a fifth of the estimate to 1.1 times as much, and beyond where the estimate is too low.
    for (dataset, twentieths) in [
        (exact.path(), [4, 6, 8, 10, 12, 14, 16, 18, 20, 22]),
        (longer.path(), [10, 18, 19, 20, 21, 22, 23, 24, 25, 26]),
    ] {
        let loader = Loader::of_folder(&disk.database, dataset, &[]);
        let new = undisturbed(dataset).await;
        disk.leave_free(80 * MIB).await;
        let error = loader.fails().await;
        let needed = bytes_after(&error, "needs about ") + bytes_after(&error, "free, and ");
        let mut old = content(&disk.database).await;
        let mut size = disk.size().await;
        disk.abandon(&old, size).await;
        for twentieth in twentieths {
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
    assert_eq!(outcomes.len(), 20);
    assert_eq!(outcomes[..10].iter().filter(|one| **one == "loaded").count(), 2, "{outcomes:?}");
    assert!(outcomes[10..].contains(&"stopped"), "{outcomes:?}");
}
