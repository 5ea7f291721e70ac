//! Requests that hyper refuses by itself.
//!
//! hyper sends a bare 400 or 431 to a request whose head it cannot read: no body, no CORS headers, no line in the log, and
//! the handler is never called. It has no hook for that. So each connection's stream is wrapped in an [`Observed`], which
//! keeps the bytes of the head that hyper is reading, and drops a response that no request of ours has caused. The
//! connection is then served again from the kept bytes: repaired where that is enough (a `"` in a query is sent
//! percent-encoded by other clients), else with a plain request in their place, to which the host responds with the
//! problem.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::header::{HOST, HeaderName, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderValue, Version};
use shared::Problem;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What is kept of what a client sends before its request is handed over, at most: more than the head that hyper takes.
const MAX_KEPT_BYTES: usize = 2 * super::LARGEST_HEADER_BYTES;

/// The longest request line, and the longest header, that NGINX passes to a host.
const MAX_LINE_BYTES: usize = 8 * 1024;

/// What a request that cannot be read gets.
const UNREADABLE: Problem = Problem::bad_request("This is not a request that the service can read.");

/// Methods that a refused request is logged and answered under; `HEAD` must not get a body.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

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
    /// The lengths of the bodies of requests whose heads are in `kept`; `u64::MAX` where unknown.
    handed_over: Vec<u64>,
    /// The status of hyper's own response, which was dropped.
    dropped: Option<u16>,
    /// Whether the bytes that are read are a head that was repaired.
    is_repaired: bool,
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
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Again {
    /// From a head that hyper takes.
    Repaired,
    /// From the same head, with room for more headers than hyper takes by default.
    WithMoreHeaders,
    /// With a request to which the host responds with a problem, the last one of this connection.
    Refused,
}

impl Exchange {
    /// The host begins a request whose body has this length, if that is known. Returns the problem with which it has to be
    /// refused: because it stands for one that cannot be read, or because NGINX would refuse it.
    pub(crate) fn begin(&self, parts: &Parts, body_length: Option<u64>) -> Option<Problem> {
        let mut state = self.state();
        state.phase = Phase::Handling;
        state.is_repaired = false;
        state.handed_over.push(body_length.unwrap_or(u64::MAX));
        let is_large = state.kept.len() > MAX_LINE_BYTES;
        let problem = state.problem.take();
        drop(state);
        problem.or_else(|| if is_large { oversized(parts) } else { None }).or_else(|| ambiguous(parts))
    }

    /// The host has the response.
    pub(crate) fn respond(&self) {
        self.state().phase = Phase::Responding;
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
            self.kept.clear();
        }
        self.kept.extend_from_slice(bytes);
    }

    /// Leaves the bytes that belong to no request handed over.
    fn forget_handed_over(&mut self) {
        for body_length in self.handed_over.drain(..) {
            let body_length = usize::try_from(body_length).unwrap_or(usize::MAX);
            match head_end(&self.kept).and_then(|end| end.checked_add(body_length)) {
                Some(end) if end < self.kept.len() => drop(self.kept.drain(..end)),
                _ => self.kept.clear(),
            }
        }
    }
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

    /// Prepares for the connection to be served again, after hyper could not parse what it read. `None` if hyper's own
    /// response went out: together with the one before it, which the client was slow to take.
    pub(crate) fn again(&mut self) -> Option<Again> {
        let mut state = self.exchange.state();
        if state.phase != Phase::Reading {
            return None;
        }
        state.forget_handed_over();
        let kept = std::mem::take(&mut state.kept);
        let status = state.dropped.take().unwrap_or(400);
        let repaired = if state.is_repaired { None } else { repaired(&kept, status) };
        if let Some((head, again)) = repaired {
            state.is_repaired = true;
            // What hyper has read but not parsed comes again; so does what was to be read again and was not yet.
            self.replay = [&head[..], &self.replay].concat().into();
            return Some(again);
        }
        state.problem = Some(problem(&kept, status));
        self.replay = substitute(&kept).into();
        Some(Again::Refused)
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

/// The problem of a request that hyper takes, and that another server in between may read as a different one.
fn ambiguous(parts: &Parts) -> Option<Problem> {
    let mut hosts = parts.headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if is_host(host.as_bytes()) => {}
        (None, None) if parts.version < Version::HTTP_11 => {}
        _ => return Some(Problem::bad_request("A request has one Host header, which names a host.")),
    }
    if parts.uri.path().is_empty() {
        return Some(UNREADABLE); // `GET products HTTP/1.1` names a server, not a path
    }
    let coding = parts.headers.get(TRANSFER_ENCODING)?;
    (!coding.as_bytes().eq_ignore_ascii_case(b"chunked")).then(Problem::transfer_coding_unknown)
}

fn is_host(host: &[u8]) -> bool {
    !host.is_empty() && host.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'/' || !byte.is_ascii())
}

/// A head that hyper takes in place of the one that it has refused, with all that was read after it.
fn repaired(kept: &[u8], status: u16) -> Option<(Vec<u8>, Again)> {
    let line = RequestLine::of(kept)?;
    if status == 431 {
        return head_end(kept).map(|_| (kept.to_vec(), Again::WithMoreHeaders));
    }
    let is_fit = |byte: &u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(byte);
    if line.target.iter().all(is_fit)
        || line.target.iter().any(|byte| byte.is_ascii_control() || *byte == b' ')
    {
        return None;
    }
    let mut head = Vec::with_capacity(kept.len() + 64);
    head.extend_from_slice(line.method);
    head.push(b' ');
    for byte in line.target {
        if is_fit(byte) {
            head.push(*byte);
        } else {
            head.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
    head.push(b' ');
    head.extend_from_slice(line.version_and_rest);
    Some((head, Again::Repaired))
}

fn problem(kept: &[u8], status: u16) -> Problem {
    let line = RequestLine::of(kept);
    let version = line.as_ref().map_or(&b""[..], |line| line.version_and_rest);
    let later = |major: &u8| major.is_ascii_digit() && *major > b'1';
    let mut lines = without_empty_lines(kept).split(|byte| *byte == b'\n');
    let is_long = lines.next().is_some_and(|line| line.len() > MAX_LINE_BYTES);
    match status {
        431 | 414 if is_long => Problem::address_too_long(),
        431 | 414 => Problem::headers_too_large(),
        _ if version.strip_prefix(b"HTTP/").and_then(|version| version.first()).is_some_and(later) => {
            Problem::version_not_supported()
        }
        _ => UNREADABLE,
    }
}

/// A request with the method and the id of the one that cannot be read, as far as they are well-formed.
fn substitute(kept: &[u8]) -> String {
    let method = RequestLine::of(kept).and_then(|line| str::from_utf8(line.method).ok());
    let method = method.filter(|method| METHODS.contains(method)).unwrap_or("GET");
    let id = kept.split(|byte| *byte == b'\n').skip(1).find_map(|line| {
        let (name, value) = str::from_utf8(line).ok()?.split_once(':')?;
        let value = value.trim();
        (name.eq_ignore_ascii_case("x-request-id") && shared::request::is_request_id(value)).then_some(value)
    });
    let id = id.map(|id| format!("x-request-id: {id}\r\n")).unwrap_or_default();
    format!("{method} / HTTP/1.1\r\nhost: refused\r\n{id}connection: close\r\n\r\n")
}

/// The first line of a head, at its first and its last space.
struct RequestLine<'a> {
    method: &'a [u8],
    target: &'a [u8],
    version_and_rest: &'a [u8],
}

impl<'a> RequestLine<'a> {
    fn of(kept: &'a [u8]) -> Option<Self> {
        let kept = without_empty_lines(kept);
        let line = kept.split(|byte| *byte == b'\n').next()?;
        let first = line.iter().position(|byte| *byte == b' ')?;
        let last = line.iter().rposition(|byte| *byte == b' ').filter(|last| *last > first)?;
        Some(Self {
            method: kept.get(..first)?,
            target: kept.get(first + 1..last)?,
            version_and_rest: kept.get(last + 1..)?,
        })
    }
}

/// From the request line on: empty lines may stand before it.
fn without_empty_lines(kept: &[u8]) -> &[u8] {
    let start = kept.iter().position(|byte| !b"\r\n".contains(byte));
    start.and_then(|start| kept.get(start..)).unwrap_or_default()
}

/// Where the first head ends: behind an empty line, which may end without a carriage return.
fn head_end(kept: &[u8]) -> Option<usize> {
    let start = kept.len() - without_empty_lines(kept).len();
    memchr::memchr_iter(b'\n', kept).filter(|end| *end > start).find_map(|end| match kept.get(end + 1..)? {
        [b'\n', ..] => Some(end + 2),
        [b'\r', b'\n', ..] => Some(end + 3),
        _ => None,
    })
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
