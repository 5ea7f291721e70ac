//! The batch loader: ids requested while a statement is in flight go into the next statement together.
//!
//! ```text
//! load(7) ──┐
//! load(2) ──┼─ queue ──> where … = any({7,2,9}) ──> each caller gets its row, or none
//! load(9) ──┤
//! load(7) ──┘  coalesced with the first 7
//! ```
//! Batching delays nobody: an id that finds no statement in flight goes at once, alone. Statements carry several ids
//! only under load. A statement costs Postgres far more than the read itself. With 64 clients, two batched statements
//! at a time served 1.4 to 1.7 times as many responses as one statement per request. With one statement at a time,
//! Postgres needs half as long per response as with two (three hosts, 64 connections, measured in turn).
//!
//! A slow statement waits for a disk, a lock or the network. So that later ids do not wait for that too, another
//! statement starts beside it after [`SLOW_AFTER`], up to [`MAX_IN_FLIGHT`] at once. Concurrent requests for an id are
//! coalesced: one read serves them all.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::{Callers, Error, Pool, Reply, Sql, reply_all};

/// How long ids wait since the latest statement before another one starts beside it. Longer than a statement takes on a
/// busy machine, or batches would become small just when large ones are needed.
const SLOW_AFTER: Duration = Duration::from_millis(5);

/// The max number of statements of one loader in flight at once.
const MAX_IN_FLIGHT: usize = 8;

/// The max number of ids in one statement, which bounds the memory for its rows.
const MAX_BATCH: usize = 128;

/// How many rows are decoded before other tasks run. To decode an overview, gzip is undone and done again, which takes
/// as long as dozens of cached responses.
const DECODE_CHUNK: usize = 16;

/// A batch loader of single rows by id.
#[derive(Debug)]
pub(crate) struct BatchLoader<T> {
    desk: Arc<Desk<T>>,
}

struct Desk<T> {
    database: Arc<Pool>,
    /// Takes an array of ids; the first column is the id, and no two rows have the same.
    sql: &'static Sql,
    read: Box<Read<T>>,
    /// The timeout of a statement. Postgres has cancelled it by then, or does not respond.
    timeout: Duration,
    queue: Mutex<Queue<T>>,
}

type Read<T> = dyn Fn(i32, &Row) -> Result<T, Error> + Send + Sync;

struct Queue<T> {
    /// Pending callers by id, whether the id is in a statement or not yet.
    waiting: Callers<i32, Option<T>>,
    /// Ids for the next statement.
    ids: VecDeque<i32>,
    in_flight: usize,
    /// When the latest statement was sent.
    sent: Instant,
    /// Whether a task checks for slow statements.
    is_watched: bool,
}

impl<T: Clone + Send + 'static> BatchLoader<T> {
    /// Creates a batch loader. `read` decodes an id and its row; it is called once per row.
    pub(crate) fn new(
        database: &Arc<Pool>,
        sql: &'static Sql,
        timeout: Duration,
        read: impl Fn(i32, &Row) -> Result<T, Error> + Send + Sync + 'static,
    ) -> Self {
        let (waiting, ids, in_flight, is_watched) = Default::default();
        let queue = Mutex::new(Queue { waiting, ids, in_flight, sent: Instant::now(), is_watched });
        let (database, read) = (Arc::clone(database), Box::new(read));
        Self { desk: Arc::new(Desk { database, sql, read, timeout, queue }) }
    }

    /// Returns the decoded row with this id; `None` if there is no such row.
    ///
    /// # Errors
    /// The statement fails, or the queue limit is reached.
    pub(crate) async fn load(&self, id: i32) -> Result<Option<T>, Error> {
        let _place = self.desk.database.enter()?;
        let (reply, result) = oneshot::channel();
        match self.desk.queue_up(id, reply) {
            Due::Work => drop(tokio::spawn(Arc::clone(&self.desk).work())),
            Due::Watch => drop(tokio::spawn(Arc::clone(&self.desk).watch())),
            Due::Nothing => {}
        }
        result.await.unwrap_or(Err(Error::NOT_CONNECTED)) // no reply while the runtime stops
    }
}

impl<T> fmt::Debug for Desk<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").field("sql", &self.sql).finish_non_exhaustive()
    }
}

/// The task a new caller must spawn.
enum Due {
    Nothing,
    Work,
    Watch,
}

impl<T: Clone + Send + 'static> Desk<T> {
    fn queue_up(&self, id: i32, reply: Reply<Option<T>>) -> Due {
        let mut queue = self.queue();
        if !queue.waiting.join(id, reply) {
            return Due::Nothing;
        }
        queue.ids.push_back(id);
        if queue.in_flight == 0 {
            queue.in_flight = 1;
            return Due::Work;
        }
        if std::mem::replace(&mut queue.is_watched, true) { Due::Nothing } else { Due::Watch }
    }

    /// Starts another statement whenever those in flight are slow, as long as ids wait.
    async fn watch(self: Arc<Self>) {
        let mut next = SLOW_AFTER;
        loop {
            tokio::time::sleep(next).await;
            let mut queue = self.queue();
            if queue.ids.is_empty() {
                queue.is_watched = false;
                return;
            }
            let elapsed = queue.sent.elapsed();
            if elapsed >= SLOW_AFTER && queue.in_flight < MAX_IN_FLIGHT {
                queue.in_flight += 1;
                drop(tokio::spawn(Arc::clone(&self).work()));
            }
            next = if elapsed < SLOW_AFTER { SLOW_AFTER - elapsed } else { SLOW_AFTER };
        }
    }

    /// Sends statements until no id waits, or until fewer tasks suffice again.
    async fn work(self: Arc<Self>) {
        let mut was_slow = true;
        while let Some(batch) = self.take(was_slow) {
            let sent = Instant::now();
            let parameters: [&(dyn ToSql + Sync); 1] = [&batch.ids];
            let result = tokio::time::timeout(self.timeout, self.database.query(self.sql, &parameters)).await;
            match result.unwrap_or(Err(Error::TIMED_OUT)) {
                Ok(rows) => batch.hand_out(&rows).await,
                Err(error) => batch.fail(&error),
            }
            was_slow = sent.elapsed() >= SLOW_AFTER;
        }
    }

    /// Takes the ids of the next statement, without those that no caller waits for any more. Returns `None` if the task
    /// must end: no id waits, or it is one of several tasks and Postgres is fast, so that batches become large again.
    fn take(&self, was_slow: bool) -> Option<Batch<'_, T>> {
        let mut queue = self.queue();
        if queue.in_flight > 1 && !was_slow {
            queue.in_flight -= 1;
            return None;
        }
        let mut ids = Vec::new();
        while ids.len() < MAX_BATCH
            && let Some(id) = queue.ids.pop_front()
        {
            if queue.waiting.is_wanted(&id) {
                ids.push(id);
            } else {
                queue.waiting.end(&id);
            }
        }
        if ids.is_empty() {
            queue.in_flight -= 1;
            return None;
        }
        queue.sent = Instant::now();
        Some(Batch { desk: self, ids })
    }
}

impl<T> Desk<T> {
    fn queue(&self) -> MutexGuard<'_, Queue<T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The ids of one statement. However the statement ends, no caller stays pending.
struct Batch<'a, T> {
    desk: &'a Desk<T>,
    ids: Vec<i32>,
}

impl<T: Clone> Batch<'_, T> {
    /// Replies to each caller with its decoded row, or with `None`.
    async fn hand_out(mut self, rows: &[Row]) {
        let ids = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<i32>, _>>();
        let ids = match ids {
            Ok(ids) => ids,
            Err(error) => return self.fail(&error.into()),
        };
        let mut waiting = self.end();
        for (done, (id, row)) in ids.into_iter().zip(rows).enumerate() {
            if done > 0 && done % DECODE_CHUNK == 0 {
                tokio::task::yield_now().await;
            }
            reply_all(waiting.remove(&id).unwrap_or_default(), &(self.desk.read)(id, row).map(Some));
        }
        waiting.into_values().for_each(|callers| reply_all(callers, &Ok(None)));
    }

    fn fail(mut self, error: &Error) {
        self.end().into_values().for_each(|callers| reply_all(callers, &Err(error.clone())));
    }
}

impl<T> Batch<'_, T> {
    /// Takes the callers of the ids. A later request for one of the ids causes a new read.
    fn end(&mut self) -> HashMap<i32, Vec<Reply<Option<T>>>> {
        let ids = std::mem::take(&mut self.ids);
        let mut queue = self.desk.queue();
        ids.into_iter().map(|id| (id, queue.waiting.end(&id))).collect()
    }
}

impl<T> Drop for Batch<'_, T> {
    fn drop(&mut self) {
        drop(self.end());
        if std::thread::panicking() {
            self.desk.queue().in_flight -= 1; // the task ends, and the next caller must spawn another
        }
    }
}
