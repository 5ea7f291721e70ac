//! The loader's connections to the database, and how it describes database errors.

use std::time::Duration;

use shared::database::{ConnectOptions, error_chain};
use tokio::task::AbortHandle;
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, GenericClient};

/// The settings of every loader session.
///
/// The role is `atelier_loader` for every login, so that the schemas have one owner. With keepalive the server detects a
/// dead loader within a minute; until then its locks block the next loader. The server notices within 0.1 s that a
/// connection was closed, so a statement of a load that was stopped does not run on.
///
/// A small `maintenance_work_mem` builds indexes faster, also from unsorted keys: the data stays in the processor's
/// cache, and with 512 MB half of the time went into the allocation of memory. The loader itself decides how many
/// statements run in parallel. JIT compilation does not pay off for any of them.
const OPTIONS: &str = "-c role=atelier_loader -c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 \
     -c tcp_keepalives_count=3 -c client_connection_check_interval=100ms -c maintenance_work_mem=32MB -c jit=off \
     -c max_parallel_maintenance_workers=0 -c max_parallel_workers_per_gather=0";

/// Turns off the timeouts that may be set for requests: statements of a load or a migration may take minutes. Only
/// Postgres 17 and newer know `transaction_timeout`.
pub(crate) const NO_TIMEOUTS: &str = "select set_config(name, '0', false) from pg_settings where name in
     ('statement_timeout', 'lock_timeout', 'transaction_timeout', 'idle_session_timeout',
      'idle_in_transaction_session_timeout')";

/// The timeout of a connection attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Opens a loader session. A background task drives the connection until the client is dropped and its last statement has
/// ended.
pub async fn connect(options: &ConnectOptions) -> Result<Client, tokio_postgres::Error> {
    connect_with_handle(options).await.map(|(client, _)| client)
}

/// Works as [`connect`]. The handle closes the connection at once, and the server then cancels its statement.
pub(crate) async fn connect_with_handle(
    options: &ConnectOptions,
) -> Result<(Client, AbortHandle), tokio_postgres::Error> {
    let options = options.with(|settings| {
        settings.application_name("atelier-etl");
        // Postgres uses the last value of an option: the loader's take precedence over those of DATABASE_URL.
        settings.options(format!("{} {OPTIONS}", settings.get_options().unwrap_or_default()));
    });
    let (client, connection) = spawn(&options).await?;
    client.batch_execute(NO_TIMEOUTS).await?;
    Ok((client, connection))
}

/// Opens a session without the loader's settings. A background task drives the connection.
pub async fn connect_as_login(options: &ConnectOptions) -> Result<Client, tokio_postgres::Error> {
    spawn(options).await.map(|(client, _)| client)
}

async fn spawn(options: &ConnectOptions) -> Result<(Client, AbortHandle), tokio_postgres::Error> {
    let (client, connection) = with_timeout(options).connect().await?;
    let task = tokio::spawn(async move {
        // The next use of the client returns the same error.
        let _ = connection.await;
    });
    Ok((client, task.abort_handle()))
}

/// Returns the options with a connect timeout, unless they have one, and with keepalive, which detects a dead server
/// within a minute. With several servers the loader connects to the primary.
pub(crate) fn with_timeout(options: &ConnectOptions) -> ConnectOptions {
    let several = options.servers().len() > 1;
    options.with_keepalive(30, 10).with(|settings| {
        if several {
            settings.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        if settings.get_connect_timeout().is_none() {
            settings.connect_timeout(CONNECT_TIMEOUT);
        }
    })
}

/// Executes statements one at a time: some engines reject several DDL statements in one batch. Each ends with a semicolon
/// and a line break.
pub async fn execute_each(client: &impl GenericClient, sql: &str) -> Result<(), tokio_postgres::Error> {
    for statement in sql.split(";\n").filter(|statement| !statement.trim().is_empty()) {
        client.batch_execute(statement).await?;
    }
    Ok(())
}

/// Returns whether an error or one of its causes is a missing right of the login.
pub(crate) fn is_missing_right(error: &(dyn std::error::Error + 'static)) -> bool {
    let code = error.downcast_ref().and_then(tokio_postgres::Error::code);
    code == Some(&SqlState::INSUFFICIENT_PRIVILEGE) || error.source().is_some_and(is_missing_right)
}

/// Returns one line for people: the server's message and its SQLSTATE, or the chain of causes, and what to do.
pub fn describe(error: &tokio_postgres::Error) -> String {
    let Some(refusal) = error.as_db_error() else {
        let remedy = match error.is_closed() {
            true => "run the command again",
            false => "check DATABASE_URL, and that Postgres runs and is reachable",
        };
        return format!("{}; {remedy}", error_chain(error));
    };
    let code = refusal.code().code();
    let remedy = match code {
        // No such schema, table or role: a migration creates them.
        "3F000" | "42P01" | "22023" => ": has this database been migrated? (atelier-etl migrate)",
        "28000" | "28P01" => "; check user and password in DATABASE_URL, and pg_hba.conf",
        "3D000" => "; create the database, or correct its name in DATABASE_URL",
        "42501" => "; use a login with this right: a member of atelier_loader, or the owner to migrate",
        "53100" => "; enlarge the disk or free space, then run the command again",
        "53300" => "; close other connections, or raise max_connections",
        code if code.starts_with("57P") => "; run the command again when Postgres has started",
        _ => "; see the log of Postgres",
    };
    let detail = refusal.detail().map(|d| format!(" ({d})")).unwrap_or_default();
    format!("{}{detail} [{code}]{remedy}", refusal.message())
}
