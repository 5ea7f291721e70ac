//! The reads of lists of products and of categories, and the documents made of their rows.

use futures_util::future::try_join_all;
use serde::{Serialize, Serializer};
use tokio_postgres::Row;

use super::cache::{Cached, Key, ListKey};
use super::sources::Reader;
use crate::database::{Error, Parameters, Source, Sql, Values};
use crate::http::document::GZIP_ABOVE_BYTES;
use crate::http::{Document, LARGE_ABOVE_BYTES};

/// The max number of products that a search finds.
pub const MAX_FOUND: usize = 20;

/// The max number of categories in their list.
const MAX_CATEGORIES: i64 = 1000;

/// The number of products of a category in a row of `catalog.categories`.
pub const CATEGORY_BLOCK: i32 = 1000;

/// The number of consecutive ranks that a row of `catalog.words` covers.
pub const WORD_BLOCK: i32 = 65_536;

/// The max number of blocks that a search reads at once. The first read is of one block, because that has enough products
/// with common words.
const MAX_BLOCKS: i32 = 8;

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

/// Uses the primary key of `catalog.products`.
const LISTED: Sql = Sql {
    slot: 14,
    text: "select id, name, slogan, description, category, default_price, generation, null::integer \
           from catalog.products where id = any($1) order by id",
};

/// Uses the index `categories_key`, which contains a hash because a category may be longer than an entry of an index.
const CATEGORY: Sql = Sql {
    slot: 15,
    text: "select generation, products, block, product_ids from catalog.categories \
           where hashtextextended(category, 0) = hashtextextended($1, 0) and category = $1 \
               and block between $2 and $3 order by block",
};

const CATEGORIES: Sql = Sql {
    slot: 16,
    text: "select generation, category, products, count(*) over ()::integer from catalog.categories \
           where block = 0 order by category collate \"C\" limit $1",
};

/// Uses the index `words_key`. The bounds are parameters and no expressions, which the planner would take for a large part
/// of the table.
const WORDS: Sql = Sql {
    slot: 17,
    text: "select generation, product_ids from catalog.words \
           where word >= $1 and word < $2 and block >= $3 and block < $4",
};

/// Uses the unique index `products_rank`.
pub(super) const GENERATION: Sql =
    Sql { slot: 22, text: "select generation, total from catalog.products where rank = 1" };

/// Reads of lists.
pub(super) struct Lists(pub(super) Reader);

impl Source for Lists {
    type Key = ListKey;
    type Value = Document;

    async fn read(&self, keys: &[ListKey]) -> Values<Self> {
        let mut documents = Vec::new();
        for key in keys {
            let sent_at = self.0.database.publication();
            let mut list = match key {
                ListKey::Products { first, last } => products(&self.0.query(&LIST, &[first, last]).await?)?,
                ListKey::Category { name, first, last } => self.category(name, *first, *last).await?,
                ListKey::Search(prefixes) => self.search(prefixes).await?,
                ListKey::Categories => categories(&self.lookup(&CATEGORIES, &[&MAX_CATEGORIES]).await?)?,
            };
            let catalog = self.0.database.catalog_of(list.generation, sent_at);
            let bytes = list.content.bytes().len();
            if bytes > LARGE_ABOVE_BYTES {
                list = list.reserved(self.0.budget.reserve(bytes)?);
            } else if let (Some(cache), Some(catalog)) = (&self.0.cache, catalog) {
                cache.insert(catalog, Key::List(key.clone()), Cached::Document(list.clone()));
            }
            documents.push((key.clone(), list));
        }
        Ok(documents)
    }
}

impl Reader {
    /// Returns the generation of the current catalog and its number of products; `None` if it has none.
    pub(super) async fn generation(&self) -> Result<Option<(i32, i32)>, Error> {
        let rows = self.query(&GENERATION, &[]).await.map_err(Error::of_earlier_release)?;
        rows.first().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).transpose()
    }
}

impl Lists {
    /// Sends a statement to a table that catalogs of earlier releases lack.
    async fn lookup(&self, sql: &'static Sql, parameters: Parameters<'_>) -> Result<Vec<Row>, Error> {
        self.0.query(sql, parameters).await.map_err(Error::of_earlier_release)
    }

    /// Reads the products with the ranks `first` to `last` of a category.
    async fn category(&self, name: &str, first: i64, last: i64) -> Result<Document, Error> {
        // No page is past the range of a block number: its rank is at most 1,000 times the highest integer.
        let block = |rank: i64| i32::try_from((rank - 1) / i64::from(CATEGORY_BLOCK)).unwrap_or(i32::MAX);
        let rows = self.lookup(&CATEGORY, &[&name, &block(first), &block(last)]).await?;
        let Some(row) = rows.first() else { return products(&[]) };
        let (generation, total, first_block): (i32, i32, i32) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let mut ids = Vec::new();
        for row in &rows {
            ids.extend(row.try_get::<_, Vec<i32>>(3)?);
        }
        let before =
            usize::try_from(first - 1 - i64::from(first_block) * i64::from(CATEGORY_BLOCK)).unwrap_or(0);
        let count = usize::try_from(last - first + 1).unwrap_or(0);
        let ids: Vec<i32> = ids.into_iter().skip(before).take(count).collect();
        Ok(Document { total: (!ids.is_empty()).then_some(total), ..self.listed(&ids, generation).await? })
    }

    /// Reads the first products whose names have words with all these prefixes.
    async fn search(&self, prefixes: &[String]) -> Result<Document, Error> {
        let Some((generation, total)) = self.0.generation().await? else { return products(&[]) };
        let blocks = (total - 1) / WORD_BLOCK + 1;
        let (mut found, mut from, mut size) = (Vec::new(), 0, 1);
        while from < blocks && found.len() < MAX_FOUND {
            let before = blocks.min(from + size);
            let reads = prefixes.iter().map(|prefix| self.products_with(prefix, from, before, generation));
            found.extend(common(try_join_all(reads).await?));
            (from, size) = (before, MAX_BLOCKS.min(2 * size));
        }
        found.truncate(MAX_FOUND);
        if found.is_empty() {
            // No row named the catalog.
            let is_unchanged = self.0.generation().await? == Some((generation, total));
            return if is_unchanged { products(&[]) } else { Err(Error::CHANGED) };
        }
        self.listed(&found, generation).await
    }

    /// Reads the products of some blocks whose names have a word with this prefix, in ascending order.
    async fn products_with(
        &self,
        prefix: &str,
        from: i32,
        before: i32,
        generation: i32,
    ) -> Result<Vec<i32>, Error> {
        let end = format!("{prefix}{}", char::MAX); // above each word with the prefix
        let mut ids = Vec::new();
        for row in self.lookup(&WORDS, &[&prefix, &end, &from, &before]).await? {
            if row.try_get::<_, i32>(0)? != generation {
                return Err(Error::CHANGED);
            }
            ids.extend(row.try_get::<_, Vec<i32>>(1)?);
        }
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    /// Reads the products with these ids, all of which the catalog with this generation has.
    async fn listed(&self, ids: &[i32], generation: i32) -> Result<Document, Error> {
        if ids.is_empty() {
            return products(&[]);
        }
        let rows = self.0.query(&LISTED, &[&ids]).await?;
        let list = products(&rows)?;
        if rows.len() == ids.len() && list.generation == Some(generation) {
            Ok(list)
        } else {
            Err(Error::CHANGED)
        }
    }
}

/// Returns the ids that occur in all of these ascending lists.
fn common(mut lists: Vec<Vec<i32>>) -> Vec<i32> {
    lists.sort_unstable_by_key(Vec::len);
    let (first, others) = lists.split_first().map_or((&[][..], &[][..]), |(first, others)| (first, others));
    let is_in_others = |id: &&i32| others.iter().all(|other| other.binary_search(id).is_ok());
    first.iter().filter(is_in_others).copied().collect()
}

/// Makes the list of the rows of [`LIST`] or [`LISTED`].
fn products(rows: &[Row]) -> Result<Document, Error> {
    let listed = rows.iter().map(ListedProduct::from_row).collect::<Result<Vec<_>, _>>()?;
    let generation = rows.first().map(|row| row.try_get(6)).transpose()?;
    let total = rows.first().and_then(|row| row.try_get(7).transpose()).transpose()?;
    document(&listed, generation, total)
}

/// Makes the list of the rows of [`CATEGORIES`].
fn categories(rows: &[Row]) -> Result<Document, Error> {
    let listed = rows
        .iter()
        .map(|row| Ok(Category { category: row.try_get(1)?, products: row.try_get(2)? }))
        .collect::<Result<Vec<_>, Error>>()?;
    let column = |column| rows.first().map(|row| row.try_get(column)).transpose();
    document(&listed, column(0)?, column(3)?)
}

fn document(listed: &impl Serialize, generation: Option<i32>, total: Option<i32>) -> Result<Document, Error> {
    let plain = serde_json::to_vec(listed).map_err(Error::internal)?;
    Ok(Document { total, ..Document::from_plain(&plain, generation, GZIP_ABOVE_BYTES) })
}

/// A category, with its fields in the order of the HTTP contract.
#[derive(Serialize)]
struct Category<'a> {
    category: &'a str,
    products: i32,
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

/// All statements of this module.
pub(super) const STATEMENTS: [&Sql; 6] = [&LIST, &LISTED, &CATEGORY, &CATEGORIES, &WORDS, &GENERATION];

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

    #[test]
    fn the_common_ids_of_ascending_lists_are_ascending() {
        let common = |lists: &[&[i32]]| common(lists.iter().map(|list| list.to_vec()).collect());
        assert_eq!(common(&[&[3, 7, 9]]), [3, 7, 9]);
        assert_eq!(common(&[&[3, 7, 9], &[7, 8, 9, 12], &[1, 7, 9, 11]]), [7, 9]);
        assert_eq!(common(&[&[1], &[]]), Vec::<i32>::new());
        assert_eq!(common(&[]), Vec::<i32>::new());
    }
}
