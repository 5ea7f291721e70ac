//! Shopping carts: the statements that read and change them, and their owners.

mod owner;

use std::sync::Arc;

use serde::Serialize;
use tokio_postgres::types::ToSql;

use crate::database::{Database, Error, Sql};
pub use owner::{Owner, Session};

/// Uses the unique index on `cart.carts.owner`, then the primary key of `cart.lines`.
const LINES: Sql = Sql {
    slot: 5,
    text: "select lines.sku_id, lines.count from cart.carts join cart.lines on lines.cart_id = carts.id \
           where carts.owner = $1 order by lines.added_id",
};

/// Uses the primary key of `catalog.skus`. It returns no row for an unknown sku.
const ADD: Sql = Sql { slot: 6, text: "select cart.add($1, $2, $3) from catalog.skus where id = $2" };

const REMOVE: Sql = Sql { slot: 8, text: "select cart.remove($1, $2)" };

const CLEAR: Sql = Sql { slot: 9, text: "select cart.clear($1)" };

/// Shopping carts.
#[derive(Debug)]
pub struct Carts {
    database: Arc<Database>,
}

/// A line of a cart.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub struct Line {
    /// The sku. A later catalog may lack it.
    pub sku_id: i32,
    /// The number of pieces, 1 to 9,999.
    pub count: i32,
}

/// The result of an addition to a cart. Only `Added` changes the cart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addition {
    /// The pieces were added.
    Added,
    /// The catalog has no such sku.
    UnknownSku,
    /// The cart holds 1,000 other skus, which is the limit.
    TooManyLines,
    /// The cart would hold more than 9,999 pieces of the sku.
    TooManyOfSku,
}

impl Carts {
    pub(crate) fn new(database: Arc<Database>) -> Self {
        Self { database }
    }

    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    /// Returns the lines of the owner's cart in the order of their first addition; none if there is no cart.
    ///
    /// # Errors
    /// The query fails.
    pub async fn lines(&self, owner: &Owner) -> Result<Vec<Line>, Error> {
        let rows = self.database.read(&LINES, vec![parameter(owner)]).await?;
        rows.iter().map(|row| Ok(Line { sku_id: row.try_get(0)?, count: row.try_get(1)? })).collect()
    }

    /// Adds `count` pieces (1 to 99) of a sku to the owner's cart, and creates the cart if there is none.
    ///
    /// # Errors
    /// The statement fails. If the connection was lost, the addition may have been carried out.
    pub async fn add(&self, owner: &Owner, sku_id: i32, count: i32) -> Result<Addition, Error> {
        let rows =
            self.database.write(&ADD, vec![parameter(owner), Box::new(sku_id), Box::new(count)]).await?;
        let Some(row) = rows.first() else { return Ok(Addition::UnknownSku) };
        match row.try_get(0)? {
            "added" => Ok(Addition::Added),
            "too_many_lines" => Ok(Addition::TooManyLines),
            "too_many_of_sku" => Ok(Addition::TooManyOfSku),
            other => Err(Error::internal(format!("unexpected result of cart.add: {other:?}"))),
        }
    }

    /// Removes a sku from the owner's cart. A sku that is not in the cart changes nothing.
    ///
    /// # Errors
    /// The statement fails. If the connection was lost, the removal may have been carried out.
    pub async fn remove(&self, owner: &Owner, sku_id: i32) -> Result<(), Error> {
        self.database.write(&REMOVE, vec![parameter(owner), Box::new(sku_id)]).await.map(drop)
    }

    /// Empties the owner's cart.
    ///
    /// # Errors
    /// As [`Carts::remove`].
    pub async fn clear(&self, owner: &Owner) -> Result<(), Error> {
        self.database.write(&CLEAR, vec![parameter(owner)]).await.map(drop)
    }
}

/// Returns the parameter of an owner.
fn parameter(owner: &Owner) -> Box<dyn ToSql + Sync + Send> {
    Box::new(owner.as_bytes().to_vec())
}

#[cfg(test)]
pub(crate) const STATEMENTS: [&Sql; 4] = [&LINES, &ADD, &REMOVE, &CLEAR];
