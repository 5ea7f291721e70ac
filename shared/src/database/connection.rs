//! One connection: what it has prepared, whether its server still answers, and giving it up when that does not.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{Notify, OnceCell};
use tokio::time::timeout;
use tokio_postgres::{Client, Row, Statement};

use super::{Error, Kind, Parameters, SERVER_STATUS, SLOTS, ServerStatus, Settings, Sql};

/// How much longer than a statement's own time limit an answer may take: Postgres has given the statement up by
/// then, and said so.
const TIMEOUT_GRACE: Duration = Duration::from_millis(250);

/// How long a sign of life may take: it costs Postgres nothing, so this is the network's.
const PROBE_TIMEOUT: Duration = Duration::from_millis(250);

/// How long an answer may be due, while no other came, before requests prefer another connection: longer than most
/// statements take, and short enough that few requests are held up by a server that has gone without a word.
const STALL_AFTER: Duration = Duration::from_millis(250);

/// A connection that is up, or was when it was last looked at.
#[derive(Debug)]
pub(super) struct Connection {
    client: Client,
    /// To which server it is: those to the same one are likely to fail together.
    server: usize,
    prepared: [OnceCell<Statement>; SLOTS],
    /// How long it may be silent while an answer is due.
    timeout: Duration,
    /// How long it may be idle_time before it is asked for a sign of life.
    idle_check_after: Duration,
    made: FreezeAwareInstant,
    answered: Mutex<FreezeAwareInstant>,
    /// How many statements wait for an answer.
    in_flight: AtomicUsize,
    /// Since when some have.
    due_since: Mutex<FreezeAwareInstant>,
    /// Held by whoever asks for a sign of life, so that others wait for that one.
    probing: tokio::sync::Mutex<()>,
    is_dead: AtomicBool,
    silent: Notify,
}

impl Connection {
    pub(super) fn new(client: Client, server: usize, settings: &Settings) -> Self {
        let made = FreezeAwareInstant::now();
        let (prepared, in_flight, probing, is_dead, silent) = Default::default();
        let (timeout, idle_check_after) =
            (settings.statement_timeout + TIMEOUT_GRACE, settings.idle_check_after);
        let (answered, due_since) = (Mutex::new(made), Mutex::new(made));
        Self {
            client,
            server,
            prepared,
            timeout,
            idle_check_after,
            made,
            answered,
            in_flight,
            due_since,
            probing,
            is_dead,
            silent,
        }
    }

    /// To which server it is.
    pub(super) fn server(&self) -> usize {
        self.server
    }

    /// Whether it is up, as far as anybody here knows.
    pub(super) fn is_up(&self) -> bool {
        !self.is_dead.load(Ordering::Relaxed) && !self.client.is_closed()
    }

    /// Whether it has been idle_time for so long that it may have died unseen, as all do while the process is frozen.
    pub(super) fn needs_probe(&self) -> bool {
        // Where an answer is due, a sign of life would have to wait for it, and its absence would tell nothing.
        let due = self.in_flight.load(Ordering::Relaxed) > 0;
        self.idle_time() > if due { self.idle_check_after + self.timeout } else { self.idle_check_after }
    }

    /// How many statements wait for an answer.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Whether it has kept all who wait for an answer waiting for so long that another is the better choice.
    pub(super) fn is_stalled(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) > 0
            && lock(&self.due_since).elapsed() > STALL_AFTER
            && self.idle_time() > STALL_AFTER
    }

    /// Asks how its server stands.
    pub(super) async fn query_status(&self) -> Result<ServerStatus, Error> {
        match self.query(&SERVER_STATUS, &[]).await {
            Ok(rows) => ServerStatus::of(&rows),
            // Nothing was ever published: there is not even a record of it.
            Err(error) if error.kind() == Kind::NoCatalog => Ok(ServerStatus::default()),
            Err(error) => Err(error),
        }
    }

    /// Whether a statement may be sent: doubtful, it is asked for a sign of life first, and given up without one.
    pub(super) async fn probe_if_idle(&self) -> bool {
        if self.is_up() && self.needs_probe() {
            let _alone = self.probing.lock().await;
            if self.is_up() && self.needs_probe() {
                match timeout(PROBE_TIMEOUT, self.client.check_connection()).await {
                    Ok(Ok(())) => self.touch(),
                    Ok(Err(_)) | Err(_) => self.mark_dead(),
                }
            }
        }
        self.is_up()
    }

    /// Has Postgres prepare a statement, unless it has. That is done on first use and not when connecting: before the
    /// first publish there is nothing to prepare it against.
    pub(super) async fn prepare(&self, sql: &Sql) -> Result<(), Error> {
        self.answer(self.prepared(sql)).await.map(drop)
    }

    /// Sends one statement and collects its rows.
    pub(super) async fn query(&self, sql: &Sql, parameters: Parameters<'_>) -> Result<Vec<Row>, Error> {
        self.answer(async { self.client.query(self.prepared(sql).await?, parameters).await }).await
    }

    /// Ends when it is given up.
    pub(super) async fn silent(&self) {
        self.silent.notified().await;
    }

    /// How long ago it was made.
    pub(super) fn age(&self) -> Duration {
        self.made.elapsed()
    }

    async fn prepared(&self, sql: &Sql) -> Result<&Statement, tokio_postgres::Error> {
        self.prepared[sql.slot].get_or_try_init(|| self.client.prepare(sql.text)).await
    }

    /// Waits for what was asked, within the limits of a connection.
    async fn answer<T>(
        &self,
        asked: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Error> {
        if self.in_flight.load(Ordering::Relaxed) == 0 {
            *lock(&self.due_since) = FreezeAwareInstant::now();
        }
        let due = Due::new(&self.in_flight);
        let answer = timeout(self.timeout, asked).await;
        drop(due);
        let Ok(answer) = answer else {
            // Busy with others, or with this since it gave up another, it is only slow. Silent to all, its peer hangs or
            // is gone without a word: it has answered nothing since this was sent, or only what was sent just before.
            let idle_time = self.idle_time();
            if idle_time >= self.timeout {
                self.mark_dead(); // whoever is sent here next would wait in vain
            }
            let is_silent = idle_time >= self.timeout.min(TIMEOUT_GRACE + STALL_AFTER);
            return Err(if is_silent { Error::STALLED } else { Error::TIMED_OUT });
        };
        self.touch();
        Ok(answer?)
    }

    fn touch(&self) {
        *lock(&self.answered) = FreezeAwareInstant::now();
    }

    /// How long ago it last answered.
    fn idle_time(&self) -> Duration {
        lock(&self.answered).elapsed()
    }

    fn mark_dead(&self) {
        self.is_dead.store(true, Ordering::Relaxed);
        self.silent.notify_one();
    }
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts an answer as due until it is dropped.
struct Due<'a>(&'a AtomicUsize);

impl<'a> Due<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Due<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A point in time by two clocks: the process's own, which may stand still while the process is frozen, and the one
/// on the wall, which may be set back.
#[derive(Debug, Clone, Copy)]
pub(super) struct FreezeAwareInstant {
    own: Instant,
    wall: SystemTime,
}

impl FreezeAwareInstant {
    pub(super) fn now() -> Self {
        Self { own: Instant::now(), wall: SystemTime::now() }
    }

    /// By the clock that says more.
    pub(super) fn elapsed(self) -> Duration {
        self.own.elapsed().max(self.wall.elapsed().unwrap_or_default())
    }
}
