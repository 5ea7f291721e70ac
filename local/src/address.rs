//! The address of a private cluster, its logins, and connections to it.

use std::path::{Path, PathBuf};

use tokio_postgres::{Client, Config, NoTls};

/// The superuser of each private cluster, and the loader's login there.
pub const SUPERUSER: &str = "atelier";

/// The host's login. As in a deployment, it can only read the catalog and write carts.
pub const HOST_LOGIN: &str = "atelier_host";

/// The default port. It is part of the socket's name even if the server listens on no port.
const PORT: u16 = 5432;

/// The socket's name in its directory, before the port, which has up to five digits.
const SOCKET: &str = ".s.PGSQL.";

/// The max length of a socket's path in bytes: 107 on Linux, 103 on macOS.
const SOCKET_PATH_LIMIT: usize = 103;

/// The address of a cluster. Every user that can enter the socket's directory is trusted: there are no passwords.
#[derive(Clone, Debug)]
pub struct Address {
    sockets: PathBuf,
    port: u16,
}

impl Address {
    /// Returns the address of the cluster whose socket is in this directory.
    pub fn of(sockets: impl Into<PathBuf>) -> Self {
        Self { sockets: sockets.into(), port: PORT }
    }

    /// Returns the address of the cluster in `root`, running or not.
    pub fn of_root(root: &Path) -> Self {
        if root.as_os_str().len() + 1 + SOCKET.len() + 5 <= SOCKET_PATH_LIMIT {
            return Self::of(root);
        }
        let hash = xxhash_rust::xxh3::xxh3_64(root.as_os_str().as_encoded_bytes());
        Self::of(format!("/tmp/atelier-{hash:016x}"))
    }

    /// Returns the address with another port.
    #[must_use]
    pub fn with_port(self, port: u16) -> Self {
        Self { port, ..self }
    }

    /// Returns the directory of the socket.
    pub fn sockets(&self) -> &Path {
        &self.sockets
    }

    /// Returns the port in the socket's name. The server also listens on it if its settings say so.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the path of the socket.
    pub fn socket(&self) -> PathBuf {
        self.sockets.join(format!("{SOCKET}{}", self.port))
    }

    /// Returns the address as configuration of tokio-postgres.
    pub fn config(&self, user: &str, database: &str) -> Config {
        let mut config = Config::new();
        config.host_path(&self.sockets).port(self.port).user(user).dbname(database);
        config
    }

    /// Returns the address as a `DATABASE_URL`.
    pub fn url(&self, user: &str, database: &str) -> String {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
        let bytes = self.sockets.as_os_str().as_encoded_bytes();
        let directory: String = bytes
            .iter()
            .map(|&byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
            .collect();
        let port = if self.port == PORT { String::new() } else { format!("&port={}", self.port) };
        format!("postgresql:///{database}?host={directory}{port}&user={user}")
    }

    /// Connects as the superuser. A background task drives the connection.
    ///
    /// # Errors
    /// The error of the connection attempt.
    pub async fn connect(&self, database: &str) -> Result<Client, tokio_postgres::Error> {
        connect(&self.config(SUPERUSER, database)).await
    }
}

/// Connects. A background task drives the connection until the client is dropped.
///
/// # Errors
/// The error of the connection attempt.
pub async fn connect(config: &Config) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = config.connect(NoTls).await?;
    // The next call on the client returns the error that ends the connection.
    tokio::spawn(connection);
    Ok(client)
}

/// Creates the host's login as a member of the group roles that `migrate` creates. Does nothing if it exists.
///
/// # Errors
/// The error of the statement.
pub async fn create_host_login(client: &Client) -> Result<(), tokio_postgres::Error> {
    let statement = format!(
        "do $$ begin
             if not exists (select from pg_roles where rolname = '{HOST_LOGIN}') then
                 create role {HOST_LOGIN} login in role atelier_reader, atelier_cart;
             end if;
         exception when duplicate_object or unique_violation then null; -- somebody else was first
         end $$"
    );
    client.batch_execute(&statement).await
}
