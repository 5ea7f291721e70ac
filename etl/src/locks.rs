//! The loader's locks in the database: advisory locks, which end with the connection that holds them.

use std::time::Instant;

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

type Result<T> = std::result::Result<T, tokio_postgres::Error>;

/// The lock that a loader holds during a load: there is only one `catalog_next`.
const LOADER_LOCK: i64 = 0x6174_656c_6965_7202;

/// The lock that a publish or a rollback holds while it replaces the catalog.
const SWAP_LOCK: i64 = 0x6174_656c_6965_7204;

/// The shared lock of every connection that works for a load. Connections of a killed loader may still hold it.
const WORKER_LOCK: i64 = 0x6174_656c_6965_7205;

/// Takes the loader lock for the lifetime of the connection, and waits for the workers of the loader that held it
/// before. Calls `on_wait` once if another loader holds it. Returns false if the deadline `until` passes first.
pub async fn lock_loader(client: &Client, until: Option<Instant>, on_wait: impl FnOnce()) -> Result<bool> {
    Ok(lock(client, LOADER_LOCK, until, on_wait).await? && wait_for_workers(client, until).await?)
}

/// Releases the loader lock: a frozen process (Lambda) would keep it. First waits until this loader's workers have
/// closed their connections, because a frozen worker would keep the worker lock. Abandoned statements may run on, so
/// the wait ends at `until`.
pub async fn unlock_loader(client: &Client, until: Instant) -> Result<()> {
    wait_for_workers(client, Some(until)).await?;
    client.execute("select pg_advisory_unlock($1)", &[&LOADER_LOCK]).await?;
    Ok(())
}

/// Waits until no connection works for a loader: statements of a failed load may run on for a while. Returns false if
/// the deadline `until` passes first.
pub async fn wait_for_workers(client: &Client, until: Option<Instant>) -> Result<bool> {
    let is_free = lock(client, WORKER_LOCK, until, || {}).await?;
    if is_free {
        client.execute("select pg_advisory_unlock($1)", &[&WORKER_LOCK]).await?;
    }
    Ok(is_free)
}

/// Registers a connection as a worker for its lifetime. Returns false if another loader waits for this loader's
/// workers: it then holds the loader lock, because this loader's connection was lost. Waiting for it would be a
/// deadlock.
pub async fn register_worker(client: &Client) -> Result<bool> {
    Ok(client.query_one("select pg_try_advisory_lock_shared($1)", &[&WORKER_LOCK]).await?.get(0))
}

/// Takes the swap lock for the lifetime of the connection. Calls `on_wait` once if another session holds it.
pub async fn lock_swap(client: &Client, on_wait: impl FnOnce()) -> Result<()> {
    lock(client, SWAP_LOCK, None, on_wait).await.map(drop)
}

/// Releases the swap lock.
pub async fn unlock_swap(client: &Client) -> Result<()> {
    client.execute("select pg_advisory_unlock($1)", &[&SWAP_LOCK]).await?;
    Ok(())
}

async fn lock(client: &Client, number: i64, until: Option<Instant>, on_wait: impl FnOnce()) -> Result<bool> {
    let free: bool = client.query_one("select pg_try_advisory_lock($1)", &[&number]).await?.get(0);
    if free {
        return Ok(true);
    }
    on_wait();
    let left = until.map(|until| until.saturating_duration_since(Instant::now()).as_millis().max(1));
    let timeout = left.unwrap_or(0);
    client.batch_execute(&format!("set lock_timeout = {timeout}")).await?;
    let locked = client.execute("select pg_advisory_lock($1)", &[&number]).await;
    client.batch_execute("set lock_timeout = 0").await?;
    match locked {
        Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => Ok(false),
        locked => locked.map(|_| true),
    }
}
