//! Where a database is and how it is spoken to: service and loader connect in this one way.

use std::fmt;
use std::pin::Pin;
use std::time::SystemTime;

use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres::{Client, Config, Error, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::rds_token::RdsTokenSigner;

/// Where a database is and how it is spoken to. [`crate::config::address_from_lookup`] makes one of what
/// people write, and sees to it that nothing crosses a network unencrypted.
#[derive(Clone)]
pub struct ConnectOptions {
    settings: Config,
    tls: Option<MakeRustlsConnect>,
    /// Who signs a token in place of a password, for each connection anew.
    signer: Option<RdsTokenSigner>,
}

/// What drives a connection: nothing is sent or received unless it is polled. It ends with the connection, which it
/// closes in good order once the client is dropped. Boxed, because a connection has another type with TLS than without.
pub type Driver = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

impl ConnectOptions {
    /// Of a server on this machine, which is spoken to without encryption.
    #[must_use]
    pub fn without_tls(mut settings: Config) -> Self {
        settings.ssl_mode(SslMode::Disable);
        Self { settings, tls: None, signer: None }
    }

    /// Of a server that has to prove who it is before anything else is said.
    pub(crate) fn with_tls(mut settings: Config, tls: MakeRustlsConnect) -> Self {
        settings.ssl_mode(SslMode::Require);
        Self { settings, tls: Some(tls), signer: None }
    }

    /// The same server, which is shown tokens of this signer in place of a password.
    pub(crate) fn with_signer(self, signer: RdsTokenSigner) -> Self {
        Self { signer: Some(signer), ..self }
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

    /// Each of its hosts by itself, in the order in which they are named.
    #[must_use]
    pub fn servers(&self) -> Vec<Self> {
        let settings = &self.settings;
        let (hosts, addresses, ports) =
            (settings.get_hosts(), settings.get_hostaddrs(), settings.get_ports());
        let one = |at: usize| {
            let mut one = without_place(settings);
            match hosts.get(at) {
                Some(Host::Tcp(name)) => _ = one.host(name),
                Some(Host::Unix(directory)) => _ = one.host_path(directory),
                None => {}
            }
            if let Some(address) = addresses.get(at) {
                one.hostaddr(*address);
            }
            // One port may stand for all.
            if let Some(port) = ports.get(at).or(ports.first()) {
                one.port(*port);
            }
            Self { settings: one, ..self.clone() }
        };
        (0..hosts.len().max(addresses.len())).map(one).collect()
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
        let mut signed = None;
        // That it can sign was seen when it was made.
        if let Some(token) = self.signer.as_ref().and_then(|signer| signer.token(SystemTime::now()).ok()) {
            signed.insert(self.settings.clone()).password(token);
        }
        let settings = signed.as_ref().unwrap_or(&self.settings);
        Ok(match &self.tls {
            Some(tls) => {
                let (client, connection) = settings.connect(tls.clone()).await?;
                (client, Box::pin(connection))
            }
            None => {
                let (client, connection) = settings.connect(NoTls).await?;
                (client, Box::pin(connection))
            }
        })
    }
}

/// Without secrets.
impl fmt::Debug for ConnectOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (settings, signer) = (&self.settings, &self.signer);
        let fields = &mut f.debug_struct("ConnectOptions");
        fields.field("settings", settings).field("tls", &self.has_tls()).field("signer", signer).finish()
    }
}

/// All of the settings but which servers there are, and which of them will do.
fn without_place(settings: &Config) -> Config {
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
