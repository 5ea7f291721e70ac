//! Keeps a connection up: makes it, makes it again when it is lost, closes it in good order at the end.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use tokio_postgres::Client;

use super::connect_options::Driver;
use super::connection::{Connection, FreezeAwareInstant};
use super::replicas::{Replicas, Routing, STATUS_INTERVAL};
use super::{ConnectOptions, Error, Kind, Settings, error_chain};

/// The first wait before connecting again; it doubles with every failure up to [`BACKOFF_MAX`].
const BACKOFF_MIN: Duration = Duration::from_millis(50);

/// Short enough that readers are back soon after the database is, long enough not to be a burden on one that
/// starts.
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// A connection of this age was of use, and is made again at once when it is lost. A server that takes connections
/// only to drop them is treated like one that is down.
const STABLE_AFTER: Duration = Duration::from_secs(1);

/// An attempt of this age is begun anew when somebody waits for it.
const SLOW_AFTER: Duration = Duration::from_secs(1);

/// Where a connection is put while it is up.
#[derive(Debug, Default)]
pub(super) struct Slot {
    connection: RwLock<Option<Arc<Connection>>>,
    wanted: Notify,
}

impl Slot {
    /// The connection, unless it is down.
    pub(super) fn live(&self) -> Option<Arc<Connection>> {
        let connection = self.connection.read().unwrap_or_else(PoisonError::into_inner);
        connection.as_ref().filter(|connection| connection.is_up()).cloned()
    }

    /// Somebody waits for a connection: a pause between two attempts is cut short.
    pub(super) fn wake(&self) {
        self.wanted.notify_one();
    }

    fn put(&self, connection: &Arc<Connection>) {
        *self.connection.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(connection));
    }

    fn clear(&self) {
        *self.connection.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Ends when somebody waits for a connection and the attempt that began then has taken long: the process may have
    /// been frozen meanwhile, and the other end have given up.
    async fn is_wanted_since(&self, began: FreezeAwareInstant) {
        loop {
            self.wanted.notified().await;
            if began.elapsed() > SLOW_AFTER {
                return;
            }
        }
    }

    async fn pause(&self, wait: Duration) {
        let in_any_case = wait.min(BACKOFF_MIN);
        sleep(in_any_case).await;
        let _ = timeout(wait - in_any_case, self.wanted.notified()).await;
    }
}

/// What those who wait for a connection are statuses.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ConnectAttempts {
    /// How many have begun.
    pub(super) begun: u64,
    /// The number of the latest of those that failed.
    pub(super) failed: u64,
}

/// What the task of one connection works with.
pub(super) struct Reconnector {
    pub(super) settings: Settings,
    /// Where to connect to.
    pub(super) address: ConnectOptions,
    pub(super) slot: Arc<Slot>,
    /// Which one it is of all connections.
    pub(super) number: usize,
    /// To which server it is, of several.
    pub(super) server: usize,
    pub(super) replicas: Arc<Replicas>,
    /// Changes with every attempt that begins or ends.
    pub(super) attempts: Arc<watch::Sender<ConnectAttempts>>,
}

impl Reconnector {
    /// Keeps a connection in the slot until the service ends, which is when `closing` turns true.
    pub(super) async fn run(self, mut closing: watch::Receiver<bool>) {
        let host = self.address.host();
        let mut wait = BACKOFF_MIN;
        let mut was_used = true; // of a server that is as it should be there is nothing to tell
        loop {
            let number = self.begin();
            let began = FreezeAwareInstant::now();
            let attempt = tokio::select! {
                attempt = connect(self.settings.connect_timeout, &self.address) => attempt,
                () = self.slot.is_wanted_since(began) => continue,
                () = is_true(&mut closing) => return,
            };
            match attempt {
                Ok((client, driver)) => {
                    tracing::debug!(host, "connected to the database");
                    let connection = Connection::new(client, self.server, &self.settings);
                    let Some(lost) = self.hold(connection, driver, &mut was_used, &mut closing).await else {
                        return;
                    };
                    let cause = lost.cause;
                    tracing::warn!(host, cause, "lost a connection to the database, connecting again");
                    if lost.was_stable {
                        wait = BACKOFF_MIN;
                        continue;
                    }
                }
                Err(cause) => {
                    tracing::warn!(host, cause, "cannot connect to the database");
                    self.attempts.send_modify(|attempts| attempts.failed = attempts.failed.max(number));
                }
            }
            tokio::select! {
                () = self.slot.pause(jittered(wait)) => {}
                () = is_true(&mut closing) => return,
            }
            wait = (wait * 2).min(BACKOFF_MAX);
        }
    }

    /// Counts an attempt.
    fn begin(&self) -> u64 {
        let mut number = 0;
        self.attempts.send_modify(|attempts| {
            attempts.begun += 1;
            number = attempts.begun;
        });
        number
    }

    /// Has a connection in the slot until it is lost; `None` if it was closed because the service ends.
    async fn hold(
        &self,
        connection: Connection,
        mut driver: Driver,
        was_used: &mut bool,
        closing: &mut watch::Receiver<bool>,
    ) -> Option<Disconnected> {
        let up = Arc::new(connection);
        let lost = tokio::select! {
            ended = &mut driver => Some(Disconnected {
                cause: ended.err().map(|error| error_chain(&error)),
                was_stable: up.age() >= STABLE_AFTER,
            }),
            // It took time to find that out, so this cannot come in quick succession.
            () = up.silent() => Some(Disconnected { cause: Some("it does not answer".to_owned()), was_stable: true }),
            refused = self.show(&up, was_used) => Some(Disconnected {
                cause: Some(error_chain(&refused)),
                was_stable: up.age() >= STABLE_AFTER,
            }),
            () = is_true(closing) => None,
        };
        self.slot.clear();
        self.replicas.record(self.number, None);
        if lost.is_none() {
            // Those who wait for an answer still hold it. After the last of them the driver takes leave of Postgres.
            drop(up);
            let _ = driver.await;
        }
        lost
    }

    /// Puts a connection into the slot, and has it known how its server stands, from before it is used for as long as it
    /// is up. Ends with an error if the server will not say.
    async fn show(&self, up: &Arc<Connection>, was_used: &mut bool) -> Error {
        let mut latest = self.replicas.latest();
        let is_asked = self.replicas.are_monitored();
        let mut is_shown = false;
        loop {
            latest.borrow_and_update();
            if is_asked {
                match up.query_status().await {
                    Ok(status) => {
                        self.replicas.record(self.number, Some(status));
                        self.tell(was_used);
                    }
                    // Held up behind others. Silent to all for longer, it would be given up.
                    Err(error)
                        if is_shown
                            && up.is_up()
                            && matches!(error.kind(), Kind::Timeout | Kind::Unreachable) => {}
                    Err(error) => return error,
                }
            }
            if !is_shown {
                self.slot.put(up);
                self.attempts.send_modify(|_| {}); // for those who wait
                is_shown = true;
            }
            if !is_asked {
                return std::future::pending().await;
            }
            let _ = timeout(STATUS_INTERVAL, latest.changed()).await; // at the latest then
        }
    }

    /// Has the log tell whether the server is used, if that is something else than it was. The first connection to it
    /// speaks for all.
    fn tell(&self, was_used: &mut bool) {
        let is_used = self.replicas.is_eligible(self.number);
        if std::mem::replace(was_used, is_used) == is_used || self.number != self.server {
            return;
        }
        let host = self.address.host();
        match (self.replicas.routing(), is_used) {
            (Routing::Primary, true) => tracing::info!(host, "the server takes writes: carts are kept there"),
            (Routing::Primary, false) => {
                tracing::info!(host, "the server takes no writes: no carts are kept there");
            }
            (_, true) => tracing::info!(host, "the server has the latest catalog: it is read from again"),
            (_, false) => tracing::warn!(host, "the server has not the latest catalog: it is not read from"),
        }
    }
}

/// How a connection ended.
struct Disconnected {
    cause: Option<String>,
    was_stable: bool,
}

async fn is_true(closing: &mut watch::Receiver<bool>) {
    let _ = closing.wait_for(|closing| *closing).await; // fails if there is no service any more
}

/// One attempt, or why it failed, in one line.
async fn connect(limit: Duration, options: &ConnectOptions) -> Result<(Client, Driver), String> {
    match timeout(limit, options.connect()).await {
        Ok(made) => made.map_err(|error| error_chain(&error)),
        Err(_) => Err(format!("no connection within {} ms", limit.as_millis())),
    }
}

/// What Postgres is to do for each of this service's connections, beside giving up slow statements. It would plan anew each
/// statement that has fewer ids than the ten which it expects of an array, for that looks cheaper; each is a search by one
/// index however many they are.
const PLAN_ONCE: &str = "-c plan_cache_mode=force_generic_plan";

/// The address with everything that holds for each of this service's connections. They are startup options and not a
/// `set`, which a proxy between here and the database could not share among its clients.
pub(super) fn connect_options(settings: &Settings, routing: Routing) -> ConnectOptions {
    let timeout = settings.statement_timeout.as_millis();
    settings.connect.with(|config| {
        let given = config.get_options().map(|options| format!("{options} ")).unwrap_or_default();
        config.options(format!("{given}{PLAN_ONCE} -c statement_timeout={timeout}"));
        config.keepalives_idle(Duration::from_secs(30));
        config.keepalives_interval(Duration::from_secs(5));
        config.keepalives_retries(3);
        config.tcp_user_timeout(Duration::from_secs(10)); // detects a peer that disappeared under load as well
        if config.get_application_name().is_none() {
            config.application_name(if routing == Routing::Primary { "atelier-cart" } else { "atelier" });
        }
    })
}

/// Half of `wait` and a random part of the other half, so that connections lost together do not come back
/// together.
fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(0.5 + fastrand::f64() / 2.0)
}
