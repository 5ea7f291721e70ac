//! The connection pool: it picks a connection for each statement, limits how many requests wait, and retries a read
//! once on another connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_postgres::Row;

use super::connection::Connection;
use super::reconnect::{self, ConnectAttempts, Reconnector, Slot};
use super::replicas::Replicas;
use super::{ConnectOptions, Edition, Error, Kind, Parameters, Routing, Settings, Sql};

/// The max time for closing the connections gracefully.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(300);

/// A connection pool. Dropping it closes the connections.
#[derive(Debug)]
pub struct Pool {
    /// The first connection to each server, then the second to each, and so on.
    slots: Vec<Arc<Slot>>,
    servers: usize,
    replicas: Arc<Replicas>,
    /// The queue limit: a permit for each request that may wait for the database.
    queue: Arc<Semaphore>,
    /// Counts statements, to spread them over the servers.
    next: AtomicUsize,
    /// How long a request waits for a connection when none is up.
    connect_wait: Duration,
    /// Changes when an attempt to connect starts or ends, and when the pool closes.
    attempts: Arc<watch::Sender<ConnectAttempts>>,
    /// Each reconnector holds a receiver until it ends.
    closing: watch::Sender<bool>,
    tasks: Vec<AbortHandle>,
}

impl Pool {
    /// Starts this number of connections to each server, and reconnects them until the pool is closed or dropped. Needs
    /// a running tokio runtime.
    #[must_use]
    pub fn start(settings: &Settings, routing: Routing, connections: usize) -> Self {
        let (attempts, closing) = (Arc::new(watch::Sender::default()), watch::Sender::new(false));
        let options = reconnect::connect_options(settings, routing);
        let servers = if routing == Routing::AnyServer { vec![options] } else { options.servers() };
        let server_count = servers.len();
        // Servers alternate, so that consecutive slots belong to different servers.
        let targets: Vec<(usize, ConnectOptions)> =
            std::iter::repeat_n(servers.into_iter().enumerate(), connections).flatten().collect();
        let replicas = Arc::new(Replicas::new(routing, targets.len()));
        let start = |(number, (server, options))| {
            let slot: Arc<Slot> = Arc::default();
            let reconnector = Reconnector {
                settings: settings.clone(),
                options,
                slot: Arc::clone(&slot),
                number,
                server,
                replicas: Arc::clone(&replicas),
                attempts: Arc::clone(&attempts),
            };
            (slot, tokio::spawn(reconnector.run(closing.subscribe())).abort_handle())
        };
        let (slots, tasks) = targets.into_iter().enumerate().map(start).unzip();
        let queue = Arc::new(Semaphore::new(settings.max_waiting));
        let (next, connect_wait) = (AtomicUsize::new(0), settings.connect_wait);
        Self {
            slots,
            servers: server_count.max(1),
            replicas,
            queue,
            next,
            connect_wait,
            attempts,
            closing,
            tasks,
        }
    }

    /// Returns the current catalog, as far as this process knows; `None` before a server has reported one.
    pub(crate) fn edition(&self) -> Option<Edition> {
        self.replicas.edition()
    }

    /// Returns the cache key of a generation that was just read.
    pub(crate) fn edition_of(&self, generation: i32) -> Edition {
        self.replicas.edition_of(generation)
    }

    /// Returns how long ago a server last confirmed the current catalog, if that is longer than usual.
    pub(crate) fn staleness(&self) -> Option<Duration> {
        self.replicas.staleness()
    }

    /// Waits up to `limit` until a connection is up, and returns whether one is.
    pub async fn wait_until_connected(&self, limit: Duration) -> bool {
        let mut attempts = self.attempts.subscribe();
        let connected = async {
            while self.least_busy(None).is_none() {
                let _ = attempts.changed().await; // fails only without `self.attempts`
            }
        };
        timeout(limit, connected).await.is_ok()
    }

    /// Closes the connections gracefully, once no statement is in flight; after `CLOSE_TIMEOUT` it aborts them. Later
    /// requests fail at once with [`Kind::Unreachable`].
    pub async fn close(&self) {
        self.closing.send_replace(true);
        self.attempts.send_modify(|_| {}); // wakes waiting requests
        if timeout(CLOSE_TIMEOUT, self.closing.closed()).await.is_err() {
            self.abort();
        }
    }

    /// Returns the queue limit, whose permits the requests of batch loaders hold.
    pub(crate) fn queue(&self) -> &Arc<Semaphore> {
        &self.queue
    }

    /// Sends a statement that changes nothing, and returns its rows.
    pub(crate) async fn read(
        &self,
        sql: &'static Sql,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, Error> {
        let _permit = self.queue.try_acquire().map_err(|_| Error::OVERLOADED)?;
        self.query(sql, parameters).await
    }

    /// Does the same for requests that hold a permit already. If the connection closes or stops responding, it
    /// retries once on another connection.
    pub(crate) async fn query(
        &self,
        sql: &'static Sql,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, Error> {
        let first = self.connection(None).await?;
        match first.query(sql, parameters).await {
            Err(error) if error.kind() == Kind::Unreachable => match self.connection(Some(&first)).await {
                Ok(other) => other.query(sql, parameters).await,
                Err(_) => Err(error),
            },
            rows => rows,
        }
    }

    /// Sends a statement that may change something, and returns its rows. It is never sent twice, because after a lost
    /// connection nobody knows whether it was carried out. Preparing it changes nothing, so that is retried once.
    pub(crate) async fn write(
        &self,
        sql: &'static Sql,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, Error> {
        let _permit = self.queue.try_acquire().map_err(|_| Error::OVERLOADED)?;
        let first = self.connection(None).await?;
        match first.prepare(sql).await {
            Ok(()) => first.query(sql, parameters).await,
            Err(error) if error.kind() == Kind::Unreachable => match self.connection(Some(&first)).await {
                Ok(other) => other.query(sql, parameters).await,
                Err(_) => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    /// Returns a healthy connection other than `except`. If there is none, it waits for one, if so configured.
    async fn connection(&self, except: Option<&Arc<Connection>>) -> Result<Arc<Connection>, Error> {
        if *self.closing.borrow() {
            return Err(Error::NOT_CONNECTED);
        }
        match self.healthy(except).await {
            Some(connection) => Ok(connection),
            None if self.connect_wait.is_zero() => Err(Error::NOT_CONNECTED),
            None => {
                let connection = self.wait_for_connection(except);
                timeout(self.connect_wait, connection).await.unwrap_or(Err(Error::NOT_CONNECTED))
            }
        }
    }

    /// Waits until a connection is up, or until an attempt to connect fails that started during the wait. An earlier
    /// attempt may fail for a reason that no longer exists.
    async fn wait_for_connection(&self, except: Option<&Arc<Connection>>) -> Result<Arc<Connection>, Error> {
        let mut attempts = self.attempts.subscribe();
        let started_before = attempts.borrow().started;
        self.slots.iter().for_each(|slot| slot.wake());
        while !*self.closing.borrow() && attempts.borrow_and_update().failed <= started_before {
            if let Some(connection) = self.healthy(except).await {
                return Ok(connection);
            }
            let _ = attempts.changed().await; // fails only without `self.attempts`
        }
        Err(Error::NOT_CONNECTED)
    }

    /// Returns a connection other than `except` that was used recently or has responded to a probe.
    async fn healthy(&self, except: Option<&Arc<Connection>>) -> Option<Arc<Connection>> {
        let first = self.least_busy(except)?;
        if first.probe_if_idle().await {
            return Some(first);
        }
        // The fault that ended one connection may have ended all. Connections that need no probe come first. The others
        // are probed at the same time, so that it takes no longer than one probe.
        let (idle, active): (Vec<_>, Vec<_>) =
            self.eligible(0, except).partition(|live| live.health().needs_probe());
        if let Some(connection) = active.into_iter().min_by_key(|live| shares_server(live, except)) {
            return Some(connection);
        }
        let are_up = join_all(idle.iter().map(|connection| connection.probe_if_idle())).await;
        idle.into_iter().zip(are_up).find_map(|(connection, is_up)| is_up.then_some(connection))
    }

    /// Returns the connection with the fewest statements in flight, other than `except`. Statements of a connection run
    /// one after another, so a new one waits for all of those. Connections that stalled, and those to the server of
    /// `except`, which may share its fault, come last. Among equals, the servers take turns; within a server the first
    /// connection wins, because a Postgres process that has just responded is faster than one that was idle.
    fn least_busy(&self, except: Option<&Arc<Connection>>) -> Option<Arc<Connection>> {
        let server = self.next.fetch_add(1, Ordering::Relaxed) % self.servers;
        self.eligible(server, except).min_by_key(|live| {
            let health = live.health();
            (shares_server(live, except), health.is_stalled(), health.in_flight())
        })
    }

    /// Returns each connection that is up and eligible, except `except`, from the slot `first` on and around.
    fn eligible(
        &self,
        first: usize,
        except: Option<&Arc<Connection>>,
    ) -> impl Iterator<Item = Arc<Connection>> {
        let connections = self.slots.len();
        (0..connections).filter_map(move |step| {
            let number = first.wrapping_add(step) % connections;
            let live = self.slots.get(number)?.live()?;
            let is_other = except.is_none_or(|except| !Arc::ptr_eq(except, &live));
            (is_other && self.replicas.is_eligible(number)).then_some(live)
        })
    }

    fn abort(&self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// Returns whether two connections are to the same server.
fn shares_server(one: &Arc<Connection>, other: Option<&Arc<Connection>>) -> bool {
    other.is_some_and(|other| one.server() == other.server())
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.abort();
    }
}
