//! A host that does as a test says: for what a balancer makes of hosts that fail.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What to do about a request, once it is read.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    /// Answer with this status, and with the name of the host as the body.
    Answer(u16),
    /// End the connection.
    HangUp,
    /// Keep the connection, and say nothing.
    Hang,
}

/// Where it listens, and all that it was asked.
#[derive(Clone, Debug)]
pub struct ScriptedHost {
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

impl ScriptedHost {
    /// Listens until the test ends.
    pub async fn start(name: &'static str, act: Act) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = Self { address: listener.local_addr().unwrap(), requests: Arc::default() };
        let requests = Arc::clone(&host.requests);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, name, act, Arc::clone(&requests)));
            }
        });
        host
    }

    /// The requests that have arrived whole, in small letters.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

/// Answers one request after another.
async fn serve(mut stream: TcpStream, name: &str, act: Act, requests: Arc<Mutex<Vec<String>>>) {
    while let Some(request) = read_request(&mut stream).await {
        requests.lock().unwrap().push(request);
        match act {
            Act::Answer(status) => {
                let answer = format!("HTTP/1.1 {status} -\r\ncontent-length: {}\r\n\r\n{name}", name.len());
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
            Act::HangUp => return,
            Act::Hang => {}
        }
    }
}

/// The next request, body and all, in small letters; none when the connection has ended.
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

/// A header of a request as [`ScriptedHost::requests`] has it.
pub fn header_of<'a>(request: &'a str, name: &str) -> Option<&'a str> {
    request.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}
