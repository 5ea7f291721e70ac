//! Brings a database to the present schema: group roles, then every migration not yet applied.
//!
//! The SQL is in `shared/migrations`. What a catalog consists of is not here: each load makes that anew.

use tokio_postgres::{Client, NoTls};

mod embedded {
    refinery::embed_migrations!("../shared/migrations");
}

const ROLES: &str = include_str!("../../shared/migrations/roles.sql");

/// Serialises migrations of one database; any constant will do that nothing else in it locks.
const MIGRATION_LOCK: i64 = 0x6174_656c_6965_7201;

/// Why a database could not be migrated.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The database refused a connection or a statement; it may not be up, or the login may not do this.
    #[error("cannot migrate the database: {}", crate::database::describe(.0))]
    Database(tokio_postgres::Error),
    /// A migration failed; those before it are applied.
    #[error("a migration failed")]
    Migration(#[from] refinery::Error),
}

// By hand, so that it is no `source`: the line above has all of it, and would be followed by it again.
impl From<tokio_postgres::Error> for MigrateError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error)
    }
}

/// Applies what is missing, and answers with the names of the migrations it applied: none where there was nothing
/// to do. Several may run this at once, on one database or on many of one cluster.
pub async fn migrate(config: &tokio_postgres::Config) -> Result<Vec<String>, MigrateError> {
    let (mut client, connection) = config.connect(NoTls).await?;
    let connection = tokio::spawn(connection);
    let applied = migrate_with(&mut client).await;
    drop(client);
    // Waited for, so that nothing is connected any more when this returns: a template database must be idle.
    let _ = connection.await;
    applied
}

async fn migrate_with(client: &mut Client) -> Result<Vec<String>, MigrateError> {
    client.execute("select pg_advisory_lock($1)", &[&MIGRATION_LOCK]).await?;
    client.batch_execute(ROLES).await?;
    let report = embedded::migrations::runner().run_async(client).await?;
    Ok(report.applied_migrations().iter().map(ToString::to_string).collect())
}

/// The migrations that this build knows and the database has not applied, by name.
pub async fn pending(client: &mut Client) -> Result<Vec<String>, MigrateError> {
    let exists: bool = client
        .query_one("select to_regclass('public.refinery_schema_history') is not null", &[])
        .await?
        .get(0);
    let runner = embedded::migrations::runner();
    let applied = if exists { runner.get_applied_migrations_async(client).await? } else { Vec::new() };
    let is_pending = |m: &&refinery::Migration| !applied.iter().any(|a| a.version() == m.version());
    Ok(runner.get_migrations().iter().filter(is_pending).map(ToString::to_string).collect())
}
