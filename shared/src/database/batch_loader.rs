//! The batch loader: keys requested while a statement is in flight go into the next statement together.
//!
//! ```text
//! load(7) ──┐
//! load(2) ──┼─ queue ──> where … = any({7,2,9}) ──> each caller gets its value, or none
//! load(9) ──┤
//! load(7) ──┘  coalesced with the first 7
//! ```
//! Batching delays nobody: a key that finds no statement in flight goes at once, alone. Statements carry several keys only
//! under load. A statement costs Postgres far more than the read itself. With 64 clients, two batched statements at a time
//! served 1.4 to 1.7 times as many responses as one statement per request. With one statement at a time, Postgres needs half
//! as long per response as with two (three hosts, 64 connections, measured in turn).
//!
//! One task owns the queue. Each request holds a permit of the queue limit until its read ends, even if the client has gone
//! by then: abandoned work counts against the limit for as long as it takes. A key that no caller waits for any more is not
//! read.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::{self, JoinError, JoinSet};

use super::Error;

/// How many requests the task takes from its channel at once.
const MAX_RECEIVED: usize = 256;

/// A source of values by key.
pub(crate) trait Source: Send + Sync + Sized + 'static {
    type Key: Clone + Eq + Hash + Send + Sync + 'static;
    type Value: Clone + Send + 'static;

    /// Reads the values of those keys that have one, with one statement.
    fn read(&self, keys: &[Self::Key]) -> impl Future<Output = Values<Self>> + Send;
}

/// The result of one statement.
pub(crate) type Values<S> = Result<Vec<(<S as Source>::Key, <S as Source>::Value)>, Error>;

/// The limits of a batch loader.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// The max number of keys in one statement, which bounds the memory for its rows.
    pub(crate) max_batch: usize,
    /// The max number of statements in flight.
    pub(crate) max_in_flight: usize,
    /// How long keys wait for the latest statement before another one starts beside it. A slow statement waits for a disk, a
    /// lock or the network, and later keys need not wait for that too. The time is longer than a statement takes on a busy
    /// machine, or batches would become small just when large ones are needed.
    pub(crate) slow_after: Duration,
}

/// A batch loader.
pub(crate) struct BatchLoader<S: Source> {
    requests: mpsc::UnboundedSender<Request<S>>,
    /// The queue limit. It bounds the channel too.
    queue: Arc<Semaphore>,
}

struct Request<S: Source> {
    key: S::Key,
    caller: Caller<S::Value>,
}

/// A request that waits for a value, with its place in the queue.
struct Caller<V> {
    reply: oneshot::Sender<Result<Option<V>, Error>>,
    _permit: OwnedSemaphorePermit,
}

impl<S: Source> BatchLoader<S> {
    /// Starts a batch loader with this queue limit. Needs a running tokio runtime.
    pub(crate) fn start(source: S, queue: &Arc<Semaphore>, limits: Limits) -> Self {
        let (requests, received) = mpsc::unbounded_channel();
        let task = Task {
            source: Arc::new(source),
            limits,
            callers: HashMap::new(),
            waiting: VecDeque::new(),
            in_flight: JoinSet::new(),
            batches: HashMap::new(),
            latest: None,
        };
        tokio::spawn(task.run(received));
        Self { requests, queue: Arc::clone(queue) }
    }

    /// Returns the number of requests that the queue can still take.
    pub(crate) fn available_permits(&self) -> usize {
        self.queue.available_permits()
    }

    /// Returns the value of a key; `None` if it has none.
    ///
    /// # Errors
    /// The statement fails, or the queue limit is reached.
    pub(crate) async fn load(&self, key: S::Key) -> Result<Option<S::Value>, Error> {
        let permit = Arc::clone(&self.queue).try_acquire_owned().map_err(|_| Error::OVERLOADED)?;
        let (reply, result) = oneshot::channel();
        let request = Request { key, caller: Caller { reply, _permit: permit } };
        // Neither fails while the runtime runs.
        self.requests.send(request).map_err(|_| Error::NOT_CONNECTED)?;
        result.await.unwrap_or(Err(Error::NOT_CONNECTED))
    }
}

impl<S: Source> fmt::Debug for BatchLoader<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchLoader").field("queue", &self.queue).finish_non_exhaustive()
    }
}

struct Task<S: Source> {
    source: Arc<S>,
    limits: Limits,
    /// Callers by key, whether it is in a statement or not yet.
    callers: HashMap<S::Key, Vec<Caller<S::Value>>>,
    /// Keys for the next statements.
    waiting: VecDeque<S::Key>,
    in_flight: JoinSet<Values<S>>,
    /// The keys of each statement in flight.
    batches: HashMap<task::Id, Vec<S::Key>>,
    /// The latest statement and the time when it was sent, until it ends.
    latest: Option<(task::Id, Instant)>,
}

impl<S: Source> Task<S> {
    /// Serves requests until the loader is dropped, which aborts the statements in flight.
    async fn run(mut self, mut requests: mpsc::UnboundedReceiver<Request<S>>) {
        let mut received = Vec::new();
        loop {
            let slow_in = self
                .latest
                .map_or(Duration::ZERO, |(_, sent)| self.limits.slow_after.saturating_sub(sent.elapsed()));
            tokio::select! {
                biased;
                Some(ended) = self.in_flight.join_next_with_id() => self.reply(ended),
                count = requests.recv_many(&mut received, MAX_RECEIVED) => {
                    if count == 0 {
                        return;
                    }
                    received.drain(..).for_each(|request| self.add(request));
                }
                () = tokio::time::sleep(slow_in), if self.waits_for_latest() => {}
            }
            self.send();
        }
    }

    /// Adds a request. If its key is waiting or in flight already, the request shares that read.
    fn add(&mut self, request: Request<S>) {
        let callers = self.callers.entry(request.key.clone()).or_default();
        callers.push(request.caller);
        if callers.len() == 1 {
            self.waiting.push_back(request.key);
        }
    }

    /// Returns whether keys wait only because the latest statement has not ended yet.
    fn waits_for_latest(&self) -> bool {
        !self.waiting.is_empty() && self.latest.is_some() && self.in_flight.len() < self.limits.max_in_flight
    }

    /// Sends the keys that wait, as far as the limits allow.
    fn send(&mut self) {
        while self.in_flight.len() < self.limits.max_in_flight
            && self.latest.is_none_or(|(_, sent)| sent.elapsed() >= self.limits.slow_after)
        {
            let batch = self.next_batch();
            if batch.is_empty() {
                return;
            }
            let (source, keys) = (Arc::clone(&self.source), batch.clone());
            let statement = self.in_flight.spawn(async move { source.read(&keys).await });
            self.batches.insert(statement.id(), batch);
            self.latest = Some((statement.id(), Instant::now()));
        }
    }

    /// Takes the keys of the next statement, without those that no caller waits for any more.
    fn next_batch(&mut self) -> Vec<S::Key> {
        let mut batch = Vec::new();
        while batch.len() < self.limits.max_batch
            && let Some(key) = self.waiting.pop_front()
        {
            let is_wanted = |callers: &Vec<Caller<_>>| callers.iter().any(|caller| !caller.reply.is_closed());
            if self.callers.get(&key).is_some_and(is_wanted) {
                batch.push(key);
            } else {
                self.callers.remove(&key);
            }
        }
        batch
    }

    /// Replies to the callers of a statement that has ended.
    fn reply(&mut self, ended: Result<(task::Id, Values<S>), JoinError>) {
        let (statement, values) = match ended {
            Ok(ended) => ended,
            Err(error) => (error.id(), Err(Error::internal(error))), // it panicked, and the panic hook has logged that
        };
        if self.latest.is_some_and(|(latest, _)| latest == statement) {
            self.latest = None;
        }
        let keys = self.batches.remove(&statement).unwrap_or_default();
        let nothing = match values {
            Ok(values) => {
                for (key, value) in values {
                    self.reply_to(&key, &Ok(Some(value)));
                }
                Ok(None)
            }
            Err(error) => Err(error),
        };
        keys.iter().for_each(|key| self.reply_to(key, &nothing));
    }

    fn reply_to(&mut self, key: &S::Key, result: &Result<Option<S::Value>, Error>) {
        for caller in self.callers.remove(key).unwrap_or_default() {
            let _ = caller.reply.send(result.clone()); // fails if the client has gone
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures_util::future::join_all;
    use tokio::sync::Notify;

    use super::*;

    /// Returns ten times each odd key, once a test lets it.
    #[derive(Default)]
    struct Tenfold {
        read: Mutex<Vec<Vec<u32>>>,
        held: Option<Arc<Notify>>,
    }

    impl Source for Arc<Tenfold> {
        type Key = u32;
        type Value = u32;

        async fn read(&self, keys: &[u32]) -> Result<Vec<(u32, u32)>, Error> {
            self.read.lock().unwrap().push(keys.to_vec());
            if let Some(held) = &self.held {
                held.notified().await;
            }
            assert!(!keys.contains(&13), "unlucky");
            Ok(keys.iter().filter(|key| **key % 2 == 1).map(|key| (*key, key * 10)).collect())
        }
    }

    const LIMITS: Limits = Limits { max_batch: 3, max_in_flight: 2, slow_after: Duration::from_secs(3600) };

    fn loader(source: &Arc<Tenfold>, queue: usize, limits: Limits) -> BatchLoader<Arc<Tenfold>> {
        BatchLoader::start(Arc::clone(source), &Arc::new(Semaphore::new(queue)), limits)
    }

    fn held() -> (Arc<Tenfold>, Arc<Notify>) {
        let notify = Arc::new(Notify::new());
        (Arc::new(Tenfold { held: Some(Arc::clone(&notify)), ..Tenfold::default() }), notify)
    }

    #[tokio::test]
    async fn a_key_goes_at_once_and_keys_that_arrive_meanwhile_go_together() {
        let (source, held) = held();
        let loader = loader(&source, 100, LIMITS);
        let loads = join_all([1, 2, 3, 3, 5, 7].map(|key| loader.load(key)));
        let release = async {
            for _ in 0..10 {
                tokio::task::yield_now().await;
                held.notify_one();
            }
        };
        let (values, ()) = tokio::join!(loads, release);
        let values: Vec<_> = values.into_iter().map(Result::unwrap).collect();
        assert_eq!(values, [Some(10), None, Some(30), Some(30), Some(50), Some(70)]);
        let read = source.read.lock().unwrap();
        assert!(read.iter().all(|keys| keys.len() <= 3), "{read:?}");
        assert_eq!(read.concat(), [1, 2, 3, 5, 7], "each key is read once");
    }

    #[tokio::test]
    async fn another_statement_starts_beside_a_slow_one_up_to_the_limit() {
        let (source, _held) = held();
        let limits = Limits { slow_after: Duration::from_millis(5), ..LIMITS };
        let loader = Arc::new(loader(&source, 100, limits));
        for (key, statements) in [(1, 1), (3, 2), (5, 2)] {
            let loader = Arc::clone(&loader);
            tokio::spawn(async move { loader.load(key).await });
            while source.read.lock().unwrap().len() < statements {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        tokio::time::sleep(4 * limits.slow_after).await; // a third statement would start in this time
        assert_eq!(*source.read.lock().unwrap(), [[1], [3]]);
    }

    #[tokio::test]
    async fn callers_that_leave_keep_their_place_while_the_read_runs_and_start_no_other() {
        let (source, held) = held();
        let loader = loader(&source, 2, LIMITS);
        for key in [1, 3, 5, 7, 9, 11] {
            // Each caller leaves before there is a reply.
            let left = tokio::time::timeout(Duration::from_millis(1), loader.load(key)).await;
            assert!(left.is_err() || left.unwrap().is_err());
        }
        assert_eq!(loader.load(15).await.unwrap_err().kind(), Error::OVERLOADED.kind());
        assert_eq!(*source.read.lock().unwrap(), [[1]], "the second key waits, the others found no place");
        // The second key is not read, because no caller waits for it.
        held.notify_one();
        while loader.queue.available_permits() < 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!(*source.read.lock().unwrap(), [[1]]);
    }

    #[tokio::test]
    async fn a_read_that_panics_fails_its_callers_and_no_others() {
        let source = Arc::new(Tenfold::default());
        let loader = loader(&source, 100, LIMITS);
        assert!(loader.load(13).await.is_err());
        assert_eq!(loader.load(1).await.unwrap(), Some(10));
    }
}
