//! The reads of products, and the documents made of their rows.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prometheus_client::metrics::histogram::Histogram;
use tokio::time::timeout;
use tokio_postgres::Row;

use super::cache::{Cache, Cached, Key, Product};
use crate::database::{Database, Error, Parameters, Source, Sql, Values};
use crate::http::document::GZIP_ABOVE_BYTES;
use crate::http::{Content, Document, LARGE_ABOVE_BYTES, MemoryBudget};

/// Uses the primary key of `catalog.documents`; so do the next three. Instead of a document of more than `$2` bytes, a
/// row has null. Postgres knows the length without reading the document.
const PRODUCT: Sql = Sql {
    slot: 0,
    text: "select product_id, generation, case when octet_length(product) <= $2 then product end, product_tag \
           from catalog.documents where product_id = any($1)",
};
const STYLES: Sql = Sql {
    slot: 1,
    text: "select product_id, generation, case when octet_length(styles) <= $2 then styles end, styles_tag \
           from catalog.documents where product_id = any($1)",
};
const RELATED: Sql = Sql {
    slot: 2,
    text: "select product_id, generation, case when octet_length(related) <= $2 then related end, related_tag \
           from catalog.documents where product_id = any($1)",
};
const WHOLE: Sql = Sql {
    slot: 3,
    text: "select product_id, generation, case when octet_length(product) <= $2 then product end, product_tag, \
               case when octet_length(styles) <= $2 then styles end, styles_tag, \
               case when octet_length(related) <= $2 then related end, related_tag \
           from catalog.documents where product_id = any($1)",
};

/// The max bytes of a document in a batch: above the largest usual one. So the documents of 128 products have at most
/// 12 MiB.
const MAX_BATCHED_BYTES: i32 = 32 << 10;

/// The part of the memory budget that the read of a large document needs: an overview of 48 MiB, its row, and its
/// compressed form.
const LARGE_READ_BYTES: usize = 128 << 20;

/// How many rows are decoded before other tasks run. To decode an overview, gzip is undone and done again, which takes as
/// long as dozens of cached responses.
const DECODE_CHUNK: usize = 16;

/// What all reads need.
#[derive(Debug, Clone)]
pub(super) struct Reader {
    pub(super) database: Arc<Database>,
    pub(super) cache: Option<Arc<Cache>>,
    pub(super) budget: MemoryBudget,
    pub(super) timeout: Duration,
    /// The number of ids in each statement that reads products.
    pub(super) batch_sizes: Histogram,
}

/// Reads of whole products without their large documents, which it caches.
pub(super) struct WholeProducts(pub(super) Reader);

/// Reads of single documents of products; `None` for a large one.
pub(super) struct Columns(pub(super) Reader, pub(super) Column);

/// Reads of single documents of any size.
pub(super) struct LargeDocuments(pub(super) Reader);

/// A document of a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Column {
    Product,
    Styles,
    Related,
    Overview,
}

impl Reader {
    /// Sends a statement with these ids.
    async fn query_products(&self, sql: &'static Sql, ids: &[i32]) -> Result<Vec<Row>, Error> {
        self.batch_sizes.observe(u32::try_from(ids.len()).unwrap_or(u32::MAX).into());
        self.query(sql, &[&ids, &MAX_BATCHED_BYTES]).await
    }

    /// Sends a statement. Postgres has cancelled it by the time limit, or does not respond.
    pub(super) async fn query(
        &self,
        sql: &'static Sql,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, Error> {
        timeout(self.timeout, self.database.query(sql, parameters)).await.unwrap_or(Err(Error::TIMED_OUT))
    }
}

impl Source for WholeProducts {
    type Key = i32;
    type Value = Arc<Product>;

    async fn read(&self, ids: &[i32]) -> Values<Self> {
        let sent_at = self.0.database.publication();
        let rows = self.0.query_products(&WHOLE, ids).await?;
        let decode = |row: &Row| {
            let generation = row.try_get(1)?;
            let catalog = self.0.database.catalog_of(Some(generation), sent_at);
            let whole = Arc::new(Product {
                catalog,
                generation,
                product: plain(row, 2)?,
                styles: gzipped(row, 4)?,
                related: plain(row, 6)?,
            });
            if let (Some(cache), Some(catalog)) = (&self.0.cache, catalog) {
                cache.insert(catalog, Key::Product(row.try_get(0)?), Cached::Product(Arc::clone(&whole)));
            }
            Ok(whole)
        };
        decoded(&rows, decode).await
    }
}

impl Source for Columns {
    type Key = i32;
    type Value = Option<Document>;

    async fn read(&self, ids: &[i32]) -> Values<Self> {
        let Self(reader, column) = self;
        let rows = reader.query_products(column.sql(), ids).await?;
        decoded(&rows, |row| column.decode(row, LARGE_ABOVE_BYTES)).await
    }
}

impl Source for LargeDocuments {
    type Key = (Column, i32);
    type Value = Document;

    async fn read(&self, keys: &[(Column, i32)]) -> Values<Self> {
        let mut documents = Vec::new();
        for &(column, id) in keys {
            let reservation = self.0.budget.reserve(LARGE_READ_BYTES)?;
            let mut rows = self.0.query(column.sql(), &[&[id].as_slice(), &i32::MAX]).await?;
            let Some(row) = rows.pop() else { continue };
            let document = self.0.budget.work(move || column.decode(&row, usize::MAX)).await??;
            documents.extend(document.map(|document| ((column, id), document.reserved(reservation))));
        }
        Ok(documents)
    }
}

impl Column {
    pub(super) const ALL: [Self; 4] = [Self::Product, Self::Styles, Self::Related, Self::Overview];

    fn sql(self) -> &'static Sql {
        match self {
            Self::Product => &PRODUCT,
            Self::Styles => &STYLES,
            Self::Related => &RELATED,
            Self::Overview => &WHOLE,
        }
    }

    /// Decodes the document from a row of its statement; `None` if the row lacks it, or if it is an overview of more
    /// than `max_plain_bytes`.
    fn decode(self, row: &Row, max_plain_bytes: usize) -> Result<Option<Document>, Error> {
        match self {
            Self::Product | Self::Related => plain(row, 2),
            Self::Styles => gzipped(row, 2),
            Self::Overview => {
                let part = |column| row.try_get::<_, Option<&[u8]>>(column);
                let (Some(product), Some(styles), Some(related)) = (part(2)?, part(4)?, part(6)?) else {
                    return Ok(None);
                };
                let parts = [Content::Plain(product), Content::Gzipped(styles), Content::Plain(related)];
                overview(parts.each_ref(), row.try_get(1)?, max_plain_bytes)
            }
        }
    }
}

impl Product {
    /// Joins the three documents; returns `None` if the result is large.
    pub(super) fn overview(&self) -> Result<Option<Document>, Error> {
        match (&self.product, &self.styles, &self.related) {
            (Some(product), Some(styles), Some(related)) => {
                let parts = [&product.content, &styles.content, &related.content];
                overview(parts, self.generation, LARGE_ABOVE_BYTES)
            }
            _ => Ok(None),
        }
    }
}

/// Decodes rows whose first column is the id.
async fn decoded<T>(rows: &[Row], decode: impl Fn(&Row) -> Result<T, Error>) -> Result<Vec<(i32, T)>, Error> {
    let mut values = Vec::with_capacity(rows.len());
    for (done, row) in rows.iter().enumerate() {
        if done > 0 && done % DECODE_CHUNK == 0 {
            tokio::task::yield_now().await;
        }
        values.push((row.try_get(0)?, decode(row)?));
    }
    Ok(values)
}

/// Returns the document in this column, whose tag is in the next one; `None` if the row lacks it.
fn plain(row: &Row, column: usize) -> Result<Option<Document>, Error> {
    document(row, column, |plain| Content::compress(plain, GZIP_ABOVE_BYTES))
}

fn gzipped(row: &Row, column: usize) -> Result<Option<Document>, Error> {
    document(row, column, |gzipped| Content::Gzipped(Bytes::copy_from_slice(gzipped)))
}

fn document(row: &Row, column: usize, content: fn(&[u8]) -> Content) -> Result<Option<Document>, Error> {
    let Some(stored) = row.try_get(column)? else { return Ok(None) };
    let tag = row.try_get::<_, i64>(column + 1)?.cast_unsigned();
    Ok(Some(Document::new(content(stored), tag, Some(row.try_get(1)?))))
}

/// Joins a product, its styles and its related ids as plain JSON, and gzips the result. Gzip members cannot be joined,
/// because browsers stop after the first. Returns `None` if the parts have more than `max_plain_bytes`.
fn overview<B: AsRef<[u8]>>(
    parts: [&Content<B>; 3],
    generation: i32,
    max_plain_bytes: usize,
) -> Result<Option<Document>, Error> {
    let mut length = 0;
    for part in parts {
        length += part.plain_length().map_err(Error::internal)?;
    }
    if length > max_plain_bytes {
        return Ok(None);
    }
    let names: [&[u8]; 3] = [br#"{"product":"#, br#","styles":"#, br#","related":"#];
    let mut plain = Vec::with_capacity(length + 64); // 64 for the names
    for (name, part) in names.into_iter().zip(parts) {
        plain.extend_from_slice(name);
        part.append_to(&mut plain).map_err(Error::internal)?;
    }
    plain.push(b'}');
    Ok(Some(Document::from_plain(&plain, Some(generation), 0)))
}

/// All statements of this module.
pub(super) const STATEMENTS: [&Sql; 4] = [&PRODUCT, &STYLES, &RELATED, &WHOLE];
