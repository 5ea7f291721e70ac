//! Pages of the list: one read for all who ask for the same page at the same time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::cache::{Cache, Key};
use super::{Document, LIST, list};
use crate::database::{Database, Error, Waiting, give};

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
    waiting: Mutex<Waiting<Page, Document>>,
}

/// The ranks of a page's first and last product.
type Page = (i64, i64);

impl Lists {
    pub(super) fn new(database: &Arc<Database>, cache: Option<Arc<Cache>>, patience: Duration) -> Self {
        let (database, waiting) = (Arc::clone(database), Mutex::default());
        Self { desk: Arc::new(Desk { database, cache, patience, waiting }) }
    }

    /// The products ranked `first` to `last`.
    pub(super) async fn one(&self, first: i64, last: i64) -> Result<Document, Error> {
        let _place = self.desk.database.enter()?;
        let (answer, answered) = oneshot::channel();
        let is_first = self.desk.waiting().join((first, last), answer);
        if is_first {
            tokio::spawn(Arc::clone(&self.desk).answer((first, last)));
        }
        answered.await.unwrap_or(Err(Error::UNCONNECTED)) // nobody answers once the runtime is stopping
    }
}

impl Desk {
    async fn answer(self: Arc<Self>, page: Page) {
        let read = timeout(self.patience, self.read(page)).await.unwrap_or(Err(Error::SILENT));
        let answers = self.waiting().end(&page);
        give(answers, &read);
    }

    async fn read(&self, (first, last): Page) -> Result<Document, Error> {
        let page = list(&self.database.ask(&LIST, &[&first, &last]).await?)?;
        if let Some(cache) = &self.cache {
            cache.keep(Key::List { first, last }, &page);
        }
        Ok(page)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting<Page, Document>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
