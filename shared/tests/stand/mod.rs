//! What the tests stand on: configuration as programs read it, and a way to a database that can be made to fall silent.

#![allow(dead_code)] // each test binary takes what it needs
#![allow(clippy::unwrap_used, clippy::panic)] // in helpers too, which clippy does not take for tests

use std::sync::{Arc, Mutex};
use std::time::Duration;

use local::testing::Database;
use shared::App;
use shared::config::FunctionConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;

/// How long anything that is waited for may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A function's configuration with these variables set.
pub(crate) fn function(variables: &[(&str, &str)]) -> FunctionConfig {
    let set =
        |name: &str| variables.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned());
    FunctionConfig::from_lookup(&set).unwrap()
}

/// A function's state, with these variables set.
pub(crate) fn app(variables: &[(&str, &str)]) -> App {
    let function = function(variables);
    App::start(&function.database, &function.requests)
}

/// Polls.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let polling = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, polling).await.is_ok(), "still not so: {what}");
}

/// A way to a database by TCP. Told to, it passes nothing on any more over the connections that it has, and leaves
/// them open: what a frozen process finds when the other end has gone without a word.
pub(crate) struct Way {
    port: u16,
    user_and_name: (String, String),
    said: Arc<Mutex<Said>>,
    silence: watch::Sender<()>,
}

/// What clients have said over all connections.
#[derive(Default)]
pub(crate) struct Said {
    pub(crate) connections: usize,
    pub(crate) passed_on: Vec<u8>,
    pub(crate) unheard: Vec<u8>,
}

impl Way {
    pub(crate) async fn to(database: &Database) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let way = Self {
            port: listener.local_addr().unwrap().port(),
            user_and_name: (local::HOST_LOGIN.to_owned(), database.name().to_owned()),
            said: Arc::default(),
            silence: watch::Sender::new(()),
        };
        let (socket, said, silence) = (database.socket(), Arc::clone(&way.said), way.silence.clone());
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let server = UnixStream::connect(&socket).await.unwrap();
                said.lock().unwrap().connections += 1;
                tokio::spawn(pass_on(client, server, Arc::clone(&said), silence.subscribe()));
            }
        });
        way
    }

    /// As `DATABASE_URL` for the service.
    pub(crate) fn url(&self) -> String {
        let (user, name) = &self.user_and_name;
        format!("postgresql://{user}@127.0.0.1:{}/{name}", self.port)
    }

    /// The same, of two servers.
    pub(crate) fn url_of_both(one: &Self, other: &Self) -> String {
        let (user, name) = &one.user_and_name;
        format!("postgresql://{user}@127.0.0.1:{},127.0.0.1:{}/{name}", one.port, other.port)
    }

    pub(crate) fn fall_silent(&self) {
        self.silence.send_replace(());
    }

    /// What clients have said up to now.
    pub(crate) fn said<T>(&self, of: impl FnOnce(&Said) -> T) -> T {
        of(&self.said.lock().unwrap())
    }
}

async fn pass_on(
    mut client: TcpStream,
    mut server: UnixStream,
    said: Arc<Mutex<Said>>,
    mut silence: watch::Receiver<()>,
) {
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let mut buffer = [0; 4096];
    let asking = async {
        while let Ok(length @ 1..) = from_client.read(&mut buffer).await {
            said.lock().unwrap().passed_on.extend_from_slice(&buffer[..length]);
            to_server.write_all(&buffer[..length]).await.unwrap();
        }
    };
    tokio::select! {
        () = asking => return,
        _ = tokio::io::copy(&mut from_server, &mut to_client) => return,
        _ = silence.changed() => {}
    }
    while let Ok(length @ 1..) = from_client.read(&mut buffer).await {
        said.lock().unwrap().unheard.extend_from_slice(&buffer[..length]);
    }
    std::future::pending::<()>().await; // the server's end stays open as well
}
