//! What every handler is given.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;

use crate::cart::Cart;
use crate::catalog::Catalog;
use crate::config::RequestConfig;
use crate::database::{Error, Kind, Pool, Routing, SERVER_STATUS, ServerStatus, Settings};

/// The state that all requests share.
#[derive(Debug)]
pub struct App {
    /// What is for sale.
    pub catalog: Catalog,
    /// Who has put what aside.
    pub cart: Cart,
    database: Arc<Pool>,
    carts: Arc<Pool>,
    draining: AtomicBool,
}

/// Whether requests should be sent here, and why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Readiness {
    /// Yes: the database answers and serves this generation of the catalog.
    Ready {
        /// Which load it came of.
        generation: i32,
    },
    /// No: nothing has been published yet.
    NoCatalog,
    /// No: the process is about to end.
    Draining,
}

impl App {
    /// Starts connecting to the database. Needs a running tokio runtime.
    #[must_use]
    pub fn start(config: &Settings, requests: &RequestConfig) -> Self {
        let start = |need, connections| Arc::new(Pool::start(config, need, connections));
        let (database, carts) = match config.cart_connections {
            // A function has one connection, for the one thing that it is there for.
            None => {
                let one = start(Routing::AnyServer, config.connections);
                (Arc::clone(&one), one)
            }
            // Who adds to a cart that somebody else adds to waits for them, and all behind them on the connection: so
            // that no product is among those, carts have connections of their own.
            Some(cart_connections) => {
                (start(Routing::UpToDate, config.connections), start(Routing::Primary, cart_connections))
            }
        };
        Self {
            catalog: Catalog::new(&database, requests.cache_bytes, requests.timeout),
            cart: Cart::new(Arc::clone(&carts)),
            database,
            carts,
            draining: AtomicBool::new(false),
        }
    }

    /// Waits until everything that is asked of the database has a connection, `most` at the longest, and says whether
    /// it has.
    pub async fn wait_until_connected(&self, limit: Duration) -> bool {
        let (catalog, carts) =
            tokio::join!(self.database.wait_until_connected(limit), self.carts.wait_until_connected(limit));
        catalog && carts
    }

    /// Closes the connections to the database in good order, which takes 300 ms at the longest. Requests are answered
    /// 503 from now on.
    pub async fn close(&self) {
        tokio::join!(self.database.close(), self.carts.close());
    }

    /// From now on [`App::readiness`] is `Draining`.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether the process is about to end.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Whether requests should be sent here.
    ///
    /// # Errors
    /// When the database gives no answer.
    pub async fn readiness(&self) -> Result<Readiness, Error> {
        if self.is_draining() {
            return Ok(Readiness::Draining);
        }
        match self.database.read(&SERVER_STATUS, &[]).await {
            Ok(rows) => Ok(ServerStatus::of(&rows)?.publication.map_or(Readiness::NoCatalog, |published| {
                Readiness::Ready { generation: published.generation }
            })),
            Err(error) if error.kind() == Kind::NoCatalog => Ok(Readiness::NoCatalog),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::{SLOTS, Sql};

    fn statements() -> Vec<&'static Sql> {
        crate::catalog::STATEMENTS
            .into_iter()
            .chain(crate::cart::STATEMENTS)
            .chain([&SERVER_STATUS])
            .collect()
    }

    #[test]
    fn a_statement_names_one_table_of_the_catalog_at_most() {
        for sql in statements() {
            assert!(sql.text.matches("catalog.").count() <= 1, "{}", sql.text);
            assert!(!sql.text.contains(';'), "{}", sql.text);
        }
        // What stands behind `from`, and is no query in parentheses.
        for sql in crate::catalog::STATEMENTS {
            let tables: Vec<&str> =
                sql.text.split(" from ").skip(1).filter(|rest| !rest.starts_with('(')).collect();
            assert!(tables.len() == 1 && tables[0].starts_with("catalog."), "{}", sql.text);
            assert!(!sql.text.contains(" join "), "{}", sql.text);
        }
    }

    #[test]
    fn every_statement_has_a_slot_of_its_own() {
        let mut slots: Vec<usize> = statements().iter().map(|sql| sql.slot).collect();
        slots.sort_unstable();
        assert_eq!(slots, (0..SLOTS).collect::<Vec<_>>());
    }
}
