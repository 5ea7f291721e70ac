//! Reads of the catalog, and their cache. Each response comes from one statement that names one table of the catalog.
//! Postgres resolves names one by one and outside a transaction's snapshot, so with two names a statement could read
//! two catalogs during a publish.

mod cache;
mod sources;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::database::{BatchLoader, Database, Error, Limits};
use crate::http::{Document, Timing};
use cache::{Cache, Cached, Key, Product};
use sources::{Column, Columns, Lists, WholeProducts};

/// Reads of products by id: large batches, and few statements at a time.
const PRODUCT_LIMITS: Limits =
    Limits { max_batch: 128, max_in_flight: 8, slow_after: Duration::from_millis(5) };

/// Reads of list pages. A page costs as much as dozens of products, so few are read at a time, each by itself.
const LIST_LIMITS: Limits = Limits { max_batch: 1, max_in_flight: 2, slow_after: Duration::ZERO };

/// The share of the queue limit that may wait for list pages: one of this many places.
const LIST_SHARE: usize = 8;

/// The current catalog.
#[derive(Debug)]
pub struct Catalog {
    database: Arc<Database>,
    products: Products,
    lists: BatchLoader<Lists>,
    cache: Option<Arc<Cache>>,
}

/// Reads of products.
#[derive(Debug)]
enum Products {
    /// With a cache, one read brings all documents of a product.
    Whole(BatchLoader<WholeProducts>),
    /// Without one, a request reads only the columns that it needs.
    Columns { product: Loader, styles: Loader, related: Loader, overview: Loader },
}

type Loader = BatchLoader<Columns>;

impl Catalog {
    /// Creates a catalog whose cache holds `cache_bytes`, and whose reads have this timeout.
    pub(crate) fn new(database: &Arc<Database>, cache_bytes: u64, timeout: Duration) -> Self {
        let cache = Cache::with_capacity(cache_bytes).map(Arc::new);
        let products = match &cache {
            Some(cache) => {
                let source = WholeProducts::new(database, cache, timeout);
                Products::Whole(BatchLoader::start(source, database.queue(), PRODUCT_LIMITS))
            }
            None => {
                let loader = |column| {
                    BatchLoader::start(
                        Columns::new(database, column, timeout),
                        database.queue(),
                        PRODUCT_LIMITS,
                    )
                };
                Products::Columns {
                    product: loader(Column::Product),
                    styles: loader(Column::Styles),
                    related: loader(Column::Related),
                    overview: loader(Column::Overview),
                }
            }
        };
        let places = (database.queue().available_permits() / LIST_SHARE).max(1);
        let lists = Lists::new(database, cache.clone(), timeout);
        let lists = BatchLoader::start(lists, &Arc::new(Semaphore::new(places)), LIST_LIMITS);
        Self { database: Arc::clone(database), products, lists, cache }
    }

    /// Returns a product with its features; `None` if there is no such product.
    ///
    /// # Errors
    /// The document is not cached, and the database does not return it. The other reads fail in the same case.
    pub async fn product(&self, product_id: i32, timing: &Timing) -> Result<Option<Document>, Error> {
        match &self.products {
            Products::Whole(loader) => self.part(loader, product_id, timing, |whole| &whole.product).await,
            Products::Columns { product, .. } => timing.database(product.load(product_id)).await,
        }
    }

    /// Returns a product's styles; `None` if there is no such product.
    pub async fn styles(&self, product_id: i32, timing: &Timing) -> Result<Option<Document>, Error> {
        match &self.products {
            Products::Whole(loader) => self.part(loader, product_id, timing, |whole| &whole.styles).await,
            Products::Columns { styles, .. } => timing.database(styles.load(product_id)).await,
        }
    }

    /// Returns the ids of related products; `None` if there is no such product.
    pub async fn related(&self, product_id: i32, timing: &Timing) -> Result<Option<Document>, Error> {
        match &self.products {
            Products::Whole(loader) => self.part(loader, product_id, timing, |whole| &whole.related).await,
            Products::Columns { related, .. } => timing.database(related.load(product_id)).await,
        }
    }

    /// Returns all three of a product in one object; `None` if there is no such product.
    pub async fn overview(&self, product_id: i32, timing: &Timing) -> Result<Option<Document>, Error> {
        let loader = match &self.products {
            Products::Whole(loader) => loader,
            Products::Columns { overview, .. } => return timing.database(overview.load(product_id)).await,
        };
        if let Some(Cached::Document(overview)) = self.cached(Key::Overview(product_id)) {
            return Ok(Some(self.current(overview)));
        }
        let Some(whole) = self.whole(loader, product_id, timing).await? else { return Ok(None) };
        let overview = whole.overview()?;
        if let (Some(cache), Some(catalog)) = (&self.cache, whole.catalog) {
            cache.insert(catalog, Key::Overview(product_id), Cached::Document(overview.clone()));
        }
        Ok(Some(self.current(overview)))
    }

    /// Returns the products with the ranks `first` to `last` by id, without their features.
    pub async fn list(&self, first: i64, last: i64, timing: &Timing) -> Result<Document, Error> {
        if let Some(Cached::Document(page)) = self.cached(Key::List { first, last }) {
            return Ok(self.current(page));
        }
        let page = timing.database(self.lists.load((first, last))).await?;
        page.ok_or(Error::NOT_CONNECTED) // each page has a document, an empty one past the end
    }

    /// Returns one document of a product.
    async fn part(
        &self,
        loader: &BatchLoader<WholeProducts>,
        product_id: i32,
        timing: &Timing,
        part: fn(&Product) -> &Document,
    ) -> Result<Option<Document>, Error> {
        let whole = self.whole(loader, product_id, timing).await?;
        Ok(whole.map(|whole| self.current(part(&whole).clone())))
    }

    /// Returns the cached product, or else reads it.
    async fn whole(
        &self,
        loader: &BatchLoader<WholeProducts>,
        product_id: i32,
        timing: &Timing,
    ) -> Result<Option<Arc<Product>>, Error> {
        match self.cached(Key::Product(product_id)) {
            Some(Cached::Product(whole)) => Ok(Some(whole)),
            _ => timing.database(loader.load(product_id)).await,
        }
    }

    /// Looks up the current catalog.
    fn cached(&self, key: Key) -> Option<Cached> {
        self.cache.as_ref()?.get(self.database.catalog_id()?, key)
    }

    /// Returns a document with its staleness.
    fn current(&self, document: Document) -> Document {
        Document { stale_for: self.database.staleness(), ..document }
    }
}

#[cfg(test)]
pub(crate) const STATEMENTS: [&crate::database::Sql; 6] = sources::STATEMENTS;
