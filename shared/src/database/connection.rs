//! One connection: how it is made, made again when it is lost, and what it has prepared.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Notify, OnceCell, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::{NoTls, Row, Statement};

use super::{Error, Parameters, SLOTS, Sql, chain};
use crate::config;

/// The first wait before connecting again; it doubles with every failure up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(50);

/// Short enough that readers are back soon after the database is, long enough not to be a burden on one that
/// starts.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// How much longer than a statement's own time limit an answer may take: Postgres has given the statement up by
/// then, and said so.
const LENIENCE: Duration = Duration::from_millis(250);

/// Where a connection is put while it is up.
#[derive(Debug, Default)]
pub(super) struct Slot {
    connection: RwLock<Option<Arc<Connection>>>,
}

impl Slot {
    /// The connection, unless it is down.
    pub(super) fn live(&self) -> Option<Arc<Connection>> {
        let connection = self.connection.read().unwrap_or_else(PoisonError::into_inner);
        connection.as_ref().filter(|connection| !connection.client.is_closed()).cloned()
    }

    fn put(&self, connection: Connection) -> Arc<Connection> {
        let connection = Arc::new(connection);
        *self.connection.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&connection));
        connection
    }

    fn clear(&self) {
        *self.connection.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// A connection that is up, or was when it was last looked at.
#[derive(Debug)]
pub(super) struct Connection {
    client: tokio_postgres::Client,
    prepared: [OnceCell<Statement>; SLOTS],
    /// How long it may be silent while an answer is due.
    patience: Duration,
    made: Instant,
    /// When it last answered, in milliseconds since it was made.
    answered_at: AtomicU64,
    stalled: Notify,
}

impl Connection {
    fn new(client: tokio_postgres::Client, patience: Duration) -> Self {
        let (prepared, answered_at, stalled) = Default::default();
        Self { client, prepared, patience, made: Instant::now(), answered_at, stalled }
    }

    /// Sends one statement and collects its rows. A statement is prepared on its first use and not when
    /// connecting: before the first publish there is nothing to prepare it against.
    pub(super) async fn query(&self, sql: &Sql, parameters: Parameters<'_>) -> Result<Vec<Row>, Error> {
        let asked = async {
            let prepare = || self.client.prepare(sql.text);
            let statement = self.prepared[sql.slot].get_or_try_init(prepare).await?;
            self.client.query(statement, parameters).await
        };
        let Ok(answer) = timeout(self.patience, asked).await else {
            // Busy with others, it is only slow. Silent to all, its peer hangs or is gone without a word, and whoever
            // is sent here would wait in vain.
            if self.since_made() - self.answered_at.load(Ordering::Relaxed) >= self.patience_ms() {
                self.stalled.notify_one();
                return Err(Error::STALLED);
            }
            return Err(Error::SILENT);
        };
        self.answered_at.store(self.since_made(), Ordering::Relaxed);
        Ok(answer?)
    }

    fn since_made(&self) -> u64 {
        u64::try_from(self.made.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn patience_ms(&self) -> u64 {
        u64::try_from(self.patience.as_millis()).unwrap_or(u64::MAX)
    }
}

/// Keeps a connection in `slot` for ever, counting it in `connected` while it is up.
pub(super) async fn keep(config: config::Database, slot: Arc<Slot>, connected: Arc<watch::Sender<usize>>) {
    let settings = settings(&config);
    let mut wait = FIRST_WAIT;
    loop {
        let started = Instant::now();
        match timeout(config.connect_timeout, settings.connect(NoTls)).await {
            Ok(Ok((client, connection))) => {
                let up = slot.put(Connection::new(client, config.statement_timeout + LENIENCE));
                connected.send_modify(|count| *count += 1);
                tracing::debug!("connected to the database");
                let cause = tokio::select! {
                    ended = connection => ended.err().map(|error| chain(&error)),
                    () = up.stalled.notified() => Some("it does not answer".to_owned()),
                };
                slot.clear();
                connected.send_modify(|count| *count -= 1);
                tracing::warn!(cause, "lost a connection to the database, connecting again");
            }
            Ok(Err(error)) => tracing::warn!(cause = chain(&error), "cannot connect to the database"),
            Err(_) => tracing::warn!("connecting to the database took too long"),
        }
        // A server that takes connections only to drop them is treated like one that is down.
        if started.elapsed() > LONGEST_WAIT {
            wait = FIRST_WAIT;
        }
        sleep(jittered(wait)).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// The address with everything that holds for each of this service's connections. The timeout is a startup
/// option and not a `set`, which a proxy between here and the database could not share among its clients.
fn settings(config: &config::Database) -> tokio_postgres::Config {
    let mut settings = config.url.clone();
    let given = settings.get_options().map(|options| format!("{options} ")).unwrap_or_default();
    settings.options(format!("{given}-c statement_timeout={}", config.statement_timeout.as_millis()));
    settings.keepalives_idle(Duration::from_secs(30));
    settings.keepalives_interval(Duration::from_secs(5));
    settings.keepalives_retries(3);
    settings.tcp_user_timeout(Duration::from_secs(10)); // a peer that vanished is found out under load as well
    if settings.get_application_name().is_none() {
        settings.application_name("atelier");
    }
    settings
}

/// Half of `wait` and a random part of the other half, so that connections lost together do not come back
/// together.
fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(0.5 + fastrand::f64() / 2.0)
}
