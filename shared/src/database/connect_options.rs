//! How to connect to the database. Service and loader both connect through this module.

use std::fmt;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres::{Client, Config, Connection, Error, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::unsupported;
use super::rds_token::RdsTokenSigner;

/// The address of a database, and the TLS and authentication of its connections. [`Self::from_lookup`] reads it from the
/// environment and refuses to send anything over a network without TLS.
#[derive(Clone)]
pub struct ConnectOptions {
    settings: Config,
    tls: Option<MakeRustlsConnect>,
    /// Signs a new token for each connection, in place of a password.
    signer: Option<RdsTokenSigner>,
    /// `target_session_attrs=prefer-standby`, which tokio-postgres does not know.
    prefers_standby: bool,
}

/// The future that sends and receives for a connection; the caller must poll it. Once the client is dropped, it closes
/// the connection gracefully and returns. Boxed, because connections with and without TLS have different types.
pub type Driver = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

impl ConnectOptions {
    /// Options for a server on this machine, without TLS.
    #[must_use]
    pub fn without_tls(mut settings: Config) -> Self {
        settings.ssl_mode(SslMode::Disable);
        Self { settings, tls: None, signer: None, prefers_standby: false }
    }

    /// Options for a server that must present a valid certificate before anything else is sent.
    pub(crate) fn with_tls(mut settings: Config, tls: MakeRustlsConnect) -> Self {
        settings.ssl_mode(SslMode::Require);
        Self { settings, tls: Some(tls), signer: None, prefers_standby: false }
    }

    /// Replaces the password by tokens of this signer.
    pub(crate) fn with_signer(self, signer: RdsTokenSigner) -> Self {
        Self { signer: Some(signer), ..self }
    }

    /// Makes a connection try all servers for a read-only one first, unless `target_session_attrs` is set.
    pub(crate) fn preferring_standby(self, prefers_standby: bool) -> Self {
        Self { prefers_standby, ..self }
    }

    /// Returns the user, database, hosts and options.
    #[must_use]
    pub fn settings(&self) -> &Config {
        &self.settings
    }

    /// Returns whether connections use TLS.
    #[must_use]
    pub fn has_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Returns a copy with changed settings. The change must leave hosts and TLS as they are.
    #[must_use]
    pub fn with(&self, change: impl FnOnce(&mut Config)) -> Self {
        let mut changed = self.clone();
        change(&mut changed.settings);
        changed
    }

    /// Returns a copy with keepalive, in seconds, unless the address sets it.
    #[must_use]
    pub fn with_keepalive(&self, idle: u64, interval: u64) -> Self {
        self.with(|settings| {
            if settings.get_keepalives_idle() == Config::new().get_keepalives_idle() {
                settings.keepalives_idle(Duration::from_secs(idle));
            }
            if settings.get_keepalives_interval().is_none() {
                settings.keepalives_interval(Duration::from_secs(interval));
            }
            if settings.get_keepalives_retries().is_none() {
                settings.keepalives_retries(3);
            }
        })
    }

    /// Returns options for each host alone, in the order of the address.
    #[must_use]
    pub fn servers(&self) -> Vec<Self> {
        let settings = &self.settings;
        let (hosts, addresses, ports) =
            (settings.get_hosts(), settings.get_hostaddrs(), settings.get_ports());
        let one = |at: usize| {
            let mut one = without_hosts(settings);
            match hosts.get(at) {
                Some(Host::Tcp(name)) => _ = one.host(name),
                Some(Host::Unix(directory)) => _ = one.host_path(directory),
                None => {}
            }
            if let Some(address) = addresses.get(at) {
                one.hostaddr(*address);
            }
            // One port may apply to all hosts.
            if let Some(port) = ports.get(at).or(ports.first()) {
                one.port(*port);
            }
            Self { settings: one, prefers_standby: false, ..self.clone() }
        };
        (0..hosts.len().max(addresses.len())).map(one).collect()
    }

    /// Returns the hosts as text, for messages.
    #[must_use]
    pub fn host(&self) -> String {
        let mut named: Vec<String> = self.settings.get_hosts().iter().map(host_name).collect();
        if named.is_empty() {
            named = self.settings.get_hostaddrs().iter().map(ToString::to_string).collect();
        }
        named.join(", ")
    }

    /// Returns the host and the port of the first server, for metrics.
    pub(super) fn host_and_port(&self) -> String {
        let port = self.settings.get_ports().first().unwrap_or(&5432);
        format!("{}:{port}", self.host())
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// The server is unreachable, refuses the login, or presents an invalid certificate.
    pub async fn connect(&self) -> Result<(Client, Driver), Error> {
        if self.prefers_standby && self.settings.get_target_session_attrs() == TargetSessionAttrs::Any {
            let standby =
                self.with(|settings| _ = settings.target_session_attrs(TargetSessionAttrs::ReadOnly));
            if let Ok(connected) = standby.connect_to_any().await {
                return Ok(connected);
            }
        }
        self.connect_to_any().await
    }

    /// Connects to the first server that is reachable and as `target_session_attrs` requires.
    async fn connect_to_any(&self) -> Result<(Client, Driver), Error> {
        let mut signed = None;
        // `RdsTokenSigner::checked` has proved that it can sign.
        if let Some(token) = self.signer.as_ref().and_then(|signer| signer.token(SystemTime::now()).ok()) {
            signed.insert(self.settings.clone()).password(token);
        }
        let settings = signed.as_ref().unwrap_or(&self.settings);
        Ok(match &self.tls {
            Some(tls) => {
                let (client, connection) = settings.connect(tls.clone()).await?;
                self.check(&connection);
                (client, Box::pin(connection))
            }
            None => {
                let (client, connection) = settings.connect(NoTls).await?;
                self.check(&connection);
                (client, Box::pin(connection))
            }
        })
    }

    /// Logs why the service does not support a server.
    fn check<S, T>(&self, connection: &Connection<S, T>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let parameter = |name| connection.parameter(name).unwrap_or_default();
        if let Some(error) = unsupported(parameter("server_version"), parameter("server_encoding")) {
            tracing::error!(host = self.host(), error, "the database is not supported");
        }
    }
}

/// Shows no secret.
impl fmt::Debug for ConnectOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (settings, signer) = (&self.settings, &self.signer);
        let fields = &mut f.debug_struct("ConnectOptions");
        fields.field("settings", settings).field("tls", &self.has_tls()).field("signer", signer).finish()
    }
}

/// Copies all settings except the hosts and `target_session_attrs`.
fn without_hosts(settings: &Config) -> Config {
    let mut copy = Config::new();
    copy.ssl_mode(settings.get_ssl_mode())
        .ssl_negotiation(settings.get_ssl_negotiation())
        .keepalives(settings.get_keepalives())
        .keepalives_idle(settings.get_keepalives_idle())
        .channel_binding(settings.get_channel_binding())
        .target_session_attrs(TargetSessionAttrs::Any);
    if let Some(user) = settings.get_user() {
        copy.user(user);
    }
    if let Some(password) = settings.get_password() {
        copy.password(password);
    }
    if let Some(name) = settings.get_dbname() {
        copy.dbname(name);
    }
    if let Some(options) = settings.get_options() {
        copy.options(options);
    }
    if let Some(name) = settings.get_application_name() {
        copy.application_name(name);
    }
    if let Some(timeout) = settings.get_connect_timeout() {
        copy.connect_timeout(*timeout);
    }
    if let Some(timeout) = settings.get_tcp_user_timeout() {
        copy.tcp_user_timeout(*timeout);
    }
    if let Some(interval) = settings.get_keepalives_interval() {
        copy.keepalives_interval(interval);
    }
    if let Some(retries) = settings.get_keepalives_retries() {
        copy.keepalives_retries(retries);
    }
    copy
}

fn host_name(host: &Host) -> String {
    match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(directory) => directory.display().to_string(),
    }
}
