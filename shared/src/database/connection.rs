//! One connection: its prepared statements, its server, and its health.

use std::time::Duration;

use tokio::sync::OnceCell;
use tokio_postgres::{Client, Row, Statement};

use super::clock::FreezeAwareInstant;
use super::health_check::Health;
use super::{Error, Kind, Parameters, SERVER_STATUS, SLOTS, ServerStatus, Settings, Sql};

/// One connection to a server.
#[derive(Debug)]
pub(super) struct Connection {
    client: Client,
    /// The index of its server. Connections to one server are likely to fail together.
    server: usize,
    prepared: [OnceCell<Statement>; SLOTS],
    connected_at: FreezeAwareInstant,
    health: Health,
}

impl Connection {
    pub(super) fn new(client: Client, server: usize, settings: &Settings) -> Self {
        let (prepared, connected_at) = (Default::default(), FreezeAwareInstant::now());
        Self { client, server, prepared, connected_at, health: Health::new(settings) }
    }

    /// Returns the index of its server.
    pub(super) fn server(&self) -> usize {
        self.server
    }

    /// Returns its age.
    pub(super) fn age(&self) -> Duration {
        self.connected_at.elapsed()
    }

    pub(super) fn health(&self) -> &Health {
        &self.health
    }

    /// Returns whether it is up, as far as this process has noticed.
    pub(super) fn is_up(&self) -> bool {
        !self.health.is_dead() && !self.client.is_closed()
    }

    /// Probes the connection if it was idle for long, and returns whether a statement may be sent.
    pub(super) async fn probe_if_idle(&self) -> bool {
        self.health.probe_if_idle(&self.client).await;
        self.is_up()
    }

    /// Queries the status of its server.
    pub(super) async fn query_status(&self) -> Result<ServerStatus, Error> {
        match self.query(&SERVER_STATUS, &[]).await {
            Ok(rows) => ServerStatus::from_rows(&rows),
            // Before the first migration there is no table of publications.
            Err(error) if error.kind() == Kind::NoCatalog => Ok(ServerStatus::default()),
            Err(error) => Err(error),
        }
    }

    /// Prepares a statement unless it is prepared already. A connection does so on first use, because before the first
    /// publish a statement has no tables to be prepared against.
    pub(super) async fn prepare(&self, sql: &Sql) -> Result<(), Error> {
        self.health.track(self.prepared(sql)).await.map(drop)
    }

    /// Sends one statement and returns its rows.
    pub(super) async fn query(&self, sql: &Sql, parameters: Parameters<'_>) -> Result<Vec<Row>, Error> {
        self.health.track(async { self.client.query(self.prepared(sql).await?, parameters).await }).await
    }

    async fn prepared(&self, sql: &Sql) -> Result<&Statement, tokio_postgres::Error> {
        self.prepared[sql.slot].get_or_try_init(|| self.client.prepare(sql.text)).await
    }
}
