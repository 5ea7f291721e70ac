//! Where a database is and how it is spoken to: service and loader connect in this one way.

use std::fmt;
use std::pin::Pin;

use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{Client, Config, Error, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Where a database is and how it is spoken to. [`crate::config::database_address`] makes one of an address as people
/// write it, and sees to it that nothing crosses a network unencrypted.
#[derive(Clone)]
pub struct Address {
    settings: Config,
    tls: Option<MakeRustlsConnect>,
}

/// What drives a connection: nothing is sent or received unless it is polled. It ends with the connection, which it
/// closes in good order once the client is dropped. Boxed, because a connection has another type with TLS than without.
pub type Driver = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

impl Address {
    /// Of a server on this machine, which is spoken to without encryption.
    #[must_use]
    pub fn without_tls(mut settings: Config) -> Self {
        settings.ssl_mode(SslMode::Disable);
        Self { settings, tls: None }
    }

    /// Of a server that has to prove who it is before anything else is said.
    pub(crate) fn with_tls(mut settings: Config, tls: MakeRustlsConnect) -> Self {
        settings.ssl_mode(SslMode::Require);
        Self { settings, tls: Some(tls) }
    }

    /// User, database, hosts and options.
    #[must_use]
    pub fn settings(&self) -> &Config {
        &self.settings
    }

    /// Whether the server has to prove who it is, and everything is encrypted.
    #[must_use]
    pub fn has_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// The same place, with something of the settings changed; not the hosts or the encryption.
    #[must_use]
    pub fn with(&self, change: impl FnOnce(&mut Config)) -> Self {
        let mut changed = self.clone();
        change(&mut changed.settings);
        changed
    }

    /// The hosts, for people.
    #[must_use]
    pub fn host(&self) -> String {
        let mut named: Vec<String> = self.settings.get_hosts().iter().map(host_name).collect();
        if named.is_empty() {
            named = self.settings.get_hostaddrs().iter().map(ToString::to_string).collect();
        }
        named.join(", ")
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// What keeps it from coming about; a certificate that is refused is among the causes.
    pub async fn connect(&self) -> Result<(Client, Driver), Error> {
        Ok(match &self.tls {
            Some(tls) => {
                let (client, connection) = self.settings.connect(tls.clone()).await?;
                (client, Box::pin(connection))
            }
            None => {
                let (client, connection) = self.settings.connect(NoTls).await?;
                (client, Box::pin(connection))
            }
        })
    }
}

/// Without the password.
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address").field("settings", &self.settings).field("tls", &self.has_tls()).finish()
    }
}

fn host_name(host: &Host) -> String {
    match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(directory) => directory.display().to_string(),
    }
}
