//! Brings a database to the current schema: group roles, then every pending migration.
//!
//! The SQL is in `migrations`. The tables of a catalog are not part of it: each load creates them.

use shared::database::ConnectOptions;
use tokio_postgres::Client;

mod embedded {
    refinery::embed_migrations!("../migrations");
}

/// Creates the group roles and grants their rights on the database. Idempotent.
pub const ROLES: &str = include_str!("../../migrations/roles.sql");

/// Lets the loader read the applied migrations, so that a load can detect pending ones.
const SHOW_HISTORY: &str = "grant select on public.refinery_schema_history to atelier_loader";

/// The advisory lock that serializes the migrations of one database. Nothing else uses this number.
const MIGRATION_LOCK: i64 = 0x6174_656c_6965_7201;

/// An error that prevents a migration.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The database is unavailable or rejected a statement, for example because the login lacks a right.
    #[error("cannot migrate the database: {}", crate::database::describe(.0))]
    Database(tokio_postgres::Error),
    /// A migration failed; the earlier ones are applied.
    #[error("a migration failed: {}", shared::database::error_chain(.0))]
    Migration(refinery::Error),
}

impl From<refinery::Error> for MigrateError {
    fn from(error: refinery::Error) -> Self {
        Self::Migration(error)
    }
}

// Not `#[from]`: that makes it the `source`, and an error chain prints it twice.
impl From<tokio_postgres::Error> for MigrateError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error)
    }
}

/// Applies the pending migrations and returns their names. Concurrent calls are safe, also on several databases of one
/// cluster.
pub async fn migrate(database: &ConnectOptions) -> Result<Vec<String>, MigrateError> {
    let (mut client, connection) = crate::database::with_timeout(database).connect().await?;
    let connection = tokio::spawn(connection);
    let applied = migrate_with(&mut client).await;
    drop(client);
    // Nothing may be connected when this returns: a template database must be idle.
    let _ = connection.await;
    applied
}

async fn migrate_with(client: &mut Client) -> Result<Vec<String>, MigrateError> {
    client.execute("select pg_advisory_lock($1)", &[&MIGRATION_LOCK]).await?;
    client.batch_execute(ROLES).await?;
    let report = embedded::migrations::runner().run_async(client).await?;
    client.batch_execute(SHOW_HISTORY).await?;
    Ok(report.applied_migrations().iter().map(ToString::to_string).collect())
}

/// Returns the names of this build's migrations that the database has not applied.
pub async fn pending(database: &ConnectOptions) -> Result<Vec<String>, MigrateError> {
    let client = crate::database::connect_as_login(database).await?;
    let exists = "select to_regclass('public.refinery_schema_history') is not null";
    let applied: Vec<i32> = if client.query_one(exists, &[]).await?.get(0) {
        let versions = client.query("select version from public.refinery_schema_history", &[]).await?;
        versions.iter().map(|row| row.get(0)).collect()
    } else {
        Vec::new()
    };
    let runner = embedded::migrations::runner();
    let pending = runner.get_migrations().iter().filter(|migration| !applied.contains(&migration.version()));
    Ok(pending.map(ToString::to_string).collect())
}

/// Returns a hash of the SQL of all migrations.
pub fn fingerprint() -> u64 {
    let runner = embedded::migrations::runner();
    let sum = |sum: u64, migration: &refinery::Migration| sum.rotate_left(1) ^ migration.checksum();
    runner.get_migrations().iter().fold(xxhash_rust::xxh3::xxh3_64(ROLES.as_bytes()), sum)
}
