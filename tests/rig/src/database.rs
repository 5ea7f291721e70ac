//! A real database for each test: `let database = Database::create().await?;`
//!
//! `make test` uses one cluster for the whole run: `with-postgres` starts it and names it in [`CLUSTER_VARIABLE`].
//! Without that variable, each test process starts its own cluster at first use. The first test migrates a template
//! database, and each test gets a copy. The cluster and its databases are removed when their owner ends.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Result;
use etl::migrate;
use local::{Address, HOST_LOGIN, SUPERUSER, create_host_login};
use shared::database;
use tokio::sync::OnceCell;
use tokio_postgres::Client;

use crate::{Cluster, Settings};

/// The variable with the socket directory of the cluster for tests.
pub const CLUSTER_VARIABLE: &str = "ATELIER_TEST_CLUSTER";

/// The advisory lock in the database `postgres` while the template is created.
const TEMPLATE_LOCK: i64 = 0x6174_656c_6965_7203;

/// The advisory lock there while the functions' logins are created.
const LOGINS_LOCK: i64 = 0x6174_656c_6965_7207;

/// The cluster with the databases of this process's tests.
struct TestCluster {
    address: Address,
    template: String,
    /// Set if this process started it. Statics are never dropped: the end of the process stops the server.
    _cluster: Option<Cluster>,
}

static TEST_CLUSTER: OnceCell<TestCluster> = OnceCell::const_new();

/// A migrated database without a catalog, for one test.
#[derive(Clone, Debug)]
pub struct Database {
    address: Address,
    name: String,
}

impl Database {
    /// Creates a database. Threads and processes may create databases at the same time.
    ///
    /// # Errors
    /// The reason why Postgres does not start.
    pub async fn create() -> Result<Self> {
        let cluster = TEST_CLUSTER.get_or_try_init(open_cluster).await?;
        Self::copy_of(&cluster.template, &cluster.address).await
    }

    /// Creates a database in a separate cluster, which the test can kill or give a small disk.
    ///
    /// # Errors
    /// The error of the server.
    pub async fn create_in(cluster: &Cluster) -> Result<Self> {
        let template = make_template(cluster.address()).await?;
        Self::copy_of(&template, cluster.address()).await
    }

    /// Restores a dump of `pg_dump` in a separate cluster without any of its roles. It does not migrate the database.
    ///
    /// # Errors
    /// The error of the server.
    pub async fn restore_in(cluster: &Cluster, dump: &str) -> Result<Self> {
        let database = Self { address: cluster.address().clone(), name: "restored".to_owned() };
        let server = database.address.connect("postgres").await?;
        server.batch_execute("create database restored").await?;
        database.connect().await?.batch_execute(dump).await?;
        create_host_login(&server).await?;
        Ok(database)
    }

    /// Returns a database that exists in a separate cluster.
    pub fn existing(cluster: &Cluster, name: &str) -> Self {
        Self { address: cluster.address().clone(), name: name.to_owned() }
    }

    async fn copy_of(template: &str, address: &Address) -> Result<Self> {
        let name = format!("test_{:016x}", fastrand::u64(..));
        let server = address.connect("postgres").await?;
        server.batch_execute(&format!("create database {name} template {template}")).await?;
        let database = Self { address: address.clone(), name };
        database.let_connect(&server, HOST_LOGIN).await?;
        // A copy of a template lacks the rights on the database.
        database.connect().await?.batch_execute(migrate::ROLES).await?;
        Ok(database)
    }

    /// Lets only this login connect, and those that got the right before. The tests' databases share their logins, which
    /// `migrate` accepts only if each has the right by name.
    async fn let_connect(&self, server: &Client, login: &str) -> Result<(), tokio_postgres::Error> {
        let name = &self.name;
        server.batch_execute(&format!("revoke connect on database {name} from public")).await?;
        server.batch_execute(&format!("grant connect on database {name} to {login}")).await
    }

    /// Returns the `DATABASE_URL` of the loader, with the cluster's superuser.
    pub fn url(&self) -> String {
        self.address.url(SUPERUSER, &self.name)
    }

    /// Returns the `DATABASE_URL` of the host. Its login can only read the catalog and write carts.
    pub fn host_url(&self) -> String {
        self.address.url(HOST_LOGIN, &self.name)
    }

    /// Returns the `DATABASE_URL` of a host with several servers: the primary and its replicas.
    pub fn host_url_of(&self, servers: &[&Cluster]) -> String {
        let sockets = servers.iter().map(|server| server.address().sockets().display().to_string());
        format!("host={} user={HOST_LOGIN} dbname={}", sockets.collect::<Vec<_>>().join(","), self.name)
    }

    /// Returns the `DATABASE_URL` of a host whose servers are proxies to this database.
    pub fn host_url_through(&self, proxies: &[SocketAddr]) -> String {
        let proxies: Vec<String> = proxies.iter().map(SocketAddr::to_string).collect();
        format!("postgresql://{HOST_LOGIN}@{}/{}", proxies.join(","), self.name)
    }

    /// Returns the `DATABASE_URL` of a function, with its login from `functions/logins.sql`.
    ///
    /// # Errors
    /// The error of the server.
    pub async fn function_url(&self, function: &str) -> Result<String, tokio_postgres::Error> {
        // Roles belong to the cluster, so concurrent grants from two databases would fail.
        let server = self.address.connect("postgres").await?;
        server.execute("select pg_advisory_lock($1)", &[&LOGINS_LOCK]).await?;
        self.connect().await?.batch_execute(include_str!("../../../functions/logins.sql")).await?;
        let login = function.replace('-', "_");
        self.let_connect(&server, &login).await?;
        server.execute("select pg_advisory_unlock($1)", &[&LOGINS_LOCK]).await?;
        Ok(self.address.url(&login, &self.name))
    }

    /// Returns the connection options of the superuser, for the loader's library.
    pub fn config(&self) -> database::ConnectOptions {
        database::ConnectOptions::without_tls(self.address.config(SUPERUSER, &self.name))
    }

    /// Returns the path of the server's socket, for proxies.
    pub fn socket(&self) -> PathBuf {
        self.address.socket()
    }

    /// Makes all later connections create tables and indexes in this directory.
    ///
    /// # Errors
    /// The error of the server, which must own the directory. The directory must be empty.
    pub async fn keep_tables_in(&self, directory: &Path) -> Result<()> {
        let client = self.connect().await?;
        let (name, location) = (&self.name, directory.display().to_string().replace('\'', "''"));
        client.batch_execute(&format!("create tablespace {name} location '{location}'")).await?;
        client.batch_execute(&format!("grant create on tablespace {name} to public")).await?;
        client.batch_execute(&format!("alter database {name} set default_tablespace = {name}")).await?;
        Ok(())
    }

    /// Returns the name of the database.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Connects as the superuser.
    ///
    /// # Errors
    /// The error of the connection attempt.
    pub async fn connect(&self) -> Result<Client, tokio_postgres::Error> {
        self.address.connect(&self.name).await
    }
}

async fn open_cluster() -> Result<TestCluster> {
    let cluster = match std::env::var_os(CLUSTER_VARIABLE) {
        Some(sockets) => Err(Address::of(sockets)),
        None => Ok(Cluster::start_temporary(&Settings::disposable()).await?),
    };
    let address = cluster.as_ref().map_or_else(Clone::clone, |cluster| cluster.address().clone());
    let template = make_template(&address).await?;
    Ok(TestCluster { address, template, _cluster: cluster.ok() })
}

/// Creates the template if necessary and returns its name. It gets this name last, so a template is always complete.
/// The name contains a hash of the migrations, so a change of them creates a new template in a running cluster.
async fn make_template(address: &Address) -> Result<String> {
    let template = format!("template_{:016x}", migrate::fingerprint());
    let server = address.connect("postgres").await?;
    server.execute("select pg_advisory_lock($1)", &[&TEMPLATE_LOCK]).await?;
    let exists =
        server.query_opt("select from pg_database where datname = $1", &[&template]).await?.is_some();
    if !exists {
        server.batch_execute("drop database if exists unfinished").await?;
        server.batch_execute("create database unfinished").await?;
        server.batch_execute("revoke connect on database unfinished from public").await?;
        let unfinished = database::ConnectOptions::without_tls(address.config(SUPERUSER, "unfinished"));
        migrate::migrate(&unfinished).await?;
        create_host_login(&server).await?;
        server.batch_execute(&format!("alter database unfinished rename to {template}")).await?;
    }
    server.execute("select pg_advisory_unlock($1)", &[&TEMPLATE_LOCK]).await?;
    Ok(template)
}
