//! Pages of the list: one read for all who ask for the same page at the same time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::cache::{Cache, Key};
use super::{Document, LIST, list};
use crate::database::{Database, Error};

#[derive(Debug)]
pub(super) struct Lists {
    desk: Arc<Desk>,
}

#[derive(Debug)]
struct Desk {
    database: Arc<Database>,
    cache: Option<Arc<Cache>>,
    /// How long a page is waited for.
    patience: Duration,
    /// Who waits for which page.
    waiting: Mutex<HashMap<Page, Vec<Answer>>>,
}

/// The ranks of a page's first and last product.
type Page = (i64, i64);
type Answer = oneshot::Sender<Result<Document, Error>>;

impl Lists {
    pub(super) fn new(database: &Arc<Database>, cache: Option<Arc<Cache>>, patience: Duration) -> Self {
        let (database, waiting) = (Arc::clone(database), Mutex::default());
        Self { desk: Arc::new(Desk { database, cache, patience, waiting }) }
    }

    /// The products ranked `first` to `last`.
    pub(super) async fn one(&self, first: i64, last: i64) -> Result<Document, Error> {
        let _place = self.desk.database.enter()?;
        let (answer, answered) = oneshot::channel();
        let is_first = {
            let mut waiting = self.desk.waiting();
            let waiting = waiting.entry((first, last)).or_default();
            waiting.push(answer);
            waiting.len() == 1
        };
        if is_first {
            tokio::spawn(Arc::clone(&self.desk).answer((first, last)));
        }
        answered.await.unwrap_or(Err(Error::UNCONNECTED)) // nobody answers once the runtime is stopping
    }
}

impl Desk {
    async fn answer(self: Arc<Self>, page: Page) {
        let read = timeout(self.patience, self.read(page)).await.unwrap_or(Err(Error::SILENT));
        let waiting = self.waiting().remove(&page).unwrap_or_default();
        for waiter in waiting {
            let _ = waiter.send(read.clone()); // fails when they have given up waiting
        }
    }

    async fn read(&self, (first, last): Page) -> Result<Document, Error> {
        let page = list(&self.database.ask(&LIST, &[&first, &last]).await?)?;
        if let Some(cache) = &self.cache {
            cache.keep(Key::List { first, last }, &page);
        }
        Ok(page)
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<Page, Vec<Answer>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
