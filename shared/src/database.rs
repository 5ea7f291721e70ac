//! A few connections to Postgres that all requests share.
//!
//! tokio-postgres pipelines: any number of requests send their statements over one connection without waiting
//! for each other's answers, so there is no pool to check a connection out of. Each connection has a task
//! that keeps it up (`connection`); a request takes the next one that is alive, and fails at once when none
//! is. Point reads that come together share a statement (`gather`).

mod connection;
mod error;
mod gather;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::config;
use connection::{Connection, Slot};
pub use error::{Error, Kind, chain};
pub(crate) use gather::Gather;

/// One SQL statement. Each connection prepares it when it first needs it and keeps it in the place `slot`.
#[derive(Debug)]
pub(crate) struct Sql {
    /// A number below [`SLOTS`] that no other statement has.
    pub(crate) slot: usize,
    pub(crate) text: &'static str,
}

/// How many statements a connection can keep.
pub(crate) const SLOTS: usize = 8;

/// Parameters of a statement, in the order of `$1`, `$2`, …
pub(crate) type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

/// The shared connections. Dropping it closes them.
#[derive(Debug)]
pub struct Database {
    slots: Vec<Arc<Slot>>,
    next: AtomicUsize,
    connected: watch::Receiver<usize>,
    tasks: Vec<AbortHandle>,
}

impl Database {
    /// Starts connecting, and goes on trying for as long as this value lives. Needs a running tokio runtime.
    #[must_use]
    pub fn start(config: &config::Database) -> Self {
        let (count, connected) = watch::channel(0);
        let count = Arc::new(count);
        let slots: Vec<Arc<Slot>> = (0..config.connections).map(|_| Arc::default()).collect();
        let keep = |slot: &Arc<Slot>| {
            let task = connection::keep(config.clone(), Arc::clone(slot), Arc::clone(&count));
            tokio::spawn(task).abort_handle()
        };
        let tasks = slots.iter().map(keep).collect();
        Self { slots, next: AtomicUsize::new(0), connected, tasks }
    }

    /// Waits until one connection is up, `most` at the longest, and says whether one is.
    pub async fn connected(&self, most: Duration) -> bool {
        let mut connected = self.connected.clone();
        matches!(tokio::time::timeout(most, connected.wait_for(|count| *count > 0)).await, Ok(Ok(_)))
    }

    /// Rows of a statement that changes nothing. Should its connection close meanwhile, another is asked,
    /// once.
    pub(crate) async fn read(
        &self,
        sql: &'static Sql,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, Error> {
        let first = self.live(None).ok_or(Error::UNCONNECTED)?;
        match first.query(sql, parameters).await {
            Err(error) if error.kind() == Kind::Unreachable => match self.live(Some(&first)) {
                Some(other) => other.query(sql, parameters).await,
                None => Err(error),
            },
            rows => rows,
        }
    }

    /// Rows of a statement that may change something. It is never sent twice: when its connection closes,
    /// whether it was carried out is not known.
    pub(crate) async fn write(
        &self,
        sql: &'static Sql,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, Error> {
        self.live(None).ok_or(Error::UNCONNECTED)?.query(sql, parameters).await
    }

    /// The next connection, in turn, that is alive and is not `except`.
    fn live(&self, except: Option<&Arc<Connection>>) -> Option<Arc<Connection>> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        (0..self.slots.len()).find_map(|step| {
            let connection = self.slots.get(first.wrapping_add(step) % self.slots.len())?.live()?;
            let excepted = except.is_some_and(|except| Arc::ptr_eq(except, &connection));
            (!excepted).then_some(connection)
        })
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}
