//! One connection: its prepared statements, its server, and its health.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::OnceCell;
use tokio::time::timeout;
use tokio_postgres::{Client, Row, Statement};

use super::clock::FreezeAwareInstant;
use super::closing::Closing;
use super::connect_options::Driver;
use super::health_check::Health;
use super::statistics::ServerMetrics;
use super::{
    ConnectOptions, Error, Kind, Parameters, SERVER_STATUS, SLOTS, ServerStatus, Settings, Sql, error_chain,
};

/// The age from which a connection is stable: if it is lost, its task reconnects without a pause. A server that accepts
/// connections and drops them is treated like one that is unavailable.
const STABLE_AFTER: Duration = Duration::from_secs(1);

/// Makes Postgres plan each prepared statement once. It expects ten ids in an array and would plan again for fewer,
/// because that looks cheaper; but the plan is the same search of one index for any number of ids.
const PLAN_ONCE: &str = "-c plan_cache_mode=force_generic_plan";

/// One connection to a server.
#[derive(Debug)]
pub(super) struct Connection {
    client: Client,
    /// The index of its server. Connections to one server are likely to fail together.
    server: usize,
    prepared: [OnceCell<Statement>; SLOTS],
    connected_at: FreezeAwareInstant,
    health: Health,
    metrics: ServerMetrics,
}

/// Why a connection was lost.
pub(super) struct Lost {
    pub(super) cause: String,
    pub(super) was_stable: bool,
}

impl Connection {
    /// Makes one attempt to connect. The error is one line for the log.
    pub(super) async fn open(
        options: &ConnectOptions,
        server: usize,
        settings: &Settings,
        metrics: ServerMetrics,
    ) -> Result<(Arc<Self>, Driver), String> {
        let limit = settings.connect_timeout;
        let (client, driver) = match timeout(limit, options.connect()).await {
            Ok(connected) => connected.map_err(|error| error_chain(&error))?,
            Err(_) => return Err(format!("timed out after {} ms", limit.as_millis())),
        };
        tracing::debug!(host = options.host(), "connected to the database");
        let (prepared, connected_at) = (Default::default(), FreezeAwareInstant::now());
        let health = Health::new(settings);
        let connection = Self { client, server, prepared, connected_at, health, metrics };
        Ok((Arc::new(connection), driver))
    }

    /// Drives the connection until it is lost, or until `monitor` returns an error; returns `None` if it is to be
    /// closed.
    pub(super) async fn until_lost(
        &self,
        driver: &mut Driver,
        closing: &mut Closing,
        monitor: impl Future<Output = Error>,
    ) -> Option<Lost> {
        let cause = tokio::select! {
            ended = driver => {
                ended.err().map_or_else(|| "the server closed it".to_owned(), |error| error_chain(&error))
            }
            // A timeout takes time, so it cannot cause a busy loop of attempts.
            () = self.health.dead() => {
                return Some(Lost { cause: "connection timed out".to_owned(), was_stable: true });
            }
            error = monitor => error_chain(&error),
            () = closing.begun() => return None,
        };
        Some(Lost { cause, was_stable: self.connected_at.elapsed() >= STABLE_AFTER })
    }

    /// Returns the index of its server.
    pub(super) fn server(&self) -> usize {
        self.server
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
        match self.send(&SERVER_STATUS, &[]).await {
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
        let sent = Instant::now();
        let rows = self.send(sql, parameters).await;
        self.metrics.statements.observe(sent.elapsed().as_secs_f64());
        rows
    }

    async fn send(&self, sql: &Sql, parameters: Parameters<'_>) -> Result<Vec<Row>, Error> {
        self.health.track(async { self.client.query(self.prepared(sql).await?, parameters).await }).await
    }

    async fn prepared(&self, sql: &Sql) -> Result<&Statement, tokio_postgres::Error> {
        self.prepared[sql.slot].get_or_try_init(|| self.client.prepare(sql.text)).await
    }
}

/// Returns the options of each connection of a process. They are startup options and not `set` statements, because a
/// connection pooler between this process and Postgres could not share connections changed by `set`.
pub(super) fn startup_options(settings: &Settings, application_name: &str) -> ConnectOptions {
    let timeout = settings.statement_timeout.as_millis();
    settings.connect.with_keepalive(30, 5).with(|config| {
        let given = config.get_options().map(|options| format!("{options} ")).unwrap_or_default();
        let plan = if settings.has_generic_plans { PLAN_ONCE } else { "" };
        config.options(format!("{given}{plan} -c statement_timeout={timeout}"));
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(Duration::from_secs(10)); // detects a lost peer while data is in flight
        }
        if config.get_application_name().is_none() {
            config.application_name(application_name);
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plan_mode_is_a_setting_and_the_url_sets_keepalive() {
        let options = |further: &str, mode: &str| {
            let url = format!("host=localhost user=reader {further}");
            let lookup = |name: &str| match name {
                "DATABASE_URL" => Some(url.clone()),
                "DATABASE_PLAN_MODE" => Some(mode.to_owned()),
                _ => None,
            };
            startup_options(&Settings::for_host(&lookup).unwrap(), "shop").settings().clone()
        };
        let usual = options("", "generic");
        assert!(usual.get_options().unwrap().contains("plan_cache_mode=force_generic_plan"), "{usual:?}");
        assert_eq!(usual.get_keepalives_idle(), Duration::from_secs(30));
        let given = options("keepalives_idle=7 keepalives_count=9 tcp_user_timeout=8000", "auto");
        assert_eq!(given.get_options().unwrap().trim(), "-c statement_timeout=1500", "{given:?}");
        assert_eq!(
            (given.get_keepalives_idle(), given.get_keepalives_retries()),
            (Duration::from_secs(7), Some(9))
        );
        assert_eq!(given.get_tcp_user_timeout(), Some(&Duration::from_secs(8)));
    }
}
