//! Support for the tests of the host: a host with its own configuration, a published catalog, and HTTP written by hand,
//! because well-behaved clients never send what these tests send.

#![allow(dead_code)] // each test binary uses a part of it

pub(crate) mod process;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use atelier_host::log::Log;
use atelier_host::{Metrics, Observers};
use etl::load::{LoadOptions, OutputTarget};
use etl::progress::Progress;
use etl::source::{Dataset, DatasetLocation};
use rig::Database;
use shared::App;
use shared::config::HostConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_postgres::Client;

/// Limit of each wait in these tests.
pub(crate) const TEST_TIMEOUT: Duration = Duration::from_secs(60);

/// The host's connections that read the catalog of this database. Carts use other connections.
pub(crate) const CATALOG_CONNECTIONS: &str =
    "pg_stat_activity where application_name = 'atelier' and datname = current_database()";

/// A host that runs in the test's process until the test stops it.
pub(crate) struct TestHost {
    pub(crate) address: SocketAddr,
    metrics: Arc<Metrics>,
    stop: oneshot::Sender<()>,
    stopped: JoinHandle<usize>,
}

impl TestHost {
    /// Starts a host with these variables, and waits until it is connected to the database.
    pub(crate) async fn start(database: &Database, variables: &[(&str, &str)]) -> Self {
        let (host, app) = Self::start_unconnected(database, variables).await;
        assert!(app.wait_until_connected(TEST_TIMEOUT).await);
        host
    }

    /// Starts a host with these variables, and does not wait for database connections.
    pub(crate) async fn start_unconnected(
        database: &Database,
        variables: &[(&str, &str)],
    ) -> (Self, Arc<App>) {
        let config = HostConfig::from_lookup(&|name| {
            let set = variables.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned());
            set.or_else(|| (name == "DATABASE_URL").then(|| database.host_url()))
        });
        let config = config.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Arc::new(App::start(&config.database, &config.requests));
        let dropped = Log::start(std::io::sink()).dropped();
        let metrics = Arc::new(Metrics::new(&app, config.http.max_connections, dropped));
        let observers = Observers { metrics: Some(Arc::clone(&metrics)), ..Observers::default() };
        let (stop, stop_requested) = oneshot::channel();
        let serve = {
            let app = Arc::clone(&app);
            async move {
                let shutdown = async { stop_requested.await.unwrap_or_default() };
                atelier_host::serve(listener, app, &config, observers, shutdown).await
            }
        };
        (Self { address, metrics, stop, stopped: tokio::spawn(serve) }, app)
    }

    /// Returns all metrics.
    pub(crate) fn scrape(&self) -> String {
        let mut text = String::new();
        self.metrics.write(&mut text).unwrap();
        text
    }

    /// Returns the value of one series, which is written as in a scrape; `None` if it does not exist.
    pub(crate) fn metric(&self, series: &str) -> Option<f64> {
        let text = self.scrape();
        let mut values = text.lines().filter_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        values.next().map(|value| value.parse().unwrap())
    }

    /// Begins the graceful shutdown. The task returns the number of aborted connections.
    pub(crate) fn stop(self) -> JoinHandle<usize> {
        self.stop.send(()).unwrap();
        self.stopped
    }
}

/// Generates a small dataset and publishes it as the catalog.
pub(crate) async fn publish(database: &Database) {
    let dir = tempfile::tempdir().unwrap();
    let options = sample_data::Options { scale: 0.0001, seed: 1, legacy_format: false };
    let dataset = dir.path().join("set");
    sample_data::generate(&options, &dataset, |_| {}).unwrap();
    let rejects = dir.path().join("rejects.csv");
    let options = LoadOptions::new(OutputTarget::File(rejects), Progress::Silent);
    let dataset = Dataset::open(&DatasetLocation::Folder(dataset), Some("tested")).await.unwrap();
    etl::load::load(&database.config(), dataset, options).await.unwrap();
}

/// Waits until the host uses at least this many connections to the client's server for reads of the catalog: they have
/// checked the status of the server.
pub(crate) async fn until_connected(client: &Client, connections: i64) {
    let used = format!("select from {CATALOG_CONNECTIONS} and state = 'idle' and query <> ''");
    poll_row(client, &format!("{used} having count(*) >= {connections}")).await;
}

/// Repeats a statement until it returns a row.
pub(crate) async fn poll_row(client: &Client, statement: &str) {
    let polling = async {
        while client.query(statement, &[]).await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(TEST_TIMEOUT, polling).await.unwrap_or_else(|_| panic!("no row: {statement}"));
}

/// Opens a connection and sends `bytes`.
pub(crate) async fn send(address: SocketAddr, bytes: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    stream
}

/// Returns all bytes that the host sends until it closes the connection.
pub(crate) async fn read_all(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(TEST_TIMEOUT, stream.read_to_end(&mut bytes)).await;
    read.expect("the connection stayed open").unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Sends a request and returns its response. `head` is the request line, with or without further headers.
pub(crate) async fn request(address: SocketAddr, head: &str) -> String {
    read_all(send(address, &format!("{head}\r\nhost: x\r\nconnection: close\r\n\r\n")).await).await
}

/// Repeats a request until the first line of the response contains `status`. Returns that response.
pub(crate) async fn poll_status(address: SocketAddr, head: &str, status: &str) -> String {
    let has_status = |response: &str| response.lines().next().is_some_and(|line| line.contains(status));
    poll(address, head, has_status).await
}

/// Repeats a request until `is_expected` accepts the response. Returns that response.
pub(crate) async fn poll(address: SocketAddr, head: &str, is_expected: impl Fn(&str) -> bool) -> String {
    let mut last = String::new();
    let polling = async {
        loop {
            last = request(address, head).await;
            if is_expected(&last) {
                return last.clone();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let found = tokio::time::timeout(TEST_TIMEOUT, polling).await;
    found.unwrap_or_else(|_| panic!("{head} never got the expected response; the last one: {last}"))
}
