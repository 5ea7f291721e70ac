//! A client with the connection use of a browser: one request at a time per connection. It reuses its connections, or
//! opens a new one for each request.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures_util::future::try_join_all;
use http::header::{ACCEPT_ENCODING, ETAG, HOST, HeaderValue, IF_NONE_MATCH};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Connections to one server.
pub(super) struct Browser {
    server: SocketAddr,
    reuses: bool,
    /// Open connections, by the number of the call.
    idle: Vec<Option<SendRequest<Empty<Bytes>>>>,
}

/// A GET request.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) path: String,
    pub(super) coding: &'static str,
    /// The tag of the client's copy, so that the service returns 304.
    pub(super) etag: Option<HeaderValue>,
}

/// The result of a call.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) etag: Option<HeaderValue>,
    /// Received bytes of the body.
    pub(super) bytes: usize,
}

/// A connection and the result of its call.
type Done = (SendRequest<Empty<Bytes>>, Reply);

impl Browser {
    pub(super) fn new(server: SocketAddr, reuses: bool) -> Self {
        Self { server, reuses, idle: Vec::new() }
    }

    /// Makes all calls in parallel, each on its own connection.
    pub(super) async fn parallel(&mut self, calls: &[Call]) -> Result<Vec<Reply>> {
        self.idle.resize_with(self.idle.len().max(calls.len()), || None);
        let calls = self.idle.iter_mut().zip(calls).map(|(idle, call)| send(self.server, idle.take(), call));
        let done = try_join_all(calls).await?;
        let mut replies = Vec::new();
        for (idle, (connection, reply)) in self.idle.iter_mut().zip(done) {
            *idle = self.reuses.then_some(connection);
            replies.push(reply);
        }
        Ok(replies)
    }

    /// Makes one call after another; with reuse, all on one connection.
    pub(super) async fn sequential(&mut self, calls: &[Call]) -> Result<Vec<Reply>> {
        let mut replies = Vec::new();
        for call in calls {
            replies.append(&mut self.parallel(std::slice::from_ref(call)).await?);
        }
        Ok(replies)
    }
}

/// Makes a call and reads the whole response. It uses the connection `idle` if that is open, or else a new one.
async fn send(server: SocketAddr, idle: Option<SendRequest<Empty<Bytes>>>, call: &Call) -> Result<Done> {
    let what = || format!("{server}{}", call.path);
    let mut connection = match idle {
        Some(idle) if !idle.is_closed() => idle,
        Some(_) | None => open(server).await.with_context(what)?,
    };
    // The connection's task may not have noticed yet that the last response was read.
    connection.ready().await.with_context(what)?;
    let mut request =
        Request::get(&call.path).header(HOST, server.to_string()).header(ACCEPT_ENCODING, call.coding);
    if let Some(etag) = &call.etag {
        request = request.header(IF_NONE_MATCH, etag);
    }
    let response = connection.send_request(request.body(Empty::new())?).await.with_context(what)?;
    let expected = if call.etag.is_some() { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
    let status = response.status();
    ensure!(status == expected, "{} returned {status}, expected {expected}", what());
    let etag = response.headers().get(ETAG).cloned();
    let bytes = response.into_body().collect().await.with_context(what)?.to_bytes().len();
    Ok((connection, Reply { etag, bytes }))
}

async fn open(server: SocketAddr) -> Result<SendRequest<Empty<Bytes>>> {
    let stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Errors of the connection fail the requests on it.
    tokio::spawn(connection);
    Ok(sender)
}
