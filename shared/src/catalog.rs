//! Reads of the catalog, and their cache. Each response comes from one statement that names one table of the catalog.
//! Postgres resolves names one by one and outside a transaction's snapshot, so with two names a statement could read
//! two catalogs during a publish.

mod cache;
mod lists;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Serialize, Serializer};
use tokio_postgres::Row;

use crate::database::{BatchLoader, Error, Pool, Sql};
use crate::http::document::GZIP_ABOVE_BYTES;
use crate::http::{Content, Document, Timing, encoding};
use cache::{Cache, Key};
use lists::Lists;

/// Uses the primary key of `catalog.documents`; so do the next three.
const PRODUCT: Sql = Sql {
    slot: 0,
    text: "select product_id, generation, product, product_tag from catalog.documents \
           where product_id = any($1)",
};
const STYLES: Sql = Sql {
    slot: 1,
    text: "select product_id, generation, styles, styles_tag from catalog.documents where product_id = any($1)",
};
const RELATED: Sql = Sql {
    slot: 2,
    text: "select product_id, generation, related, related_tag from catalog.documents \
           where product_id = any($1)",
};
const OVERVIEW: Sql = Sql {
    slot: 3,
    text: "select product_id, generation, product, styles, related from catalog.documents \
           where product_id = any($1)",
};
/// Uses the unique index `products_rank`. The ranks are bigint, because the last rank of the last page exceeds an
/// integer.
///
/// A catalog of the previous release lacks the column `total` unless `migrate` has added it. Without the column, the
/// name refers to `unknown.total`, because Postgres resolves names in the inner query first.
const LIST: Sql = Sql {
    slot: 4,
    text: "select id, name, slogan, description, category, default_price, generation, page.total \
           from (select null::integer as total) as unknown, lateral \
               (select id, name, slogan, description, category, default_price, generation, rank, total \
                from catalog.products where rank between $1::bigint and $2::bigint) as page \
           order by rank",
};

/// The current catalog.
#[derive(Debug)]
pub struct Catalog {
    cache: DocumentCache,
    products: BatchLoader<Document>,
    styles: BatchLoader<Document>,
    related: BatchLoader<Document>,
    overviews: BatchLoader<Document>,
    lists: Lists,
}

impl Catalog {
    /// Creates a catalog whose cache holds `cache_bytes`, and whose reads have this timeout.
    pub(crate) fn new(database: &Arc<Pool>, cache_bytes: u64, timeout: Duration) -> Self {
        let cache = DocumentCache {
            database: Arc::clone(database),
            cache: Cache::with_capacity(cache_bytes).map(Arc::new),
        };
        let loader = |sql, key: fn(i32) -> Key, decode: fn(&Row) -> Result<Document, Error>| {
            let cache = cache.clone();
            BatchLoader::new(database, sql, timeout, move |product_id, row| {
                let document = decode(row)?;
                cache.insert(key(product_id), &document);
                Ok(document)
            })
        };
        Self {
            products: loader(&PRODUCT, Key::Product, plain),
            styles: loader(&STYLES, Key::Styles, gzipped),
            related: loader(&RELATED, Key::Related, plain),
            overviews: loader(&OVERVIEW, Key::Overview, overview),
            lists: Lists::new(database, cache.clone(), timeout),
            cache,
        }
    }

    /// Returns a product with its features; `None` if there is no such product.
    ///
    /// # Errors
    /// The document is not cached, and the database does not return it. The other reads fail in the same case.
    pub async fn product(&self, product_id: i32, timing: &Timing) -> Result<Option<Document>, Error> {
        self.load(Key::Product(product_id), timing, self.products.load(product_id)).await
    }

    /// Returns a product's styles; `None` if there is no such product.
    pub async fn styles(&self, product_id: i32, timing: &Timing) -> Result<Option<Document>, Error> {
        self.load(Key::Styles(product_id), timing, self.styles.load(product_id)).await
    }

    /// Returns the ids of related products; `None` if there is no such product.
    pub async fn related(&self, product_id: i32, timing: &Timing) -> Result<Option<Document>, Error> {
        self.load(Key::Related(product_id), timing, self.related.load(product_id)).await
    }

    /// Returns all three of a product in one object; `None` if there is no such product.
    pub async fn overview(&self, product_id: i32, timing: &Timing) -> Result<Option<Document>, Error> {
        self.load(Key::Overview(product_id), timing, self.overviews.load(product_id)).await
    }

    /// Returns the products with the ranks `first` to `last` by id, without their features.
    pub async fn list(&self, first: i64, last: i64, timing: &Timing) -> Result<Document, Error> {
        let key = Key::List { first, last };
        match self.cache.get(key) {
            Some(cached) => Ok(cached),
            None => timing.database(self.lists.load(first, last)).await,
        }
    }

    /// Returns the cached document, or else reads it.
    async fn load(
        &self,
        key: Key,
        timing: &Timing,
        read: impl Future<Output = Result<Option<Document>, Error>>,
    ) -> Result<Option<Document>, Error> {
        match self.cache.get(key) {
            Some(cached) => Ok(Some(cached)),
            None => timing.database(read).await,
        }
    }
}

/// The cache of documents, with the pool that knows which catalog is current.
#[derive(Debug, Clone)]
struct DocumentCache {
    database: Arc<Pool>,
    cache: Option<Arc<Cache>>,
}

impl DocumentCache {
    /// Returns a cached document of the current catalog.
    fn get(&self, key: Key) -> Option<Document> {
        let cached = self.cache.as_ref()?.get(self.database.edition()?, key)?;
        Some(Document { stale_for: self.database.staleness(), ..cached })
    }

    /// Caches a document that was just read, if it comes from a row.
    fn insert(&self, key: Key, document: &Document) {
        if let (Some(cache), Some(generation)) = (&self.cache, document.generation) {
            cache.insert(self.database.edition_of(generation), key, document);
        }
    }
}

fn plain(row: &Row) -> Result<Document, Error> {
    Ok(Document::new(Content::compress(row.try_get(2)?, GZIP_ABOVE_BYTES), tag(row)?, generation(row, 1)?))
}

fn gzipped(row: &Row) -> Result<Document, Error> {
    let gzipped = Bytes::copy_from_slice(row.try_get(2)?);
    Ok(Document::new(Content::Gzipped(gzipped), tag(row)?, generation(row, 1)?))
}

/// Joins the parts as plain JSON and gzips the result. Gzip members cannot be joined, because browsers stop after the
/// first.
fn overview(row: &Row) -> Result<Document, Error> {
    let part = |column| row.try_get::<_, &[u8]>(column);
    let styles = encoding::gunzip(part(3)?).map_err(Error::internal)?;
    let parts: [&[u8]; 7] =
        [br#"{"product":"#, part(2)?, br#","styles":"#, &styles, br#","related":"#, part(4)?, b"}"];
    Ok(Document::from_plain(&parts.concat(), generation(row, 1)?, 0))
}

fn list(rows: &[Row]) -> Result<Document, Error> {
    let listed = rows.iter().map(ListedProduct::from_row).collect::<Result<Vec<_>, _>>()?;
    let generation = rows.first().map(|row| row.try_get(6)).transpose()?;
    let total = rows.first().and_then(|row| row.try_get(7).transpose()).transpose()?;
    let plain = serde_json::to_vec(&listed).map_err(Error::internal)?;
    Ok(Document { total, ..Document::from_plain(&plain, generation, GZIP_ABOVE_BYTES) })
}

fn tag(row: &Row) -> Result<u64, Error> {
    Ok(row.try_get::<_, i64>(3)?.cast_unsigned())
}

fn generation(row: &Row, column: usize) -> Result<Option<i32>, Error> {
    Ok(Some(row.try_get(column)?))
}

/// A product of the list, with its fields in the order of the HTTP contract.
#[derive(Serialize)]
struct ListedProduct<'a> {
    id: i32,
    name: &'a str,
    slogan: &'a str,
    description: &'a str,
    category: &'a str,
    #[serde(serialize_with = "as_text")]
    default_price: i32,
}

impl<'a> ListedProduct<'a> {
    fn from_row(row: &'a Row) -> Result<Self, Error> {
        Ok(Self {
            id: row.try_get(0)?,
            name: row.try_get(1)?,
            slogan: row.try_get(2)?,
            description: row.try_get(3)?,
            category: row.try_get(4)?,
            default_price: row.try_get(5)?,
        })
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn as_text<S: Serializer>(price: &i32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(price)
}

#[cfg(test)]
pub(crate) const STATEMENTS: [&Sql; 5] = [&PRODUCT, &STYLES, &RELATED, &OVERVIEW, &LIST];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listed_product_has_the_fields_of_the_contract_in_order() {
        let listed = [ListedProduct {
            id: 1,
            name: "Moss \"Field\" Jacket",
            slogan: "Täglich",
            description: "a\\b\u{1}\n",
            category: "Jackets",
            default_price: 140,
        }];
        let expected = r#"[{"id":1,"name":"Moss \"Field\" Jacket","slogan":"Täglich","description":"a\\b\u0001\n","category":"Jackets","default_price":"140"}]"#;
        assert_eq!(serde_json::to_string(&listed).unwrap(), expected);
    }
}
