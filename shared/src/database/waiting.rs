//! Who waits for the same thing waits for one read of it.

use std::collections::HashMap;
use std::hash::Hash;

use tokio::sync::oneshot;

use super::Error;

/// Where the answer for one of those who wait goes.
pub(crate) type Answer<T> = oneshot::Sender<Result<T, Error>>;

/// All who wait, by what they wait for.
#[derive(Debug)]
pub(crate) struct Waiting<K, T> {
    by_key: HashMap<K, Vec<Answer<T>>>,
}

impl<K, T> Default for Waiting<K, T> {
    fn default() -> Self {
        Self { by_key: HashMap::new() }
    }
}

impl<K: Eq + Hash, T> Waiting<K, T> {
    /// Takes someone in, and says whether they are the first, for whom it has to be asked. Who asks for the first will
    /// answer all.
    pub(crate) fn join(&mut self, key: K, answer: Answer<T>) -> bool {
        let waiting = self.by_key.entry(key).or_default();
        waiting.push(answer);
        waiting.len() == 1
    }

    /// Whether somebody waits for it who has not given up.
    pub(crate) fn is_wanted(&self, key: &K) -> bool {
        self.by_key.get(key).is_some_and(|waiting| !waiting.iter().all(Answer::is_closed))
    }

    /// Those who wait for it, to be answered. Who comes from now on is the first again.
    pub(crate) fn end(&mut self, key: &K) -> Vec<Answer<T>> {
        self.by_key.remove(key).unwrap_or_default()
    }
}

/// Gives all of them the same answer.
pub(crate) fn give<T: Clone>(answers: Vec<Answer<T>>, answer: &Result<T, Error>) {
    for waiter in answers {
        let _ = waiter.send(answer.clone()); // fails when they have given up waiting
    }
}
