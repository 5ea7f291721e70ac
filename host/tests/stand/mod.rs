//! What the tests stand on: the host's own configuration, databases of their own, and HTTP written by hand, because
//! what is tested here is what well-behaved clients never do.

#![allow(dead_code)] // each test binary takes what it needs

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use etl::load::{LoadOptions, RejectsPlace};
use etl::progress::Progress;
use etl::source::{Dataset, Location};
use local::testing::Database;
use shared::App;
use shared::config::HostConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How long anything that is waited for may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The host, serving within this process until it is stopped.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<usize>,
}

impl Served {
    /// Serves the database, with these variables set.
    pub(crate) async fn start(database: &Database, variables: &[(&str, &str)]) -> Self {
        let (served, app) = Self::start_unconnected(database, variables).await;
        assert!(app.wait_until_connected(PATIENCE).await);
        served
    }

    /// The same, whether or not there is a database for all that is asked of it.
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
        let (stop, stopped) = oneshot::channel();
        let serving = {
            let app = Arc::clone(&app);
            async move {
                let stopped = async { stopped.await.unwrap_or_default() };
                atelier_host::serve(listener, app, &config, None, stopped).await
            }
        };
        (Self { address, stop, ended: tokio::spawn(serving) }, app)
    }

    /// Asks it to stop; the answer, once it has, is how many connections it cut off.
    pub(crate) fn stop(self) -> JoinHandle<usize> {
        self.stop.send(()).unwrap();
        self.ended
    }
}

/// Generates a small dataset and publishes it as the catalog.
pub(crate) async fn publish(database: &Database) {
    let dir = tempfile::tempdir().unwrap();
    let generated = etl::generate::Options { scale: 0.0001, seed: 1, legacy_format: false };
    let set = dir.path().join("set");
    etl::generate::generate(&generated, &set, |_| {}).unwrap();
    let rejects = dir.path().join("rejects.csv");
    let options = LoadOptions::new(RejectsPlace::File(rejects), Progress::Silent);
    let dataset = Dataset::open(&Location::Folder(set), Some("tested")).await.unwrap();
    etl::load::load(&database.config(), dataset, options).await.unwrap();
}

/// A connection on which `bytes` were sent.
pub(crate) async fn begin(address: SocketAddr, bytes: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    stream
}

/// Everything the server sends until it closes the connection.
pub(crate) async fn rest(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    read.expect("the connection stayed open").unwrap();
    String::from_utf8(answer).unwrap()
}

/// Asks with a request's first line and whatever headers follow it.
pub(crate) async fn ask(address: SocketAddr, head: &str) -> String {
    rest(begin(address, &format!("{head}\r\nhost: x\r\nconnection: close\r\n\r\n")).await).await
}

/// Asks until the answer's first line has this in it.
pub(crate) async fn until(address: SocketAddr, head: &str, status: &str) -> String {
    until_answer(address, head, |answer| answer.lines().next().is_some_and(|line| line.contains(status)))
        .await
}

/// Asks until the answer is like that.
pub(crate) async fn until_answer(address: SocketAddr, head: &str, is_right: impl Fn(&str) -> bool) -> String {
    let mut last = String::new();
    let asking = async {
        loop {
            last = ask(address, head).await;
            if is_right(&last) {
                return last.clone();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let answered = tokio::time::timeout(PATIENCE, asking).await;
    answered.unwrap_or_else(|_| panic!("{head} was never answered as is expected; the last time with {last}"))
}
