//! Postgres: the connection pool and everything below it.
//!
//! tokio-postgres pipelines: requests send their statements over one connection without waiting for each other's
//! results. So a few connections serve all requests, and no request checks one out of the [`Pool`]. One task per
//! `connection` connects and reconnects (`reconnect`), and an idle connection is probed before use (`health_check`). If
//! no connection is up, a request fails at once or waits for one, as configured. Concurrent reads by id share a
//! statement (`batch_loader`).
//!
//! `DATABASE_URL` may name several servers, a primary and its replicas. Each has its own connections, and its status
//! (`replicas`) decides whether requests use them. The number of waiting requests is limited; beyond the limit the pool
//! sheds load, while there is still time to try another host.

mod batch_loader;
mod clock;
mod connect_options;
mod connection;
mod error;
mod health_check;
mod pool;
mod rds_token;
mod reconnect;
mod replicas;
mod settings;
mod tls;
mod url;

use tokio_postgres::types::ToSql;

pub(crate) use batch_loader::{BatchLoader, Limits, Source};
pub use connect_options::{ConnectOptions, Driver};
pub use error::{Error, Kind, error_chain};
pub use pool::Pool;
pub use replicas::Routing;
pub(crate) use replicas::{Edition, SERVER_STATUS, ServerStatus};
pub use settings::{DATABASE_AUTH, Settings, VARIABLES};
pub use url::{DATABASE_CA_FILE, DATABASE_URL};

/// One SQL statement. Each connection prepares it on first use and keeps it at the index `slot`.
#[derive(Debug)]
pub(crate) struct Sql {
    /// An index below [`SLOTS`], different for each statement.
    pub(crate) slot: usize,
    pub(crate) text: &'static str,
}

/// The number of statements.
pub(crate) const SLOTS: usize = 11;

/// The parameters of a statement, in the order of `$1`, `$2`, …
pub(crate) type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];
