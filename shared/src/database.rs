//! Postgres: the connection pool and everything below it.
//!
//! tokio-postgres pipelines: requests send their statements over one connection without waiting for each other's
//! results. So a few connections serve all requests, and no request checks one out of the [`Pool`]. A task for each
//! connection makes it and replaces it when it is lost (`reconnect`). A request picks a live `connection`; if there is none it fails at
//! once or waits for one, as configured. Concurrent reads by id share a statement (`batch_loader`).
//!
//! `DATABASE_URL` may name several servers, a primary and its replicas. Each has connections of its own, and its status
//! (`replicas`) decides whether requests use them. The number of waiting requests is limited; beyond the limit the pool
//! sheds load, while there is still time to try another host.

mod batch_loader;
mod coalesce;
mod connect_options;
mod connection;
mod error;
mod pool;
mod rds_token;
mod reconnect;
mod replicas;
mod settings;
mod tls;
mod url;

use tokio_postgres::types::ToSql;

pub(crate) use batch_loader::BatchLoader;
pub(crate) use coalesce::{Callers, Reply, reply_all};
pub use connect_options::{ConnectOptions, Driver};
pub use error::{Error, Kind, error_chain};
pub use pool::Pool;
pub use replicas::Routing;
pub(crate) use replicas::{Edition, SERVER_STATUS, ServerStatus};
pub use settings::{DATABASE_AUTH, DATABASE_CA_FILE, DATABASE_URL, Settings, VARIABLES};

/// One SQL statement. Each connection prepares it on first use and keeps it at the index `slot`.
#[derive(Debug)]
pub(crate) struct Sql {
    /// A number below [`SLOTS`] that no other statement has.
    pub(crate) slot: usize,
    pub(crate) text: &'static str,
}

/// How many statements a connection can keep.
pub(crate) const SLOTS: usize = 10;

/// Parameters of a statement, in the order of `$1`, `$2`, …
pub(crate) type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];
