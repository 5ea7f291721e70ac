//! Shared application state.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;

use crate::cart::Carts;
use crate::catalog::Catalog;
use crate::config::RequestConfig;
use crate::database::{
    Connections, Database, Error, Kind, Publication, Routing, SERVER_STATUS, ServerStatus, Settings, Sql,
};

/// The state that all requests share.
#[derive(Debug)]
pub struct App {
    /// The catalog.
    pub catalog: Catalog,
    /// Shopping carts.
    pub carts: Carts,
    database: Arc<Database>,
    draining: AtomicBool,
}

/// The catalog that a host serves, for metrics.
#[derive(Debug, Default)]
pub(crate) struct CatalogStatistics {
    /// Its generation, and when it was published, in seconds since 1970. `None` before the first publish.
    pub(crate) published: Option<(i32, i64)>,
    /// The time since a server last confirmed it, if that is longer than usual.
    pub(crate) staleness: Option<Duration>,
}

/// Whether a load balancer should send requests to this process, and why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Readiness {
    /// Yes: the database responded within the last three seconds and has this catalog.
    Ready {
        /// The generation of the catalog.
        generation: i32,
    },
    /// No: nothing has been published yet.
    NoCatalog,
    /// No: the process is shutting down.
    Draining,
}

impl App {
    /// Starts connecting to the database. Needs a running tokio runtime.
    #[must_use]
    pub fn start(config: &Settings, requests: &RequestConfig) -> Self {
        let (database, carts) = match config.connections {
            Connections::Single { connect_wait } => {
                let database = Database::single(config, connect_wait);
                (Arc::clone(&database), database)
            }
            // Concurrent writes to one cart wait for each other, and they block later statements on their connection.
            // So carts have their own connections, and such a wait delays no read of the catalog.
            Connections::Pool { catalog, carts } => (
                Database::pool(config, Routing::UpToDate, catalog),
                Database::pool(config, Routing::Primary, carts),
            ),
        };
        Self {
            catalog: Catalog::new(&database, requests.cache_bytes, requests.timeout),
            carts: Carts::new(carts, requests.carts.clone()),
            database,
            draining: AtomicBool::new(false),
        }
    }

    /// Waits up to `limit` until the catalog and the carts have a connection, and returns whether they have.
    pub async fn wait_until_connected(&self, limit: Duration) -> bool {
        let (catalog, carts) = tokio::join!(
            self.database.wait_until_connected(limit),
            self.carts.database().wait_until_connected(limit)
        );
        catalog && carts
    }

    /// Closes the connections to the database within 300 ms, gracefully if they can. Later requests that need them get
    /// 503.
    pub async fn close(&self) {
        tokio::join!(self.database.close(), self.carts.database().close());
    }

    /// Makes [`App::readiness`] return `Draining` from now on.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Returns whether the process is shutting down.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    pub(crate) fn catalog_statistics(&self) -> CatalogStatistics {
        let published = self.database.publication();
        CatalogStatistics {
            published: published.map(|published| (published.generation, published.published_at)),
            staleness: self.database.staleness(),
        }
    }

    /// Returns whether a load balancer should send requests to this process. A host knows it from
    /// the status of its servers, so that frequent calls burden no database. Without a recent one, it queries the database.
    ///
    /// # Errors
    /// The query fails.
    pub async fn readiness(&self) -> Result<Readiness, Error> {
        if self.is_draining() {
            return Ok(Readiness::Draining);
        }
        if let Some(Publication { generation, .. }) = self.database.confirmed_publication() {
            return Ok(Readiness::Ready { generation });
        }
        match self.database.read(&SERVER_STATUS, Vec::new()).await {
            Ok(rows) => {
                Ok(ServerStatus::from_rows(&rows)?.publication.map_or(Readiness::NoCatalog, |publication| {
                    Readiness::Ready { generation: publication.generation }
                }))
            }
            Err(error) if error.kind() == Kind::NoCatalog => Ok(Readiness::NoCatalog),
            Err(error) => Err(error),
        }
    }
}

fn all_statements() -> impl Iterator<Item = &'static Sql> {
    let others = crate::cart::STATEMENTS.into_iter().chain([&SERVER_STATUS, &crate::catalog::PUBLICATION]);
    crate::catalog::statements().into_iter().chain(others)
}

/// Returns the text of each statement that a host sends, so that a check can try them on a database.
pub fn statements() -> impl Iterator<Item = &'static str> {
    all_statements().map(|sql| sql.text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::SLOTS;

    #[test]
    fn a_statement_names_at_most_one_table_of_the_catalog() {
        for sql in all_statements() {
            assert!(sql.text.matches("catalog.").count() <= 1, "{}", sql.text);
            assert!(!sql.text.contains(';'), "{}", sql.text);
        }
        // Each name after `from`, without subqueries.
        for sql in crate::catalog::statements() {
            let tables: Vec<&str> =
                sql.text.split(" from ").skip(1).filter(|rest| !rest.starts_with('(')).collect();
            assert!(tables.len() == 1 && tables[0].starts_with("catalog."), "{}", sql.text);
            assert_eq!(sql.text.matches("catalog.").count(), 1, "{}", sql.text);
            assert!(!sql.text.contains(" join "), "{}", sql.text);
        }
    }

    #[test]
    fn each_statement_has_its_own_slot() {
        let mut slots: Vec<usize> = all_statements().map(|sql| sql.slot).collect();
        slots.sort_unstable();
        assert_eq!(slots, (0..SLOTS).collect::<Vec<_>>());
    }
}
