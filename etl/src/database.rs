//! Connections of the loader, and what to say when the database refuses.

use std::error::Error;

use tokio_postgres::{Client, Config, NoTls};

/// Opens a connection that is driven in the background until the client is dropped.
///
/// Statements of a load may take minutes, so a timeout that a role or a database sets for requests is lifted.
pub async fn connect(config: &Config) -> Result<Client, tokio_postgres::Error> {
    let mut config = config.clone();
    config.application_name("atelier-etl");
    config.options("-c statement_timeout=0 -c idle_in_transaction_session_timeout=0");
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(async move {
        // Its error reaches whoever uses the client next; said twice it would only confuse.
        let _ = connection.await;
    });
    Ok(client)
}

/// One line for a person: the server's own message with its code, or the chain of causes.
pub fn describe(error: &tokio_postgres::Error) -> String {
    if let Some(refusal) = error.as_db_error() {
        let detail = refusal.detail().map(|d| format!(" ({d})")).unwrap_or_default();
        return format!("{}{detail} [{}]", refusal.message(), refusal.code().code());
    }
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        line = format!("{line}: {inner}");
        cause = inner.source();
    }
    line
}
