//! A host that behaves as a test says, to test how the load balancer handles failing hosts.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// The reaction to a request once it is read.
#[derive(Clone, Copy, Debug)]
pub enum Reaction {
    /// Responds with this status, and with the name of the host as the body.
    Respond(u16),
    /// Closes the connection.
    Close,
    /// Keeps the connection open and never responds.
    Hang,
}

/// A host's address, and all requests that it has received.
#[derive(Clone, Debug)]
pub struct ScriptedHost {
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

impl ScriptedHost {
    /// Listens until the test ends.
    pub async fn start(name: &'static str, reaction: Reaction) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = Self { address: listener.local_addr().unwrap(), requests: Arc::default() };
        let requests = Arc::clone(&host.requests);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, name, reaction, Arc::clone(&requests)));
            }
        });
        host
    }

    /// Returns the requests that have arrived completely, in lower case.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

/// Handles one request after another.
async fn serve(mut stream: TcpStream, name: &str, reaction: Reaction, requests: Arc<Mutex<Vec<String>>>) {
    while let Some(request) = read_request(&mut stream).await {
        requests.lock().unwrap().push(request);
        match reaction {
            Reaction::Respond(status) => {
                let response = format!("HTTP/1.1 {status} -\r\ncontent-length: {}\r\n\r\n{name}", name.len());
                if stream.write_all(response.as_bytes()).await.is_err() {
                    return;
                }
            }
            Reaction::Close => return,
            Reaction::Hang => {}
        }
    }
}

/// Reads the next request with its body, in lower case; returns `None` when the connection is closed.
async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut request = String::new();
    let mut bytes = [0; 1];
    let mut read = async |request: &mut String| {
        stream.read_exact(&mut bytes).await.ok()?;
        request.push(char::from(bytes[0]).to_ascii_lowercase());
        Some(())
    };
    while !request.ends_with("\r\n\r\n") {
        read(&mut request).await?;
    }
    for _ in 0..header_of(&request, "content-length").map_or(0, |length| length.parse().unwrap()) {
        read(&mut request).await?;
    }
    Some(request)
}

/// Returns a header of a request from [`ScriptedHost::requests`].
pub fn header_of<'a>(request: &'a str, name: &str) -> Option<&'a str> {
    request.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}
