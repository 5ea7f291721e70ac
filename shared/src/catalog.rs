//! What is read of the catalog. Each answer comes from one statement that names one table of it: names are
//! resolved one by one and outside a transaction's snapshot, so a statement that named two could read two
//! catalogs while one takes over from the other.

mod cache;
mod lists;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Serialize, Serializer};
use tokio_postgres::Row;

use crate::database::{BatchLoader, Error, Pool, Sql};
use crate::http::document::GZIP_FROM_BYTES;
use crate::http::{Content, Document, Timing, encoding};
use cache::{Cache, Key};
use lists::Lists;

/// By the primary key of `catalog.documents`, as are the next three.
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
/// By the unique index `products_rank`. The ranks are bigint because the last page's last rank is beyond an
/// integer.
///
/// A catalog that the release before this one made has no column `total`, unless `migrate` has added it. There the name
/// means that of `unknown`: names are looked for in the inner query first.
const LIST: Sql = Sql {
    slot: 4,
    text: "select id, name, slogan, description, category, default_price, generation, page.total \
           from (select null::integer as total) as unknown, lateral \
               (select id, name, slogan, description, category, default_price, generation, rank, total \
                from catalog.products where rank between $1::bigint and $2::bigint) as page \
           order by rank",
};

/// The catalog that is served, whichever that is at the time.
#[derive(Debug)]
pub struct Catalog {
    memory: Memory,
    products: BatchLoader<Document>,
    styles: BatchLoader<Document>,
    related: BatchLoader<Document>,
    overviews: BatchLoader<Document>,
    lists: Lists,
}

impl Catalog {
    /// It keeps so many bytes of answers in memory, and waits so long for one.
    pub(crate) fn new(database: &Arc<Pool>, cache_bytes: u64, timeout: Duration) -> Self {
        let memory =
            Memory { database: Arc::clone(database), cache: Cache::holding(cache_bytes).map(Arc::new) };
        let gather = |sql, key: fn(i32) -> Key, read: fn(&Row) -> Result<Document, Error>| {
            let memory = memory.clone();
            BatchLoader::new(database, sql, timeout, move |product_id, row| {
                let document = read(row)?;
                memory.keep(key(product_id), &document);
                Ok(document)
            })
        };
        Self {
            products: gather(&PRODUCT, Key::Product, plain),
            styles: gather(&STYLES, Key::Styles, gzipped),
            related: gather(&RELATED, Key::Related, plain),
            overviews: gather(&OVERVIEW, Key::Overview, overview),
            lists: Lists::new(database, memory.clone(), timeout),
            memory,
        }
    }

    /// A product with its features; `None` if there is no such product.
    ///
    /// # Errors
    /// When the database gives no answer; so do the others.
    pub async fn product(&self, product_id: i32, timing: &Timing) -> Result<Option<Document>, Error> {
        self.one(Key::Product(product_id), timing, self.products.one(product_id)).await
    }

    /// A product's styles; `None` if there is no such product.
    pub async fn styles(&self, product_id: i32, timing: &Timing) -> Result<Option<Document>, Error> {
        self.one(Key::Styles(product_id), timing, self.styles.one(product_id)).await
    }

    /// The ids of related products; `None` if there is no such product.
    pub async fn related(&self, product_id: i32, timing: &Timing) -> Result<Option<Document>, Error> {
        self.one(Key::Related(product_id), timing, self.related.one(product_id)).await
    }

    /// All three of a product joined in one object; `None` if there is no such product.
    pub async fn overview(&self, product_id: i32, timing: &Timing) -> Result<Option<Document>, Error> {
        self.one(Key::Overview(product_id), timing, self.overviews.one(product_id)).await
    }

    /// The products ranked `first` to `last` by id, both included, without their features.
    pub async fn list(&self, first: i64, last: i64, timing: &Timing) -> Result<Document, Error> {
        let key = Key::List { first, last };
        match self.memory.answer(key) {
            Some(kept) => Ok(kept),
            None => timing.database(self.lists.one(first, last)).await,
        }
    }

    /// The answer that is kept, or else the one that is read.
    async fn one(
        &self,
        key: Key,
        timing: &Timing,
        read: impl Future<Output = Result<Option<Document>, Error>>,
    ) -> Result<Option<Document>, Error> {
        match self.memory.answer(key) {
            Some(kept) => Ok(Some(kept)),
            None => timing.database(read).await,
        }
    }
}

/// What was read, kept if there is room, and what the database says of which catalog is served.
#[derive(Debug, Clone)]
struct Memory {
    database: Arc<Pool>,
    cache: Option<Arc<Cache>>,
}

impl Memory {
    /// An answer of the catalog that is served, as last heard.
    fn answer(&self, key: Key) -> Option<Document> {
        let kept = self.cache.as_ref()?.get(self.database.edition()?, key)?;
        Some(Document { stale_for: self.database.staleness(), ..kept })
    }

    /// Keeps an answer that was just read, if it came of a row.
    fn keep(&self, key: Key, document: &Document) {
        if let (Some(cache), Some(generation)) = (&self.cache, document.generation) {
            cache.keep(self.database.edition_of(generation), key, document);
        }
    }
}

fn plain(row: &Row) -> Result<Document, Error> {
    Ok(Document::new(Content::packed(row.try_get(2)?, GZIP_FROM_BYTES), tag(row)?, generation(row, 1)?))
}

fn gzipped(row: &Row) -> Result<Document, Error> {
    let gzipped = Bytes::copy_from_slice(row.try_get(2)?);
    Ok(Document::new(Content::Gzipped(gzipped), tag(row)?, generation(row, 1)?))
}

/// Gzip members cannot be joined, since browsers stop after the first: it is joined plain, and packed again.
fn overview(row: &Row) -> Result<Document, Error> {
    let part = |column| row.try_get::<_, &[u8]>(column);
    let styles = encoding::gunzip(part(3)?).map_err(Error::internal)?;
    let parts: [&[u8]; 7] =
        [br#"{"product":"#, part(2)?, br#","styles":"#, &styles, br#","related":"#, part(4)?, b"}"];
    Ok(Document::of_plain(&parts.concat(), generation(row, 1)?, 0))
}

fn list(rows: &[Row]) -> Result<Document, Error> {
    let listed = rows.iter().map(Listed::from_row).collect::<Result<Vec<_>, _>>()?;
    let generation = rows.first().map(|row| row.try_get(6)).transpose()?;
    let total = rows.first().and_then(|row| row.try_get(7).transpose()).transpose()?;
    let plain = serde_json::to_vec(&listed).map_err(Error::internal)?;
    Ok(Document { total, ..Document::of_plain(&plain, generation, GZIP_FROM_BYTES) })
}

fn tag(row: &Row) -> Result<u64, Error> {
    Ok(row.try_get::<_, i64>(3)?.cast_unsigned())
}

fn generation(row: &Row, column: usize) -> Result<Option<i32>, Error> {
    Ok(Some(row.try_get(column)?))
}

/// A product of the list, its fields in the contract's order.
#[derive(Serialize)]
struct Listed<'a> {
    id: i32,
    name: &'a str,
    slogan: &'a str,
    description: &'a str,
    category: &'a str,
    #[serde(serialize_with = "as_text")]
    default_price: i32,
}

impl<'a> Listed<'a> {
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

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn as_text<S: Serializer>(price: &i32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(price)
}

#[cfg(test)]
pub(crate) const STATEMENTS: [&Sql; 5] = [&PRODUCT, &STYLES, &RELATED, &OVERVIEW, &LIST];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listed_product_has_the_fields_of_the_contract_in_their_order() {
        let listed = [Listed {
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
