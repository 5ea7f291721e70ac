//! Connections of the loader, and what to say when the database refuses.

use std::time::Duration;

use shared::database::{ConnectOptions, error_chain};
use tokio_postgres::Client;
use tokio_postgres::config::TargetSessionAttrs;

/// What every session of the loader begins with. It works as `atelier_loader` whoever logged in, so that the schemas
/// it makes have one owner. Its statements may take minutes, so timeouts meant for requests are lifted. Of a loader that
/// is gone without a word the server finds out within a minute: its locks keep the next one waiting for as long.
///
/// The keys of an index are sorted in little memory, which is faster, also where they are in no order: what stays in the
/// processor's cache is compared sooner, and half of what 512 MB cost was the system's handing them out. How many
/// statements work at a time is the loader's to say, and none of them is worth compiling.
const OPTIONS: &str = "-c role=atelier_loader -c statement_timeout=0 -c lock_timeout=0 -c idle_session_timeout=0 \
     -c idle_in_transaction_session_timeout=0 -c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 \
     -c tcp_keepalives_count=3 -c maintenance_work_mem=32MB -c jit=off \
     -c max_parallel_maintenance_workers=0 -c max_parallel_workers_per_gather=0";

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Opens a connection that is driven in the background until the client is dropped.
pub async fn connect(address: &ConnectOptions) -> Result<Client, tokio_postgres::Error> {
    let address = address.with(|settings| {
        settings.application_name("atelier-etl");
        // Behind those of DATABASE_URL, which may say more, but nothing else of these.
        settings.options(format!("{} {OPTIONS}", settings.get_options().unwrap_or_default()));
    });
    connect_as_login(&address).await
}

/// Opens a connection without any of that, driven in the background as well.
pub async fn connect_as_login(address: &ConnectOptions) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = with_timeout(address).connect().await?;
    tokio::spawn(async move {
        // Its error reaches whoever uses the client next; said twice it would only confuse.
        let _ = connection.await;
    });
    Ok(client)
}

/// The address with a limit to how long a connection may take to come about, if it has none of its own. A server that
/// is gone without a word is noticed while it is waited for, within a minute as well. Of several servers it is the one
/// that takes writes.
pub(crate) fn with_timeout(address: &ConnectOptions) -> ConnectOptions {
    let several = address.servers().len() > 1;
    address.with(|settings| {
        settings.keepalives_idle(Duration::from_secs(30));
        settings.keepalives_interval(Duration::from_secs(10));
        settings.keepalives_retries(3);
        if several {
            settings.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        if settings.get_connect_timeout().is_none() {
            settings.connect_timeout(CONNECT_TIMEOUT);
        }
    })
}

/// One line for a person: the server's own message with its code, or the chain of causes.
pub fn describe(error: &tokio_postgres::Error) -> String {
    let Some(refusal) = error.as_db_error() else { return error_chain(error) };
    let code = refusal.code().code();
    // No such schema, table or role, of those that a migration makes.
    let hint = match code {
        "3F000" | "42P01" | "22023" => ": has this database been migrated? (atelier-etl migrate)",
        _ => "",
    };
    let detail = refusal.detail().map(|d| format!(" ({d})")).unwrap_or_default();
    format!("{}{detail} [{code}]{hint}", refusal.message())
}
