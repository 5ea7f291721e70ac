//! Pages of the list: one read serves all concurrent requests for the same page.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::cache::Key;
use super::{Document, DocumentCache, LIST, list};
use crate::database::{Callers, Error, Pool, Reply, reply_all};

/// A coalescing reader of pages.
#[derive(Debug)]
pub(super) struct Lists {
    desk: Arc<Desk>,
}

#[derive(Debug)]
struct Desk {
    database: Arc<Pool>,
    cache: DocumentCache,
    /// The timeout of a read.
    timeout: Duration,
    /// Pending callers by page.
    waiting: Mutex<Callers<Page, Document>>,
}

/// The ranks of a page's first and last product.
type Page = (i64, i64);

impl Lists {
    pub(super) fn new(database: &Arc<Pool>, cache: DocumentCache, timeout: Duration) -> Self {
        let (database, waiting) = (Arc::clone(database), Mutex::default());
        Self { desk: Arc::new(Desk { database, cache, timeout, waiting }) }
    }

    /// Returns the page with the products ranked `first` to `last`.
    pub(super) async fn load(&self, first: i64, last: i64) -> Result<Document, Error> {
        let _place = self.desk.database.enter()?;
        let (reply, result) = oneshot::channel();
        let is_first = self.desk.waiting().join((first, last), reply);
        if is_first {
            tokio::spawn(Arc::clone(&self.desk).work((first, last)));
        }
        result.await.unwrap_or(Err(Error::NOT_CONNECTED)) // no reply while the runtime stops
    }
}

impl Desk {
    async fn work(self: Arc<Self>, page: Page) {
        let mut pending = PendingRead { desk: &self, page: Some(page) };
        let result = timeout(self.timeout, self.read(page)).await.unwrap_or(Err(Error::TIMED_OUT));
        reply_all(pending.end(), &result);
    }

    async fn read(&self, (first, last): Page) -> Result<Document, Error> {
        let page = list(&self.database.query(&LIST, &[&first, &last]).await?)?;
        self.cache.insert(Key::List { first, last }, &page);
        Ok(page)
    }

    fn waiting(&self) -> MutexGuard<'_, Callers<Page, Document>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A read in flight. However it ends, no caller stays pending.
struct PendingRead<'a> {
    desk: &'a Desk,
    page: Option<Page>,
}

impl PendingRead<'_> {
    /// Takes the callers of the page. A later request for the page causes a new read.
    fn end(&mut self) -> Vec<Reply<Document>> {
        self.page.take().map(|page| self.desk.waiting().end(&page)).unwrap_or_default()
    }
}

impl Drop for PendingRead<'_> {
    fn drop(&mut self) {
        drop(self.end());
    }
}
