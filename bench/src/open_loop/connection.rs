//! A client connection: connecting, idle, or with a request in flight.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::Instant;

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::report::Failure;
use super::requests::RequestGenerator;
use super::response::{Head, ResponseReader};

/// A connection with at most one request in flight.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    connected: bool,
    /// The time at which the request in flight was due.
    due: Option<Instant>,
    request: Vec<u8>,
    written: usize,
    response: ResponseReader,
    /// Whether it has received a response before.
    used: bool,
}

/// A request without a response, for a retry on another connection.
#[derive(Debug)]
pub(super) struct PendingRequest {
    /// The time at which it was due first.
    pub(super) due: Instant,
    bytes: Vec<u8>,
}

/// The state of a connection and its request after an event.
#[derive(Clone, Copy, Debug)]
pub(super) enum Progress {
    /// No change: it waits for further events.
    Busy,
    /// It is open and idle.
    Connected,
    /// The response is complete. `closes` says whether the server closes the connection.
    Done { due: Instant, head: Head, closes: bool },
    /// It has ended, and its request, if any, has failed.
    Ended(Option<Failure>),
}

impl Connection {
    /// Starts to connect; an event reports the result.
    pub(super) fn open(server: SocketAddr, registry: &Registry, token: Token) -> io::Result<Self> {
        let mut stream = TcpStream::connect(server)?;
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self {
            stream,
            connected: false,
            due: None,
            request: Vec::new(),
            written: 0,
            response: ResponseReader::default(),
            used: false,
        })
    }

    /// Returns the time at which the request in flight was due, if there is one.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Sends the next request, at once or as soon as the connection is open.
    pub(super) fn send_new(&mut self, due: Instant, generator: &mut RequestGenerator<'_>) -> Progress {
        generator.write_to(&mut self.request);
        self.send(due)
    }

    /// Sends a request that had no response on another connection.
    pub(super) fn send_again(&mut self, request: PendingRequest) -> Progress {
        self.request = request.bytes;
        self.send(request.due)
    }

    fn send(&mut self, due: Instant) -> Progress {
        self.due = Some(due);
        self.written = 0;
        self.write()
    }

    /// Removes and returns the request in flight.
    pub(super) fn take_pending(&mut self) -> Option<PendingRequest> {
        let due = self.due.take()?;
        Some(PendingRequest { due, bytes: std::mem::take(&mut self.request) })
    }

    /// Handles an event.
    pub(super) fn advance(&mut self, event: &Event, buffer: &mut [u8], received: &mut u64) -> Progress {
        if !self.connected {
            return self.finish_connect();
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            return self.read(event.is_read_closed(), buffer, received);
        }
        self.write()
    }

    fn finish_connect(&mut self) -> Progress {
        let failed = |connection: &Self| Progress::Ended(connection.due.map(|_| Failure::Connect));
        if !matches!(self.stream.take_error(), Ok(None)) {
            return failed(self);
        }
        match self.stream.peer_addr() {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotConnected => return Progress::Busy,
            Err(_) => return failed(self),
        }
        if self.stream.set_nodelay(true).is_err() {
            return failed(self);
        }
        self.connected = true;
        if self.due.is_some() { self.write() } else { Progress::Connected }
    }

    fn write(&mut self) -> Progress {
        while self.connected && self.written < self.request.len() {
            match self.stream.write(&self.request[self.written..]) {
                Ok(written) => self.written += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return self.broken(),
            }
        }
        Progress::Busy
    }

    /// Reads available bytes. A short read means that no more are available, except at the end of the stream
    /// (`at_end`), which causes no further event.
    fn read(&mut self, at_end: bool, buffer: &mut [u8], received: &mut u64) -> Progress {
        loop {
            let read = match self.stream.read(buffer) {
                Ok(0) => return self.broken(),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Progress::Busy,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return self.broken(),
            };
            *received += read as u64;
            let Some(due) = self.due else { return Progress::Ended(None) }; // no request is in flight
            match self.response.take(&buffer[..read]) {
                Ok(None) if read < buffer.len() && !at_end => return Progress::Busy,
                Ok(None) => {}
                Ok(Some(head)) => {
                    self.due = None;
                    self.used = true;
                    let closes = head.closes || at_end;
                    return Progress::Done { due, head, closes };
                }
                Err(_) => return Progress::Ended(Some(Failure::Malformed)),
            }
        }
    }

    /// Returns the progress after the server has closed the connection.
    fn broken(&self) -> Progress {
        let failure =
            if self.used && !self.response.has_begun() { Failure::NoResponse } else { Failure::Truncated };
        Progress::Ended(self.due.map(|_| failure))
    }

    /// Unsubscribes from events.
    pub(super) fn close(&mut self, registry: &Registry) {
        // If this fails, closing the socket has the same effect.
        let _ = registry.deregister(&mut self.stream);
    }
}
