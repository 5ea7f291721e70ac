//! Ids that are asked for while an answer is under way go into one statement together.
//!
//! ```text
//! one(7) ──┐
//! one(2) ──┼─ waiting ──> where … = any({7,2,9}) ──> each gets its row, or none
//! one(9) ──┤
//! one(7) ──┘  waits with the first 7
//! ```
//! Nobody waits for company: an id that comes while no statement is under way goes at once, alone. Only under load do
//! statements carry several. What a statement costs Postgres is far more than the read itself: 64 clients were served
//! 1.4 to 1.7 times as many answers with two statements at a time as with one for each, and with one at a time Postgres
//! takes half as long for an answer as with two (three hosts, 64 connections, measured in turn).
//!
//! A statement that is slow waits for a disk, a lock or the network. So that those behind it do not wait for that too,
//! another is sent beside it after a moment ([`SLOW_AFTER`]), and so on, up to [`MAX_IN_FLIGHT`]. An id that is asked for already is
//! not asked for again: there is one read for all who wait.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::{Callers, Error, Pool, Reply, Sql, reply_all};

/// How long no statement was sent, though ids are waiting, until one is sent beside those under way. Longer than they
/// take on a busy machine, or batches would become small just when large ones are needed.
const SLOW_AFTER: Duration = Duration::from_millis(5);

/// Statements of one kind that may be under way when they are slow.
const MAX_IN_FLIGHT: usize = 8;

/// Ids in one statement at most, which bounds what its answer takes in memory.
const MAX_BATCH: usize = 128;

/// Rows read before others have their turn: an overview is unpacked and packed again, which takes as long as dozens of
/// answers from memory.
const DECODE_CHUNK: usize = 16;

/// Reads single rows by id, each statement as many as there are to read.
#[derive(Debug)]
pub(crate) struct BatchLoader<T> {
    desk: Arc<Desk<T>>,
}

struct Desk<T> {
    database: Arc<Pool>,
    /// Takes an array of ids; the first column is the id, and no two rows have the same.
    sql: &'static Sql,
    read: Box<Read<T>>,
    /// How long a statement is waited for: Postgres has given it up by then, or is gone.
    timeout: Duration,
    queue: Mutex<Queue<T>>,
}

type Read<T> = dyn Fn(i32, &Row) -> Result<T, Error> + Send + Sync;

struct Queue<T> {
    /// Who waits for which id, be it in a statement or not yet.
    waiting: Callers<i32, Option<T>>,
    /// Ids that no statement has yet.
    ids: VecDeque<i32>,
    in_flight: usize,
    /// When the latest of these was sent.
    sent: Instant,
    /// Whether a task looks whether they are slow.
    is_watched: bool,
}

impl<T: Clone + Send + 'static> BatchLoader<T> {
    /// `read` makes of an id and its row what is asked for; it is called once for each row.
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

    /// The row with this id, if there is one.
    pub(crate) async fn one(&self, id: i32) -> Result<Option<T>, Error> {
        let _place = self.desk.database.enter()?;
        let (answer, answered) = oneshot::channel();
        match self.desk.queue_up(id, answer) {
            Due::Work => drop(tokio::spawn(Arc::clone(&self.desk).work())),
            Due::Watch => drop(tokio::spawn(Arc::clone(&self.desk).watch())),
            Due::Nothing => {}
        }
        answered.await.unwrap_or(Err(Error::NOT_CONNECTED)) // nobody answers once the runtime is stopping
    }
}

impl<T> fmt::Debug for Desk<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").field("sql", &self.sql).finish_non_exhaustive()
    }
}

/// Which task has to be started for someone who waits.
enum Due {
    Nothing,
    Work,
    Watch,
}

impl<T: Clone + Send + 'static> Desk<T> {
    fn queue_up(&self, id: i32, answer: Reply<Option<T>>) -> Due {
        let mut queue = self.queue();
        if !queue.waiting.join(id, answer) {
            return Due::Nothing;
        }
        queue.ids.push_back(id);
        if queue.in_flight == 0 {
            queue.in_flight = 1;
            return Due::Work;
        }
        if std::mem::replace(&mut queue.is_watched, true) { Due::Nothing } else { Due::Watch }
    }

    /// Sends another statement whenever those under way are slow, for as long as ids are waiting.
    async fn watch(self: Arc<Self>) {
        let mut next = SLOW_AFTER;
        loop {
            tokio::time::sleep(next).await;
            let mut queue = self.queue();
            if queue.ids.is_empty() {
                queue.is_watched = false;
                return;
            }
            let since = queue.sent.elapsed();
            if since >= SLOW_AFTER && queue.in_flight < MAX_IN_FLIGHT {
                queue.in_flight += 1;
                drop(tokio::spawn(Arc::clone(&self).work()));
            }
            next = if since < SLOW_AFTER { SLOW_AFTER - since } else { SLOW_AFTER };
        }
    }

    /// Asks for all who wait, again and again until nobody does, or others can do it alone again.
    async fn work(self: Arc<Self>) {
        let mut was_slow = true;
        while let Some(batch) = self.take(was_slow) {
            let sent = Instant::now();
            let parameters: [&(dyn ToSql + Sync); 1] = [&batch.ids];
            let asked = tokio::time::timeout(self.timeout, self.database.ask(self.sql, &parameters)).await;
            match asked.unwrap_or(Err(Error::TIMED_OUT)) {
                Ok(rows) => batch.hand_out(&rows).await,
                Err(error) => batch.fail(&error),
            }
            was_slow = sent.elapsed() >= SLOW_AFTER;
        }
    }

    /// Ids that somebody still waits for. Without any this task is no longer under way; nor is it when it is one of
    /// several and Postgres is quick, so that batches become large again.
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

/// Ids in one statement. However it ends, nobody is left waiting for them.
struct Batch<'a, T> {
    desk: &'a Desk<T>,
    ids: Vec<i32>,
}

impl<T: Clone> Batch<'_, T> {
    /// Gives all who wait for one of the ids the row, or the news that there is none.
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
        waiting.into_values().for_each(|answers| reply_all(answers, &Ok(None)));
    }

    fn fail(mut self, error: &Error) {
        self.end().into_values().for_each(|answers| reply_all(answers, &Err(error.clone())));
    }
}

impl<T> Batch<'_, T> {
    /// Who waits for the ids. Whoever asks for one of them from now on has it read again.
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
            self.desk.queue().in_flight -= 1; // its task goes, and another has to come for those who wait
        }
    }
}
