//! The posting lists: the products of each category, and of each word in the products' names.
//!
//! They are collected while workers merge the products. The words of a block are written as soon as its batches are done.

mod collector;

use shared::catalog::{CATEGORY_BLOCK, WORD_BLOCK};
use tokio::sync::mpsc;
use tokio_postgres::{Client, Transaction};

use self::collector::{Collector, PostingList};
use super::super::LoadError;
use super::super::copy::{CHUNK, Copy, create_table, put_field, put_integers};
use super::BATCH;
use crate::table::{CATEGORIES_DDL, WORDS_DDL};

/// The number of batches in a block of words.
const BATCHES_PER_BLOCK: usize = 16;
const _: () =
    assert!(BATCH as usize * BATCHES_PER_BLOCK == WORD_BLOCK.unsigned_abs() as usize, "as a search expects");

/// The products of a batch, or of a part of a batch.
pub(super) struct Part {
    /// The number of the batch.
    pub(super) batch: usize,
    pub(super) products: Names,
    pub(super) ends_batch: bool,
}

/// The ids, names and categories of products, in ascending order of id.
#[derive(Debug, Default)]
pub(super) struct Names {
    texts: String,
    /// The id of each, and where its name and its category end.
    products: Vec<(i32, usize, usize)>,
}

impl Names {
    pub(super) fn clear(&mut self) {
        self.texts.clear();
        self.products.clear();
    }

    pub(super) fn push(&mut self, id: i32, name: &str, category: &str) {
        self.texts.push_str(name);
        let end = self.texts.len();
        self.texts.push_str(category);
        self.products.push((id, end, self.texts.len()));
    }

    fn iter(&self) -> impl Iterator<Item = (i32, &str, &str)> {
        let mut start = 0;
        self.products.iter().map(move |&(id, name, category)| {
            let product = (id, &self.texts[start..name], &self.texts[name..category]);
            start = category;
            product
        })
    }
}

/// Creates and fills `catalog_next.words` and `catalog_next.categories`, from scratch. Returns the number of products.
pub(super) async fn fill(
    transaction: &Transaction<'_>,
    generation: i32,
    mut parts: mpsc::Receiver<Part>,
) -> Result<u64, LoadError> {
    create_table(transaction, "words", WORDS_DDL, generation).await?;
    create_table(transaction, "categories", CATEGORIES_DDL, generation).await?;
    let mut collector = Collector::new(BATCHES_PER_BLOCK);
    let mut rows = Rows::begin(transaction, "words", "block, word, product_ids").await?;
    let mut products = 0;
    while let Some(part) = parts.recv().await {
        let block = i32::try_from(part.batch / BATCHES_PER_BLOCK).unwrap_or(i32::MAX);
        for (id, name, category) in part.products.iter() {
            collector.add(block, id, name, category);
            products += 1;
            if collector.is_full() {
                for (block, list) in collector.take_all() {
                    rows.word(block, &list).await?;
                }
            }
        }
        let complete = if part.ends_batch { collector.end_batch(block) } else { None };
        for list in complete.into_iter().flatten() {
            rows.word(block, &list).await?;
        }
    }
    for (block, list) in collector.take_all() {
        rows.word(block, &list).await?;
    }
    rows.finish().await?;
    let Some(categories) = collector.into_categories() else {
        transaction.batch_execute(FROM_PRODUCTS).await?;
        return Ok(products);
    };
    let mut rows = Rows::begin(transaction, "categories", "block, products, category, product_ids").await?;
    for category in categories {
        rows.category(&category).await?;
    }
    rows.finish().await?;
    Ok(products)
}

/// Fills the categories if they need too much memory of the loader: Postgres sorts on disk.
const FROM_PRODUCTS: &str = "insert into catalog_next.categories (block, products, category, product_ids)
     select ((place - 1) / 1000)::integer, products, category, array_agg(id order by id)
     from (select id, category, row_number() over (partition by category collate \"C\" order by id) as place,
                  (count(*) over (partition by category collate \"C\"))::integer as products
           from catalog_next.products) as placed
     group by category collate \"C\", category, products, (place - 1) / 1000";

/// Adds the indexes for lookups, and collects the planner's statistics.
///
/// A category may be too long for an index. The index of words is not unique: see [`Collector::take_all`].
pub(super) async fn index(client: &Client) -> Result<(), LoadError> {
    for statement in [
        "create index words_key on catalog_next.words (word, block)",
        "create index categories_key on catalog_next.categories (hashtextextended(category, 0), block)",
        "analyze catalog_next.words",
        "analyze catalog_next.categories",
    ] {
        client.batch_execute(statement).await?;
    }
    Ok(())
}

/// A COPY of posting lists.
struct Rows {
    copy: Copy,
    chunk: Vec<u8>,
    sent: u64,
}

impl Rows {
    async fn begin(transaction: &Transaction<'_>, table: &str, columns: &str) -> Result<Self, LoadError> {
        Ok(Self { copy: Copy::begin(transaction, table, columns).await?, chunk: Vec::new(), sent: 0 })
    }

    /// Adds the row of a word of a block.
    async fn word(&mut self, block: i32, (word, ids): &PostingList) -> Result<(), LoadError> {
        self.chunk.extend_from_slice(&3_u16.to_be_bytes());
        put_field(&mut self.chunk, &block.to_be_bytes())?;
        put_field(&mut self.chunk, word.as_bytes())?;
        put_integers(&mut self.chunk, ids)?;
        self.end_row().await
    }

    /// Adds the rows of a category.
    async fn category(&mut self, (category, ids): &PostingList) -> Result<(), LoadError> {
        let products = i32::try_from(ids.len()).unwrap_or(i32::MAX);
        for (block, ids) in (0_i32..).zip(ids.chunks(CATEGORY_BLOCK.unsigned_abs() as usize)) {
            self.chunk.extend_from_slice(&4_u16.to_be_bytes());
            put_field(&mut self.chunk, &block.to_be_bytes())?;
            put_field(&mut self.chunk, &products.to_be_bytes())?;
            put_field(&mut self.chunk, category.as_bytes())?;
            put_integers(&mut self.chunk, ids)?;
            self.end_row().await?;
        }
        Ok(())
    }

    async fn end_row(&mut self) -> Result<(), LoadError> {
        self.sent += 1;
        if self.chunk.len() >= CHUNK {
            self.copy.send(std::mem::take(&mut self.chunk).into()).await?;
        }
        Ok(())
    }

    async fn finish(mut self) -> Result<(), LoadError> {
        self.copy.send(self.chunk.into()).await?;
        let copied = self.copy.finish().await?;
        if copied != self.sent {
            let what = format!("{} posting lists were sent, but Postgres copied {copied}", self.sent);
            return Err(LoadError::Bug(what));
        }
        Ok(())
    }
}
