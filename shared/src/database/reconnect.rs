//! Connecting and reconnecting with backoff: one task per connection of the pool keeps it up, polls the status of its
//! server, and closes it at shutdown.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::closing::Closing;
use super::connection::Connection;
use super::replicas::{Replicas, STATUS_INTERVAL};
use super::statistics::ServerMetrics;
use super::{ConnectOptions, Error, Kind, Routing, ServerStatus, Settings};

/// The first pause before reconnecting. It doubles after each failure, up to [`BACKOFF_MAX`].
const BACKOFF_MIN: Duration = Duration::from_millis(50);

/// Short enough to reconnect soon after the database returns, long enough not to burden a database that starts.
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// The place of one connection in the pool, empty while it is down.
#[derive(Debug, Default)]
pub(super) struct Slot(RwLock<Option<Arc<Connection>>>);

impl Slot {
    /// Returns the connection if it is up.
    pub(super) fn live(&self) -> Option<Arc<Connection>> {
        let connection = self.0.read().unwrap_or_else(PoisonError::into_inner);
        connection.as_ref().filter(|connection| connection.is_up()).cloned()
    }

    fn set(&self, connection: Option<&Arc<Connection>>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = connection.cloned();
    }
}

/// The task that keeps one connection up.
pub(super) struct Reconnector {
    pub(super) settings: Settings,
    /// How to connect.
    pub(super) options: ConnectOptions,
    pub(super) slot: Arc<Slot>,
    /// The index of the connection among all of the pool.
    pub(super) number: usize,
    /// The index of its server.
    pub(super) server: usize,
    pub(super) metrics: ServerMetrics,
    pub(super) replicas: Arc<Replicas>,
    /// Changes when a connection comes up.
    pub(super) connected: Arc<watch::Sender<()>>,
}

impl Reconnector {
    /// Keeps a connection in the slot until the pool closes.
    pub(super) async fn run(self, mut closing: Closing) {
        let host = self.options.host();
        let mut pause = BACKOFF_MIN;
        let mut was_eligible = true; // so that the log says nothing about a server that is eligible from the start
        loop {
            let opened = tokio::select! {
                opened = Connection::open(&self.options, self.server, &self.settings, self.metrics.clone()) => opened,
                () = closing.begun() => return,
            };
            match opened {
                Ok((connection, mut driver)) => {
                    let monitor = self.monitor(&connection, &mut was_eligible);
                    let lost = connection.until_lost(&mut driver, &mut closing, monitor).await;
                    self.slot.set(None);
                    self.replicas.record(self.number, None);
                    drop(connection); // statements in flight hold it too
                    let Some(lost) = lost else { return closing.finish(driver).await };
                    tracing::warn!(
                        host,
                        error = lost.cause,
                        cause = lost.cause,
                        "lost a database connection, reconnecting"
                    );
                    if lost.was_stable {
                        pause = BACKOFF_MIN;
                        self.metrics.reconnects.inc();
                        continue;
                    }
                }
                Err(cause) => tracing::warn!(host, error = cause, cause, "cannot connect to the database"),
            }
            tokio::select! {
                () = sleep(with_jitter(pause)) => {}
                () = closing.begun() => return,
            }
            pause = (pause * 2).min(BACKOFF_MAX);
            self.metrics.reconnects.inc();
        }
    }

    /// Records the status of the server, then puts the connection into the slot and polls the status again and again.
    /// Returns the error of a status query that means that the connection cannot be used.
    async fn monitor(&self, up: &Arc<Connection>, was_eligible: &mut bool) -> Error {
        let mut latest = self.replicas.latest();
        let mut is_in_slot = false;
        loop {
            latest.borrow_and_update();
            match up.query_status().await {
                Ok(status) => {
                    self.replicas.record(self.number, Some(status));
                    self.log_role_change(&status, was_eligible);
                }
                // Delayed behind other statements. If the server responds to none of them, the connection is marked
                // dead.
                Err(error)
                    if is_in_slot
                        && up.is_up()
                        && matches!(error.kind(), Kind::Timeout | Kind::Unreachable) => {}
                Err(error) => return error,
            }
            if !is_in_slot {
                self.slot.set(Some(up));
                self.connected.send_replace(());
                is_in_slot = true;
            }
            let _ = timeout(STATUS_INTERVAL, latest.changed()).await; // at once after a publish
        }
    }

    /// Logs whether the server is used from now on, if that has changed. Only the first connection to a server logs it.
    fn log_role_change(&self, status: &ServerStatus, was_eligible: &mut bool) {
        let is_eligible = self.replicas.is_eligible(self.number);
        if std::mem::replace(was_eligible, is_eligible) == is_eligible || self.number != self.server {
            return;
        }
        let host = self.options.host();
        let (publication, latest) = (status.publication_id(), self.replicas.latest_id());
        match (self.replicas.routing(), is_eligible) {
            (Routing::Primary, true) => tracing::info!(host, "server accepts writes, using it for carts"),
            (Routing::Primary, false) => tracing::info!(host, "server is read-only, not using it for carts"),
            (Routing::UpToDate, true) => {
                tracing::info!(host, publication, "server has the latest catalog, using it for reads again");
            }
            (Routing::UpToDate, false) => {
                tracing::warn!(host, publication, latest, "replica is behind, removing it from reads");
            }
        }
    }
}

/// Returns half of `pause` plus a random part of the other half, so that connections lost together do not reconnect
/// together.
fn with_jitter(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + fastrand::f64() / 2.0)
}
