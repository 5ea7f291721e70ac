//! Postgres: the connections, and the statements over them.
//!
//! tokio-postgres pipelines: requests send their statements over one connection without waiting for each other's
//! results. So a few connections serve all requests, and no request checks one out. A host has a `pool`: one task per
//! `connection` connects and reconnects (`reconnect`), and an idle connection is probed before use (`health_check`). A
//! function has a `single` connection, which it opens again when a request finds it lost. Concurrent reads by id share a
//! statement (`batch_loader`).
//!
//! `DATABASE_URL` may name several servers, a primary and its replicas. A pool has connections to each, and the status of
//! a server (`replicas`) decides whether requests use it. The number of waiting requests is limited; beyond the limit
//! they fail at once, while there is still time to try another host.

mod batch_loader;
mod clock;
mod closing;
mod connect_options;
mod connection;
mod error;
mod health_check;
mod password;
mod pool;
mod rds_token;
mod reconnect;
mod replicas;
mod settings;
mod single;
mod statistics;
mod tls;
mod url;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

pub(crate) use batch_loader::{BatchLoader, Limits, Source, Values};
pub use connect_options::{ConnectOptions, Driver};
use connection::Connection;
pub use error::{Error, Kind, error_chain, unsupported};
use pool::Pool;
use replicas::Replicas;
pub(crate) use replicas::{CatalogId, Publication, Routing, SERVER_STATUS, ServerStatus};
pub use settings::{Connections, DATABASE_AUTH, Settings, VARIABLES};
use single::SingleConnection;
pub use statistics::duration_histogram;
pub(crate) use statistics::{ConnectionState, PoolStatistics, batch_histogram};
pub use url::{DATABASE_CA_FILE, DATABASE_URL};

/// One SQL statement. Each connection prepares it on first use and keeps it at the index `slot`.
#[derive(Debug)]
pub(crate) struct Sql {
    /// An index below [`SLOTS`], different for each statement.
    pub(crate) slot: usize,
    pub(crate) text: &'static str,
}

/// The number of statements.
pub(crate) const SLOTS: usize = 23;

/// The parameters of a statement, in the order of `$1`, `$2`, …
pub(crate) type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

/// The parameters of a statement that is carried out even if nobody waits for it any more.
pub(crate) type OwnedParameters = Vec<Box<dyn ToSql + Sync + Send>>;

/// The database, as a host or a function reaches it. Dropping it closes the connections.
#[derive(Debug)]
pub(crate) struct Database {
    kind: DatabaseKind,
    /// The queue limit: a permit for each request that may wait for the database.
    queue: Arc<Semaphore>,
    queue_limit: usize,
}

#[derive(Debug)]
enum DatabaseKind {
    Pool(Pool),
    Single(Box<SingleConnection>),
}

impl Database {
    /// Starts the pool of a host, with this number of connections to each server. Needs a running tokio runtime.
    pub(crate) fn pool(settings: &Settings, routing: Routing, connections: usize) -> Arc<Self> {
        Self::new(DatabaseKind::Pool(Pool::start(settings, routing, connections)), settings)
    }

    /// Starts the connection of a function, which a request waits for as long as `connect_wait`. Needs a running tokio
    /// runtime.
    pub(crate) fn single(settings: &Settings, connect_wait: Duration) -> Arc<Self> {
        let single = SingleConnection::start(settings, connect_wait);
        Self::new(DatabaseKind::Single(Box::new(single)), settings)
    }

    fn new(kind: DatabaseKind, settings: &Settings) -> Arc<Self> {
        let queue_limit = settings.max_waiting;
        Arc::new(Self { kind, queue: Arc::new(Semaphore::new(queue_limit)), queue_limit })
    }

    /// Returns the latest known publication. A function knows none.
    pub(crate) fn publication(&self) -> Option<Publication> {
        self.replicas()?.publication()
    }

    /// Returns the latest known publication if a server that is up confirmed it recently.
    pub(crate) fn confirmed_publication(&self) -> Option<Publication> {
        self.replicas().filter(|replicas| replicas.staleness().is_none())?.publication()
    }

    /// Returns the id of the catalog of the latest known publication.
    pub(crate) fn catalog_id(&self) -> Option<CatalogId> {
        self.replicas()?.catalog_id()
    }

    /// Returns the id of the catalog of rows with this generation. They were read by a statement that was sent when
    /// `sent_at` was the latest known publication. `None` if they may be of another catalog.
    pub(crate) fn catalog_of(
        &self,
        generation: Option<i32>,
        sent_at: Option<Publication>,
    ) -> Option<CatalogId> {
        let publication = sent_at.filter(|publication| Some(publication.generation) == generation)?;
        (self.publication() == sent_at).then_some(publication.catalog_id)
    }

    /// Returns how long ago a server last confirmed the current catalog, if that is longer than usual.
    pub(crate) fn staleness(&self) -> Option<Duration> {
        self.replicas()?.staleness()
    }

    /// Returns the state of the pool. A function has none.
    pub(crate) fn statistics(&self) -> Option<PoolStatistics> {
        let DatabaseKind::Pool(pool) = &self.kind else { return None };
        let queued = self.queue_limit.saturating_sub(self.queue.available_permits());
        let (servers, in_flight) = pool.statistics();
        Some(PoolStatistics { servers, in_flight, queued, queue_limit: self.queue_limit })
    }

    fn replicas(&self) -> Option<&Replicas> {
        match &self.kind {
            DatabaseKind::Pool(pool) => Some(&pool.replicas),
            DatabaseKind::Single(_) => None,
        }
    }

    /// Waits up to `limit` until a connection is up, and returns whether one is.
    pub(crate) async fn wait_until_connected(&self, limit: Duration) -> bool {
        match &self.kind {
            DatabaseKind::Pool(pool) => pool.wait_until_connected(limit).await,
            DatabaseKind::Single(single) => single.wait_until_connected(limit).await,
        }
    }

    /// Closes the connections within 300 ms, gracefully if they can. Later requests fail at once with
    /// [`Kind::Unreachable`].
    pub(crate) async fn close(&self) {
        match &self.kind {
            DatabaseKind::Pool(pool) => pool.close().await,
            DatabaseKind::Single(single) => single.close().await,
        }
    }

    /// Returns the queue limit, whose permits the requests of batch loaders hold.
    pub(crate) fn queue(&self) -> &Arc<Semaphore> {
        &self.queue
    }

    /// Sends a statement that changes nothing, and returns its rows.
    pub(crate) async fn read(
        self: &Arc<Self>,
        sql: &'static Sql,
        parameters: OwnedParameters,
    ) -> Result<Vec<Row>, Error> {
        self.queued(async move |database| database.query(sql, &borrowed(&parameters)).await).await
    }

    /// Sends a statement that may change something, and returns its rows. It is never sent twice, because after a lost
    /// connection nobody knows whether it was carried out. Preparing it changes nothing, so that is retried once.
    pub(crate) async fn write(
        self: &Arc<Self>,
        sql: &'static Sql,
        parameters: OwnedParameters,
    ) -> Result<Vec<Row>, Error> {
        self.queued(async move |database| {
            let first = database.connection(None).await?;
            let prepared = match first.prepare(sql).await {
                Err(error) if error.kind() == Kind::Unreachable => {
                    database.connection(Some(&first)).await.map_err(|_| error)?
                }
                prepared => prepared.map(|()| first)?,
            };
            prepared.query(sql, &borrowed(&parameters)).await
        })
        .await
    }

    /// Sends a statement that changes nothing, for requests that hold permits already, and returns its rows. If the
    /// connection closes or stops responding, it retries once on another connection.
    pub(crate) async fn query(
        &self,
        sql: &'static Sql,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, Error> {
        let first = self.connection(None).await?;
        match first.query(sql, parameters).await {
            Err(error) if error.kind() == Kind::Unreachable => {
                let other = self.connection(Some(&first)).await.map_err(|_| error)?;
                other.query(sql, parameters).await
            }
            rows => rows,
        }
    }

    /// Runs statements of one request, which holds its permit until they end, even if the client has gone by then.
    async fn queued<F>(self: &Arc<Self>, send: impl FnOnce(Arc<Self>) -> F) -> Result<Vec<Row>, Error>
    where
        F: Future<Output = Result<Vec<Row>, Error>> + Send + 'static,
    {
        let permit = Arc::clone(&self.queue).try_acquire_owned().map_err(|_| Error::OVERLOADED)?;
        let sent = send(Arc::clone(self));
        let sent = tokio::spawn(async move {
            let _permit = permit;
            sent.await
        });
        sent.await.unwrap_or_else(|error| Err(Error::internal(error)))
    }

    /// Returns a connection that is up, other than `failed`.
    async fn connection(&self, failed: Option<&Arc<Connection>>) -> Result<Arc<Connection>, Error> {
        match &self.kind {
            DatabaseKind::Pool(pool) => pool.connection(failed).await,
            DatabaseKind::Single(single) => single.connection(failed).await,
        }
    }
}

fn borrowed(parameters: &OwnedParameters) -> Vec<&(dyn ToSql + Sync)> {
    parameters.iter().map(|parameter| &**parameter as &(dyn ToSql + Sync)).collect()
}
