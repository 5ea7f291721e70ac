//! Connecting and reconnecting with backoff: one task per connection keeps it up, polls the status of its server, and
//! closes it gracefully at shutdown.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use tokio_postgres::Client;

use super::clock::FreezeAwareInstant;
use super::connect_options::Driver;
use super::connection::Connection;
use super::replicas::{Replicas, STATUS_INTERVAL};
use super::{ConnectOptions, Error, Kind, Routing, ServerStatus, Settings, error_chain};

/// The first pause before reconnecting. It doubles after each failure, up to [`BACKOFF_MAX`].
const BACKOFF_MIN: Duration = Duration::from_millis(50);

/// Short enough to reconnect soon after the database returns, long enough not to burden a database that starts.
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// The age from which a connection is stable: if it is lost, the task reconnects without a pause. A server that accepts
/// connections and drops them is treated like one that is unavailable.
const STABLE_AFTER: Duration = Duration::from_secs(1);

/// The age from which an attempt to connect is restarted if a request waits for it.
const SLOW_AFTER: Duration = Duration::from_secs(1);

/// The place of one connection in the pool, empty while it is down.
#[derive(Debug, Default)]
pub(super) struct Slot {
    connection: RwLock<Option<Arc<Connection>>>,
    woken: Notify,
}

impl Slot {
    /// Returns the connection if it is up.
    pub(super) fn live(&self) -> Option<Arc<Connection>> {
        let connection = self.connection.read().unwrap_or_else(PoisonError::into_inner);
        connection.as_ref().filter(|connection| connection.is_up()).cloned()
    }

    /// Ends the pause between two attempts early, because a request waits for a connection.
    pub(super) fn wake(&self) {
        self.woken.notify_one();
    }

    fn put(&self, connection: &Arc<Connection>) {
        *self.connection.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(connection));
    }

    fn clear(&self) {
        *self.connection.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Waits until a request needs a connection and the attempt that began at `began` is slow. The process may have
    /// been frozen during the attempt, and the server may have dropped it.
    async fn needs_restart(&self, began: FreezeAwareInstant) {
        loop {
            self.woken.notified().await;
            if began.elapsed() > SLOW_AFTER {
                return;
            }
        }
    }

    /// Waits for `pause`. [`Self::wake`] shortens it to [`BACKOFF_MIN`].
    async fn back_off(&self, pause: Duration) {
        let min = pause.min(BACKOFF_MIN);
        sleep(min).await;
        let _ = timeout(pause - min, self.woken.notified()).await;
    }
}

/// Counts of the attempts to connect, over all connections of a pool.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ConnectAttempts {
    /// How many have started.
    pub(super) started: u64,
    /// The number of the latest one that failed.
    pub(super) failed: u64,
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
    pub(super) replicas: Arc<Replicas>,
    /// Changes when an attempt starts or ends.
    pub(super) attempts: Arc<watch::Sender<ConnectAttempts>>,
}

impl Reconnector {
    /// Keeps a connection in the slot until `closing` becomes true.
    pub(super) async fn run(self, mut closing: watch::Receiver<bool>) {
        let host = self.options.host();
        let mut pause = BACKOFF_MIN;
        let mut was_eligible = true; // so that the log says nothing about a server that is eligible from the start
        loop {
            let number = self.start_attempt();
            let began = FreezeAwareInstant::now();
            let attempt = tokio::select! {
                attempt = connect(self.settings.connect_timeout, &self.options) => attempt,
                () = self.slot.needs_restart(began) => continue,
                () = closed(&mut closing) => return,
            };
            match attempt {
                Ok((client, driver)) => {
                    tracing::debug!(host, "connected to the database");
                    let connection = Connection::new(client, self.server, &self.settings);
                    let lost = self.run_until_lost(connection, driver, &mut was_eligible, &mut closing).await;
                    let Some(lost) = lost else { return };
                    tracing::warn!(
                        host,
                        error = lost.cause,
                        cause = lost.cause,
                        "lost a database connection, reconnecting"
                    );
                    if lost.was_stable {
                        pause = BACKOFF_MIN;
                        continue;
                    }
                }
                Err(cause) => {
                    tracing::warn!(host, error = cause, cause, "cannot connect to the database");
                    self.attempts.send_modify(|attempts| attempts.failed = attempts.failed.max(number));
                }
            }
            tokio::select! {
                () = self.slot.back_off(with_jitter(pause)) => {}
                () = closed(&mut closing) => return,
            }
            pause = (pause * 2).min(BACKOFF_MAX);
        }
    }

    /// Counts an attempt and returns its number.
    fn start_attempt(&self) -> u64 {
        let mut number = 0;
        self.attempts.send_modify(|attempts| {
            attempts.started += 1;
            number = attempts.started;
        });
        number
    }

    /// Runs a connection until it is lost; returns `None` if it was closed because the pool closes.
    async fn run_until_lost(
        &self,
        connection: Connection,
        mut driver: Driver,
        was_eligible: &mut bool,
        closing: &mut watch::Receiver<bool>,
    ) -> Option<Disconnected> {
        let up = Arc::new(connection);
        let lost = tokio::select! {
            ended = &mut driver => Some(Disconnected {
                cause: ended.err().map(|error| error_chain(&error)),
                was_stable: up.age() >= STABLE_AFTER,
            }),
            // A timeout takes time, so it cannot cause a busy loop of attempts.
            () = up.health().dead() => {
                Some(Disconnected { cause: Some("connection timed out".to_owned()), was_stable: true })
            }
            error = self.monitor(&up, was_eligible) => Some(Disconnected {
                cause: Some(error_chain(&error)),
                was_stable: up.age() >= STABLE_AFTER,
            }),
            () = closed(closing) => None,
        };
        self.slot.clear();
        self.replicas.record(self.number, None);
        if lost.is_none() {
            // Requests in flight hold the connection too. After the last one ends, the driver closes it gracefully.
            drop(up);
            let _ = driver.await;
        }
        lost
    }

    /// Records the status of the server, then puts the connection into the slot and polls the status again and again.
    /// Returns the error of a status query that means that the connection cannot be used.
    async fn monitor(&self, up: &Arc<Connection>, was_eligible: &mut bool) -> Error {
        let mut latest = self.replicas.latest();
        let is_monitored = self.replicas.are_monitored();
        let mut is_in_slot = false;
        loop {
            latest.borrow_and_update();
            if is_monitored {
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
            }
            if !is_in_slot {
                self.slot.put(up);
                self.attempts.send_modify(|_| {}); // wakes waiting requests
                is_in_slot = true;
            }
            if !is_monitored {
                return std::future::pending().await;
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
            (_, true) => {
                tracing::info!(host, publication, "server has the latest catalog, using it for reads again");
            }
            (_, false) => {
                tracing::warn!(host, publication, latest, "replica is behind, removing it from reads");
            }
        }
    }
}

/// Why a connection ended.
struct Disconnected {
    cause: Option<String>,
    was_stable: bool,
}

async fn closed(closing: &mut watch::Receiver<bool>) {
    let _ = closing.wait_for(|closing| *closing).await; // fails if the pool was dropped
}

/// Makes one attempt to connect. The error is one line for the log.
async fn connect(limit: Duration, options: &ConnectOptions) -> Result<(Client, Driver), String> {
    match timeout(limit, options.connect()).await {
        Ok(connected) => connected.map_err(|error| error_chain(&error)),
        Err(_) => Err(format!("timed out after {} ms", limit.as_millis())),
    }
}

/// Makes Postgres plan each prepared statement once. It expects ten ids in an array and would plan again for fewer,
/// because that looks cheaper; but the plan is the same search of one index for any number of ids.
const PLAN_ONCE: &str = "-c plan_cache_mode=force_generic_plan";

/// Returns the options of each connection of the pool. They are startup options and not `set` statements, because a
/// connection pooler between this process and Postgres could not share connections changed by `set`.
pub(super) fn connect_options(settings: &Settings, routing: Routing) -> ConnectOptions {
    let timeout = settings.statement_timeout.as_millis();
    settings.connect.with(|config| {
        let given = config.get_options().map(|options| format!("{options} ")).unwrap_or_default();
        config.options(format!("{given}{PLAN_ONCE} -c statement_timeout={timeout}"));
        config.keepalives_idle(Duration::from_secs(30));
        config.keepalives_interval(Duration::from_secs(5));
        config.keepalives_retries(3);
        config.tcp_user_timeout(Duration::from_secs(10)); // detects a lost peer while data is in flight
        if config.get_application_name().is_none() {
            config.application_name(if routing == Routing::Primary { "atelier-cart" } else { "atelier" });
        }
    })
}

/// Returns half of `pause` plus a random part of the other half, so that connections lost together do not reconnect
/// together.
fn with_jitter(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + fastrand::f64() / 2.0)
}
