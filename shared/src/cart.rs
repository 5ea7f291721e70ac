//! Carts: whose a cart is, what is in it, adding to it and removing from it.

mod owner;

use std::sync::Arc;

use serde::Serialize;

use crate::database::{Error, Pool, Sql};
pub use owner::{Owner, Session};

/// By the unique index on `cart.carts.owner`, then by the primary key of `cart.lines`.
const LINES: Sql = Sql {
    slot: 5,
    text: "select lines.sku_id, lines.count from cart.carts join cart.lines on lines.cart_id = carts.id \
           where carts.owner = $1 order by lines.added_id",
};

/// By the primary key of `catalog.skus`; no row is an unknown sku.
const ADD: Sql = Sql { slot: 6, text: "select cart.add($1, $2, $3) from catalog.skus where id = $2" };

const REMOVE: Sql = Sql { slot: 8, text: "select cart.remove($1, $2)" };

const CLEAR: Sql = Sql { slot: 9, text: "select cart.clear($1)" };

/// All carts.
#[derive(Debug)]
pub struct Cart {
    database: Arc<Pool>,
}

/// How many of a sku are in a cart.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub struct Line {
    /// The sku, which may be gone from the catalog since.
    pub sku_id: i32,
    /// 1 to 9,999.
    pub count: i32,
}

/// How adding to a cart went. Unless it was `Added`, nothing changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addition {
    /// The cart holds that many more of the sku.
    Added,
    /// The catalog has no such sku.
    UnknownSku,
    /// The cart holds 1,000 other skus already.
    TooManyLines,
    /// It would be more than 9,999 of the sku.
    TooManyOfSku,
}

impl Cart {
    pub(crate) fn new(database: Arc<Pool>) -> Self {
        Self { database }
    }

    /// What is in the owner's cart, in the order of first adding; nothing if there is no such cart.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn lines(&self, owner: &Owner) -> Result<Vec<Line>, Error> {
        let rows = self.database.read(&LINES, &[&owner.as_bytes()]).await?;
        rows.iter().map(|row| Ok(Line { sku_id: row.try_get(0)?, count: row.try_get(1)? })).collect()
    }

    /// Puts `count` more (1 to 99) of a sku into the owner's cart, which is made if there is none.
    ///
    /// # Errors
    /// When the database gives no answer. If it was lost meanwhile, the addition may have been carried out.
    pub async fn add(&self, owner: &Owner, sku_id: i32, count: i32) -> Result<Addition, Error> {
        let rows = self.database.write(&ADD, &[&owner.as_bytes(), &sku_id, &count]).await?;
        let Some(row) = rows.first() else { return Ok(Addition::UnknownSku) };
        match row.try_get(0)? {
            "added" => Ok(Addition::Added),
            "too_many_lines" => Ok(Addition::TooManyLines),
            "too_many_of_sku" => Ok(Addition::TooManyOfSku),
            other => Err(Error::internal(format!("cart.add said {other:?}"))),
        }
    }

    /// Removes a sku from the owner's cart; nothing changes if it is not there.
    ///
    /// # Errors
    /// When the database gives no answer. If it was lost meanwhile, the removal may have been carried out.
    pub async fn remove(&self, owner: &Owner, sku_id: i32) -> Result<(), Error> {
        self.database.write(&REMOVE, &[&owner.as_bytes(), &sku_id]).await.map(drop)
    }

    /// Empties the owner's cart.
    ///
    /// # Errors
    /// As [`Cart::remove`].
    pub async fn clear(&self, owner: &Owner) -> Result<(), Error> {
        self.database.write(&CLEAR, &[&owner.as_bytes()]).await.map(drop)
    }
}

#[cfg(test)]
pub(crate) const STATEMENTS: [&Sql; 4] = [&LINES, &ADD, &REMOVE, &CLEAR];
