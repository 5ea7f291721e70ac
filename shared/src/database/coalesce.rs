//! Request coalescing: one read serves all concurrent callers of a key.

use std::collections::HashMap;
use std::hash::Hash;

use tokio::sync::oneshot;

use super::Error;

/// The channel to one pending caller.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// Pending callers by key.
#[derive(Debug)]
pub(crate) struct Callers<K, T> {
    by_key: HashMap<K, Vec<Reply<T>>>,
}

impl<K, T> Default for Callers<K, T> {
    fn default() -> Self {
        Self { by_key: HashMap::new() }
    }
}

impl<K: Eq + Hash, T> Callers<K, T> {
    /// Adds a caller, and returns whether it is the first of its key. The first caller must start the read; its result
    /// serves all callers of the key.
    pub(crate) fn join(&mut self, key: K, reply: Reply<T>) -> bool {
        let callers = self.by_key.entry(key).or_default();
        callers.push(reply);
        callers.len() == 1
    }

    /// Returns whether a caller of the key still waits.
    pub(crate) fn is_wanted(&self, key: &K) -> bool {
        self.by_key.get(key).is_some_and(|callers| !callers.iter().all(Reply::is_closed))
    }

    /// Removes and returns the callers of the key. The next caller is the first again.
    pub(crate) fn end(&mut self, key: &K) -> Vec<Reply<T>> {
        self.by_key.remove(key).unwrap_or_default()
    }
}

/// Sends all callers the same result.
pub(crate) fn reply_all<T: Clone>(callers: Vec<Reply<T>>, result: &Result<T, Error>) {
    for caller in callers {
        let _ = caller.send(result.clone()); // fails if the caller was cancelled
    }
}
