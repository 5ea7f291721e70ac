//! Malformed requests, which hyper rejects before the host sees them.
//!
//! If hyper cannot parse the head of a request, it sends a bare 400 or 431: without a body, CORS headers or a line in
//! the access log. It has no hook for that. So [`Observed`] wraps the stream of each connection. It keeps the bytes of
//! the head that hyper is reading, and drops hyper's own response. The host then restarts hyper on the connection. If
//! the head can be repaired, hyper reads the repaired head; for example, a `"` in a query becomes `%22`. Otherwise
//! hyper reads a substitute, a plain request to which the host responds with the problem.
//!
//! The host never guesses where a request begins, because it could take bytes of a body for the next request. It finds
//! the next head through the lengths of the bodies, and closes the connection after a body of unknown length. It
//! repairs a head only if hyper's own position confirms the result ([`Observed::reparse`]).

mod head;

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use http::header::{CONTENT_LENGTH, HOST, HeaderName, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderValue, Version};
use shared::Problem;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use head::{MAX_LINE_BYTES, UNREADABLE};

/// Max bytes kept until hyper hands a request over: more than the largest head that hyper accepts.
const MAX_KEPT_BYTES: usize = 2 * super::MAX_HEADER_BYTES;

/// How long requests may still take after the end of the client's stream. A client that has left and one that only
/// sends no more look the same. So most requests of the latter succeed, and the host abandons slow ones of the former.
const HALF_CLOSED: Duration = Duration::from_millis(250);

/// A client's stream that records what hyper reads and drops hyper's own responses.
pub(crate) struct Observed<S> {
    stream: S,
    /// Bytes that hyper reads before those of the stream.
    replay: Bytes,
    exchange: Exchange,
    /// Keeps the end of the stream from hyper, which would abandon the request in flight at once.
    half_closed: Option<Pin<Box<Sleep>>>,
}

/// The state of the current request, shared by the stream and the service of one connection.
#[derive(Clone, Default)]
pub(crate) struct Exchange(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    phase: Phase,
    /// Bytes read since the start of the first request in `handed_over`, or of the next request if that is empty.
    kept: Vec<u8>,
    /// Body lengths of the requests that hyper has handed over and whose heads are in `kept`.
    handed_over: Vec<u64>,
    /// The status of hyper's own response, which the stream dropped.
    dropped: Option<u16>,
    /// Whether hyper already parses more headers than its default.
    has_more_headers: bool,
    /// Whether the host has already percent-encoded the target of the current head.
    is_encoded: bool,
    /// Whether the connection closes after the response.
    is_closing: bool,
    /// The problem for the next request, if that is a substitute for a malformed one.
    problem: Option<Problem>,
}

enum Phase {
    /// hyper has read a head or waited for one since then.
    Reading(Instant),
    /// The host has the request.
    Handling,
    /// hyper writes its response.
    Responding,
}

impl Default for Phase {
    fn default() -> Self {
        Self::Reading(Instant::now())
    }
}

/// How hyper parses a connection again.
pub(crate) enum Reparse {
    /// With another head that hyper accepts: the repaired one or a substitute.
    Replaced,
    /// With the same head, and a higher limit of headers.
    WithMoreHeaders,
}

impl Exchange {
    /// Records that hyper hands a request over, before it reads the body. Returns the problem if the host must reject
    /// the request: it is a substitute for a malformed one, or NGINX would reject it.
    pub(crate) fn begin(&self, parts: &Parts, body_length: Option<u64>) -> Option<Problem> {
        let mut state = self.state();
        state.phase = Phase::Handling;
        state.is_encoded = false;
        let problem = state.problem.take().or_else(|| state.rejection(parts, body_length != Some(0)));
        state.handed_over.push(body_length.unwrap_or(0)); // after a body of unknown length, the connection closes
        problem
    }

    /// Records that the response is complete, and whether the connection closes after it.
    pub(crate) fn respond(&self, closes: bool) {
        let mut state = self.state();
        state.phase = Phase::Responding;
        state.is_closing = closes;
    }

    /// Returns whether the host closes the connection after the current response.
    pub(crate) fn is_closing(&self) -> bool {
        self.state().is_closing
    }

    /// Returns when the last response ended, or when the client connected. `None` while a request is in flight.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        self.state().idle_since()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn idle_since(&self) -> Option<Instant> {
        if let Phase::Reading(since) = self.phase { Some(since) } else { None }
    }

    fn received(&mut self, bytes: &[u8]) {
        if self.idle_since().is_some() && !self.handed_over.is_empty() {
            // hyper reads the next head after it has handed over all complete requests. Usually no bytes are left.
            if self.kept.ends_with(b"\r\n\r\n") && self.handed_over.iter().all(|length| *length == 0) {
                self.kept.clear();
                self.handed_over.clear();
            }
            self.discard_handed_over();
        }
        if self.kept.len() + bytes.len() > MAX_KEPT_BYTES {
            self.kept = Vec::new(); // hyper rejects such a head, and bytes of a body are not needed
        }
        self.kept.extend_from_slice(bytes);
    }

    /// Discards the bytes of requests that hyper has handed over.
    fn discard_handed_over(&mut self) {
        for body_length in self.handed_over.drain(..) {
            let body_length = usize::try_from(body_length).unwrap_or(usize::MAX);
            match head::end(&self.kept).and_then(|end| end.checked_add(body_length)) {
                Some(end) if end < self.kept.len() => drop(self.kept.drain(..end)),
                _ => self.kept.clear(),
            }
        }
        if self.kept.is_empty() {
            self.kept.shrink_to(MAX_LINE_BYTES); // so that an idle connection holds little memory
        }
    }

    /// Returns the problem of a request that hyper accepts and NGINX rejects: a line is too long, or another server on
    /// the way could read a different request.
    fn rejection(&mut self, parts: &Parts, has_body: bool) -> Option<Problem> {
        if self.kept.len() > MAX_LINE_BYTES
            && let Some(problem) = oversized(parts)
        {
            return Some(problem);
        }
        let is_repeated = parts.headers.len() > parts.headers.keys_len() // rare, and cheaper than the count below
            && parts.headers.get_all(HOST).iter().nth(1).is_some();
        match parts.headers.get(HOST) {
            Some(host) if is_host(host.as_bytes()) && !is_repeated => {}
            None if parts.version < Version::HTTP_11 => {}
            _ => return Some(Problem::bad_request("A request has one Host header, which names a host.")),
        }
        if !parts.uri.path().starts_with('/') {
            return Some(UNREADABLE); // hyper takes the target of `GET products HTTP/1.1` for a server; `*` has no path
        }
        if !has_body {
            return None;
        }
        // hyper removes a Content-Length beside Transfer-Encoding, and one of two equal ones. So count them in the kept
        // bytes.
        self.discard_handed_over();
        let head = self.kept.get(..head::end(&self.kept)?)?;
        let codings = head::header(head, TRANSFER_ENCODING.as_str()).count();
        let lengths = head::header(head, CONTENT_LENGTH.as_str()).count();
        if codings + lengths != 1 {
            return Some(UNREADABLE);
        }
        let coding = parts.headers.get(TRANSFER_ENCODING)?;
        (!coding.as_bytes().eq_ignore_ascii_case(b"chunked")).then(Problem::transfer_coding_unknown)
    }
}

/// Returns the problem of a request whose request line or header is too long for NGINX.
fn oversized(parts: &Parts) -> Option<Problem> {
    let target = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
    if parts.method.as_str().len() + target + "  HTTP/1.1\r\n".len() > MAX_LINE_BYTES {
        return Some(Problem::address_too_long());
    }
    let is_long = |(name, value): (&HeaderName, &HeaderValue)| {
        name.as_str().len() + value.len() + ": \r\n".len() > MAX_LINE_BYTES
    };
    parts.headers.iter().any(is_long).then(Problem::headers_too_large)
}

/// Returns whether NGINX accepts a value of the Host header.
fn is_host(host: &[u8]) -> bool {
    let mut before = b'/';
    host.iter().all(|byte| {
        let is_allowed = *byte > b' ' && *byte != b'/' && *byte != 0x7f && (*byte != b'.' || before != b'.');
        before = *byte;
        is_allowed
    }) && !host.is_empty()
}

impl<S> Observed<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, replay: Bytes::new(), exchange: Exchange::default(), half_closed: None }
    }

    pub(crate) fn exchange(&self) -> Exchange {
        self.exchange.clone()
    }

    pub(crate) fn into_inner(self) -> S {
        self.stream
    }

    /// Prepares the stream for a restart of hyper after a parse error. `unparsed` are the bytes that hyper has read and
    /// not parsed. Returns `None` if hyper's own response was sent: this happens behind an earlier response that a slow
    /// client had not read yet.
    pub(crate) fn reparse(&mut self, unparsed: &[u8]) -> Option<Reparse> {
        let mut state = self.exchange.state();
        state.idle_since()?; // hyper has begun a response
        state.discard_handed_over();
        let kept = std::mem::take(&mut state.kept);
        let status = state.dropped.take().unwrap_or(400);
        // hyper has parsed nothing of the head, or the whole head except the target. It skips empty lines in both
        // cases.
        let end = head::end(&kept);
        let unparsed = head::without_empty_lines(unparsed);
        let after_head = end.and_then(|end| kept.get(end..)).map(head::without_empty_lines);
        let is_certain = head::without_empty_lines(&kept) == unparsed || after_head == Some(unparsed);
        let repaired = match status {
            431 if is_certain && !state.has_more_headers => {
                state.has_more_headers = true;
                Some((kept.clone(), Reparse::WithMoreHeaders))
            }
            400 if is_certain && !state.is_encoded => {
                state.is_encoded = true;
                head::with_encoded_target(&kept).map(|head| (head, Reparse::Replaced))
            }
            _ => None,
        };
        if let Some((head, reparse)) = repaired {
            // hyper's new start also needs the bytes that it had not read from the previous replay.
            self.replay = [&head[..], &self.replay].concat().into();
            return Some(reparse);
        }
        state.problem = Some(head::problem(&kept, status));
        self.replay = head::substitute(&kept).into();
        Some(Reparse::Replaced)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Observed<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        if this.replay.is_empty() {
            ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        } else {
            let length = buffer.remaining().min(this.replay.len());
            buffer.put_slice(&this.replay.copy_to_bytes(length));
        }
        let mut state = this.exchange.state();
        match buffer.filled().get(before..) {
            Some(read) if !read.is_empty() => state.received(read),
            _ if state.idle_since().is_some() => {}
            _ => ready!(
                this.half_closed.get_or_insert_with(|| Box::pin(sleep(HALF_CLOSED))).as_mut().poll(context)
            ),
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Observed<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let mut state = this.exchange.state();
        if state.idle_since().is_some() {
            // `HTTP/1.1 400 Bad Request`
            let status = slices.first().and_then(|line| str::from_utf8(line.get(9..12)?).ok()?.parse().ok());
            state.dropped = state.dropped.or(status);
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        drop(state);
        Pin::new(&mut this.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes after it has written the whole response.
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let mut state = this.exchange.state();
        if matches!(state.phase, Phase::Responding) {
            state.phase = Phase::default();
        }
        drop(state);
        Pin::new(&mut this.stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.exchange.state().dropped.is_some() {
            return Poll::Ready(Ok(())); // the host still responds with the problem
        }
        Pin::new(&mut this.stream).poll_shutdown(context)
    }
}
