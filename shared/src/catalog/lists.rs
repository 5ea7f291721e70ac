//! Pages of the list: one read for all who ask for the same page at the same time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::cache::Key;
use super::{Document, LIST, Memory, list};
use crate::database::{Callers, Error, Pool, Reply, reply_all};

#[derive(Debug)]
pub(super) struct Lists {
    desk: Arc<Desk>,
}

#[derive(Debug)]
struct Desk {
    database: Arc<Pool>,
    memory: Memory,
    /// How long a page is waited for.
    timeout: Duration,
    /// Who waits for which page.
    waiting: Mutex<Callers<Page, Document>>,
}

/// The ranks of a page's first and last product.
type Page = (i64, i64);

impl Lists {
    pub(super) fn new(database: &Arc<Pool>, memory: Memory, timeout: Duration) -> Self {
        let (database, waiting) = (Arc::clone(database), Mutex::default());
        Self { desk: Arc::new(Desk { database, memory, timeout, waiting }) }
    }

    /// The products ranked `first` to `last`.
    pub(super) async fn one(&self, first: i64, last: i64) -> Result<Document, Error> {
        let _place = self.desk.database.enter()?;
        let (answer, answered) = oneshot::channel();
        let is_first = self.desk.waiting().join((first, last), answer);
        if is_first {
            tokio::spawn(Arc::clone(&self.desk).answer((first, last)));
        }
        answered.await.unwrap_or(Err(Error::NOT_CONNECTED)) // nobody answers once the runtime is stopping
    }
}

impl Desk {
    async fn answer(self: Arc<Self>, page: Page) {
        let mut asked = Asked { desk: &self, page: Some(page) };
        let read = timeout(self.timeout, self.read(page)).await.unwrap_or(Err(Error::TIMED_OUT));
        reply_all(asked.end(), &read);
    }

    async fn read(&self, (first, last): Page) -> Result<Document, Error> {
        let page = list(&self.database.ask(&LIST, &[&first, &last]).await?)?;
        self.memory.keep(Key::List { first, last }, &page);
        Ok(page)
    }

    fn waiting(&self) -> MutexGuard<'_, Callers<Page, Document>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A page that is being read. However that ends, nobody is left waiting for it.
struct Asked<'a> {
    desk: &'a Desk,
    page: Option<Page>,
}

impl Asked<'_> {
    /// Who waits for the page. Whoever asks for it from now on has it read again.
    fn end(&mut self) -> Vec<Reply<Document>> {
        self.page.take().map(|page| self.desk.waiting().end(&page)).unwrap_or_default()
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        drop(self.end());
    }
}
