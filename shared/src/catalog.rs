//! Reads of the catalog, and their cache. Each statement names one table of the catalog. Postgres resolves names one by one
//! and outside a transaction's snapshot, so with two names a statement could read two catalogs during a publish. Most
//! responses come from one statement; the others compare the catalogs of theirs.
//!
//! Memory is bounded by bytes. A batch leaves out large documents, which are then read one at a time, count against the
//! memory budget and are not cached.

mod cache;
mod combined;
mod consistent;
mod lists;
mod sources;
mod summaries;
mod words;

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::Semaphore;

use crate::database::{BatchLoader, Database, Error, Limits, PoolStatistics, batch_histogram};
use crate::http::{Document, MemoryBudget, Timing};
use cache::{Cache, CacheStatistics, Cached, Key, ListKey, Product};
use combined::Combining;
use consistent::{ReadFrom, consistent};
use lists::Lists;
pub use lists::{CATEGORY_BLOCK, MAX_FOUND, WORD_BLOCK};
use sources::{Column, Columns, LargeDocuments, Reader, WholeProducts};
pub use words::{MAX_WORD, MIN_WORD, words};

/// Reads of products by id: large batches, and few statements at a time.
const PRODUCT_LIMITS: Limits =
    Limits { max_batch: 128, max_in_flight: 8, slow_after: Duration::from_millis(5) };

/// Reads of list pages. A page costs as much as dozens of products, so few are read at a time, each by itself.
const LIST_LIMITS: Limits = Limits { max_batch: 1, max_in_flight: 2, slow_after: Duration::ZERO };

/// Reads of large documents. One needs up to half of the memory budget.
const LARGE_LIMITS: Limits = Limits { max_in_flight: 1, ..LIST_LIMITS };

/// The share of the queue limit that may wait for list pages, and for large documents: one of this many places.
const SHARE: usize = 8;

/// The current catalog.
#[derive(Debug)]
pub struct Catalog {
    reader: Reader,
    products: Products,
    large: BatchLoader<LargeDocuments>,
    lists: BatchLoader<Lists>,
    /// Lists by category, searches and categories, which take longer and must not hold up pages of the whole list.
    filtered: BatchLoader<Lists>,
    /// Limits the responses that combine the documents of many products.
    combining: Combining,
}

/// Reads of products in batches.
#[derive(Debug)]
enum Products {
    /// With a cache, one read brings all documents of a product.
    Whole(BatchLoader<WholeProducts>),
    /// Without one, a request reads only the columns that it needs. In the order of [`Column`].
    Columns([BatchLoader<Columns>; 4]),
}

impl Catalog {
    /// Creates a catalog whose cache holds `cache_bytes`, and whose reads have this timeout.
    pub(crate) fn new(database: &Arc<Database>, cache_bytes: u64, timeout: Duration) -> Self {
        let cache = Cache::with_capacity(cache_bytes).map(Arc::new);
        let (database, budget) = (Arc::clone(database), MemoryBudget::default());
        let reader = Reader { database, cache, budget, timeout, batch_sizes: batch_histogram() };
        let database = &reader.database;
        let products = if reader.cache.is_some() {
            let source = WholeProducts(reader.clone());
            Products::Whole(BatchLoader::start(source, database.queue(), PRODUCT_LIMITS))
        } else {
            let columns = |column| Columns(reader.clone(), column);
            let start = |column| BatchLoader::start(columns(column), database.queue(), PRODUCT_LIMITS);
            Products::Columns(Column::ALL.map(start))
        };
        let limit = database.queue().available_permits();
        let share = || Arc::new(Semaphore::new(share_of(limit)));
        Self {
            products,
            large: BatchLoader::start(LargeDocuments(reader.clone()), &share(), LARGE_LIMITS),
            lists: BatchLoader::start(Lists(reader.clone()), &share(), LIST_LIMITS),
            filtered: BatchLoader::start(Lists(reader.clone()), &share(), LIST_LIMITS),
            combining: Combining::within(share_of(limit)),
            reader,
        }
    }

    /// Returns a product with its features; `None` if there is no such product.
    ///
    /// # Errors
    /// The document is not cached, and the database does not return it, or it is large and the memory budget is
    /// exhausted. The other reads fail in the same cases.
    pub async fn product(&self, product_id: i32, timing: &Timing) -> Result<Option<Document>, Error> {
        self.document(Column::Product, product_id, ReadFrom::Cache, timing).await
    }

    /// Returns a product's styles; `None` if there is no such product.
    pub async fn styles(&self, product_id: i32, timing: &Timing) -> Result<Option<Document>, Error> {
        self.document(Column::Styles, product_id, ReadFrom::Cache, timing).await
    }

    /// Returns the ids of related products; `None` if there is no such product.
    pub async fn related(&self, product_id: i32, timing: &Timing) -> Result<Option<Document>, Error> {
        self.document(Column::Related, product_id, ReadFrom::Cache, timing).await
    }

    /// Returns all three of a product in one object; `None` if there is no such product.
    pub async fn overview(&self, product_id: i32, timing: &Timing) -> Result<Option<Document>, Error> {
        if let Some(Cached::Document(overview)) = self.cached(Key::Overview(product_id)) {
            return Ok(Some(self.current(overview)));
        }
        self.document(Column::Overview, product_id, ReadFrom::Cache, timing).await
    }

    /// Returns the products with the ranks `first` to `last` by id, without their features.
    pub async fn list(&self, first: i64, last: i64, timing: &Timing) -> Result<Document, Error> {
        self.listed(ListKey::Products { first, last }, ReadFrom::Cache, timing).await
    }

    /// Returns the products with the ranks `first` to `last` among those of a category, without their features.
    pub async fn category(
        &self,
        category: &str,
        first: i64,
        last: i64,
        timing: &Timing,
    ) -> Result<Document, Error> {
        self.filtered(ListKey::Category { name: category.into(), first, last }, timing).await
    }

    /// Returns the first products, at most [`MAX_FOUND`], whose names have words that begin with all these prefixes, in
    /// the form of [`words`], without their features.
    pub async fn search(&self, prefixes: Vec<String>, timing: &Timing) -> Result<Document, Error> {
        self.filtered(ListKey::Search(prefixes.into()), timing).await
    }

    /// Returns the categories by name, at most 1,000, with their number as the document's total.
    pub async fn categories(&self, timing: &Timing) -> Result<Document, Error> {
        self.filtered(ListKey::Categories, timing).await
    }

    /// Returns the state of the cache, if there is one.
    pub(crate) fn cache_statistics(&self) -> Option<CacheStatistics> {
        Some(self.reader.cache.as_ref()?.statistics())
    }

    /// Returns the state of the pool, if there is one. Requests for lists and large documents have a queue each.
    pub(crate) fn pool_statistics(&self) -> Option<PoolStatistics> {
        let mut pool = self.reader.database.statistics()?;
        let free = [
            self.large.available_permits(),
            self.lists.available_permits(),
            self.filtered.available_permits(),
        ];
        let share = share_of(pool.queue_limit);
        pool.queued += free.iter().map(|free| share.saturating_sub(*free)).sum::<usize>();
        Some(pool)
    }

    /// Returns the sizes of the batches of products.
    pub(crate) fn batch_sizes(&self) -> &Histogram {
        &self.reader.batch_sizes
    }

    /// Returns the budget for large responses.
    pub(crate) fn memory_budget(&self) -> &MemoryBudget {
        &self.reader.budget
    }

    /// Returns a list that several statements read, from the cache or the database.
    async fn filtered(&self, key: ListKey, timing: &Timing) -> Result<Document, Error> {
        consistent(|from| self.listed(key.clone(), from, timing)).await
    }

    /// Returns a list from the cache, or else reads it.
    async fn listed(&self, key: ListKey, from: ReadFrom, timing: &Timing) -> Result<Document, Error> {
        if from == ReadFrom::Cache
            && self.reader.cache.is_some()
            && let Some(Cached::Document(list)) = self.cached(Key::List(key.clone()))
        {
            return Ok(self.current(list));
        }
        let loader = if matches!(key, ListKey::Products { .. }) { &self.lists } else { &self.filtered };
        let list = timing.database(loader.load(key)).await?;
        list.ok_or(Error::NOT_CONNECTED) // each list has a document, an empty one past the end
    }

    /// Returns a document of a product: from the cache, from a batch, or from a read by itself if it is large.
    async fn document(
        &self,
        column: Column,
        product_id: i32,
        from: ReadFrom,
        timing: &Timing,
    ) -> Result<Option<Document>, Error> {
        let small = match &self.products {
            Products::Whole(loader) => {
                let whole = self.whole(loader, product_id, from, timing).await?;
                whole.map(|whole| self.part(column, product_id, &whole)).transpose()?
            }
            Products::Columns(loaders) => timing.database(loaders[column as usize].load(product_id)).await?,
        };
        match small {
            Some(None) => timing.database(self.large.load((column, product_id))).await,
            small => Ok(small.flatten()),
        }
    }

    /// Returns the cached product, or else reads it.
    async fn whole(
        &self,
        loader: &BatchLoader<WholeProducts>,
        product_id: i32,
        from: ReadFrom,
        timing: &Timing,
    ) -> Result<Option<Arc<Product>>, Error> {
        if from == ReadFrom::Cache
            && let Some(Cached::Product(whole)) = self.cached(Key::Product(product_id))
        {
            return Ok(Some(whole));
        }
        timing.database(loader.load(product_id)).await
    }

    /// Returns a document of a product that was just read or is cached; `None` if it is large.
    fn part(&self, column: Column, product_id: i32, whole: &Product) -> Result<Option<Document>, Error> {
        let part = match column {
            Column::Product => whole.product.clone(),
            Column::Styles => whole.styles.clone(),
            Column::Related => whole.related.clone(),
            Column::Overview => {
                let overview = whole.overview()?;
                if let (Some(cache), Some(catalog), Some(overview)) =
                    (&self.reader.cache, whole.catalog, &overview)
                {
                    cache.insert(catalog, Key::Overview(product_id), Cached::Document(overview.clone()));
                }
                overview
            }
        };
        Ok(part.map(|part| self.current(part)))
    }

    /// Looks up the current catalog.
    fn cached(&self, key: Key) -> Option<Cached> {
        self.reader.cache.as_ref()?.get(self.reader.database.catalog_id(), key)
    }

    /// Returns a document with its staleness.
    fn current(&self, document: Document) -> Document {
        Document { stale_for: self.reader.database.staleness(), ..document }
    }
}

/// Returns a share of the queue limit.
fn share_of(limit: usize) -> usize {
    (limit / SHARE).max(1)
}

pub(crate) use combined::PUBLICATION;

/// Returns all statements.
pub(crate) fn statements() -> Vec<&'static crate::database::Sql> {
    [&sources::STATEMENTS[..], &lists::STATEMENTS, &combined::STATEMENTS].concat()
}
