//! A real database for every test: `let database = Database::create().await?;`
//!
//! Under `make test` one cluster serves the whole run: `atelier-local exec` starts it and names it in
//! [`CLUSTER_VARIABLE`]. Without that variable each test process starts one of its own at first use. In either, a
//! template is migrated once, by whoever comes first, and every test gets a copy of it. The copies are dropped with
//! the cluster, which leaves nothing behind when its owner ends.

use std::path::{Path, PathBuf};

use etl::migrate;
use shared::database;
use tokio::sync::OnceCell;
use tokio_postgres::Client;

use crate::{Address, Cluster, Error, HOST_LOGIN, SUPERUSER, Settings, create_host_login};

/// The directory of the socket of the cluster that tests are to use.
pub const CLUSTER_VARIABLE: &str = "ATELIER_TEST_CLUSTER";

/// Held in the database postgres while the template is made; nothing else there locks it.
const TEMPLATE_LOCK: i64 = 0x6174_656c_6965_7203;

/// Held there while functions' logins are made.
const LOGINS_LOCK: i64 = 0x6174_656c_6965_7207;

/// Where this process's tests have their databases.
struct Home {
    address: Address,
    template: String,
    /// Present where this process started it. Nothing drops a static: the end of the process stops the server.
    _cluster: Option<Cluster>,
}

static HOME: OnceCell<Home> = OnceCell::const_new();

/// A migrated database without a catalog, for one test alone.
#[derive(Clone, Debug)]
pub struct Database {
    address: Address,
    name: String,
}

impl Database {
    /// Makes one. Any number may be made at once, by many threads and processes.
    ///
    /// # Errors
    /// No Postgres on this machine, or what keeps it from starting.
    pub async fn create() -> Result<Self, Error> {
        let home = HOME.get_or_try_init(open_home).await?;
        Self::copy_of(&home.template, &home.address).await
    }

    /// Makes one in a cluster of the test's own, which it can kill, or give a disk that is soon full.
    ///
    /// # Errors
    /// What the server says.
    pub async fn create_in(cluster: &Cluster) -> Result<Self, Error> {
        let template = make_template(cluster.address()).await?;
        Self::copy_of(&template, cluster.address()).await
    }

    /// Makes one of what `pg_dump` wrote, in a cluster of the test's own, which may have none of its roles. It is not
    /// migrated.
    ///
    /// # Errors
    /// What the server says.
    pub async fn restore_in(cluster: &Cluster, dump: &str) -> Result<Self, Error> {
        let database = Self { address: cluster.address().clone(), name: "restored".to_owned() };
        let server = database.address.connect("postgres").await?;
        server.batch_execute("create database restored").await?;
        database.connect().await?.batch_execute(dump).await?;
        create_host_login(&server).await?;
        Ok(database)
    }

    async fn copy_of(template: &str, address: &Address) -> Result<Self, Error> {
        let name = format!("test_{:016x}", fastrand::u64(..));
        let server = address.connect("postgres").await?;
        server.batch_execute(&format!("create database {name} template {template}")).await?;
        let database = Self { address: address.clone(), name };
        // Rights on a database are not copied with a template.
        database.connect().await?.batch_execute(migrate::ROLES).await?;
        Ok(database)
    }

    /// As `DATABASE_URL` for the loader: the cluster's superuser.
    pub fn url(&self) -> String {
        self.address.url(SUPERUSER, &self.name)
    }

    /// As `DATABASE_URL` for the host: a login that may read the catalog and write carts, and nothing else.
    pub fn host_url(&self) -> String {
        self.address.url(HOST_LOGIN, &self.name)
    }

    /// The same for a host that is told of several servers: the cluster that it is in, and those that follow it.
    pub fn host_url_of(&self, servers: &[&Cluster]) -> String {
        let sockets = servers.iter().map(|server| server.address().sockets().display().to_string());
        format!("host={} user={HOST_LOGIN} dbname={}", sockets.collect::<Vec<_>>().join(","), self.name)
    }

    /// As `DATABASE_URL` for a function: the login that `functions/logins.sql` makes for it.
    ///
    /// # Errors
    /// What the server says.
    pub async fn function_url(&self, function: &str) -> Result<String, tokio_postgres::Error> {
        // Roles belong to the cluster: two databases that grant them at the same time would trip over each other.
        let server = self.address.connect("postgres").await?;
        server.execute("select pg_advisory_lock($1)", &[&LOGINS_LOCK]).await?;
        self.connect().await?.batch_execute(include_str!("../../functions/logins.sql")).await?;
        server.execute("select pg_advisory_unlock($1)", &[&LOGINS_LOCK]).await?;
        Ok(self.address.url(&function.replace('-', "_"), &self.name))
    }

    /// For the loader's library: the superuser.
    pub fn config(&self) -> database::ConnectOptions {
        database::ConnectOptions::without_tls(self.address.config(SUPERUSER, &self.name))
    }

    /// The socket of the server it is in, to be reached in a roundabout way.
    pub fn socket(&self) -> PathBuf {
        self.address.socket()
    }

    /// Has the tables and indexes lie in this directory that are made from the next connection on, by whomever.
    ///
    /// # Errors
    /// What the server says; the directory must be its own, and empty.
    pub async fn keep_tables_in(&self, directory: &Path) -> Result<(), Error> {
        let client = self.connect().await?;
        let (name, location) = (&self.name, directory.display().to_string().replace('\'', "''"));
        client.batch_execute(&format!("create tablespace {name} location '{location}'")).await?;
        client.batch_execute(&format!("grant create on tablespace {name} to public")).await?;
        client.batch_execute(&format!("alter database {name} set default_tablespace = {name}")).await?;
        Ok(())
    }

    /// What it is called on its server.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A connection as the superuser, to look or to meddle.
    ///
    /// # Errors
    /// What the server says.
    pub async fn connect(&self) -> Result<Client, tokio_postgres::Error> {
        self.address.connect(&self.name).await
    }
}

async fn open_home() -> Result<Home, Error> {
    let cluster = match std::env::var_os(CLUSTER_VARIABLE) {
        Some(sockets) => Err(Address::of(sockets)),
        None => Ok(Cluster::start_temporary(&Settings::disposable()).await?),
    };
    let address = cluster.as_ref().map_or_else(Clone::clone, |cluster| cluster.address().clone());
    let template = make_template(&address).await?;
    Ok(Home { address, template, _cluster: cluster.ok() })
}

/// Answers with the name of the template, which is there and complete: it gets this name last. The name tells the
/// migrations, so that a cluster that outlives a change of them gets a new template.
async fn make_template(address: &Address) -> Result<String, Error> {
    let template = format!("template_{:016x}", migrate::fingerprint());
    let server = address.connect("postgres").await?;
    server.execute("select pg_advisory_lock($1)", &[&TEMPLATE_LOCK]).await?;
    let made = server.query_opt("select from pg_database where datname = $1", &[&template]).await?.is_some();
    if !made {
        server.batch_execute("drop database if exists unfinished").await?;
        server.batch_execute("create database unfinished").await?;
        let unfinished = database::ConnectOptions::without_tls(address.config(SUPERUSER, "unfinished"));
        migrate::migrate(&unfinished).await?;
        create_host_login(&server).await?;
        server.batch_execute(&format!("alter database unfinished rename to {template}")).await?;
    }
    server.execute("select pg_advisory_unlock($1)", &[&TEMPLATE_LOCK]).await?;
    Ok(template)
}
