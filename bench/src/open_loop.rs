//! A client that asks at a steady rate, whatever the server does, and tells how long answers took.
//!
//! Each request has a time at which it is due, and its latency counts from there: when a server stalls for a second,
//! every request that was due in that second waited, and says so. A client that waits for one answer before it asks
//! again would have noticed one slow answer (coordinated omission). A request that is due takes a connection that is
//! free; if none is, another is opened, up to a limit, and beyond that the request waits, and its latency with it.
//!
//! One thread does it all, so that there is a core left for servers on the same machine: sockets that never block, a
//! timer of the kernel that is exact to microseconds, and of an answer no more is read than its status and where it
//! ends. It takes some 8 µs of a processor for a request.
//!
//! It can also ask as fast as the answers come ([`Pace::Closed`]), to warm a cache or to count what a request costs.

mod alarm;
mod answer;
mod connection;
mod report;
mod requests;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::{Events, Poll, Token};

use alarm::Alarm;
use connection::{Connection, Progress, Unanswered};
use requests::Draw;

pub use report::{Failure, Report};
pub use requests::{Ids, Requests, Route};

/// How many events are handled before requests that have become due are looked for again: some 50 µs of work.
const EVENTS_AT_ONCE: usize = 32;

/// How often requests are looked for that have waited too long.
const CHECK_EVERY: Duration = Duration::from_millis(10);

/// How long the first connections may take, before requests are due.
const CONNECT_PATIENCE: Duration = Duration::from_secs(2);

/// What to ask of whom, how often, and for how long.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Who is asked.
    pub server: SocketAddr,
    /// How often.
    pub pace: Pace,
    /// For how long requests become due; answers to the last ones are waited for.
    pub duration: Duration,
    /// No more requests than this, even if there is time left.
    pub at_most: u64,
    /// Connections that are opened before the first request is due. All are kept alive.
    pub connections: usize,
    /// Connections that there may be at a time, at a steady rate.
    pub most_connections: usize,
    /// When a request counts as failed, from when it was due.
    pub timeout: Duration,
    /// What is asked.
    pub requests: Requests,
    /// Whether a request is sent again, over another connection, when the one it went into was used before and ends
    /// without a byte of the answer. A server may close a connection for being idle in that very moment, so browsers
    /// and libraries do the same with a GET. It is due as it was, and counted in [`Report::asked_again`].
    pub asks_again: bool,
    /// No more requests become due once this is true. Those that are late by then are sent all the same.
    pub stop: Arc<AtomicBool>,
}

/// How often a request is due.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// So many a second, at equal distances.
    PerSecond(f64),
    /// On each connection as soon as the last answer is there.
    Closed,
}

impl Plan {
    /// With 64 connections, 512 at most, and two seconds for each request.
    pub fn new(server: SocketAddr, pace: Pace, duration: Duration, requests: Requests) -> Self {
        Self {
            server,
            pace,
            duration,
            at_most: u64::MAX,
            connections: 64,
            most_connections: 512,
            timeout: Duration::from_secs(2),
            requests,
            asks_again: false,
            stop: Arc::default(),
        }
    }

    /// Carries it out, on this thread, which it blocks until the last answer is there or given up.
    ///
    /// A server that fails is no error; the report says how often it did.
    ///
    /// # Errors
    /// What the operating system says if it has no events or timers to give.
    pub fn run(&self) -> io::Result<Report> {
        let mut client = Client::new(self)?;
        let mut events = Events::with_capacity(EVENTS_AT_ONCE);
        client.connect(&mut events)?;
        client.ask(&mut events)
    }
}

/// What there is for a request.
enum Found {
    Connection(usize),
    /// All are taken, and there may be no more.
    NoneFree,
    /// The operating system gives no other.
    Refused,
}

/// A plan that is being carried out.
struct Client<'p> {
    plan: &'p Plan,
    poll: Poll,
    alarm: Alarm,
    draw: Draw<'p>,
    /// By the number in their token.
    connections: Vec<Option<Connection>>,
    vacant: Vec<usize>,
    /// Those without a request, the longest idle first: so all are used, and with them all processes of the server.
    idle: VecDeque<usize>,
    /// Requests that are to be sent again.
    again: VecDeque<Unanswered>,
    /// Where answers are read to.
    buffer: Vec<u8>,
    report: Report,
    start: Instant,
    /// For how long requests become due from the start.
    due_for: Duration,
    check_at: Instant,
}

impl<'p> Client<'p> {
    fn new(plan: &'p Plan) -> io::Result<Self> {
        let poll = Poll::new()?;
        let now = Instant::now();
        Ok(Self {
            plan,
            alarm: Alarm::new(poll.registry())?,
            poll,
            draw: plan.requests.draw(),
            connections: Vec::new(),
            vacant: Vec::new(),
            idle: VecDeque::new(),
            again: VecDeque::new(),
            buffer: vec![0; 64 * 1024],
            report: Report::new()?,
            start: now,
            due_for: plan.duration,
            check_at: now + CHECK_EVERY,
        })
    }

    /// Opens the first connections. Those that fail are opened again when requests need them.
    fn connect(&mut self, events: &mut Events) -> io::Result<()> {
        for _ in 0..self.plan.connections {
            if self.open().is_none() {
                break;
            }
        }
        let patience = Instant::now() + CONNECT_PATIENCE;
        while self.idle.len() < self.alive() && Instant::now() < patience {
            self.wait(events, patience)?;
        }
        Ok(())
    }

    fn ask(mut self, events: &mut Events) -> io::Result<Report> {
        self.start = Instant::now();
        loop {
            let more_at = self.send_what_is_due();
            let now = Instant::now();
            if now >= self.check_at {
                self.give_up(now);
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

    /// Whether every request that was due has had its answer, or is given up.
    fn is_done(&self) -> bool {
        self.again.is_empty() && self.connections.iter().flatten().all(|one| one.due().is_none())
    }

    /// Sends every request that is due and finds a connection. Returns when there will be more to do, if ever.
    fn send_what_is_due(&mut self) -> Option<Instant> {
        if !self.send_again() {
            return Some(self.check_at);
        }
        while let Some(due) = self.next_due() {
            let now = Instant::now();
            if due > now {
                return Some(due);
            }
            if now - due >= self.plan.timeout {
                self.report.sent += 1;
                self.report.fail(Failure::TimedOut);
                continue;
            }
            let found = self.find();
            if matches!(found, Found::NoneFree) {
                return Some(self.check_at);
            }
            self.report.sent += 1;
            match found {
                Found::Connection(number) => self.assign(number, |one, draw| one.ask(due, draw)),
                Found::Refused | Found::NoneFree => self.report.fail(Failure::Connect),
            }
        }
        None
    }

    /// Sends those requests again that are to be; false if there is no connection for one of them.
    fn send_again(&mut self) -> bool {
        while let Some(request) = self.again.pop_front() {
            if request.due.elapsed() >= self.plan.timeout {
                self.report.fail(Failure::TimedOut);
                continue;
            }
            match self.find() {
                Found::Connection(number) => self.assign(number, |one, _| one.ask_again(request)),
                Found::Refused => self.report.fail(Failure::Connect),
                Found::NoneFree => {
                    self.again.push_front(request);
                    return false;
                }
            }
        }
        true
    }

    /// A connection for a request: one that is idle, or another, if there may be more.
    fn find(&mut self) -> Found {
        let may_be_open = match self.plan.pace {
            Pace::PerSecond(_) => self.plan.most_connections,
            Pace::Closed => self.plan.connections,
        };
        match self.idle.pop_front() {
            Some(number) => Found::Connection(number),
            None if self.alive() >= may_be_open => Found::NoneFree,
            None => self.open().map_or(Found::Refused, Found::Connection),
        }
    }

    /// When the next request is due; none if there is no other.
    fn next_due(&mut self) -> Option<Instant> {
        if self.report.sent >= self.plan.at_most {
            return None;
        }
        if self.plan.stop.load(Ordering::Relaxed) {
            self.due_for = self.due_for.min(self.start.elapsed());
        }
        let after = match self.plan.pace {
            Pace::PerSecond(rate) => {
                Duration::try_from_secs_f64(self.report.sent as f64 / rate).unwrap_or(Duration::MAX)
            }
            Pace::Closed => self.start.elapsed(),
        };
        (after < self.due_for).then(|| self.start + after)
    }

    fn alive(&self) -> usize {
        self.connections.len() - self.vacant.len()
    }

    /// Begins to open a connection; none if the operating system refuses at once.
    fn open(&mut self) -> Option<usize> {
        let number = self.vacant.pop().unwrap_or_else(|| {
            self.connections.push(None);
            self.connections.len() - 1
        });
        match Connection::open(self.plan.server, self.poll.registry(), Token(number)) {
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

    /// Has a connection ask something.
    fn assign(&mut self, number: usize, ask: impl FnOnce(&mut Connection, &mut Draw<'_>) -> Progress) {
        if let Some(connection) = &mut self.connections[number] {
            let progress = ask(connection, &mut self.draw);
            self.note(number, progress);
        }
    }

    /// Waits for what the connections have to tell, until then at the latest, and has each go on.
    fn wait(&mut self, events: &mut Events, until: Instant) -> io::Result<()> {
        self.alarm.wait(&mut self.poll, events, until)?;
        for event in &*events {
            self.go_on(event);
        }
        Ok(())
    }

    fn go_on(&mut self, event: &Event) {
        let Token(number) = event.token();
        // The alarm has no connection, and neither has what was told of one that was closed since.
        if let Some(Some(connection)) = self.connections.get_mut(number) {
            let progress = connection.go_on(event, &mut self.buffer, &mut self.report.bytes);
            self.note(number, progress);
        }
    }

    /// Writes down how a connection's request went, and what becomes of the connection.
    fn note(&mut self, number: usize, progress: Progress) {
        match progress {
            Progress::Busy => {}
            Progress::Connected => self.idle.push_back(number),
            Progress::Answered { due, head, closes } => {
                self.report.answered(head, due.elapsed());
                if closes {
                    self.close(number);
                } else {
                    self.idle.push_back(number);
                }
            }
            Progress::Ended(failure) => {
                match failure {
                    Some(Failure::Unanswered) if self.plan.asks_again => self.put_off(number),
                    Some(failure) => self.report.fail(failure),
                    None => self.idle.retain(|&idle| idle != number),
                }
                self.close(number);
            }
        }
    }

    /// Has the request of a connection that has ended sent over another.
    fn put_off(&mut self, number: usize) {
        if let Some(request) = self.connections[number].as_mut().and_then(Connection::take_unanswered) {
            self.again.push_back(request);
            self.report.asked_again += 1;
        }
    }

    fn close(&mut self, number: usize) {
        if let Some(mut connection) = self.connections[number].take() {
            connection.close(self.poll.registry());
            self.vacant.push(number);
        }
    }

    /// Closes each connection whose request has waited too long.
    fn give_up(&mut self, now: Instant) {
        for number in 0..self.connections.len() {
            let Some(Some(connection)) = self.connections.get(number) else { continue };
            if connection.due().is_some_and(|due| now - due >= self.plan.timeout) {
                self.note(number, Progress::Ended(Some(Failure::TimedOut)));
            }
        }
    }
}
