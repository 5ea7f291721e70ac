//! A client that asks as a browser does: one request at a time on a connection, over connections that it keeps, or over
//! a new one for each request.

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
    keeps: bool,
    /// By the number of the call that each was opened for.
    kept: Vec<Option<SendRequest<Empty<Bytes>>>>,
}

/// One call, and how it is made.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) path: String,
    pub(super) coding: &'static str,
    /// What the client has already, so that it is answered 304.
    pub(super) etag: Option<HeaderValue>,
}

/// What came of a call.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) etag: Option<HeaderValue>,
    /// Of the body, as it came.
    pub(super) bytes: usize,
}

/// A connection and what it brought.
type Done = (SendRequest<Empty<Bytes>>, Answer);

impl Browser {
    pub(super) fn new(server: SocketAddr, keeps: bool) -> Self {
        Self { server, keeps, kept: Vec::new() }
    }

    /// Makes all calls at once, each on a connection of its own.
    pub(super) async fn at_once(&mut self, calls: &[Call]) -> Result<Vec<Answer>> {
        self.kept.resize_with(self.kept.len().max(calls.len()), || None);
        let asked = self.kept.iter_mut().zip(calls).map(|(kept, call)| ask(self.server, kept.take(), call));
        let done = try_join_all(asked).await?;
        let mut answers = Vec::new();
        for (kept, (connection, answer)) in self.kept.iter_mut().zip(done) {
            *kept = self.keeps.then_some(connection);
            answers.push(answer);
        }
        Ok(answers)
    }

    /// Makes one call after another; if connections are kept, all on the same.
    pub(super) async fn in_turn(&mut self, calls: &[Call]) -> Result<Vec<Answer>> {
        let mut answers = Vec::new();
        for call in calls {
            answers.append(&mut self.at_once(std::slice::from_ref(call)).await?);
        }
        Ok(answers)
    }
}

/// Makes a call, on this connection if there is one that is open, and reads all of the answer.
async fn ask(server: SocketAddr, kept: Option<SendRequest<Empty<Bytes>>>, call: &Call) -> Result<Done> {
    let what = || format!("{server}{}", call.path);
    let mut connection = match kept {
        Some(kept) if !kept.is_closed() => kept,
        Some(_) | None => open(server).await.with_context(what)?,
    };
    // The last answer was read, but the connection may have to be told so yet.
    connection.ready().await.with_context(what)?;
    let mut request =
        Request::get(&call.path).header(HOST, server.to_string()).header(ACCEPT_ENCODING, call.coding);
    if let Some(etag) = &call.etag {
        request = request.header(IF_NONE_MATCH, etag);
    }
    let response = connection.send_request(request.body(Empty::new())?).await.with_context(what)?;
    let expected = if call.etag.is_some() { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
    let status = response.status();
    ensure!(status == expected, "{} answered {status}, expected {expected}", what());
    let etag = response.headers().get(ETAG).cloned();
    let bytes = response.into_body().collect().await.with_context(what)?.to_bytes().len();
    Ok((connection, Answer { etag, bytes }))
}

async fn open(server: SocketAddr) -> Result<SendRequest<Empty<Bytes>>> {
    let stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Its errors are those of the requests on it.
    tokio::spawn(connection);
    Ok(sender)
}
