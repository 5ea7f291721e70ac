//! One connection, which is being opened, idle, or has a request under way.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::Instant;

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::answer::{Answer, Head};
use super::report::Failure;
use super::requests::Draw;

/// A connection, with at most one request at a time.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    connected: bool,
    /// When the request that it has was due.
    due: Option<Instant>,
    request: Vec<u8>,
    written: usize,
    answer: Answer,
    /// Whether it has brought an answer before.
    used: bool,
}

/// A request that may be sent over another connection.
#[derive(Debug)]
pub(super) struct Unanswered {
    /// When it was due, at first.
    pub(super) due: Instant,
    bytes: Vec<u8>,
}

/// What has become of a connection and of its request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Progress {
    /// There is more to come, or nothing to be told.
    Busy,
    /// It is open, and has no request yet.
    Connected,
    /// Its request, which was due then, is answered, and whether the connection ends with that.
    Answered { due: Instant, head: Head, closes: bool },
    /// It is of no more use; with the request that failed, if it had one.
    Ended(Option<Failure>),
}

impl Connection {
    /// Begins to open it; an event tells when it is.
    pub(super) fn open(server: SocketAddr, registry: &Registry, token: Token) -> io::Result<Self> {
        let mut stream = TcpStream::connect(server)?;
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self {
            stream,
            connected: false,
            due: None,
            request: Vec::new(),
            written: 0,
            answer: Answer::default(),
            used: false,
        })
    }

    /// When its request was due, if it has one.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Gives it a request, which is sent at once or as soon as it is open.
    pub(super) fn ask(&mut self, due: Instant, draw: &mut Draw<'_>) -> Progress {
        draw.write_to(&mut self.request);
        self.send(due)
    }

    /// Gives it one that another has not answered.
    pub(super) fn ask_again(&mut self, request: Unanswered) -> Progress {
        self.request = request.bytes;
        self.send(request.due)
    }

    fn send(&mut self, due: Instant) -> Progress {
        self.due = Some(due);
        self.written = 0;
        self.write()
    }

    /// Takes its request from it, which has no answer yet.
    pub(super) fn take_unanswered(&mut self) -> Option<Unanswered> {
        let due = self.due.take()?;
        Some(Unanswered { due, bytes: std::mem::take(&mut self.request) })
    }

    /// Goes on with what an event says is possible.
    pub(super) fn go_on(&mut self, event: &Event, buffer: &mut [u8], received: &mut u64) -> Progress {
        if !self.connected {
            return self.finish_opening();
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            return self.read(event.is_read_closed(), buffer, received);
        }
        self.write()
    }

    fn finish_opening(&mut self) -> Progress {
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

    /// Reads what is there. A short read is the end of it, unless the end of the stream is to come: then no event
    /// would tell of that again.
    fn read(&mut self, to_the_end: bool, buffer: &mut [u8], received: &mut u64) -> Progress {
        loop {
            let read = match self.stream.read(buffer) {
                Ok(0) => return self.broken(),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Progress::Busy,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return self.broken(),
            };
            *received += read as u64;
            let Some(due) = self.due else { return Progress::Ended(None) }; // nothing was asked
            match self.answer.take(&buffer[..read]) {
                Ok(None) if read < buffer.len() && !to_the_end => return Progress::Busy,
                Ok(None) => {}
                Ok(Some(head)) => {
                    self.due = None;
                    self.used = true;
                    let closes = head.closes || to_the_end;
                    return Progress::Answered { due, head, closes };
                }
                Err(_) => return Progress::Ended(Some(Failure::Unreadable)),
            }
        }
    }

    /// The other side has closed it.
    fn broken(&self) -> Progress {
        let failure =
            if self.used && !self.answer.has_begun() { Failure::Unanswered } else { Failure::CutOff };
        Progress::Ended(self.due.map(|_| failure))
    }

    /// Has no more events told of it.
    pub(super) fn close(&mut self, registry: &Registry) {
        // Closing the socket has the same effect, should this fail.
        let _ = registry.deregister(&mut self.stream);
    }
}
