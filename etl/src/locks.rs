//! The loader's locks in the database: advisory locks, which end with the connection that holds them.

use std::time::{Duration, Instant};

use tokio_postgres::Client;

type Result<T> = std::result::Result<T, tokio_postgres::Error>;

/// The lock of a load, because there is only one `catalog_next`. The loader and all its connections share it. A loader takes
/// it alone first, so no connection of another loader is left then, not even of a killed one.
const LOADER_LOCK: i64 = 0x6174_656c_6965_7202;

/// The lock that a publish or a rollback holds while it replaces the catalog.
const SWAP_LOCK: i64 = 0x6174_656c_6965_7204;

/// The time between two attempts to take the loader lock alone. A session that waits in the database instead would block the connections
/// that share the lock.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// Takes the loader lock for the lifetime of the connection. Calls `on_wait` once if another loader holds it. Returns false
/// if the deadline `until` passes first.
pub async fn lock_loader(client: &Client, until: Option<Instant>, on_wait: impl FnOnce()) -> Result<bool> {
    let is_locked = take_alone(client, until, on_wait).await?;
    if is_locked {
        client.execute("select pg_advisory_lock_shared($1)", &[&LOADER_LOCK]).await?;
        client.execute("select pg_advisory_unlock($1)", &[&LOADER_LOCK]).await?;
    }
    Ok(is_locked)
}

/// Releases the loader lock: a frozen process (Lambda) would keep it. First waits until this loader's workers have closed
/// their connections, because a frozen worker would keep it too. Abandoned statements may run on, so the wait ends at
/// `until`.
pub async fn unlock_loader(client: &Client, until: Instant) -> Result<()> {
    wait_for_workers(client, Some(until)).await?;
    client.execute("select pg_advisory_unlock_shared($1)", &[&LOADER_LOCK]).await?;
    Ok(())
}

/// Waits until no other connection works for this loader: statements of a failed load may run on for a while. Returns false
/// if the deadline `until` passes first.
pub async fn wait_for_workers(client: &Client, until: Option<Instant>) -> Result<bool> {
    let are_gone = take_alone(client, until, || {}).await?;
    if are_gone {
        client.execute("select pg_advisory_unlock($1)", &[&LOADER_LOCK]).await?;
    }
    Ok(are_gone)
}

/// Registers a connection as a worker for its lifetime. Returns false if another loader has the lock alone: it took over,
/// because this loader's connection was lost.
pub async fn register_worker(client: &Client) -> Result<bool> {
    Ok(client.query_one("select pg_try_advisory_lock_shared($1)", &[&LOADER_LOCK]).await?.get(0))
}

/// Takes the swap lock for the lifetime of the connection. Calls `on_wait` once if another session holds it.
pub async fn lock_swap(client: &Client, on_wait: impl FnOnce()) -> Result<()> {
    if !try_lock(client, SWAP_LOCK).await? {
        on_wait();
        client.execute("select pg_advisory_lock($1)", &[&SWAP_LOCK]).await?;
    }
    Ok(())
}

/// Releases the swap lock.
pub async fn unlock_swap(client: &Client) -> Result<()> {
    client.execute("select pg_advisory_unlock($1)", &[&SWAP_LOCK]).await?;
    Ok(())
}

async fn take_alone(client: &Client, until: Option<Instant>, on_wait: impl FnOnce()) -> Result<bool> {
    let mut on_wait = Some(on_wait);
    while !try_lock(client, LOADER_LOCK).await? {
        if let Some(on_wait) = on_wait.take() {
            on_wait();
        }
        if until.is_some_and(|until| Instant::now() >= until) {
            return Ok(false);
        }
        tokio::time::sleep(RETRY_AFTER).await;
    }
    Ok(true)
}

async fn try_lock(client: &Client, lock: i64) -> Result<bool> {
    Ok(client.query_one("select pg_try_advisory_lock($1)", &[&lock]).await?.get(0))
}
