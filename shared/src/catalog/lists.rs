//! The read of list pages, and the documents made of their rows.

use serde::{Serialize, Serializer};
use tokio_postgres::Row;

use super::cache::{Cached, Key};
use super::sources::Reader;
use crate::database::{Error, Source, Sql, Values};
use crate::http::document::GZIP_ABOVE_BYTES;
use crate::http::{Document, LARGE_ABOVE_BYTES};

/// Uses the unique index `products_rank`. The ranks are bigint, because the last rank of the last page exceeds an
/// integer.
///
/// A catalog of the previous release lacks the column `total` unless `migrate` has added it. Without the column, the
/// name refers to `unknown.total`, because Postgres resolves names in the inner query first.
pub(super) const LIST: Sql = Sql {
    slot: 4,
    text: "select id, name, slogan, description, category, default_price, generation, page.total \
           from (select null::integer as total) as unknown, lateral \
               (select id, name, slogan, description, category, default_price, generation, rank, total \
                from catalog.products where rank between $1::bigint and $2::bigint) as page \
           order by rank",
};

/// Reads of list pages, by the ranks of their first and last product.
pub(super) struct Lists(pub(super) Reader);

impl Source for Lists {
    type Key = (i64, i64);
    type Value = Document;

    async fn read(&self, pages: &[(i64, i64)]) -> Values<Self> {
        let mut documents = Vec::new();
        for &(first, last) in pages {
            let sent_at = self.0.database.publication();
            let mut page = page(&self.0.query(&LIST, [&first, &last]).await?)?;
            let catalog = self.0.database.catalog_of(page.generation, sent_at);
            let bytes = page.content.bytes().len();
            if bytes > LARGE_ABOVE_BYTES {
                page = page.reserved(self.0.budget.reserve(bytes)?);
            } else if let (Some(cache), Some(catalog)) = (&self.0.cache, catalog) {
                cache.insert(catalog, Key::List { first, last }, Cached::Document(page.clone()));
            }
            documents.push(((first, last), page));
        }
        Ok(documents)
    }
}

fn page(rows: &[Row]) -> Result<Document, Error> {
    let listed = rows.iter().map(ListedProduct::from_row).collect::<Result<Vec<_>, _>>()?;
    let generation = rows.first().map(|row| row.try_get(6)).transpose()?;
    let total = rows.first().and_then(|row| row.try_get(7).transpose()).transpose()?;
    let plain = serde_json::to_vec(&listed).map_err(Error::internal)?;
    Ok(Document { total, ..Document::from_plain(&plain, generation, GZIP_ABOVE_BYTES) })
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
