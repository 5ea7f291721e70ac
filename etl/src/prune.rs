//! Deletion of old carts, old load records and the tables of failed loads.

use std::fmt;
use std::time::Instant;

use shared::database::ConnectOptions;
use tokio_postgres::Client;

use crate::database;
use crate::ledger;
use crate::load::{drop_old, drop_previous, schema_exists};
use crate::locks;
use crate::progress::Progress;

/// The scope of a prune.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PruneOptions {
    /// The age limit in days, for carts since their last use and for records since the end of their load.
    pub days: u16,
    /// The age limit in days for carts of anonymous sessions that were used once only; `days` if none.
    pub used_once_days: Option<u16>,
    /// Whether to drop the previous catalog too. Without it, no rollback is possible until the next load.
    pub previous: bool,
}

/// The default age limit in days.
pub const DEFAULT_DAYS: u16 = 90;

/// The max number of unused carts that one statement deletes, and of carts used once. It locks them until its end, for about
/// 0.1 s.
const BATCH: i32 = 1000;

/// The max number of attempts to drop the previous catalog, each up to a second long.
const DROP_ATTEMPTS: u32 = 12;

/// The result of a prune.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pruned {
    /// The number of deleted carts.
    pub carts: i64,
    /// The number of deleted records of loads that published nothing.
    pub loads: u64,
    /// The number of deleted records of rejected rows. Those of the served and the previous catalog stay.
    pub rejects: u64,
    /// Whether tables of a failed or abandoned load were dropped.
    pub unpublished: bool,
    /// Whether the previous catalog was dropped.
    pub previous: bool,
}

/// An error that ends a prune early.
#[derive(Debug, thiserror::Error)]
pub enum PruneError {
    /// A session still reads the previous catalog.
    #[error(
        "cannot drop the previous catalog: a session still reads it; find it in pg_stat_activity, end it, and prune \
         again"
    )]
    PreviousCatalogInUse,
    /// The deadline passed before a running load ended. Carts are pruned.
    #[error("deadline reached: a load is running, so only carts were pruned")]
    DeadlineReached,
    /// The database is unavailable or rejected a statement.
    #[error("the database failed: {}", database::describe(.0))]
    Database(tokio_postgres::Error),
}

// Not `#[from]`: that makes it the `source`, and an error chain prints it twice.
impl From<tokio_postgres::Error> for PruneError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error)
    }
}

/// Deletes old data: carts at once, the rest after a running load has ended, until the deadline `until`. Keeps an
/// interrupted load that can resume.
///
/// # Errors
/// The first failure. Earlier deletions stay.
pub async fn prune(
    database: &ConnectOptions,
    options: PruneOptions,
    until: Option<Instant>,
    progress: &Progress,
) -> Result<Pruned, PruneError> {
    let mut client = database::connect(database).await?;
    let days = i32::from(options.days);
    let carts = prune_carts(&client, days, options.used_once_days.map_or(days, i32::from), progress).await?;
    let on_wait = || progress.show("a load is running: waiting for it to end");
    if !locks::lock_loader(&client, until, on_wait).await? {
        return Err(PruneError::DeadlineReached);
    }
    let unpublished =
        schema_exists(&client, "catalog_next").await? && !ledger::has_unfinished(&client).await?;
    if unpublished {
        client.batch_execute("drop schema catalog_next cascade").await?;
    }
    drop_old(&mut client).await?;
    let mut previous = false;
    if options.previous {
        locks::lock_swap(&client, || progress.show("a rollback is running: waiting for it to end")).await?;
        previous = schema_exists(&client, "catalog_prev").await?;
        if !drop_previous(DROP_ATTEMPTS, progress, &mut client).await? {
            return Err(PruneError::PreviousCatalogInUse);
        }
    }
    // The latest two publications are the served and the previous catalog; their records stay.
    let rejects = client
        .execute(
            "delete from etl.reject using etl.load
             where reject.generation = load.generation and load.ended_at < now() - make_interval(days => $1)
                 and load.generation not in (select generation from etl.publication order by id desc limit 2)",
            &[&days],
        )
        .await?;
    // The latest load of a prefix in S3 stays: without it, files that were replaced since would be a first delivery.
    let loads = client
        .execute(
            "delete from etl.load where ended_at < now() - make_interval(days => $1)
                 and generation not in (select generation from etl.publication)
                 and not (source like 's3://%' and generation = (select max(generation) from etl.load as other
                                                                 where other.source = load.source))",
            &[&days],
        )
        .await?;
    client
        .execute("delete from etl.delivery where noted_at < now() - make_interval(days => $1)", &[&days])
        .await?;
    Ok(Pruned { carts, loads, rejects, unpublished, previous })
}

/// Deletes carts in batches, each in its own transaction, so that other carts do not wait.
async fn prune_carts(
    client: &Client,
    days: i32,
    used_once_days: i32,
    progress: &Progress,
) -> Result<i64, tokio_postgres::Error> {
    let delete = client
        .prepare(
            "select cart.prune(now() - make_interval(days => $1), now() - make_interval(days => $2), $3)",
        )
        .await?;
    let (mut carts, mut shown) = (0, 0);
    loop {
        let deleted: i32 = client.query_one(&delete, &[&days, &used_once_days, &BATCH]).await?.get(0);
        if deleted == 0 {
            return Ok(carts);
        }
        carts += i64::from(deleted);
        if carts >= shown + 100_000 {
            progress.show(&format!("{carts} carts deleted"));
            shown = carts;
        }
    }
}

impl fmt::Display for Pruned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = |was| if was { "removed" } else { "none" };
        writeln!(f, "carts                  {}", self.carts)?;
        writeln!(f, "records of loads       {}", self.loads)?;
        writeln!(f, "records of rejects     {}", self.rejects)?;
        writeln!(f, "unpublished tables     {}", state(self.unpublished))?;
        writeln!(f, "previous catalog       {}", if self.previous { "removed" } else { "kept or none" })
    }
}
