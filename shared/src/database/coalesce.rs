//! Who waits for the same thing waits for one read of it.

use std::collections::HashMap;
use std::hash::Hash;

use tokio::sync::oneshot;

use super::Error;

/// Where the answer for one of those who wait goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// All who wait, by what they wait for.
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
    /// Takes someone in, and says whether they are the first, for whom it has to be asked. Who asks for the first will
    /// answer all.
    pub(crate) fn join(&mut self, key: K, answer: Reply<T>) -> bool {
        let waiting = self.by_key.entry(key).or_default();
        waiting.push(answer);
        waiting.len() == 1
    }

    /// Whether somebody waits for it who has not given up.
    pub(crate) fn is_wanted(&self, key: &K) -> bool {
        self.by_key.get(key).is_some_and(|waiting| !waiting.iter().all(Reply::is_closed))
    }

    /// Those who wait for it, to be answered. Who comes from now on is the first again.
    pub(crate) fn end(&mut self, key: &K) -> Vec<Reply<T>> {
        self.by_key.remove(key).unwrap_or_default()
    }
}

/// Gives all of them the same answer.
pub(crate) fn reply_all<T: Clone>(answers: Vec<Reply<T>>, answer: &Result<T, Error>) {
    for waiter in answers {
        let _ = waiter.send(answer.clone()); // fails when they have given up waiting
    }
}
