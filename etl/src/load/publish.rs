//! The last step: the new catalog replaces the served one.
//!
//! ```text
//!  catalog_next ──> catalog ──> catalog_prev ──> dropped, before the next swap
//!                                           └──> catalog_old_<generation>, while a session reads it: dropped later
//! ```
//! One short transaction renames the schemas, so every statement of every reader sees one complete catalog.

use shared::database::ConnectOptions;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, GenericClient, Transaction};

use super::LoadError;
use crate::database;
use crate::failpoint;
use crate::ledger::{self, unsigned};
use crate::locks;
use crate::progress::Progress;

/// The max number of attempts to drop the previous catalog before a publish, which can leave it for the next one.
const DROP_ATTEMPTS: u32 = 2;

/// The names of catalogs that a session still read when they were to be dropped begin with this.
const OLD_PREFIX: &str = "catalog_old_";

/// The rights of the service's logins. They cannot read the rows of cart.csv.
const GRANTS: &str = "grant usage on schema catalog_next to atelier_reader, atelier_cart, atelier_cart_add;
     grant select on catalog_next.documents, catalog_next.products, catalog_next.styles to atelier_reader;
     grant select on catalog_next.skus to atelier_reader, atelier_cart, atelier_cart_add";

/// The rights on the posting lists, which a catalog lacks if the previous release has built it.
const GRANT_LISTS: &str = "do $$ begin
         if to_regclass('catalog_next.words') is not null then
             grant select on catalog_next.categories, catalog_next.words to atelier_reader;
         end if;
     end $$";

/// Adds the number of products to each row. Postgres stores a constant default outside the rows, so it rewrites none. A
/// repeated step replaces the column.
const ADD_TOTAL: [&str; 2] = [
    "alter table catalog_next.products drop column if exists total",
    "do $$ begin
         execute format('alter table catalog_next.products add column total integer not null default %s',
             (select count(*) from catalog_next.products));
     end $$",
];

pub(super) async fn run(generation: i32, progress: &Progress, client: &mut Client) -> Result<(), LoadError> {
    locks::lock_swap(client, || progress.show("a rollback is running: waiting for it to end")).await?;
    let swapped = swap(generation, progress, client).await;
    // A rollback need not wait for this loader's next work. An error means a lost connection, which holds no lock.
    let _ = locks::unlock_swap(client).await;
    swapped
}

async fn swap(generation: i32, progress: &Progress, client: &mut Client) -> Result<(), LoadError> {
    let task = progress.steps("publishing", 2);
    let is_in_use = !drop_previous(DROP_ATTEMPTS, progress, client).await?;
    task.advance(1);
    failpoint::hit(failpoint::BEFORE_SWAP);
    let transaction = client.transaction().await?;
    for statement in ADD_TOTAL {
        transaction.batch_execute(statement).await?;
    }
    database::execute_each(&transaction, GRANTS).await?;
    transaction.batch_execute(GRANT_LISTS).await?;
    if is_in_use {
        let rename = format!("alter schema catalog_prev rename to {OLD_PREFIX}{generation}");
        transaction.batch_execute(&rename).await?;
    }
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
    let published = "insert into etl.publication (generation, action) values ($1, 'publish')";
    transaction.execute(published, &[&generation]).await?;
    failpoint::hit(failpoint::SWAPPING);
    transaction.commit().await?;
    failpoint::hit(failpoint::AFTER_SWAP);
    task.finish();
    Ok(())
}

/// Drops the catalogs that earlier publishes left, except those that a session still reads.
pub(crate) async fn drop_old(client: &mut Client) -> Result<(), tokio_postgres::Error> {
    let names = "select nspname::text from pg_namespace where starts_with(nspname, $1) order by nspname";
    for row in client.query(names, &[&OLD_PREFIX]).await? {
        drop_unless_read(row.get(0), "50ms", client).await?;
    }
    Ok(())
}

/// Drops the previous catalog and those before it. Returns false if a session still reads the previous one after this
/// number of attempts. The caller holds the swap lock.
pub(crate) async fn drop_previous(
    attempts: u32,
    progress: &Progress,
    client: &mut Client,
) -> Result<bool, tokio_postgres::Error> {
    drop_old(client).await?;
    for attempt in 1..=attempts {
        if drop_unless_read("catalog_prev", "500ms", client).await? {
            return Ok(true);
        }
        if attempt < attempts {
            progress.show("a session still reads the previous catalog: retrying");
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        }
    }
    Ok(false)
}

/// Drops a catalog that is not served. Returns false if a session reads it for longer than `lock_timeout`, which is short:
/// until then the statement blocks other readers.
async fn drop_unless_read(
    schema: &str,
    lock_timeout: &str,
    client: &mut Client,
) -> Result<bool, tokio_postgres::Error> {
    let transaction = client.transaction().await?;
    match drop_within(schema, lock_timeout, &transaction).await? {
        true => transaction.commit().await.map(|()| true),
        false => Ok(false),
    }
}

/// Works as [`drop_unless_read`] as a part of a transaction, which can only be rolled back if it returns false.
pub(crate) async fn drop_within(
    schema: &str,
    lock_timeout: &str,
    transaction: &Transaction<'_>,
) -> Result<bool, tokio_postgres::Error> {
    transaction.batch_execute(&format!("set local lock_timeout = '{lock_timeout}'")).await?;
    match transaction.batch_execute(&format!("drop schema if exists {schema} cascade")).await {
        Ok(()) => Ok(true),
        Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Publishes the catalog of a load that built it without publishing it. Returns its generation.
///
/// # Errors
/// [`LoadError::NothingToPublish`] if there is none, or the error of the publish.
pub async fn publish(database: &ConnectOptions, progress: &Progress) -> Result<i32, LoadError> {
    let mut client = database::connect(database).await?;
    locks::lock_loader(&client, None, || progress.show("another load is running: waiting for it to end"))
        .await?;
    let generation = ledger::ready(&client).await?.ok_or(LoadError::NothingToPublish)?;
    run(generation, progress, &mut client).await?;
    Ok(generation)
}

/// An error of a rollback.
#[derive(Debug, thiserror::Error)]
pub enum RollbackError {
    /// There is only one catalog, or none.
    #[error("cannot roll back: there is no previous catalog; load the former dataset again")]
    NoPreviousCatalog,
    /// The database is unavailable or rejected a statement.
    #[error("the database failed: {}", database::describe(.0))]
    Database(tokio_postgres::Error),
}

// Not `#[from]`: that makes it the `source`, and an error chain prints it twice.
impl From<tokio_postgres::Error> for RollbackError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error)
    }
}

/// Serves the previous catalog again, at once, and keeps the current one as the previous: a second rollback undoes the
/// first. Returns the generation that is served now. A running load continues; a rollback waits only for its publish,
/// and then calls `on_wait`.
pub async fn rollback(database: &ConnectOptions, on_wait: impl FnOnce()) -> Result<i32, RollbackError> {
    let mut client = database::connect(database).await?;
    locks::lock_swap(&client, on_wait).await?;
    let both = schema_exists(&client, "catalog").await? && schema_exists(&client, "catalog_prev").await?;
    if !both {
        return Err(RollbackError::NoPreviousCatalog);
    }
    // Before the transaction: Citus renames no schema in one that has read its tables. The swap lock keeps the schemas.
    let previous = client.query_opt("select generation from catalog_prev.documents limit 1", &[]).await?;
    let generation: i32 = previous.ok_or(RollbackError::NoPreviousCatalog)?.get(0);
    let transaction = client.transaction().await?;
    let swap = "alter schema catalog rename to catalog_rolled_back;
                alter schema catalog_prev rename to catalog;
                alter schema catalog_rolled_back rename to catalog_prev";
    database::execute_each(&transaction, swap).await?;
    let published = "insert into etl.publication (generation, action, catalog_id)
                     select generation, 'rollback', catalog_id from etl.publication
                     where generation = $1 order by id desc limit 1";
    if transaction.execute(published, &[&generation]).await? == 0 {
        return Err(RollbackError::NoPreviousCatalog); // hosts would not notice the rollback
    }
    transaction.commit().await?;
    Ok(generation)
}

/// Returns the bytes of the unpublished catalog, with its indexes. The size of the whole database needs the right to
/// connect, which the loader's role may lack.
pub(crate) async fn unpublished_bytes(client: &impl GenericClient) -> Result<u64, tokio_postgres::Error> {
    let query = "select coalesce(sum(pg_total_relation_size(oid)), 0)::bigint
                 from pg_class where relnamespace = to_regnamespace('catalog_next') and relkind = 'r'";
    let bytes: i64 = client.query_one(query, &[]).await?.get(0);
    Ok(unsigned(bytes))
}

/// Returns whether there is a schema with this name.
pub(crate) async fn schema_exists(
    client: &impl GenericClient,
    name: &str,
) -> Result<bool, tokio_postgres::Error> {
    Ok(client.query_one("select to_regnamespace($1) is not null", &[&name]).await?.get(0))
}
