//! Brings a database to the current schema: group roles, then every pending migration.
//!
//! The SQL is in `migrations`. The tables of a catalog are not part of it: each load creates them.

use shared::database::{ConnectOptions, unsupported};
use tokio_postgres::Client;

use crate::database;

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
    #[error("cannot migrate the database: {}", database::describe(.0))]
    Database(tokio_postgres::Error),
    /// The server or the encoding of the database is unsupported.
    #[error("cannot use this database: {0}")]
    Unsupported(String),
    /// Another database of the cluster uses the same group roles, and all roles may connect to one of the two.
    #[error(
        "all logins may connect to {open}, and its cluster has another database with the same group roles: a login of one \
         would have access to both. Separate them with `revoke connect on database {database}, {other} from public`, then \
         `grant connect on database … to …` for each login of each database"
    )]
    SharedCluster {
        /// This database.
        database: String,
        /// The other one of the same cluster.
        other: String,
        /// The one of the two to which all logins may connect.
        open: String,
    },
    /// The login cannot give new objects to their owner.
    #[error(
        "cannot migrate the database: the login {login} is not a member of atelier_owner; run `grant atelier_owner to {login}` as a superuser"
    )]
    NoMember {
        /// The login.
        login: String,
    },
    /// A newer release has migrated the database.
    #[error(
        "the schema of the database is newer ({database}) than this program ({program}): use the newer release"
    )]
    NewerSchema {
        /// The latest migration of the database.
        database: String,
        /// The latest one of this program.
        program: String,
    },
    /// A migration failed; the earlier ones are applied.
    #[error("a migration failed: {}; the earlier ones are applied: correct the cause and migrate again", shared::database::error_chain(.0))]
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

impl MigrateError {
    /// Returns whether the operator must change the database before a retry can succeed.
    pub fn needs_operator(&self) -> bool {
        match self {
            Self::Database(error) => database::is_missing_right(error),
            Self::Migration(error) => database::is_missing_right(error),
            Self::Unsupported(_) | Self::SharedCluster { .. } | Self::NoMember { .. } => true,
            Self::NewerSchema { .. } => false, // the newer release replaces this one
        }
    }
}

/// Applies the pending migrations and returns their names. Concurrent calls are safe, also on several databases of one
/// cluster.
pub async fn migrate(options: &ConnectOptions) -> Result<Vec<String>, MigrateError> {
    let (mut client, connection) = database::with_timeout(options).connect().await?;
    let connection = tokio::spawn(connection);
    let applied = migrate_with(&mut client).await;
    drop(client);
    // Nothing may be connected when this returns: a template database must be idle.
    let _ = connection.await;
    applied
}

async fn migrate_with(client: &mut Client) -> Result<Vec<String>, MigrateError> {
    client.batch_execute(database::NO_TIMEOUTS).await?;
    client.execute("select pg_advisory_lock($1)", &[&MIGRATION_LOCK]).await?;
    applied(client).await?;
    check_cluster(client).await?;
    client.batch_execute(ROLES).await?;
    // Refinery's table would belong to a login that cannot go further, on Postgres 14, where every login may create it.
    let may_migrate =
        client.query_one("select pg_has_role('atelier_owner', 'member'), current_user::text", &[]);
    let may_migrate = may_migrate.await?;
    if !may_migrate.get::<_, bool>(0) {
        return Err(MigrateError::NoMember { login: may_migrate.get(1) });
    }
    let report = embedded::migrations::runner().run_async(client).await?;
    client.batch_execute(SHOW_HISTORY).await?;
    Ok(report.applied_migrations().iter().map(ToString::to_string).collect())
}

/// Returns the names of this build's migrations that the database has not applied.
pub async fn pending(options: &ConnectOptions) -> Result<Vec<String>, MigrateError> {
    let applied = applied(&database::connect_as_login(options).await?).await?;
    let runner = embedded::migrations::runner();
    let pending = runner.get_migrations().iter().filter(|migration| !applied.contains(&migration.version()));
    Ok(pending.map(ToString::to_string).collect())
}

/// Selects another database of the cluster that uses the group roles, if all roles may connect to this one, or if a member of
/// the group roles may connect to both because all may connect to the other. Group roles belong to the cluster, so a login of
/// one environment would have the same rights in the other. A `grant connect` on both is the operator's intention.
const SHARED_CLUSTER: &str = "
    with groups as (
        select oid from pg_roles
        where rolname in ('atelier_owner', 'atelier_loader', 'atelier_reader', 'atelier_cart', 'atelier_cart_add')
    ), used as (
        select oid, datname,
            exists (select from aclexplode(coalesce(datacl, acldefault('d', datdba)))
                    where grantee = 0 and privilege_type = 'CONNECT') as is_open
        from pg_database
        where datname = current_database() or exists (
            select from pg_shdepend
            where dbid = pg_database.oid and refclassid = 'pg_authid'::regclass and refobjid in (select oid from groups))
    )
    select quote_ident(own.datname), quote_ident(other.datname),
        quote_ident(case when own.is_open then own.datname else other.datname end)
    from used as own join used as other on other.oid <> own.oid
    where own.datname = current_database() and (own.is_open or other.is_open and exists (
        select from pg_roles as login
        where rolcanlogin and not rolsuper and has_database_privilege(login.oid, own.oid, 'connect')
            and exists (select from groups where pg_has_role(login.oid, groups.oid, 'member'))))
    order by other.datname limit 1";

async fn check_cluster(client: &Client) -> Result<(), MigrateError> {
    match client.query_opt(SHARED_CLUSTER, &[]).await? {
        Some(row) => {
            Err(MigrateError::SharedCluster { database: row.get(0), other: row.get(1), open: row.get(2) })
        }
        None => Ok(()),
    }
}

/// Returns the versions of the applied migrations.
///
/// # Errors
/// Also a database that this program cannot use, before anything changes.
async fn applied(client: &Client) -> Result<Vec<i32>, MigrateError> {
    let server = "select current_setting('server_version'), current_setting('server_encoding')";
    let server = client.query_one(server, &[]).await?;
    if let Some(reason) = unsupported(server.get(0), server.get(1)) {
        return Err(MigrateError::Unsupported(reason));
    }
    let exists = "select to_regclass('public.refinery_schema_history') is not null";
    if !client.query_one(exists, &[]).await?.get::<_, bool>(0) {
        return Ok(Vec::new());
    }
    let applied = "select version, name from public.refinery_schema_history order by version";
    let applied = client.query(applied, &[]).await?;
    let runner = embedded::migrations::runner();
    let own = runner.get_migrations().iter().max_by_key(|migration| migration.version());
    if let (Some(last), Some(own)) = (applied.last(), own)
        && last.get::<_, i32>(0) > own.version()
    {
        let database = format!("V{}__{}", last.get::<_, i32>(0), last.get::<_, String>(1));
        return Err(MigrateError::NewerSchema { database, program: own.to_string() });
    }
    Ok(applied.iter().map(|row| row.get(0)).collect())
}

/// Returns a hash of the SQL of all migrations.
pub fn fingerprint() -> u64 {
    let runner = embedded::migrations::runner();
    let sum = |sum: u64, migration: &refinery::Migration| sum.rotate_left(1) ^ migration.checksum();
    runner.get_migrations().iter().fold(xxhash_rust::xxh3::xxh3_64(ROLES.as_bytes()), sum)
}
