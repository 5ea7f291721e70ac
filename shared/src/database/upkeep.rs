//! Keeps a connection up: makes it, makes it again when it is lost, closes it in good order at the end.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use tokio_postgres::Client;

use super::address::Driver;
use super::connection::{Connection, Moment};
use super::standing::{ASK_EVERY, Need, Standings};
use super::{Address, Error, Kind, chain};
use crate::config;

/// The first wait before connecting again; it doubles with every failure up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(50);

/// Short enough that readers are back soon after the database is, long enough not to be a burden on one that
/// starts.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// A connection of this age was of use, and is made again at once when it is lost. A server that takes connections
/// only to drop them is treated like one that is down.
const OF_USE: Duration = Duration::from_secs(1);

/// An attempt of this age is begun anew when somebody waits for it.
const SLOW: Duration = Duration::from_secs(1);

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
    pub(super) fn hurry(&self) {
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
    async fn is_wanted_since(&self, began: Moment) {
        loop {
            self.wanted.notified().await;
            if began.elapsed() > SLOW {
                return;
            }
        }
    }

    async fn pause(&self, wait: Duration) {
        let in_any_case = wait.min(FIRST_WAIT);
        sleep(in_any_case).await;
        let _ = timeout(wait - in_any_case, self.wanted.notified()).await;
    }
}

/// What those who wait for a connection are told.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Attempts {
    /// How many have begun.
    pub(super) begun: u64,
    /// The number of the latest of those that failed.
    pub(super) failed: u64,
}

/// What the task of one connection works with.
pub(super) struct Upkeep {
    pub(super) config: config::Database,
    /// Where to connect to.
    pub(super) address: Address,
    pub(super) slot: Arc<Slot>,
    /// Which one it is of all connections.
    pub(super) number: usize,
    /// To which server it is, of several.
    pub(super) server: usize,
    pub(super) standings: Arc<Standings>,
    /// Changes with every attempt that begins or ends.
    pub(super) attempts: Arc<watch::Sender<Attempts>>,
}

impl Upkeep {
    /// Keeps a connection in the slot until the service ends, which is when `closing` turns true.
    pub(super) async fn run(self, mut closing: watch::Receiver<bool>) {
        let host = self.address.host();
        let mut wait = FIRST_WAIT;
        let mut was_used = true; // of a server that is as it should be there is nothing to tell
        loop {
            let number = self.begin();
            let began = Moment::now();
            let attempt = tokio::select! {
                attempt = connect(self.config.connect_timeout, &self.address) => attempt,
                () = self.slot.is_wanted_since(began) => continue,
                () = is_true(&mut closing) => return,
            };
            match attempt {
                Ok((client, driver)) => {
                    tracing::debug!(host, "connected to the database");
                    let connection = Connection::new(client, self.server, &self.config);
                    let Some(lost) = self.hold(connection, driver, &mut was_used, &mut closing).await else {
                        return;
                    };
                    let cause = lost.cause;
                    tracing::warn!(host, cause, "lost a connection to the database, connecting again");
                    if lost.was_of_use {
                        wait = FIRST_WAIT;
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
            wait = (wait * 2).min(LONGEST_WAIT);
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
    ) -> Option<Lost> {
        let up = Arc::new(connection);
        let lost = tokio::select! {
            ended = &mut driver => Some(Lost {
                cause: ended.err().map(|error| chain(&error)),
                was_of_use: up.age() >= OF_USE,
            }),
            // It took time to find that out, so this cannot come in quick succession.
            () = up.silent() => Some(Lost { cause: Some("it does not answer".to_owned()), was_of_use: true }),
            refused = self.show(&up, was_used) => Some(Lost {
                cause: Some(chain(&refused)),
                was_of_use: up.age() >= OF_USE,
            }),
            () = is_true(closing) => None,
        };
        self.slot.clear();
        self.standings.take_down(self.number, None);
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
        let mut latest = self.standings.latest();
        let is_asked = self.standings.are_asked_for();
        let mut is_shown = false;
        loop {
            latest.borrow_and_update();
            if is_asked {
                match up.ask_standing().await {
                    Ok(standing) => {
                        self.standings.take_down(self.number, Some(standing));
                        self.tell(was_used);
                    }
                    // Held up behind others. Silent to all for longer, it would be given up.
                    Err(error)
                        if is_shown
                            && up.is_up()
                            && matches!(error.kind(), Kind::Busy | Kind::Unreachable) => {}
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
            let _ = timeout(ASK_EVERY, latest.changed()).await; // at the latest then
        }
    }

    /// Has the log tell whether the server is used, if that is something else than it was. The first connection to it
    /// speaks for all.
    fn tell(&self, was_used: &mut bool) {
        let is_used = self.standings.suits(self.number);
        if std::mem::replace(was_used, is_used) == is_used || self.number != self.server {
            return;
        }
        let host = self.address.host();
        match (self.standings.need(), is_used) {
            (Need::Primary, true) => tracing::info!(host, "the server takes writes: carts are kept there"),
            (Need::Primary, false) => {
                tracing::info!(host, "the server takes no writes: no carts are kept there");
            }
            (_, true) => tracing::info!(host, "the server has the latest catalog: it is read from again"),
            (_, false) => tracing::warn!(host, "the server has not the latest catalog: it is not read from"),
        }
    }
}

/// How a connection ended.
struct Lost {
    cause: Option<String>,
    was_of_use: bool,
}

async fn is_true(closing: &mut watch::Receiver<bool>) {
    let _ = closing.wait_for(|closing| *closing).await; // fails if there is no service any more
}

/// One attempt, or why it failed, in one line.
async fn connect(patience: Duration, address: &Address) -> Result<(Client, Driver), String> {
    match timeout(patience, address.connect()).await {
        Ok(made) => made.map_err(|error| chain(&error)),
        Err(_) => Err(format!("no connection within {} ms", patience.as_millis())),
    }
}

/// What Postgres is to do for each of this service's connections, beside giving up slow statements. It would plan anew each
/// statement that has fewer ids than the ten which it expects of an array, for that looks cheaper; each is a search by one
/// index however many they are.
const PLAN_ONCE: &str = "-c plan_cache_mode=force_generic_plan";

/// The address with everything that holds for each of this service's connections. They are startup options and not a
/// `set`, which a proxy between here and the database could not share among its clients.
pub(super) fn address(config: &config::Database, need: Need) -> Address {
    config.address.with(|settings| {
        let given = settings.get_options().map(|options| format!("{options} ")).unwrap_or_default();
        let timeout = config.statement_timeout.as_millis();
        settings.options(format!("{given}{PLAN_ONCE} -c statement_timeout={timeout}"));
        settings.keepalives_idle(Duration::from_secs(30));
        settings.keepalives_interval(Duration::from_secs(5));
        settings.keepalives_retries(3);
        settings.tcp_user_timeout(Duration::from_secs(10)); // a peer that vanished is found out under load as well
        if settings.get_application_name().is_none() {
            settings.application_name(if need == Need::Primary { "atelier-cart" } else { "atelier" });
        }
    })
}

/// Half of `wait` and a random part of the other half, so that connections lost together do not come back
/// together.
fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(0.5 + fastrand::f64() / 2.0)
}
