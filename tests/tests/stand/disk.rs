//! A disk that is full, and room on it again.

use local::testing::Database;
use tokio_postgres::error::SqlState;

/// Fills the disk that the tables of this database lie on, to the last page.
pub async fn fill(database: &Database) {
    let client = database.connect().await.unwrap();
    // Rows that stay as and where they are, each on a page of its own.
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

/// Empties it of that again.
pub async fn make_room(database: &Database) {
    let client = database.connect().await.unwrap();
    client.batch_execute("drop table public.filler").await.unwrap();
    client.batch_execute("checkpoint").await.unwrap(); // which removes its files
}
