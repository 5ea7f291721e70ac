//! Filling a disk, and freeing it again.

use rig::Database;
use tokio_postgres::error::SqlState;

/// Fills the disk with this database's tables completely.
pub async fn fill(database: &Database) {
    let client = database.connect().await.unwrap();
    // The rows are neither compressed nor moved, and each fills a page.
    let table = "create table public.filler (filler text) with (autovacuum_enabled = false);
                 alter table public.filler alter filler set storage plain";
    client.batch_execute(table).await.unwrap();
    for rows in [1000, 100, 1] {
        let fill =
            format!("insert into public.filler select repeat('x', 7000) from generate_series(1, {rows})");
        let full = loop {
            if let Err(error) = client.batch_execute(&fill).await {
                break error;
            }
        };
        assert_eq!(full.code(), Some(&SqlState::DISK_FULL), "{full:?}");
    }
}

/// Frees the disk again.
pub async fn make_room(database: &Database) {
    let client = database.connect().await.unwrap();
    client.batch_execute("drop table public.filler").await.unwrap();
    client.batch_execute("checkpoint").await.unwrap(); // removes the table's files
}
