//! TLS to a real Postgres with a real chain of certificates: the servers that are accepted and rejected, and the
//! errors.

#![allow(clippy::unwrap_used, clippy::panic)] // clippy does not count helpers as tests

mod support;

use std::io::Write;
use std::sync::{Arc, Mutex};

use local::free_address;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rig::{Cluster, Settings, TEST_TIMEOUT, until};
use shared::database::{ConnectOptions, error_chain};
use shared::variables::Error;
use shared::{App, Readiness};
use support::function;
use tempfile::NamedTempFile;

/// A root authority with an intermediate authority that signs certificates of servers, like those of RDS.
struct Authority {
    file: NamedTempFile,
    intermediate: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let root = CertifiedIssuer::self_signed(authority(name), KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let intermediate = CertifiedIssuer::signed_by(authority("an intermediate"), key, &root).unwrap();
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(root.pem().as_bytes()).unwrap();
        Self { file, intermediate }
    }

    fn file(&self) -> &str {
        self.file.path().to_str().unwrap()
    }

    /// Returns settings of a server with a certificate for `localhost` that is valid until that year.
    fn server(&self, until: i32) -> Settings {
        let mut parameters = CertificateParams::new(["localhost".to_owned()]).unwrap();
        parameters.not_before = date_time_ymd(2000, 1, 1);
        parameters.not_after = date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.intermediate).unwrap();
        tcp_server()
            .and("ssl", "on")
            .and_file("ssl_cert_file", certificate.pem() + &self.intermediate.pem())
            .and_file("ssl_key_file", key.serialize_pem())
    }
}

fn authority(name: &str) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters
}

/// Returns settings of a server that accepts TCP connections with a password.
fn tcp_server() -> Settings {
    let port = free_address().unwrap().port();
    Settings::disposable()
        .and("listen_addresses", "127.0.0.1")
        .and("port", port.to_string())
        .and_file("hba_file", "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
}

/// Starts a server with the login `web`, and returns its address, which the caller completes with a host.
async fn start(settings: &Settings) -> (Cluster, String) {
    let cluster = Cluster::start_temporary(settings).await.unwrap();
    let client = cluster.address().connect("postgres").await.unwrap();
    client.batch_execute("create role web superuser login password 's3cret'").await.unwrap();
    let port = cluster.address().port();
    (cluster, format!("hostaddr=127.0.0.1 port={port} user=web password=s3cret dbname=postgres host="))
}

fn connect_options(url: &str, ca_file: Option<&str>) -> Result<ConnectOptions, Error> {
    let lookup = |name: &str| match name {
        "DATABASE_URL" => Some(url.to_owned()),
        "DATABASE_CA_FILE" => ca_file.map(str::to_owned),
        _ => None,
    };
    ConnectOptions::from_lookup(&lookup)
}

/// Returns the one-line error of a connection that must fail.
async fn connect_error(address: &str, authority: &Authority) -> String {
    let Err(error) = connect_options(address, Some(authority.file())).unwrap().connect().await else {
        panic!("{address} was accepted")
    };
    let line = error_chain(&error);
    assert!(!line.contains(['\n']) && !line.contains("s3cret"), "{line}");
    line
}

#[tokio::test]
async fn a_server_with_a_valid_certificate_is_accepted_and_any_other_is_rejected() {
    let authority = Authority::new("a root");
    let (cluster, address) = start(&authority.server(2999)).await;
    for ssl_mode in ["sslmode=require", "sslmode=verify-full channel_binding=require"] {
        let address =
            connect_options(&format!("{address}localhost {ssl_mode}"), Some(authority.file())).unwrap();
        let (client, connection) = address.connect().await.unwrap();
        tokio::spawn(connection);
        let encrypted = "select ssl, version from pg_stat_ssl where pid = pg_backend_pid()";
        let row = client.query_one(encrypted, &[]).await.unwrap();
        assert_eq!((row.get(0), row.get(1)), (true, "TLSv1.3"));
        etl::migrate::migrate(&address).await.unwrap(); // the loader connects in the same way
    }
    let url = format!("{address}localhost sslmode=verify-ca");
    let function = function(&[("DATABASE_URL", &url), ("DATABASE_CA_FILE", authority.file())]);
    let app = App::start(&function.database, &function.requests);
    assert_eq!(app.readiness().await.unwrap(), Readiness::NoCatalog);

    let wrong_name = connect_error(&format!("{address}db.example.com"), &authority).await;
    let expected = "error performing TLS handshake: invalid peer certificate: certificate not valid for name \
                    \"db.example.com\"";
    assert!(wrong_name.starts_with(expected), "{wrong_name}");
    let unknown =
        connect_error(&format!("{address}localhost sslmode=require"), &Authority::new("another root")).await;
    assert_eq!(unknown, "error performing TLS handshake: invalid peer certificate: UnknownIssuer");
    let wrong_password = address.replace("s3cret", "guessed");
    let refused = connect_error(&format!("{wrong_password}localhost sslmode=require"), &authority).await;
    assert!(refused.contains("password authentication failed for user \"web\""), "{refused}");
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_server_with_an_expired_certificate_is_rejected_and_the_log_names_the_host_and_the_reason() {
    let authority = Authority::new("a root");
    let (cluster, address) = start(&authority.server(2001)).await;
    let expired = connect_error(&format!("{address}localhost sslmode=require"), &authority).await;
    let expected = "error performing TLS handshake: invalid peer certificate: certificate expired";
    assert!(expired.starts_with(expected), "{expired}");

    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().json().with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let url = format!("{address}localhost sslmode=verify-full");
    let function = function(&[("DATABASE_URL", &url), ("DATABASE_CA_FILE", authority.file())]);
    let app = App::start(&function.database, &function.requests);
    until("the error is logged", async || log.text().contains("cannot connect to the database")).await;
    app.close().await;
    let text = log.text();
    let line = text.lines().find(|line| line.contains("cannot connect")).unwrap();
    assert!(
        line.contains("WARN") && line.contains(r#""host":"localhost""#) && line.contains(expected),
        "{line}"
    );
    assert!(!text.contains("s3cret"), "{text}");
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_server_without_tls_is_rejected_before_the_login() {
    let authority = Authority::new("a root");
    let (cluster, address) = start(&tcp_server()).await;
    for host in ["localhost sslmode=require", "db.example.com", "db.example.com sslmode=prefer"] {
        let refused = connect_error(&format!("{address}{host}"), &authority).await;
        assert_eq!(refused, "error performing TLS handshake: server does not support TLS");
    }
    let plain = connect_options(&format!("{address}localhost"), None).unwrap();
    assert!(tokio::time::timeout(TEST_TIMEOUT, plain.connect()).await.unwrap().is_ok());
    cluster.stop().await.unwrap();
}

/// The log.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
