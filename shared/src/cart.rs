//! Shopping carts: the statements that read and change them, and their owners.

mod identity;
mod owner;

use std::sync::Arc;

use http::{HeaderMap, HeaderValue};
use serde::Serialize;
use tokio_postgres::types::ToSql;

use crate::database::{Database, Error, OwnedParameters, Sql};
use crate::http::{Problem, Request};
use identity::Caller;
pub use identity::{Settings, VARIABLES};
pub use owner::Owner;
use owner::Session;

/// Uses the unique index on `cart.carts.owner`, then the primary key of `cart.lines`. An owner with a former hash may have
/// two carts, if hosts without the key are still running.
const LINES: Sql = Sql {
    slot: 5,
    text: "select lines.sku_id, sum(lines.count)::integer \
           from cart.carts join cart.lines on lines.cart_id = carts.id \
           where carts.owner = any($1) group by lines.sku_id order by min(lines.added_id)",
};

/// Uses the primary key of `catalog.skus`. It returns no row for an unknown sku. The function reads the setting, which ends
/// with the statement's transaction, when it creates a cart.
const ADD: Sql = Sql {
    slot: 6,
    text: "select cart.add($1, $2, $3) from set_config('cart.is_session', $4, true), catalog.skus where id = $2",
};

/// As [`ADD`], for an owner with a former hash, whose cart it moves first. No session has one.
const MOVE_AND_ADD: Sql =
    Sql { slot: 10, text: "select cart.add($1, $2, $3) from catalog.skus, cart.move($4, $1) where id = $2" };

/// As [`ADD`].
const SET: Sql = Sql {
    slot: 12,
    text: "select cart.set($1, $2, $3) from set_config('cart.is_session', $4, true), catalog.skus where id = $2",
};

/// As [`MOVE_AND_ADD`].
const MOVE_AND_SET: Sql =
    Sql { slot: 13, text: "select cart.set($1, $2, $3) from catalog.skus, cart.move($4, $1) where id = $2" };

const REMOVE: Sql = Sql { slot: 8, text: "select cart.remove(owner, $2) from unnest($1::bytea[]) as owner" };

const CLEAR: Sql = Sql { slot: 9, text: "select cart.clear(owner) from unnest($1::bytea[]) as owner" };

const IS_OWNER: Sql = Sql { slot: 11, text: "select cart.is_owner($1)" };

/// Shopping carts.
#[derive(Debug)]
pub struct Carts {
    database: Arc<Database>,
    settings: Settings,
}

/// A line of a cart.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub struct Line {
    /// The sku. A later catalog may lack it.
    pub sku_id: i32,
    /// The number of pieces, 1 to 9,999.
    pub count: i32,
}

/// The result of a change to a line of a cart. Only `Made` changes the cart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The line has its new count.
    Made,
    /// The catalog has no such sku.
    UnknownSku,
    /// The cart holds 1,000 other skus, which is the limit.
    TooManyLines,
    /// The cart would hold more than 9,999 pieces of the sku.
    TooManyOfSku,
}

impl Change {
    /// Returns the problem of a change that was not made.
    ///
    /// # Errors
    /// 422 unless the change was made.
    pub fn check(self) -> Result<(), Problem> {
        match self {
            Self::Made => Ok(()),
            Self::UnknownSku => Err(Problem::no_such_sku()),
            Self::TooManyLines => Err(Problem::unprocessable("A cart holds at most 1000 different skus.")),
            Self::TooManyOfSku => Err(Problem::unprocessable("A cart holds at most 9999 of a sku.")),
        }
    }
}

impl Carts {
    pub(crate) fn new(database: Arc<Database>, settings: Settings) -> Self {
        Self { database, settings }
    }

    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    /// Returns the owner of the cart that a client may read and delete: by the `Authorization` header, else by the session
    /// cookie. `None` if the client sent neither, or if the cookie has a form that this service does not issue.
    #[must_use]
    pub fn owner(&self, headers: &HeaderMap) -> Option<Owner> {
        self.settings.caller(headers).map(|caller| match caller {
            Caller::Known(owner) => owner,
            Caller::Unproven(session) => session.owner(), // finds a cart if the session has one
        })
    }

    /// Returns the owner of the cart to which a client adds, and the `Set-Cookie` value if the client needs one.
    ///
    /// # Errors
    /// The query fails, or the operating system provides no random bytes.
    pub async fn owner_or_new(&self, request: &Request) -> Result<(Owner, Option<HeaderValue>), Problem> {
        let session = match self.settings.caller(&request.headers) {
            Some(Caller::Known(owner)) => return Ok((owner, None)),
            Some(Caller::Unproven(session)) if self.has_cart(&session, request).await? => session,
            _ => Session::issue().map_err(Problem::internal)?,
        };
        let owner = session.owner();
        let cookie = self.settings.cookie(session, request.is_behind_tls()).map_err(Problem::internal)?;
        Ok((owner, Some(cookie)))
    }

    /// Returns whether a session without a valid MAC has a cart, from the time before the service had its key.
    async fn has_cart(&self, session: &Session, request: &Request) -> Result<bool, Error> {
        let rows = self.database.read(&IS_OWNER, vec![Box::new(session.owner().hash.to_vec())]);
        let rows = request.timing.database(rows).await?;
        rows.first().map_or(Ok(false), |row| Ok(row.try_get(0)?))
    }

    /// Returns the lines of the owner's cart in the order of their first addition; none if there is no cart.
    ///
    /// # Errors
    /// The query fails.
    pub async fn lines(&self, owner: &Owner) -> Result<Vec<Line>, Error> {
        let rows = self.database.read(&LINES, vec![all_hashes(owner)]).await?;
        rows.iter().map(|row| Ok(Line { sku_id: row.try_get(0)?, count: row.try_get(1)? })).collect()
    }

    /// Adds `count` pieces (1 to 99) of a sku to the owner's cart, and creates the cart if there is none.
    ///
    /// # Errors
    /// The statement fails. If the connection was lost, the addition may have been carried out.
    pub async fn add(&self, owner: &Owner, sku_id: i32, count: i32) -> Result<Change, Error> {
        self.change([&ADD, &MOVE_AND_ADD], owner, sku_id, count).await
    }

    /// Sets the count of a sku in the owner's cart to `count` pieces (1 to 9,999). Creates the cart and the line if there
    /// are none.
    ///
    /// # Errors
    /// As [`Carts::add`].
    pub async fn set(&self, owner: &Owner, sku_id: i32, count: i32) -> Result<Change, Error> {
        self.change([&SET, &MOVE_AND_SET], owner, sku_id, count).await
    }

    /// Sends the first statement, or the second one for an owner with a former hash.
    async fn change(
        &self,
        [change, move_and_change]: [&'static Sql; 2],
        owner: &Owner,
        sku_id: i32,
        count: i32,
    ) -> Result<Change, Error> {
        let mut parameters: OwnedParameters =
            vec![Box::new(owner.hash.to_vec()), Box::new(sku_id), Box::new(count)];
        let statement = match &owner.former {
            None => {
                parameters.push(Box::new(owner.is_session.to_string()));
                change
            }
            Some(former) => {
                parameters.push(Box::new(former.to_vec()));
                move_and_change
            }
        };
        let rows = self.database.write(statement, parameters).await?;
        let Some(row) = rows.first() else { return Ok(Change::UnknownSku) };
        match row.try_get(0)? {
            "added" | "set" => Ok(Change::Made),
            "too_many_lines" => Ok(Change::TooManyLines),
            "too_many_of_sku" => Ok(Change::TooManyOfSku),
            other => Err(Error::internal(format!("unexpected result of a change: {other:?}"))),
        }
    }

    /// Removes a sku from the owner's cart. A sku that is not in the cart changes nothing.
    ///
    /// # Errors
    /// The statement fails. If the connection was lost, the removal may have been carried out.
    pub async fn remove(&self, owner: &Owner, sku_id: i32) -> Result<(), Error> {
        self.database.write(&REMOVE, vec![all_hashes(owner), Box::new(sku_id)]).await.map(drop)
    }

    /// Empties the owner's cart.
    ///
    /// # Errors
    /// As [`Carts::remove`].
    pub async fn clear(&self, owner: &Owner) -> Result<(), Error> {
        self.database.write(&CLEAR, vec![all_hashes(owner)]).await.map(drop)
    }
}

/// Returns the hashes of an owner as a parameter, in the order in which `cart.move` locks their carts.
fn all_hashes(owner: &Owner) -> Box<dyn ToSql + Sync + Send> {
    Box::new(owner.former.iter().chain([&owner.hash]).map(|hash| hash.to_vec()).collect::<Vec<_>>())
}

/// All statements of this module.
pub(crate) const STATEMENTS: [&Sql; 8] =
    [&LINES, &ADD, &MOVE_AND_ADD, &SET, &MOVE_AND_SET, &REMOVE, &CLEAR, &IS_OWNER];
