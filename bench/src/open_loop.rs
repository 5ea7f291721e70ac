//! An open-loop HTTP client: it sends requests at a steady rate and measures latency.
//!
//! Each request has a time at which it is due, and its latency counts from there. When a server stalls for a second,
//! the latency of every request that was due in that second includes the wait. A closed-loop client would record one
//! slow response (coordinated omission). A due request takes an idle connection. If there is none, the client opens
//! another one, up to a limit. Beyond the limit the request waits, and its latency includes the wait.
//!
//! One thread does all work, which leaves a processor for servers on the same machine. It uses non-blocking sockets
//! and a kernel timer with microsecond precision, and it parses only the status and the length of a response. A
//! request costs about 8 µs of processor time.
//!
//! A closed loop ([`Rate::ClosedLoop`]) warms a cache or measures the cost of a request.

mod connection;
mod report;
mod requests;
mod response;
#[cfg(test)]
mod tests;
mod timer;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::{Events, Poll, Token};

use connection::{Connection, PendingRequest, Progress};
use requests::RequestGenerator;
use timer::Timer;

pub use report::{Failure, Report};
pub use requests::{Ids, Requests, Route};

/// The max number of events to handle before the next check for due requests: about 50 µs of work.
const MAX_EVENTS: usize = 32;

/// The interval between checks for timed-out requests.
const CHECK_EVERY: Duration = Duration::from_millis(10);

/// The timeout for the first connections, before requests are due.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// A load profile: the server, the rate, the duration and the requests.
#[derive(Clone, Debug)]
pub struct LoadProfile {
    /// The server that receives the requests.
    pub server: SocketAddr,
    /// The rate of requests.
    pub rate: Rate,
    /// The time in which requests become due. The run ends with the last response.
    pub duration: Duration,
    /// The max number of requests.
    pub max_requests: u64,
    /// Connections to open before the first request is due. The client keeps all connections alive.
    pub connections: usize,
    /// The max number of open connections at a steady rate.
    pub max_connections: usize,
    /// The timeout of a request, from the time when it is due.
    pub timeout: Duration,
    /// The requests to send.
    pub requests: Requests,
    /// Whether to retry a request on another connection if a reused connection closes before any byte of the response.
    /// A server may close an idle connection at the moment when a request is sent, so browsers and libraries retry a
    /// GET. The request keeps the time at which it was due. [`Report::retried`] counts it.
    pub retries: bool,
    /// Stops the run: no further requests become due. Requests that are already due are still sent.
    pub stop: Arc<AtomicBool>,
}

/// A rate of requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// Requests per second, at equal intervals.
    PerSecond(f64),
    /// A closed loop: each connection sends a request as soon as it has the response to the last one.
    ClosedLoop,
}

impl LoadProfile {
    /// Returns a profile with 64 connections, a max of 512 connections, and a timeout of two seconds.
    pub fn new(server: SocketAddr, rate: Rate, duration: Duration, requests: Requests) -> Self {
        Self {
            server,
            rate,
            duration,
            max_requests: u64::MAX,
            connections: 64,
            max_connections: 512,
            timeout: Duration::from_secs(2),
            requests,
            retries: false,
            stop: Arc::default(),
        }
    }

    /// Runs the profile on this thread, and blocks until the last request has a response or has failed.
    ///
    /// Failed requests are no error; the report counts them.
    ///
    /// # Errors
    /// An error of the operating system's events or timers.
    pub fn run(&self) -> io::Result<Report> {
        let mut client = Client::new(self)?;
        let mut events = Events::with_capacity(MAX_EVENTS);
        client.connect(&mut events)?;
        client.send_requests(&mut events)
    }
}

/// The result of checking out a connection.
enum Checkout {
    Connection(usize),
    /// All connections are in use, and the limit is reached.
    AtLimit,
    /// The operating system refuses another connection.
    ConnectFailed,
}

/// A run of a load profile.
struct Client<'p> {
    profile: &'p LoadProfile,
    poll: Poll,
    timer: Timer,
    generator: RequestGenerator<'p>,
    /// Connections by the number in their token.
    connections: Vec<Option<Connection>>,
    vacant: Vec<usize>,
    /// Idle connections, the longest idle first. So the client uses all connections, and all processes of the server.
    idle: VecDeque<usize>,
    /// Requests to retry.
    retries: VecDeque<PendingRequest>,
    /// The read buffer.
    buffer: Vec<u8>,
    report: Report,
    start: Instant,
    /// The time in which requests become due, from the start.
    due_for: Duration,
    check_at: Instant,
}

impl<'p> Client<'p> {
    fn new(profile: &'p LoadProfile) -> io::Result<Self> {
        let poll = Poll::new()?;
        let now = Instant::now();
        Ok(Self {
            profile,
            timer: Timer::new(poll.registry())?,
            poll,
            generator: profile.requests.generator(),
            connections: Vec::new(),
            vacant: Vec::new(),
            idle: VecDeque::new(),
            retries: VecDeque::new(),
            buffer: vec![0; 64 * 1024],
            report: Report::new()?,
            start: now,
            due_for: profile.duration,
            check_at: now + CHECK_EVERY,
        })
    }

    /// Opens the first connections. The client replaces those that fail when requests need them.
    fn connect(&mut self, events: &mut Events) -> io::Result<()> {
        for _ in 0..self.profile.connections {
            if self.open().is_none() {
                break;
            }
        }
        let deadline = Instant::now() + CONNECT_TIMEOUT;
        while self.idle.len() < self.open_connections() && Instant::now() < deadline {
            self.wait(events, deadline)?;
        }
        Ok(())
    }

    fn send_requests(mut self, events: &mut Events) -> io::Result<Report> {
        self.start = Instant::now();
        loop {
            let more_at = self.send_due_requests();
            let now = Instant::now();
            if now >= self.check_at {
                self.fail_timed_out(now);
                self.check_at = now + CHECK_EVERY;
            }
            if more_at.is_none() && self.is_done() {
                break;
            }
            self.wait(events, more_at.unwrap_or(self.check_at).min(self.check_at))?;
        }
        self.report.elapsed = self.start.elapsed();
        self.report.due_for = self.due_for;
        Ok(self.report)
    }

    /// Returns whether each request that was due has a response or has failed.
    fn is_done(&self) -> bool {
        self.retries.is_empty() && self.connections.iter().flatten().all(|one| one.due().is_none())
    }

    /// Sends due requests while there are connections. Returns the time of the next check, or none if no request is
    /// left.
    fn send_due_requests(&mut self) -> Option<Instant> {
        if !self.send_retries() {
            return Some(self.check_at);
        }
        while let Some(due) = self.next_due() {
            let now = Instant::now();
            if due > now {
                return Some(due);
            }
            if now - due >= self.profile.timeout {
                self.report.sent += 1;
                self.report.fail(Failure::TimedOut);
                continue;
            }
            let checkout = self.check_out();
            if matches!(checkout, Checkout::AtLimit) {
                return Some(self.check_at);
            }
            self.report.sent += 1;
            match checkout {
                Checkout::Connection(number) => {
                    self.assign(number, |one, generator| one.send_new(due, generator));
                }
                Checkout::ConnectFailed | Checkout::AtLimit => self.report.fail(Failure::Connect),
            }
        }
        None
    }

    /// Retries requests. Returns false if a request has no connection yet.
    fn send_retries(&mut self) -> bool {
        while let Some(request) = self.retries.pop_front() {
            if request.due.elapsed() >= self.profile.timeout {
                self.report.fail(Failure::TimedOut);
                continue;
            }
            match self.check_out() {
                Checkout::Connection(number) => self.assign(number, |one, _| one.send_again(request)),
                Checkout::ConnectFailed => self.report.fail(Failure::Connect),
                Checkout::AtLimit => {
                    self.retries.push_front(request);
                    return false;
                }
            }
        }
        true
    }

    /// Returns an idle connection, or opens another one up to the limit.
    fn check_out(&mut self) -> Checkout {
        let limit = match self.profile.rate {
            Rate::PerSecond(_) => self.profile.max_connections,
            Rate::ClosedLoop => self.profile.connections,
        };
        match self.idle.pop_front() {
            Some(number) => Checkout::Connection(number),
            None if self.open_connections() >= limit => Checkout::AtLimit,
            None => self.open().map_or(Checkout::ConnectFailed, Checkout::Connection),
        }
    }

    /// Returns the time at which the next request is due; none if there is no other request.
    fn next_due(&mut self) -> Option<Instant> {
        if self.report.sent >= self.profile.max_requests {
            return None;
        }
        if self.profile.stop.load(Ordering::Relaxed) {
            self.due_for = self.due_for.min(self.start.elapsed());
        }
        let after = match self.profile.rate {
            Rate::PerSecond(rate) => {
                Duration::try_from_secs_f64(self.report.sent as f64 / rate).unwrap_or(Duration::MAX)
            }
            Rate::ClosedLoop => self.start.elapsed(),
        };
        (after < self.due_for).then(|| self.start + after)
    }

    fn open_connections(&self) -> usize {
        self.connections.len() - self.vacant.len()
    }

    /// Starts to open a connection. Returns none if the operating system refuses at once.
    fn open(&mut self) -> Option<usize> {
        let number = self.vacant.pop().unwrap_or_else(|| {
            self.connections.push(None);
            self.connections.len() - 1
        });
        match Connection::open(self.profile.server, self.poll.registry(), Token(number)) {
            Ok(connection) => {
                self.connections[number] = Some(connection);
                self.report.connections += 1;
                Some(number)
            }
            Err(_) => {
                self.vacant.push(number);
                None
            }
        }
    }

    /// Sends a request on a connection.
    fn assign(
        &mut self,
        number: usize,
        send: impl FnOnce(&mut Connection, &mut RequestGenerator<'_>) -> Progress,
    ) {
        if let Some(connection) = &mut self.connections[number] {
            let progress = send(connection, &mut self.generator);
            self.record(number, progress);
        }
    }

    /// Waits for events of connections, up to `until`, and handles them.
    fn wait(&mut self, events: &mut Events, until: Instant) -> io::Result<()> {
        self.timer.wait(&mut self.poll, events, until)?;
        for event in &*events {
            self.advance(event);
        }
        Ok(())
    }

    fn advance(&mut self, event: &Event) {
        let Token(number) = event.token();
        // The timer has no connection, and a late event may refer to a closed connection.
        if let Some(Some(connection)) = self.connections.get_mut(number) {
            let progress = connection.advance(event, &mut self.buffer, &mut self.report.bytes);
            self.record(number, progress);
        }
    }

    /// Records the result of a request, and closes or reuses its connection.
    fn record(&mut self, number: usize, progress: Progress) {
        match progress {
            Progress::Busy => {}
            Progress::Connected => self.idle.push_back(number),
            Progress::Done { due, head, closes } => {
                self.report.completed(head, due.elapsed());
                if closes {
                    self.close(number);
                } else {
                    self.idle.push_back(number);
                }
            }
            Progress::Ended(failure) => {
                match failure {
                    Some(Failure::NoResponse) if self.profile.retries => self.retry_later(number),
                    Some(failure) => self.report.fail(failure),
                    None => self.idle.retain(|&idle| idle != number),
                }
                self.close(number);
            }
        }
    }

    /// Queues the request of a closed connection for a retry.
    fn retry_later(&mut self, number: usize) {
        if let Some(request) = self.connections[number].as_mut().and_then(Connection::take_pending) {
            self.retries.push_back(request);
            self.report.retried += 1;
        }
    }

    fn close(&mut self, number: usize) {
        if let Some(mut connection) = self.connections[number].take() {
            connection.close(self.poll.registry());
            self.vacant.push(number);
        }
    }

    /// Fails each timed-out request and closes its connection.
    fn fail_timed_out(&mut self, now: Instant) {
        for number in 0..self.connections.len() {
            let Some(Some(connection)) = self.connections.get(number) else { continue };
            if connection.due().is_some_and(|due| now - due >= self.profile.timeout) {
                self.record(number, Progress::Ended(Some(Failure::TimedOut)));
            }
        }
    }
}
