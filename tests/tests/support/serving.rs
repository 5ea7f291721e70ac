//! The host on a real socket, alone or behind the load balancer, and a client for it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use atelier_host::Observers;
use bytes::Bytes;
use conformance::{RawTarget, Transport};
use http::header::{HOST, HeaderValue};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use local::{LoadBalancer, LoadBalancerSettings};
use rig::{Database, start_load_balancer};
use shared::App;
use shared::config::HostConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OnceCell;

/// The time limit for connecting, and for a response.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A host's address. Each request uses a new connection.
#[derive(Clone, Copy, Debug)]
pub struct Socket(pub SocketAddr);

impl Transport for Socket {
    const HAS_PAGES: bool = true;

    async fn call(&self, request: Request<Bytes>) -> Response<Bytes> {
        if request.extensions().get::<RawTarget>().is_some() {
            return raw(self.0, request).await;
        }
        let stream = TcpStream::connect(self.0).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        let (mut parts, body) = request.into_parts();
        parts.headers.entry(HOST).or_insert(HeaderValue::from_static("atelier.example"));
        let what = format!("{} {} {:?}", parts.method, parts.uri, parts.headers);
        let response = sender.send_request(Request::from_parts(parts, Full::new(body))).await;
        let (parts, body) = response.unwrap_or_else(|error| panic!("{what}: {error}")).into_parts();
        let body = body.collect().await.unwrap_or_else(|error| panic!("{what}: {error}")).to_bytes();
        connection.abort();
        Response::from_parts(parts, body)
    }
}

/// Sends a request whose target hyper's client would reject, on a new connection.
async fn raw(address: SocketAddr, request: Request<Bytes>) -> Response<Bytes> {
    let (parts, body) = request.into_parts();
    let RawTarget(target) = parts.extensions.get().unwrap();
    let mut bytes =
        [parts.method.as_str().as_bytes(), b" ", target, b" HTTP/1.1\r\nhost: atelier.example\r\n"].concat();
    bytes.extend_from_slice(b"connection: close\r\n");
    for (name, value) in &parts.headers {
        bytes.extend_from_slice(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    bytes.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
    bytes.extend_from_slice(&body);
    response(&exchange(address, &bytes).await)
}

/// Sends these bytes, and reads until the connection is closed. A server that rejects them need not read them all, and
/// may reset the connection after its response.
pub async fn exchange(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let _ = stream.write_all(bytes).await;
    let mut response = Vec::new();
    let _ = tokio::time::timeout(TIMEOUT, stream.read_to_end(&mut response))
        .await
        .expect("the server does not close the connection");
    response
}

/// Parses one response.
pub fn response(bytes: &[u8]) -> Response<Bytes> {
    let text = || String::from_utf8_lossy(bytes).into_owned();
    let end =
        bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or_else(|| panic!("{}", text()));
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or_else(|| panic!("{}", text()));
    let mut response = Response::builder().status(status);
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("{}", text()));
        response = response.header(name, value);
    }
    response.body(Bytes::copy_from_slice(&bytes[end + 4..])).unwrap()
}

/// Serves a database from the shared runtime until the test binary exits.
pub async fn serve(database: &Database) -> Socket {
    serve_with(database, &[]).await
}

/// Serves a database with these variables.
pub async fn serve_with(database: &Database, variables: &'static [(&'static str, &'static str)]) -> Socket {
    let url = database.host_url();
    let serving = async move {
        let config = HostConfig::from_lookup(&|name| match name {
            "DATABASE_URL" => Some(url.clone()),
            _ => variables.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned()),
        });
        let config = config.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Arc::new(App::start(&config.database, &config.requests));
        assert!(app.wait_until_connected(TIMEOUT).await, "the host cannot reach its database");
        let forever = std::future::pending();
        tokio::spawn(async move {
            atelier_host::serve(listener, app, &config, Observers::default(), forever).await
        });
        Socket(address)
    };
    super::SHARED_RUNTIME.spawn(serving).await.unwrap()
}

/// Returns a host over the hand-made dataset, started once for all tests of a binary.
pub async fn small_host() -> Socket {
    static HOST_OF_SMALL: OnceCell<Socket> = OnceCell::const_new();
    *HOST_OF_SMALL.get_or_init(|| async { serve(&super::small().await.database).await }).await
}

/// A load balancer's address.
#[derive(Clone, Copy, Debug)]
pub struct Balanced(pub Socket);

impl Transport for Balanced {
    const IS_STRICT: bool = true;
    const HAS_PAGES: bool = true;

    async fn call(&self, request: Request<Bytes>) -> Response<Bytes> {
        self.0.call(request).await
    }
}

/// Returns a load balancer with three hosts over the hand-made dataset, started once for all tests of a binary.
pub async fn small_fleet() -> Balanced {
    static FLEET_OF_SMALL: OnceCell<LoadBalancer> = OnceCell::const_new();
    let start = || async {
        let database = &super::small().await.database;
        let hosts = [serve(database).await.0, serve(database).await.0, serve(database).await.0];
        start_load_balancer(&hosts, LoadBalancerSettings::default()).await.unwrap()
    };
    Balanced(Socket(FLEET_OF_SMALL.get_or_init(start).await.address()))
}
