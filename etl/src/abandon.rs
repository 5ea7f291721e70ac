//! Abandoning an unfinished load, which gives back the space of its tables.

use std::fmt;
use std::time::Instant;

use shared::database::ConnectOptions;

use crate::database;
use crate::ledger;
use crate::load::{drop_within, unpublished_bytes};
use crate::locks;

/// What was abandoned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Abandoned {
    /// Whether there was an unfinished load. Tables of a failed load are dropped too.
    pub load: bool,
    /// The bytes of the dropped tables and their indexes.
    pub freed_bytes: u64,
}

/// An error that leaves the unfinished load as it was.
#[derive(Debug, thiserror::Error)]
pub enum AbandonError {
    /// A loader works on it.
    #[error("a load is running: stop it first, then abandon it")]
    LoadRunning,
    /// A session reads its tables.
    #[error(
        "a session, such as pg_dump, reads the tables of the load: end it, which pg_stat_activity shows, then try again"
    )]
    InUse,
    /// The database is unavailable or rejected a statement.
    #[error("the database failed: {}", database::describe(.0))]
    Database(tokio_postgres::Error),
}

// Not `#[from]`: that makes it the `source`, and an error chain prints it twice.
impl From<tokio_postgres::Error> for AbandonError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error)
    }
}

/// Abandons the unfinished load and drops the tables of a catalog that is not published. The served and the previous
/// catalog do not change.
///
/// # Errors
/// [`AbandonError::LoadRunning`] while a loader works; a load that its loader left can be abandoned at once.
/// [`AbandonError::InUse`] after a second.
pub async fn abandon(database: &ConnectOptions) -> Result<Abandoned, AbandonError> {
    let mut client = database::connect(database).await?;
    if !locks::lock_loader(&client, Some(Instant::now()), || {}).await? {
        return Err(AbandonError::LoadRunning);
    }
    let transaction = client.transaction().await?;
    let freed_bytes = unpublished_bytes(&transaction).await?;
    let load = ledger::abandon(&transaction, "abandoned by atelier-etl abandon").await?;
    if !drop_within("catalog_next", "1s", &transaction).await? {
        return Err(AbandonError::InUse);
    }
    transaction.commit().await?;
    Ok(Abandoned { load, freed_bytes })
}

impl fmt::Display for Abandoned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match (self.load, self.freed_bytes) {
            (true, _) => "abandoned the unfinished load",
            (false, 0) => "there is no unfinished load",
            (false, _) => "dropped the tables of a failed load",
        };
        writeln!(f, "{what}: {:.1} MB are free again", self.freed_bytes as f64 / 1e6)
    }
}
