//! Removing what nobody will ask for again: old carts, old records, what loads that came to nothing have left.

use std::fmt;

use shared::database::ConnectOptions;

use crate::database;
use crate::load::{drop_previous, schema_exists};
use crate::progress::Progress;
use crate::record;

/// What is to be removed.
#[derive(Clone, Copy, Debug)]
pub struct PruneOptions {
    /// Carts that were not touched for so many days, and records of loads that ended as long ago.
    pub days: u16,
    /// The previous catalog too: there is no rollback then until the next load.
    pub previous: bool,
}

/// What was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pruned {
    /// Carts, with all their lines.
    pub carts: u64,
    /// Records of loads that published nothing.
    pub loads: u64,
    /// Rows set aside by loads that are not served and not kept for a rollback.
    pub rejects: u64,
    /// Whether there were tables of a load that failed or was given up.
    pub unpublished: bool,
    /// Whether there was a previous catalog, and it was to be removed.
    pub previous: bool,
}

/// Why not all was removed.
#[derive(Debug, thiserror::Error)]
pub enum PruneError {
    /// Somebody reads what is to go.
    #[error("the previous catalog is still being read; find its reader in pg_stat_activity, and prune again")]
    PreviousIsRead,
    /// The database is away or refused a statement.
    #[error("the database failed: {}", database::describe(.0))]
    Database(tokio_postgres::Error),
}

// By hand, so that it is no `source`: the line above has all of it, and would be followed by it again.
impl From<tokio_postgres::Error> for PruneError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error)
    }
}

/// Removes it. A load that is running is waited for; one that was stopped and can be taken up again is left alone.
///
/// # Errors
/// What keeps something from being removed; the rest may be gone by then.
pub async fn prune(
    address: &ConnectOptions,
    options: PruneOptions,
    progress: &Progress,
) -> Result<Pruned, PruneError> {
    let mut client = database::connect(address).await?;
    record::lock_loader(&client, None, || progress.say("a load is running: waiting for it to end")).await?;
    let days = i32::from(options.days);
    let carts = client
        .execute("delete from cart.carts where touched_at < now() - make_interval(days => $1)", &[&days])
        .await?;
    let unpublished =
        schema_exists(&client, "catalog_next").await? && !record::has_unfinished(&client).await?;
    if unpublished {
        client.batch_execute("drop schema catalog_next cascade").await?;
    }
    let mut previous = false;
    if options.previous {
        record::lock_swap(&client, || progress.say("a rollback is under way: waiting for it to end")).await?;
        previous = schema_exists(&client, "catalog_prev").await?;
        if !drop_previous(progress, &mut client).await? {
            return Err(PruneError::PreviousIsRead);
        }
    }
    // What may be served again is the latest publications' doing; their loads and rejects stay.
    let rejects = client
        .execute(
            "delete from etl.reject using etl.load
             where reject.generation = load.generation and load.ended_at < now() - make_interval(days => $1)
                 and load.generation not in (select generation from etl.publication order by id desc limit 2)",
            &[&days],
        )
        .await?;
    let loads = client
        .execute(
            "delete from etl.load where ended_at < now() - make_interval(days => $1)
                 and generation not in (select generation from etl.publication)",
            &[&days],
        )
        .await?;
    // With a load goes what it was of; what never came to a load goes when it is as old.
    client
        .execute(
            "delete from etl.incoming_file where arrived_at < now() - make_interval(days => $1)
                 and (generation is null or generation not in
                     (select generation from etl.publication order by id desc limit 2))
                 and source not in (select source from etl.load where ended_at is null)",
            &[&days],
        )
        .await?;
    // What arrives meanwhile waits: a file that is not committed yet would go with its dataset, and nobody would know.
    let transaction = client.transaction().await?;
    transaction
        .batch_execute(
            "lock table etl.incoming in share row exclusive mode;
             delete from etl.incoming where not exists
                 (select from etl.incoming_file where incoming_file.source = incoming.source)",
        )
        .await?;
    transaction.commit().await?;
    Ok(Pruned { carts, loads, rejects, unpublished, previous })
}

impl fmt::Display for Pruned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let there = |was| if was { "removed" } else { "none" };
        writeln!(f, "carts                  {}", self.carts)?;
        writeln!(f, "records of loads       {}", self.loads)?;
        writeln!(f, "records of rejects     {}", self.rejects)?;
        writeln!(f, "unpublished tables     {}", there(self.unpublished))?;
        writeln!(f, "previous catalog       {}", if self.previous { "removed" } else { "kept, or none" })
    }
}
