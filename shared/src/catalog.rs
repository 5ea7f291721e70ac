//! What is read of the catalog. Each answer comes from one statement that names one table of it: names are
//! resolved one by one and outside a transaction's snapshot, so a statement that named two could read two
//! catalogs while one takes over from the other.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Serialize, Serializer};
use tokio_postgres::Row;

use crate::database::{Database, Error, Gather, Sql};
use crate::encoding;

/// By the primary key of `catalog.documents`, as are the next three.
const PRODUCT: Sql = Sql {
    slot: 0,
    text: "select product_id, product, product_tag from catalog.documents where product_id = any($1)",
};
const STYLES: Sql = Sql {
    slot: 1,
    text: "select product_id, styles, styles_tag from catalog.documents where product_id = any($1)",
};
const RELATED: Sql = Sql {
    slot: 2,
    text: "select product_id, related, related_tag from catalog.documents where product_id = any($1)",
};
const OVERVIEW: Sql = Sql {
    slot: 3,
    text: "select product_id, product, styles, related from catalog.documents where product_id = any($1)",
};
/// By the unique index `products_rank`. The ranks are bigint because the last page's last rank is beyond an
/// integer.
const LIST: Sql = Sql {
    slot: 4,
    text: "select id, name, slogan, description, category, default_price from catalog.products \
           where rank between $1::bigint and $2::bigint order by rank",
};

/// The catalog that is served, whichever that is at the time.
#[derive(Debug)]
pub struct Catalog {
    database: Arc<Database>,
    products: Gather<Document>,
    styles: Gather<Document>,
    related: Gather<Document>,
    overviews: Gather<[Bytes; 3]>,
}

/// One finished answer, and the XXH3-64 of its plain JSON.
#[derive(Debug, Clone)]
pub struct Document {
    /// JSON; that of styles is gzipped.
    pub body: Bytes,
    /// XXH3-64 of the plain JSON.
    pub tag: u64,
}

impl Catalog {
    pub(crate) fn new(database: Arc<Database>, patience: Duration) -> Self {
        let documents = |sql| Gather::new(&database, sql, patience, Document::from_row);
        Self {
            products: documents(&PRODUCT),
            styles: documents(&STYLES),
            related: documents(&RELATED),
            overviews: Gather::new(&database, &OVERVIEW, patience, |row| {
                Ok([bytes(row, 1)?, bytes(row, 2)?, bytes(row, 3)?])
            }),
            database,
        }
    }

    /// A product with its features, as plain JSON; `None` if there is no such product.
    ///
    /// # Errors
    /// When the database gives no answer; so do the others.
    pub async fn product(&self, product_id: i32) -> Result<Option<Document>, Error> {
        self.products.one(product_id).await
    }

    /// A product's styles, as gzipped JSON; `None` if there is no such product.
    pub async fn styles(&self, product_id: i32) -> Result<Option<Document>, Error> {
        self.styles.one(product_id).await
    }

    /// The ids of related products, as plain JSON; `None` if there is no such product.
    pub async fn related(&self, product_id: i32) -> Result<Option<Document>, Error> {
        self.related.one(product_id).await
    }

    /// All three of a product joined in one object, as plain JSON; `None` if there is no such product.
    pub async fn overview(&self, product_id: i32) -> Result<Option<Document>, Error> {
        let Some([product, styles, related]) = self.overviews.one(product_id).await? else { return Ok(None) };
        let styles = encoding::gunzip(&styles).map_err(Error::unforeseen)?;
        let parts: [&[u8]; 7] =
            [br#"{"product":"#, &product, br#","styles":"#, &styles, br#","related":"#, &related, b"}"];
        Ok(Some(Document::of(parts.concat())))
    }

    /// The products ranked `first` to `last` by id, both included, as plain JSON without their features.
    pub async fn list(&self, first: i64, last: i64) -> Result<Document, Error> {
        let rows = self.database.read(&LIST, &[&first, &last]).await?;
        let listed = rows.iter().map(Listed::from_row).collect::<Result<Vec<_>, _>>()?;
        Ok(Document::of(serde_json::to_vec(&listed).map_err(Error::unforeseen)?))
    }
}

impl Document {
    fn from_row(row: &Row) -> Result<Self, Error> {
        Ok(Self { body: bytes(row, 1)?, tag: row.try_get::<_, i64>(2)?.cast_unsigned() })
    }

    /// A document made here: the loader stores no tag for it.
    fn of(body: Vec<u8>) -> Self {
        Self { tag: xxhash_rust::xxh3::xxh3_64(&body), body: body.into() }
    }
}

fn bytes(row: &Row, column: usize) -> Result<Bytes, Error> {
    Ok(Bytes::copy_from_slice(row.try_get(column)?))
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
