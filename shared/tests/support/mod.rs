//! Support for the tests: configuration as programs read it, and a proxy to a database that can become a black hole.

#![allow(dead_code)] // each test binary uses a part of it
#![allow(clippy::unwrap_used, clippy::panic)] // clippy does not count helpers as tests

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rig::Database;
use shared::App;
use shared::config::FunctionConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;

/// The timeout of everything that a test waits for.
pub(crate) const TEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Returns the configuration of a function with these variables.
pub(crate) fn function(variables: &[(&str, &str)]) -> FunctionConfig {
    let set =
        |name: &str| variables.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned());
    FunctionConfig::from_lookup(&set).unwrap()
}

/// Starts the state of a function with these variables.
pub(crate) fn app(variables: &[(&str, &str)]) -> App {
    let function = function(variables);
    App::start(&function.database, &function.requests)
}

/// Polls until the condition holds.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let polling = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(TEST_TIMEOUT, polling).await.is_ok(), "timed out: {what}");
}

/// A TCP proxy to a database. As a black hole, it forwards nothing over its present connections and leaves them open. A
/// frozen process finds the same if the server disappears meanwhile.
pub(crate) struct Proxy {
    port: u16,
    user_and_name: (String, String),
    traffic: Arc<Mutex<Traffic>>,
    black_hole: watch::Sender<()>,
}

/// The bytes that clients have sent over all connections, and how many they have received.
#[derive(Default)]
pub(crate) struct Traffic {
    pub(crate) connections: usize,
    pub(crate) received: usize,
    pub(crate) forwarded: Vec<u8>,
    pub(crate) dropped: Vec<u8>,
}

impl Proxy {
    pub(crate) async fn to(database: &Database) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self {
            port: listener.local_addr().unwrap().port(),
            user_and_name: (local::HOST_LOGIN.to_owned(), database.name().to_owned()),
            traffic: Arc::default(),
            black_hole: watch::Sender::new(()),
        };
        let (socket, traffic, black_hole) =
            (database.socket(), Arc::clone(&proxy.traffic), proxy.black_hole.clone());
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let server = UnixStream::connect(&socket).await.unwrap();
                traffic.lock().unwrap().connections += 1;
                tokio::spawn(forward(client, server, Arc::clone(&traffic), black_hole.subscribe()));
            }
        });
        proxy
    }

    /// Returns a `DATABASE_URL` for the service.
    pub(crate) fn url(&self) -> String {
        let (user, name) = &self.user_and_name;
        format!("postgresql://{user}@127.0.0.1:{}/{name}", self.port)
    }

    /// Returns a `DATABASE_URL` of two servers.
    pub(crate) fn url_of_both(one: &Self, other: &Self) -> String {
        let (user, name) = &one.user_and_name;
        format!("postgresql://{user}@127.0.0.1:{},127.0.0.1:{}/{name}", one.port, other.port)
    }

    /// Turns all present connections into black holes.
    pub(crate) fn black_hole(&self) {
        self.black_hole.send_replace(());
    }

    /// Reads the traffic up to now.
    pub(crate) fn traffic<T>(&self, read: impl FnOnce(&Traffic) -> T) -> T {
        read(&self.traffic.lock().unwrap())
    }
}

async fn forward(
    mut client: TcpStream,
    mut server: UnixStream,
    traffic: Arc<Mutex<Traffic>>,
    mut black_hole: watch::Receiver<()>,
) {
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let mut buffer = [0; 4096];
    let requests = async {
        while let Ok(length @ 1..) = from_client.read(&mut buffer).await {
            traffic.lock().unwrap().forwarded.extend_from_slice(&buffer[..length]);
            to_server.write_all(&buffer[..length]).await.unwrap();
        }
    };
    let mut response = [0; 4096];
    let responses = async {
        while let Ok(length @ 1..) = from_server.read(&mut response).await {
            traffic.lock().unwrap().received += length;
            if to_client.write_all(&response[..length]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = requests => return,
        () = responses => return,
        _ = black_hole.changed() => {}
    }
    while let Ok(length @ 1..) = from_client.read(&mut buffer).await {
        traffic.lock().unwrap().dropped.extend_from_slice(&buffer[..length]);
    }
    std::future::pending::<()>().await; // keeps the server's end open too
}
