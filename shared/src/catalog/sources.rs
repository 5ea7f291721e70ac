//! The statements of the catalog, and the documents made of their rows.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Serialize, Serializer};
use tokio::time::timeout;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::cache::{Cache, Cached, Key, Product};
use crate::database::{Database, Error, Source, Sql};
use crate::http::document::GZIP_ABOVE_BYTES;
use crate::http::{Content, Document, encoding};

/// Uses the primary key of `catalog.documents`; so do the next four.
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
const WHOLE: Sql = Sql {
    slot: 10,
    text: "select product_id, generation, product, product_tag, styles, styles_tag, related, related_tag \
           from catalog.documents where product_id = any($1)",
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

/// How many rows are decoded before other tasks run. To decode an overview, gzip is undone and done again, which takes as
/// long as dozens of cached responses.
const DECODE_CHUNK: usize = 16;

/// Reads of whole products, which it caches.
pub(super) struct WholeProducts {
    database: Arc<Database>,
    cache: Arc<Cache>,
    timeout: Duration,
}

/// Reads of single documents of products.
pub(super) struct Columns {
    database: Arc<Database>,
    column: Column,
    timeout: Duration,
}

/// A document of a product.
#[derive(Debug, Clone, Copy)]
pub(super) enum Column {
    Product,
    Styles,
    Related,
    Overview,
}

/// Reads of list pages, by the ranks of their first and last product.
pub(super) struct Lists {
    database: Arc<Database>,
    cache: Option<Arc<Cache>>,
    timeout: Duration,
}

impl WholeProducts {
    pub(super) fn new(database: &Arc<Database>, cache: &Arc<Cache>, timeout: Duration) -> Self {
        Self { database: Arc::clone(database), cache: Arc::clone(cache), timeout }
    }
}

impl Source for WholeProducts {
    type Key = i32;
    type Value = Arc<Product>;

    async fn read(&self, ids: &[i32]) -> Result<Vec<(i32, Arc<Product>)>, Error> {
        let sent_at = self.database.publication();
        let rows = by_id(&self.database, &WHOLE, ids, self.timeout).await?;
        let decode = |row: &Row| {
            let generation = generation(row)?;
            let catalog = self.database.catalog_of(generation, sent_at);
            let whole = Arc::new(Product {
                catalog,
                product: plain(row, 2, generation)?,
                styles: gzipped(row, 4, generation)?,
                related: plain(row, 6, generation)?,
            });
            let key = Key::Product(row.try_get(0)?);
            catalog.inspect(|catalog| self.cache.insert(*catalog, key, Cached::Product(Arc::clone(&whole))));
            Ok(whole)
        };
        decoded(&rows, decode).await
    }
}

impl Columns {
    pub(super) fn new(database: &Arc<Database>, column: Column, timeout: Duration) -> Self {
        Self { database: Arc::clone(database), column, timeout }
    }
}

impl Source for Columns {
    type Key = i32;
    type Value = Document;

    async fn read(&self, ids: &[i32]) -> Result<Vec<(i32, Document)>, Error> {
        let sql = match self.column {
            Column::Product => &PRODUCT,
            Column::Styles => &STYLES,
            Column::Related => &RELATED,
            Column::Overview => &OVERVIEW,
        };
        let rows = by_id(&self.database, sql, ids, self.timeout).await?;
        let decode = |row: &Row| match self.column {
            Column::Product | Column::Related => plain(row, 2, generation(row)?),
            Column::Styles => gzipped(row, 2, generation(row)?),
            Column::Overview => {
                let styles = encoding::gunzip(row.try_get(3)?).map_err(Error::internal)?;
                Ok(overview(row.try_get(2)?, &styles, row.try_get(4)?, generation(row)?))
            }
        };
        decoded(&rows, decode).await
    }
}

impl Lists {
    pub(super) fn new(database: &Arc<Database>, cache: Option<Arc<Cache>>, timeout: Duration) -> Self {
        Self { database: Arc::clone(database), cache, timeout }
    }
}

impl Source for Lists {
    type Key = (i64, i64);
    type Value = Document;

    async fn read(&self, pages: &[(i64, i64)]) -> Result<Vec<((i64, i64), Document)>, Error> {
        let mut documents = Vec::new();
        for &(first, last) in pages {
            let parameters: [&(dyn ToSql + Sync); 2] = [&first, &last];
            let sent_at = self.database.publication();
            let page = list(&query(&self.database, &LIST, &parameters, self.timeout).await?)?;
            let catalog = self.database.catalog_of(page.generation, sent_at);
            if let (Some(cache), Some(catalog)) = (&self.cache, catalog) {
                cache.insert(catalog, Key::List { first, last }, Cached::Document(page.clone()));
            }
            documents.push(((first, last), page));
        }
        Ok(documents)
    }
}

impl Product {
    /// Joins the three documents.
    pub(super) fn overview(&self) -> Result<Document, Error> {
        let (product, styles, related) =
            (plain_bytes(&self.product)?, plain_bytes(&self.styles)?, plain_bytes(&self.related)?);
        Ok(overview(&product, &styles, &related, self.product.generation))
    }
}

async fn by_id(
    database: &Database,
    sql: &'static Sql,
    ids: &[i32],
    limit: Duration,
) -> Result<Vec<Row>, Error> {
    query(database, sql, &[&ids], limit).await
}

/// Sends a statement. Postgres has cancelled it by the time limit, or does not respond.
async fn query(
    database: &Database,
    sql: &'static Sql,
    parameters: &[&(dyn ToSql + Sync)],
    limit: Duration,
) -> Result<Vec<Row>, Error> {
    timeout(limit, database.query(sql, parameters)).await.unwrap_or(Err(Error::TIMED_OUT))
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

/// Returns the document in this column, whose tag is in the next one.
fn plain(row: &Row, column: usize, generation: Option<i32>) -> Result<Document, Error> {
    let content = Content::compress(row.try_get(column)?, GZIP_ABOVE_BYTES);
    Ok(Document::new(content, tag(row, column + 1)?, generation))
}

fn gzipped(row: &Row, column: usize, generation: Option<i32>) -> Result<Document, Error> {
    let gzipped = Bytes::copy_from_slice(row.try_get(column)?);
    Ok(Document::new(Content::Gzipped(gzipped), tag(row, column + 1)?, generation))
}

/// Joins the parts as plain JSON and gzips the result. Gzip members cannot be joined, because browsers stop after the
/// first.
fn overview(product: &[u8], styles: &[u8], related: &[u8], generation: Option<i32>) -> Document {
    let parts: [&[u8]; 7] =
        [br#"{"product":"#, product, br#","styles":"#, styles, br#","related":"#, related, b"}"];
    Document::from_plain(&parts.concat(), generation, 0)
}

fn plain_bytes(document: &Document) -> Result<Bytes, Error> {
    match &document.content {
        Content::Plain(plain) => Ok(plain.clone()),
        Content::Gzipped(gzipped) => encoding::gunzip(gzipped).map(Bytes::from).map_err(Error::internal),
    }
}

fn list(rows: &[Row]) -> Result<Document, Error> {
    let listed = rows.iter().map(ListedProduct::from_row).collect::<Result<Vec<_>, _>>()?;
    let generation = rows.first().map(|row| row.try_get(6)).transpose()?;
    let total = rows.first().and_then(|row| row.try_get(7).transpose()).transpose()?;
    let plain = serde_json::to_vec(&listed).map_err(Error::internal)?;
    Ok(Document { total, ..Document::from_plain(&plain, generation, GZIP_ABOVE_BYTES) })
}

fn tag(row: &Row, column: usize) -> Result<u64, Error> {
    Ok(row.try_get::<_, i64>(column)?.cast_unsigned())
}

fn generation(row: &Row) -> Result<Option<i32>, Error> {
    Ok(Some(row.try_get(1)?))
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
pub(super) const STATEMENTS: [&Sql; 6] = [&PRODUCT, &STYLES, &RELATED, &OVERVIEW, &WHOLE, &LIST];

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
