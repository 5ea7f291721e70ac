//! Requests that hyper refuses by itself.
//!
//! hyper sends a bare 400 or 431 to a request whose head it cannot read: no body, no CORS headers, no line in the log, and
//! the handler is never called. It has no hook for that. So each connection's stream is wrapped in an [`Observed`], which
//! keeps the bytes of the head that hyper is reading, and drops a response that no request of ours has caused. The
//! connection is then served again from the kept bytes: repaired where that is enough (a `"` in a query is sent
//! percent-encoded by other clients), else with a plain request in their place, to which the host responds with the
//! problem.
//!
//! Where a request begins must never be guessed: bytes of a body could be taken for the next request. The kept bytes are
//! counted by the lengths of bodies, a connection ends after a request whose length is unknown, and nothing is repaired
//! unless hyper's own position agrees ([`Observed::again`]).

mod head;

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::header::{CONTENT_LENGTH, HOST, HeaderName, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderValue, Version};
use shared::Problem;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use head::{MAX_LINE_BYTES, UNREADABLE};

/// Limit of the bytes kept before a request is handed over: more than the head that hyper takes.
const MAX_KEPT_BYTES: usize = 2 * super::MAX_HEADER_BYTES;

/// A client's stream, watched while hyper reads and writes it.
pub(crate) struct Observed<S> {
    stream: S,
    /// Bytes to be read before those of the stream.
    replay: Bytes,
    exchange: Exchange,
}

/// What the stream and the service of one connection know of the request in progress.
#[derive(Clone, Default)]
pub(crate) struct Exchange(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    phase: Phase,
    /// What was read, from the head of the first request in `handed_over`, or else of the next one.
    kept: Vec<u8>,
    /// The lengths of the bodies of requests whose heads are in `kept`.
    handed_over: Vec<u64>,
    /// The status of hyper's own response, which was dropped.
    dropped: Option<u16>,
    /// Whether hyper has room for more headers than it has by default.
    has_more_headers: bool,
    /// Whether the target of the head that is read was encoded.
    is_encoded: bool,
    /// Whether the connection closes after the response.
    is_closing: bool,
    /// What to respond to the next request, which stands for one that cannot be read.
    problem: Option<Problem>,
}

#[derive(Default, PartialEq, Eq)]
enum Phase {
    /// A head is read, or waited for.
    #[default]
    Reading,
    /// The host has the request.
    Handling,
    /// Its response is being written.
    Responding,
}

/// How to serve a connection again.
pub(crate) enum Again {
    /// From a head that hyper takes: the repaired one, or one to which the host responds with a problem.
    Replaced,
    /// From the same head, with room for more headers.
    WithMoreHeaders,
}

impl Exchange {
    /// Notes that hyper hands a request over, before it reads of its body. Returns the problem with which the host has to
    /// refuse it, if any: it stands for one that cannot be read, or NGINX would refuse it.
    pub(crate) fn begin(&self, parts: &Parts, body_length: Option<u64>) -> Option<Problem> {
        let mut state = self.state();
        state.phase = Phase::Handling;
        state.is_encoded = false;
        let problem = state.problem.take().or_else(|| state.refusal(parts, body_length != Some(0)));
        state.handed_over.push(body_length.unwrap_or(0)); // of unknown length, it is the last one
        problem
    }

    /// Notes that the host has the response, and whether the connection closes after it.
    pub(crate) fn respond(&self, closes: bool) {
        let mut state = self.state();
        state.phase = Phase::Responding;
        state.is_closing = closes;
    }

    /// Whether the host closes the connection after the last response.
    pub(crate) fn is_closing(&self) -> bool {
        self.state().is_closing
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn received(&mut self, bytes: &[u8]) {
        if self.phase == Phase::Reading && !self.handed_over.is_empty() {
            // hyper reads on for a head when it has handed over all that are complete. Nearly always nothing is left.
            if self.kept.ends_with(b"\r\n\r\n") && self.handed_over.iter().all(|length| *length == 0) {
                self.kept.clear();
                self.handed_over.clear();
            }
            self.forget_handed_over();
        }
        if self.kept.len() + bytes.len() > MAX_KEPT_BYTES {
            self.kept = Vec::new(); // hyper refuses such a head, and a body is never kept for long
        }
        self.kept.extend_from_slice(bytes);
    }

    /// Leaves the bytes that belong to no request handed over.
    fn forget_handed_over(&mut self) {
        for body_length in self.handed_over.drain(..) {
            let body_length = usize::try_from(body_length).unwrap_or(usize::MAX);
            match head::end(&self.kept).and_then(|end| end.checked_add(body_length)) {
                Some(end) if end < self.kept.len() => drop(self.kept.drain(..end)),
                _ => self.kept.clear(),
            }
        }
        if self.kept.is_empty() {
            self.kept.shrink_to(MAX_LINE_BYTES); // a connection that stays open must not hold more
        }
    }

    /// The problem of a request that hyper takes, and that NGINX does not: it is too long, or another server in between may
    /// read it as a different one.
    fn refusal(&mut self, parts: &Parts, has_body: bool) -> Option<Problem> {
        if self.kept.len() > MAX_LINE_BYTES
            && let Some(problem) = oversized(parts)
        {
            return Some(problem);
        }
        let is_repeated = parts.headers.len() > parts.headers.keys_len() // rare, and cheaper to see than to count
            && parts.headers.get_all(HOST).iter().nth(1).is_some();
        match parts.headers.get(HOST) {
            Some(host) if is_host(host.as_bytes()) && !is_repeated => {}
            None if parts.version < Version::HTTP_11 => {}
            _ => return Some(Problem::bad_request("A request has one Host header, which names a host.")),
        }
        if !parts.uri.path().starts_with('/') {
            return Some(UNREADABLE); // `GET products HTTP/1.1` names a server, and `*` nothing
        }
        if !has_body {
            return None;
        }
        // hyper drops a length beside a coding, and one of two equal lengths.
        self.forget_handed_over();
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

/// The problem of a request with a line that is too long.
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

/// Whether NGINX takes a value for the name of a host.
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
        Self { stream, replay: Bytes::new(), exchange: Exchange::default() }
    }

    pub(crate) fn exchange(&self) -> Exchange {
        self.exchange.clone()
    }

    pub(crate) fn into_inner(self) -> S {
        self.stream
    }

    /// Prepares for the connection to be served again, after hyper could not parse what it read; `unparsed` is what it has
    /// read and not parsed. `None` if hyper's own response went out: together with the one before it, which the client was
    /// slow to take.
    pub(crate) fn again(&mut self, unparsed: &[u8]) -> Option<Again> {
        let mut state = self.exchange.state();
        if state.phase != Phase::Reading {
            return None;
        }
        state.forget_handed_over();
        let kept = std::mem::take(&mut state.kept);
        let status = state.dropped.take().unwrap_or(400);
        // hyper has parsed nothing of the head, or all of it but what its target means. It skips empty lines either way.
        let end = head::end(&kept);
        let unparsed = head::without_empty_lines(unparsed);
        let behind = end.and_then(|end| kept.get(end..)).map(head::without_empty_lines);
        let is_certain = head::without_empty_lines(&kept) == unparsed || behind == Some(unparsed);
        let repaired = match status {
            431 if is_certain && !state.has_more_headers => {
                state.has_more_headers = true;
                Some((kept.clone(), Again::WithMoreHeaders))
            }
            400 if is_certain && !state.is_encoded => {
                state.is_encoded = true;
                head::with_encoded_target(&kept).map(|head| (head, Again::Replaced))
            }
            _ => None,
        };
        if let Some((head, again)) = repaired {
            // What hyper has read but not parsed comes again; so does what was to be read again and was not yet.
            self.replay = [&head[..], &self.replay].concat().into();
            return Some(again);
        }
        state.problem = Some(head::problem(&kept, status));
        self.replay = head::substitute(&kept).into();
        Some(Again::Replaced)
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
        if let Some(read) = buffer.filled().get(before..) {
            this.exchange.state().received(read);
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
        if state.phase == Phase::Reading {
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

    /// hyper flushes once it has written all that it had to.
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let mut state = this.exchange.state();
        if state.phase == Phase::Responding {
            state.phase = Phase::Reading;
        }
        drop(state);
        Pin::new(&mut this.stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.exchange.state().dropped.is_some() {
            return Poll::Ready(Ok(())); // there is more to come
        }
        Pin::new(&mut this.stream).poll_shutdown(context)
    }
}
