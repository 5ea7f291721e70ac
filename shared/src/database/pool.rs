//! The pool: picks a connection for each statement, limits how many requests wait, and retries a read once on another
//! connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_postgres::Row;

use super::connection::Connection;
use super::reconnect::{self, ConnectAttempts, Reconnector, Slot};
use super::replicas::Replicas;
use super::{ConnectOptions, Edition, Error, Kind, Parameters, Routing, Settings, Sql};

/// How long the connections may take to close gracefully.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(300);

/// The shared connections. Dropping it closes them.
#[derive(Debug)]
pub struct Pool {
    /// Of each server the first, then of each the second, and so on.
    slots: Vec<Arc<Slot>>,
    servers: usize,
    replicas: Arc<Replicas>,
    /// How many requests wait for an answer, and how many may.
    waiting: AtomicUsize,
    most_waiting: usize,
    next: AtomicUsize,
    /// How long a request waits for a connection when none is up.
    wait: Duration,
    /// Changes with every attempt to connect that begins or ends, and when all connections are closed.
    attempts: Arc<watch::Sender<ConnectAttempts>>,
    /// Each task that keeps a connection up holds a receiver.
    closing: watch::Sender<bool>,
    tasks: Vec<AbortHandle>,
}

impl Pool {
    /// Starts connecting, so many times to each server, and goes on trying for as long as this value lives. Needs a
    /// running tokio runtime.
    #[must_use]
    pub fn start(settings: &Settings, routing: Routing, connections: usize) -> Self {
        let (attempts, closing) = (Arc::new(watch::Sender::default()), watch::Sender::new(false));
        let address = reconnect::connect_options(settings, routing);
        let servers = if routing == Routing::AnyServer { vec![address] } else { address.servers() };
        // Servers take turns, so that the connections that requests take in turn are to another each time.
        let count = servers.len();
        let servers = servers.into_iter().enumerate();
        let addresses: Vec<(usize, ConnectOptions)> =
            std::iter::repeat_n(servers, connections).flatten().collect();
        let replicas = Arc::new(Replicas::new(routing, addresses.len()));
        let keep = |(number, (server, address))| {
            let slot: Arc<Slot> = Arc::default();
            let upkeep = Reconnector {
                settings: settings.clone(),
                address,
                slot: Arc::clone(&slot),
                number,
                server,
                replicas: Arc::clone(&replicas),
                attempts: Arc::clone(&attempts),
            };
            (slot, tokio::spawn(upkeep.run(closing.subscribe())).abort_handle())
        };
        let (slots, tasks) = addresses.into_iter().enumerate().map(keep).unzip();
        let (next, waiting) = Default::default();
        let (wait, most_waiting) = (settings.connect_wait, settings.max_waiting);
        Self {
            slots,
            servers: count.max(1),
            replicas,
            waiting,
            most_waiting,
            next,
            wait,
            attempts,
            closing,
            tasks,
        }
    }

    /// The catalog that is served, as last heard; `None` before anything was heard of one.
    pub(crate) fn edition(&self) -> Option<Edition> {
        self.replicas.edition()
    }

    /// What a row of that generation is filed under, which was just read.
    pub(crate) fn edition_of(&self, generation: i32) -> Edition {
        self.replicas.edition_of(generation)
    }

    /// How long nothing was heard of which catalog is served, if that is longer than it should be.
    pub(crate) fn staleness(&self) -> Option<Duration> {
        self.replicas.staleness()
    }

    /// Waits until one connection is up, `most` at the longest, and says whether one is.
    pub async fn wait_until_connected(&self, limit: Duration) -> bool {
        let mut attempts = self.attempts.subscribe();
        let one_is_up = async {
            while self.next_live(None).is_none() {
                let _ = attempts.changed().await; // fails only without `self.attempts`
            }
        };
        timeout(limit, one_is_up).await.is_ok()
    }

    /// Closes the connections: Postgres is statuses, once the statements under way are answered, if that is soon. Whoever
    /// asks for something from now on is statuses that there is no connection.
    pub async fn close(&self) {
        self.closing.send_replace(true);
        self.attempts.send_modify(|_| {}); // for those who wait
        if timeout(CLOSE_TIMEOUT, self.closing.closed()).await.is_err() {
            self.abort();
        }
    }

    /// A place among those who wait for an answer, for as long as it is kept; an error if all are taken.
    pub(crate) fn enter(&self) -> Result<Place<'_>, Error> {
        let place = Place(&self.waiting);
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        if before < self.most_waiting { Ok(place) } else { Err(Error::OVERLOADED) }
    }

    /// Rows of a statement that changes nothing.
    pub(crate) async fn read(
        &self,
        sql: &'static Sql,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, Error> {
        let _place = self.enter()?;
        self.ask(sql, parameters).await
    }

    /// The same for those who have a place already. Should its connection close or fall silent meanwhile, another is
    /// asked, once.
    pub(crate) async fn ask(&self, sql: &'static Sql, parameters: Parameters<'_>) -> Result<Vec<Row>, Error> {
        let first = self.usable(None).await?;
        match first.query(sql, parameters).await {
            Err(error) if error.kind() == Kind::Unreachable => match self.usable(Some(&first)).await {
                Ok(other) => other.query(sql, parameters).await,
                Err(_) => Err(error),
            },
            rows => rows,
        }
    }

    /// Rows of a statement that may change something. It is never sent twice: when its connection closes,
    /// whether it was carried out is not known. To prepare it changes nothing, and may be done again.
    pub(crate) async fn write(
        &self,
        sql: &'static Sql,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, Error> {
        let _place = self.enter()?;
        let first = self.usable(None).await?;
        match first.prepare(sql).await {
            Ok(()) => first.query(sql, parameters).await,
            Err(error) if error.kind() == Kind::Unreachable => match self.usable(Some(&first)).await {
                Ok(other) => other.query(sql, parameters).await,
                Err(_) => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    /// A connection that is alive and is not `except`. When there is none, one is waited for, if so configured.
    async fn usable(&self, except: Option<&Arc<Connection>>) -> Result<Arc<Connection>, Error> {
        if *self.closing.borrow() {
            return Err(Error::NOT_CONNECTED);
        }
        match self.alive(except).await {
            Some(connection) => Ok(connection),
            None if self.wait.is_zero() => Err(Error::NOT_CONNECTED),
            None => timeout(self.wait, self.wait_for(except)).await.unwrap_or(Err(Error::NOT_CONNECTED)),
        }
    }

    /// Waits until a connection is made, or until an attempt that began meanwhile has failed: then there is none to be
    /// had. One that began before may fail for what has passed since.
    async fn wait_for(&self, except: Option<&Arc<Connection>>) -> Result<Arc<Connection>, Error> {
        let mut attempts = self.attempts.subscribe();
        let before = attempts.borrow().begun;
        self.slots.iter().for_each(|slot| slot.wake());
        while !*self.closing.borrow() && attempts.borrow_and_update().failed <= before {
            if let Some(connection) = self.alive(except).await {
                return Ok(connection);
            }
            let _ = attempts.changed().await; // fails only without `self.attempts`
        }
        Err(Error::NOT_CONNECTED)
    }

    /// A connection that is not `except` and, if there is doubt, has given a sign of life.
    async fn alive(&self, except: Option<&Arc<Connection>>) -> Option<Arc<Connection>> {
        let first = self.next_live(except)?;
        if first.probe_if_idle().await {
            return Some(first);
        }
        // What ended one may have ended all. Those without doubt come first; the others are asked together, so that
        // the time for one is enough.
        let (doubtful, sure): (Vec<_>, Vec<_>) =
            self.eligible(0, except).partition(|live| live.needs_probe());
        if let Some(connection) = sure.into_iter().min_by_key(|live| shares_server(live, except)) {
            return Some(connection);
        }
        let alive = join_all(doubtful.iter().map(|connection| connection.probe_if_idle())).await;
        doubtful.into_iter().zip(alive).find_map(|(connection, alive)| alive.then_some(connection))
    }

    /// A connection that is up, as far as anybody here knows, and is not `except`: the one with the fewest answers due,
    /// and of several the first to the server whose turn it is. What is sent waits for all that was sent before it over
    /// the same connection; and a process of Postgres that has just answered does so again sooner than another. What has
    /// come over `except` may be its server's doing, so that others to the same one are the last choice.
    fn next_live(&self, except: Option<&Arc<Connection>>) -> Option<Arc<Connection>> {
        let server = self.next.fetch_add(1, Ordering::Relaxed) % self.servers;
        self.eligible(server, except)
            .min_by_key(|live| (shares_server(live, except), live.is_stalled(), live.in_flight()))
    }

    /// Each connection that is up and is_eligible, but for `except`, in turn from the one with the number `first`.
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

/// Whether two connections are to the same server.
fn shares_server(one: &Arc<Connection>, other: Option<&Arc<Connection>>) -> bool {
    other.is_some_and(|other| one.server() == other.server())
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.abort();
    }
}

/// A place among those who wait for an answer.
#[derive(Debug)]
pub(crate) struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
