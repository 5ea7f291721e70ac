//! The last step: the catalog that was built takes the place of the one that is served.
//!
//! ```text
//!  catalog_next ──> catalog ──> catalog_prev ──> dropped, before the next swap
//! ```
//! Schemas are renamed in one short transaction, so every statement of every reader meets one whole catalog.

use shared::database::ConnectOptions;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, GenericClient};

use super::LoadError;
use crate::database;
use crate::failpoint;
use crate::progress::Progress;
use crate::record;

/// How often the oldest catalog is tried to be dropped, while someone still reads it.
const DROP_ATTEMPTS: u32 = 12;

/// What requests may see. The rows of cart.csv are not among it.
const GRANTS: &str = "grant usage on schema catalog_next to atelier_reader, atelier_cart, atelier_cart_add;
     grant select on catalog_next.documents, catalog_next.products to atelier_reader;
     grant select on catalog_next.skus to atelier_cart, atelier_cart_add";

/// Has each row say how many products there are. A constant default is kept beside the table: no row is rewritten, and a
/// step that is run again replaces it.
const ADD_TOTAL: &str = "do $$ begin
         alter table catalog_next.products drop column if exists total;
         execute format('alter table catalog_next.products add column total integer not null default %s',
             (select count(*) from catalog_next.products));
     end $$";

pub(super) async fn run(generation: i32, progress: &Progress, client: &mut Client) -> Result<(), LoadError> {
    record::lock_swap(client, || progress.say("a rollback is under way: waiting for it to end")).await?;
    let swapped = swap(generation, progress, client).await;
    // A rollback is not to wait for what this loader does next. An error is a connection that is lost, with its locks.
    let _ = record::unlock_swap(client).await;
    swapped
}

async fn swap(generation: i32, progress: &Progress, client: &mut Client) -> Result<(), LoadError> {
    let task = progress.steps("publishing", 2);
    if !drop_previous(progress, client).await? {
        return Err(LoadError::PreviousIsRead);
    }
    task.advance(1);
    failpoint::reach(failpoint::BEFORE_SWAP);
    let transaction = client.transaction().await?;
    transaction.batch_execute(ADD_TOTAL).await?;
    transaction.batch_execute(GRANTS).await?;
    if schema_exists(&transaction, "catalog").await? {
        transaction.batch_execute("alter schema catalog rename to catalog_prev").await?;
    }
    transaction.batch_execute("alter schema catalog_next rename to catalog").await?;
    transaction
        .execute(
            "update etl.load set step = 'published', reason = null, ended_at = now() where generation = $1",
            &[&generation],
        )
        .await?;
    publication(&transaction, generation, "publish").await?;
    record::use_up(&transaction, generation).await?;
    failpoint::reach(failpoint::SWAPPING);
    transaction.commit().await?;
    failpoint::reach(failpoint::AFTER_SWAP);
    task.finish();
    Ok(())
}

/// Drops the catalog before the one that is served, so that the swap only has to rename; answers whether it could. A
/// reader that is still at it is waited for, but never in a way that would make other readers wait: hence the short
/// timeout. The caller holds the lock for a swap.
pub(crate) async fn drop_previous(
    progress: &Progress,
    client: &mut Client,
) -> Result<bool, tokio_postgres::Error> {
    for attempt in 1..=DROP_ATTEMPTS {
        let transaction = client.transaction().await?;
        transaction.batch_execute("set local lock_timeout = '500ms'").await?;
        let dropped = transaction.batch_execute("drop schema if exists catalog_prev cascade").await;
        match dropped {
            Ok(()) => {
                transaction.commit().await?;
                return Ok(true);
            }
            Err(error) if error.code() != Some(&SqlState::LOCK_NOT_AVAILABLE) => return Err(error),
            Err(_) if attempt < DROP_ATTEMPTS => {
                drop(transaction);
                progress.say("someone still reads the previous catalog: trying again");
                tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            }
            Err(_) => {}
        }
    }
    Ok(false)
}

/// Publishes the catalog of a load that was told not to, and answers its generation.
///
/// # Errors
/// [`LoadError::NothingToPublish`] if there is none, or what keeps it from being published.
pub async fn publish(address: &ConnectOptions, progress: &Progress) -> Result<i32, LoadError> {
    let mut client = database::connect(address).await?;
    record::lock_loader(&client, None, || progress.say("another load is running: waiting for it to end"))
        .await?;
    let generation = record::ready(&client).await?.ok_or(LoadError::NothingToPublish)?;
    run(generation, progress, &mut client).await?;
    Ok(generation)
}

/// Why nothing was rolled back.
#[derive(Debug, thiserror::Error)]
pub enum RollbackError {
    /// Nothing was published, or only one catalog was.
    #[error("there is no previous catalog to roll back to")]
    NoPreviousCatalog,
    /// The database is away or refused a statement.
    #[error("the database failed: {}", database::describe(.0))]
    Database(tokio_postgres::Error),
}

// By hand, so that it is no `source`: the line above has all of it, and would be followed by it again.
impl From<tokio_postgres::Error> for RollbackError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error)
    }
}

/// Lets the previous catalog be served again, at once, and keeps the present one as the previous: rolling back twice
/// changes nothing. Answers the generation that is served now. A load that is running goes on; only while it publishes
/// it has to be waited for, and `on_wait` is called.
pub async fn rollback(address: &ConnectOptions, on_wait: impl FnOnce()) -> Result<i32, RollbackError> {
    let mut client = database::connect(address).await?;
    record::lock_swap(&client, on_wait).await?;
    let transaction = client.transaction().await?;
    let both =
        schema_exists(&transaction, "catalog").await? && schema_exists(&transaction, "catalog_prev").await?;
    if !both {
        return Err(RollbackError::NoPreviousCatalog);
    }
    let previous =
        transaction.query_opt("select generation from catalog_prev.documents limit 1", &[]).await?;
    let generation: i32 = previous.ok_or(RollbackError::NoPreviousCatalog)?.get(0);
    transaction
        .batch_execute(
            "alter schema catalog rename to catalog_rolled_back;
             alter schema catalog_prev rename to catalog;
             alter schema catalog_rolled_back rename to catalog_prev",
        )
        .await?;
    publication(&transaction, generation, "rollback").await?;
    transaction.commit().await?;
    Ok(generation)
}

async fn publication(
    transaction: &tokio_postgres::Transaction<'_>,
    generation: i32,
    action: &str,
) -> Result<(), tokio_postgres::Error> {
    transaction
        .execute("insert into etl.publication (generation, action) values ($1, $2)", &[&generation, &action])
        .await?;
    Ok(())
}

/// Whether there is a schema of this name.
pub(crate) async fn schema_exists(
    client: &impl GenericClient,
    name: &str,
) -> Result<bool, tokio_postgres::Error> {
    Ok(client.query_one("select to_regnamespace($1) is not null", &[&name]).await?.get(0))
}
