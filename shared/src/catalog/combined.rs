//! Responses that combine several reads: cards, the lines of a cart, and the current catalog. Each read names its catalog.
//! If two of them name different ones, all are repeated.

use std::collections::HashMap;
use std::time::Instant;

use bytes::Bytes;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::Catalog;
use super::cache::ListKey;
use super::consistent::{ReadFrom, consistent};
use super::sources::Column;
use super::summaries::{self, LineOfStyle};
use crate::database::{Error, OwnedParameters, Sql};
use crate::http::document::GZIP_ABOVE_BYTES;
use crate::http::{Content, Document, LARGE_ABOVE_BYTES, Timing};

/// The max number of products that are read at once for a response. Each takes up to two places in the queue for the
/// database.
const MAX_PRODUCTS_AT_ONCE: usize = 16;

/// Uses the primary key of `catalog.skus`. It has no column that names the catalog, but its table does.
const SKUS: Sql =
    Sql { slot: 18, text: "select id, style_id, tableoid from catalog.skus where id = any($1)" };

/// Uses the primary key of `catalog.styles`.
const STYLES: Sql =
    Sql { slot: 19, text: "select id, product_id, tableoid from catalog.styles where id = any($1)" };

/// Returns the generation of a catalog with the ids of its tables `skus` and `styles`. Uses the index `products_rank`.
const TABLES: Sql = Sql {
    slot: 20,
    text: "select generation, beside.oid from catalog.products, pg_class as own, pg_class as beside \
           where rank = 1 and own.oid = products.tableoid and beside.relnamespace = own.relnamespace \
               and beside.relname in ('skus', 'styles') order by beside.relname",
};

/// Uses the primary key of `etl.publication`, from its end.
pub(crate) const PUBLICATION: Sql = Sql {
    slot: 21,
    text: "select generation, to_char(at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') \
           from etl.publication order by id desc limit 1",
};

/// Two documents of a product, of one catalog.
struct Documents {
    product: Content,
    styles: Content,
    generation: Option<i32>,
}

/// The limits of responses that combine the documents of many products. They share a part of the queue for the database.
#[derive(Debug)]
pub(super) struct Combining {
    permits: Semaphore,
    products_at_once: usize,
}

/// The parents of some rows, by id.
struct Parents {
    /// The table of the rows; `None` if there are none.
    table: Option<u32>,
    by_id: HashMap<i32, i32>,
}

/// The current catalog, with its fields in the order of the HTTP contract.
#[derive(Serialize)]
struct Current<'a> {
    generation: i32,
    published_at: &'a str,
    products: i32,
}

/// A product of a list.
#[derive(Deserialize)]
struct Listed {
    id: i32,
}

impl Combining {
    /// Returns the limits for this many places in the queue.
    pub(super) fn within(places: usize) -> Self {
        let products_at_once = (places / 2).clamp(1, MAX_PRODUCTS_AT_ONCE);
        Self { permits: Semaphore::new((places / 2 / products_at_once).max(1)), products_at_once }
    }
}

impl Catalog {
    /// Returns the cards of products in this order, without those that do not exist.
    ///
    /// # Errors
    /// A read fails, or the catalog changes during each attempt. The other reads fail in the same cases.
    pub async fn cards(&self, ids: &[i32], timing: &Timing) -> Result<Document, Error> {
        consistent(|from| async move { Ok(self.cards_of(ids, None, from, timing).await?.0) }).await
    }

    /// Returns the cards of the products with the ranks `first` to `last` by id.
    pub async fn cards_of_page(&self, first: i64, last: i64, timing: &Timing) -> Result<Document, Error> {
        let read = |from| async move {
            let list = self.listed(ListKey::Products { first, last }, from, timing).await?;
            let ids = ids(&list)?;
            let (cards, count) = self.cards_of(&ids, list.generation, from, timing).await?;
            if count < ids.len() {
                return Err(Error::CHANGED);
            }
            Ok(Document { total: list.total, ..cards })
        };
        consistent(read).await
    }

    /// Returns the lines of a cart with their products, as JSON. A line is a sku and its count.
    pub async fn cart_lines(&self, lines: &[(i32, i32)], timing: &Timing) -> Result<Bytes, Error> {
        let body = Bytes::from(consistent(|from| self.lines_of(lines, from, timing)).await?);
        if body.len() > LARGE_ABOVE_BYTES {
            return Ok(self.reader.budget.reserve(body.len())?.attach(body));
        }
        Ok(body)
    }

    /// Returns the generation, the time of the publication and the number of products.
    pub async fn current_catalog(&self, timing: &Timing) -> Result<Document, Error> {
        let read = |from| async move {
            let list = self.listed(ListKey::Products { first: 1, last: 1 }, from, timing).await?;
            let rows = timing.database(self.read(&PUBLICATION, Vec::new())).await?;
            let row = rows.first().ok_or(Error::CHANGED)?;
            let generation = row.try_get(0)?;
            if list.generation.is_some_and(|other| other != generation) {
                return Err(Error::CHANGED);
            }
            let products = match (list.generation, list.total) {
                (None, _) => 0,
                (_, total) => total.ok_or(Error::EARLIER_RELEASE)?,
            };
            let plain = serde_json::to_vec(&Current { generation, published_at: row.try_get(1)?, products });
            let plain = plain.map_err(Error::internal)?;
            Ok(self.current(Document::from_plain(&plain, Some(generation), GZIP_ABOVE_BYTES)))
        };
        consistent(read).await
    }

    /// Returns the cards of products, and their number. All must have this generation, or the same one if it is `None`.
    async fn cards_of(
        &self,
        ids: &[i32],
        mut generation: Option<i32>,
        from: ReadFrom,
        timing: &Timing,
    ) -> Result<(Document, usize), Error> {
        let before = match from {
            ReadFrom::Cache => None,
            ReadFrom::Database => timing.database(self.reader.generation()).await?,
        };
        generation = generation.or(before.map(|(generation, _)| generation));
        let (mut cards, mut is_any_unknown) = (Vec::new(), false);
        for ids in ids.chunks(self.combining.products_at_once) {
            for (&id, documents) in ids.iter().zip(self.documents_of(ids, from, timing).await?) {
                let Some(documents) = documents else {
                    is_any_unknown = true;
                    continue;
                };
                if generation.is_some() && generation != documents.generation {
                    return Err(Error::CHANGED);
                }
                generation = documents.generation;
                let card = move |product: &[u8], styles: &[u8]| summaries::card(id, product, styles);
                cards.push(self.summarize(documents, card).await?);
            }
            tokio::task::yield_now().await; // parsing takes as long as dozens of cached responses
        }
        // A product that does not exist names no catalog. So without the cache, none may be published meanwhile.
        if is_any_unknown
            && (from == ReadFrom::Cache || timing.database(self.reader.generation()).await? != before)
        {
            return Err(Error::CHANGED);
        }
        let document = Document::from_plain(&array(&cards), generation, GZIP_ABOVE_BYTES);
        let bytes = document.content.bytes().len();
        let document = match bytes > LARGE_ABOVE_BYTES {
            true => document.reserved(self.reader.budget.reserve(bytes)?),
            false => document,
        };
        Ok((self.current(document), cards.len()))
    }

    async fn lines_of(
        &self,
        lines: &[(i32, i32)],
        from: ReadFrom,
        timing: &Timing,
    ) -> Result<Vec<u8>, Error> {
        let skus = lines.iter().map(|(sku_id, _)| *sku_id).collect();
        let skus = timing.database(self.parents(&SKUS, skus)).await?;
        let mut json = HashMap::with_capacity(lines.len());
        if skus.table.is_some() {
            let style_ids: Vec<i32> = skus.by_id.values().copied().collect();
            let reads =
                async { tokio::try_join!(self.parents(&STYLES, style_ids), self.read(&TABLES, Vec::new())) };
            let (styles, tables) = timing.database(reads).await?;
            let [of_skus, of_styles] = tables.as_slice() else { return Err(Error::CHANGED) };
            let generation = of_skus.try_get(0)?;
            if (skus.table, styles.table) != (Some(of_skus.try_get(1)?), Some(of_styles.try_get(1)?)) {
                return Err(Error::CHANGED);
            }
            let mut by_product: HashMap<i32, Vec<LineOfStyle>> = HashMap::new();
            for &(sku_id, count) in lines {
                let Some(&style_id) = skus.by_id.get(&sku_id) else { continue };
                let product_id = *styles.by_id.get(&style_id).ok_or(Error::CHANGED)?;
                by_product.entry(product_id).or_default().push(LineOfStyle { sku_id, count, style_id });
            }
            let product_ids: Vec<i32> = by_product.keys().copied().collect();
            for ids in product_ids.chunks(self.combining.products_at_once) {
                for (&id, documents) in ids.iter().zip(self.documents_of(ids, from, timing).await?) {
                    let documents = documents.filter(|documents| documents.generation == Some(generation));
                    let documents = documents.ok_or(Error::CHANGED)?;
                    let of_product = by_product.remove(&id).unwrap_or_default();
                    let sku_ids: Vec<i32> = of_product.iter().map(|line| line.sku_id).collect();
                    let summarize = move |product: &[u8], styles: &[u8]| {
                        summaries::lines(id, product, styles, &of_product)
                    };
                    json.extend(sku_ids.into_iter().zip(self.summarize(documents, summarize).await?));
                }
                tokio::task::yield_now().await;
            }
        }
        let in_order = lines.iter().map(|&(sku_id, count)| match json.remove(&sku_id) {
            Some(line) => Ok(line),
            None => summaries::line_of_unknown_sku(sku_id, count),
        });
        Ok(array(&in_order.collect::<Result<Vec<_>, _>>()?))
    }

    /// Reads two documents of each product; `None` for one that does not exist.
    async fn documents_of(
        &self,
        ids: &[i32],
        from: ReadFrom,
        timing: &Timing,
    ) -> Result<Vec<Option<Documents>>, Error> {
        let _permit = self.combining.permits.acquire().await.map_err(Error::internal)?;
        let (started, waits) = (Instant::now(), Timing::default());
        let documents = join_all(ids.iter().map(|id| self.documents(*id, from, &waits))).await;
        if !waits.database_time().is_zero() {
            timing.add_database(started.elapsed()); // the waits overlap
        }
        documents.into_iter().collect()
    }

    async fn documents(&self, id: i32, from: ReadFrom, timing: &Timing) -> Result<Option<Documents>, Error> {
        let read = |column| self.document(column, id, from, timing);
        // With a cache, both reads are one.
        match tokio::try_join!(read(Column::Product), read(Column::Styles))? {
            (Some(product), Some(styles)) if product.generation == styles.generation => Ok(Some(Documents {
                product: product.content,
                styles: styles.content,
                generation: product.generation,
            })),
            (None, None) => Ok(None),
            _ => Err(Error::CHANGED),
        }
    }

    /// Passes the plain documents to `summarize`. Large ones count against the memory budget, and are parsed on a thread
    /// for blocking work.
    async fn summarize<T: Send + 'static>(
        &self,
        documents: Documents,
        summarize: impl FnOnce(&[u8], &[u8]) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let Documents { product, styles, .. } = documents;
        let length = |content: &Content| content.plain_length().map_err(Error::internal);
        let bytes = length(&product)? + length(&styles)?;
        let work = move || {
            let plain = |content: &Content| {
                let mut plain = Vec::new();
                content.append_to(&mut plain).map_err(Error::internal).map(|()| plain)
            };
            summarize(&plain(&product)?, &plain(&styles)?)
        };
        if bytes > LARGE_ABOVE_BYTES {
            let _reservation = self.reader.budget.reserve(bytes)?;
            return self.reader.budget.work(work).await?;
        }
        work()
    }

    /// Reads rows of two integers, an id and its parent's, and their table.
    async fn parents(&self, sql: &'static Sql, ids: Vec<i32>) -> Result<Parents, Error> {
        let rows = self.read(sql, vec![Box::new(ids)]).await.map_err(Error::of_earlier_release)?;
        let mut by_id = HashMap::with_capacity(rows.len());
        for row in &rows {
            by_id.insert(row.try_get(0)?, row.try_get(1)?);
        }
        Ok(Parents { table: rows.first().map(|row| row.try_get(2)).transpose()?, by_id })
    }

    async fn read(
        &self,
        sql: &'static Sql,
        parameters: OwnedParameters,
    ) -> Result<Vec<tokio_postgres::Row>, Error> {
        let read = self.reader.database.read(sql, parameters);
        timeout(self.reader.timeout, read).await.unwrap_or(Err(Error::TIMED_OUT))
    }
}

/// Returns the ids of the products in a list.
fn ids(list: &Document) -> Result<Vec<i32>, Error> {
    let mut plain = Vec::new();
    list.content.append_to(&mut plain).map_err(Error::internal)?;
    let listed: Vec<Listed> = serde_json::from_slice(&plain).map_err(Error::internal)?;
    Ok(listed.into_iter().map(|listed| listed.id).collect())
}

/// Returns a JSON array of elements that are JSON.
fn array(elements: &[String]) -> Vec<u8> {
    format!("[{}]", elements.join(",")).into_bytes()
}

/// All statements of this module.
pub(super) const STATEMENTS: [&Sql; 3] = [&SKUS, &STYLES, &TABLES];
