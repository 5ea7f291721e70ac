//! Brings a database to the present schema: group roles, then every migration not yet applied.
//!
//! The SQL is in `migrations`. What a catalog consists of is not here: each load makes that anew.

use shared::database::ConnectOptions;
use tokio_postgres::Client;

mod embedded {
    refinery::embed_migrations!("../migrations");
}

/// Makes the group roles and gives them their rights on the database; it may be run again at any time.
pub const ROLES: &str = include_str!("../../migrations/roles.sql");

/// Lets the loader see what is applied, so that a load can tell whether its schema is the present one.
const SHOW_HISTORY: &str = "grant select on public.refinery_schema_history to atelier_loader";

/// Serialises migrations of one database; any constant will do that nothing else in it locks.
const MIGRATION_LOCK: i64 = 0x6174_656c_6965_7201;

/// Why a database could not be migrated.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The database refused a connection or a statement; it may not be up, or the login may not do this.
    #[error("cannot migrate the database: {}", crate::database::describe(.0))]
    Database(tokio_postgres::Error),
    /// A migration failed; those before it are applied.
    #[error("a migration failed: {}", shared::database::error_chain(.0))]
    Migration(refinery::Error),
}

impl From<refinery::Error> for MigrateError {
    fn from(error: refinery::Error) -> Self {
        Self::Migration(error)
    }
}

// By hand, so that it is no `source`: the line above has all of it, and would be followed by it again.
impl From<tokio_postgres::Error> for MigrateError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error)
    }
}

/// Applies what is missing, and answers with the names of the migrations it applied: none where there was nothing
/// to do. Several may run this at once, on one database or on many of one cluster.
pub async fn migrate(address: &ConnectOptions) -> Result<Vec<String>, MigrateError> {
    let (mut client, connection) = crate::database::with_timeout(address).connect().await?;
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
    client.batch_execute(SHOW_HISTORY).await?;
    Ok(report.applied_migrations().iter().map(ToString::to_string).collect())
}

/// The migrations that this build knows and the database has not applied, by name.
pub async fn pending(address: &ConnectOptions) -> Result<Vec<String>, MigrateError> {
    let client = crate::database::connect_as_login(address).await?;
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

/// Tells one state of the migrations from another: a hash of all their SQL.
pub fn fingerprint() -> u64 {
    let runner = embedded::migrations::runner();
    let sum = |sum: u64, migration: &refinery::Migration| sum.rotate_left(1) ^ migration.checksum();
    runner.get_migrations().iter().fold(xxhash_rust::xxh3::xxh3_64(ROLES.as_bytes()), sum)
}
