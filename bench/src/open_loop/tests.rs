//! Tests of the client with local servers that fail in different ways.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{Failure, LoadProfile, Rate, Report, Requests, Route};

const HELLO: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

/// The reaction of a server to a request.
enum Reaction {
    Respond(&'static [u8]),
    RespondAndClose(&'static [u8]),
    RespondAfter(Duration),
    Close,
    /// Sends nothing and keeps the connection open.
    Ignore,
}

/// Starts a server with a thread per connection, until the end of the test process. `react` gets the number of the
/// request, from 0 over all connections.
fn serve(react: impl Fn(u64) -> Reaction + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = listener.local_addr().unwrap();
    let (react, count) = (Arc::new(react), Arc::new(AtomicU64::new(0)));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (react, count) = (Arc::clone(&react), Arc::clone(&count));
            thread::spawn(move || handle(&stream.unwrap(), &*react, &count));
        }
    });
    server
}

fn handle(mut stream: &TcpStream, react: &impl Fn(u64) -> Reaction, count: &AtomicU64) {
    stream.set_nodelay(true).unwrap();
    let mut lines = BufReader::new(stream).lines();
    loop {
        loop {
            match lines.next() {
                Some(Ok(line)) if line.is_empty() => break,
                Some(Ok(_)) => {}
                _ => return,
            }
        }
        let written = match react(count.fetch_add(1, Ordering::SeqCst)) {
            Reaction::Respond(response) => stream.write_all(response),
            Reaction::RespondAfter(wait) => {
                thread::sleep(wait);
                stream.write_all(HELLO)
            }
            Reaction::RespondAndClose(response) => {
                let _ = stream.write_all(response);
                return;
            }
            Reaction::Close => return,
            Reaction::Ignore => Ok(()),
        };
        if written.is_err() {
            return;
        }
    }
}

fn profile(server: SocketAddr, rate: Rate, count: u64) -> LoadProfile {
    let requests = Requests::of(Route::Styles, 1000);
    let mut profile = LoadProfile::new(server, rate, Duration::from_mins(10), requests);
    profile.max_requests = count;
    profile.connections = 4;
    profile.timeout = Duration::from_mins(1); // long enough for slow machines
    profile
}

/// Asserts that all failures are of one kind.
fn assert_failed(report: &Report, kind: Failure, count: u64) {
    assert_eq!(report.failed_by(kind), count, "{report:?}");
    assert_eq!((report.failed(), report.ok), (count, report.sent - count), "{report:?}");
}

#[test]
fn every_request_is_sent_and_counted() {
    let server = serve(|_| Reaction::Respond(HELLO));
    for rate in [Rate::PerSecond(2000.0), Rate::ClosedLoop] {
        let report = profile(server, rate, 500).run().unwrap();
        assert_eq!((report.sent, report.ok, report.failed()), (500, 500, 0), "{report:?}");
        assert_eq!((report.bytes, report.bodies), (500 * HELLO.len() as u64, 500 * 5));
        assert_eq!(report.statuses.into_iter().collect::<Vec<_>>(), [(200, 500)]);
    }
}

#[test]
fn latency_includes_the_wait_of_requests_due_during_a_stall() {
    const STALL: Duration = Duration::from_millis(500);
    // With one connection, all requests that are due during the stall wait for it.
    let server =
        serve(|nth| if nth == 100 { Reaction::RespondAfter(STALL) } else { Reaction::Respond(HELLO) });
    let mut profile = profile(server, Rate::PerSecond(1000.0), 1000);
    (profile.connections, profile.max_connections) = (1, 1);
    let report = profile.run().unwrap();
    assert_eq!((report.sent, report.ok, report.connections), (1000, 1000, 1), "{report:?}");
    // The stalled request waits for the whole stall, the one due 400 ms later for the remaining 100 ms.
    assert!(report.slower_than(STALL) >= 1);
    assert!(report.slower_than(Duration::from_millis(100)) >= 400, "{report:?}");
}

#[test]
fn requests_overtake_a_slow_response_on_new_connections() {
    // The server responds to the first request after 200 others, which need other connections.
    let others = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&others);
    let server = serve(move |nth| {
        if nth > 0 {
            seen.fetch_add(1, Ordering::SeqCst);
            return Reaction::Respond(HELLO);
        }
        let since = Instant::now();
        while seen.load(Ordering::SeqCst) < 200 && since.elapsed() < Duration::from_mins(1) {
            thread::yield_now();
        }
        Reaction::Respond(HELLO)
    });
    let mut profile = profile(server, Rate::PerSecond(1000.0), 300);
    (profile.connections, profile.max_connections) = (1, 8);
    let report = profile.run().unwrap();
    assert_eq!((report.ok, others.load(Ordering::SeqCst)), (300, 299), "{report:?}");
    assert!((2..=8).contains(&report.connections), "{report:?}");
}

#[test]
fn a_status_outside_200_to_299_is_a_failure() {
    const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 2\r\n\r\n{}";
    let server = serve(|nth| Reaction::Respond(if nth % 4 == 0 { BUSY } else { HELLO }));
    let report = profile(server, Rate::PerSecond(2000.0), 400).run().unwrap();
    assert_failed(&report, Failure::Status, 100);
    assert_eq!(report.statuses.into_iter().collect::<Vec<_>>(), [(200, 300), (503, 100)]);
}

#[test]
fn a_response_that_ends_early_counts_as_truncated() {
    const HALF: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe";
    let server =
        serve(|nth| if nth % 10 == 9 { Reaction::RespondAndClose(HALF) } else { Reaction::Respond(HELLO) });
    let report = profile(server, Rate::PerSecond(1000.0), 200).run().unwrap();
    assert_failed(&report, Failure::Truncated, 20);
    assert!(report.connections >= 5, "new connections replace closed ones: {report:?}");
}

#[test]
fn a_connection_that_ends_before_a_response_fails_differently_if_it_was_reused() {
    // Each connection gets a response to its first request and none to its second.
    let server = serve(|nth| if nth % 2 == 1 { Reaction::Close } else { Reaction::Respond(HELLO) });
    let mut used = profile(server, Rate::ClosedLoop, 20);
    used.connections = 1;
    assert_failed(&used.run().unwrap(), Failure::NoResponse, 10);

    let server = serve(|_| Reaction::Close);
    let report = profile(server, Rate::ClosedLoop, 20).run().unwrap();
    assert_failed(&report, Failure::Truncated, 20);
}

#[test]
fn a_request_without_a_response_is_retried_if_the_profile_says_so() {
    let server = serve(|nth| if nth % 2 == 1 { Reaction::Close } else { Reaction::Respond(HELLO) });
    let mut profile = profile(server, Rate::ClosedLoop, 20);
    (profile.connections, profile.retries) = (1, true);
    let report = profile.run().unwrap();
    // All requests but the first use a reused connection that closes, and succeed on another one.
    assert_eq!((report.sent, report.ok, report.retried), (20, 20, 19), "{report:?}");
}

#[test]
fn no_request_becomes_due_after_a_stop() {
    let received = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&received);
    let server = serve(move |nth| {
        seen.store(nth, Ordering::SeqCst);
        Reaction::Respond(HELLO)
    });
    let profile = profile(server, Rate::ClosedLoop, u64::MAX);
    let stop = Arc::clone(&profile.stop);
    let running = thread::spawn(move || profile.run().unwrap());
    while received.load(Ordering::SeqCst) < 100 {
        thread::yield_now();
    }
    stop.store(true, Ordering::Relaxed);
    let report = running.join().unwrap();
    assert_eq!((report.sent, report.failed()), (report.ok, 0), "{report:?}");
}

#[test]
fn requests_due_before_a_stop_are_still_sent() {
    const STALL: Duration = Duration::from_millis(300);
    let stop = Arc::<AtomicBool>::default();
    let stop_in_server = Arc::clone(&stop);
    // With one connection, all requests that are due before the stop wait for the first response, which comes after it.
    let server = serve(move |nth| {
        if nth == 0 {
            thread::sleep(STALL);
            stop_in_server.store(true, Ordering::SeqCst);
        }
        Reaction::Respond(HELLO)
    });
    let mut profile = profile(server, Rate::PerSecond(1000.0), u64::MAX);
    (profile.connections, profile.max_connections, profile.stop) = (1, 1, stop);
    let report = profile.run().unwrap();
    assert_eq!((report.sent, report.failed()), (report.ok, 0), "{report:?}");
    assert!(report.due_for >= STALL && report.due_for < profile.duration, "{report:?}");
    assert!(report.sent as f64 >= 1000.0 * report.due_for.as_secs_f64(), "{report:?}");
}

#[test]
fn connection_close_from_the_server_is_no_failure() {
    const LAST: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello";
    let server = serve(|_| Reaction::RespondAndClose(LAST));
    let report = profile(server, Rate::PerSecond(1000.0), 100).run().unwrap();
    assert_eq!((report.ok, report.failed()), (100, 0), "{report:?}");
    assert!(report.connections >= 100, "{report:?}");
}

#[test]
fn each_request_fails_if_nothing_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = listener.local_addr().unwrap();
    drop(listener);
    let report = profile(server, Rate::PerSecond(1000.0), 100).run().unwrap();
    assert_failed(&report, Failure::Connect, 100);
}

#[test]
fn a_request_without_a_response_times_out_and_its_connection_closes() {
    let server = serve(|nth| if nth == 0 { Reaction::Ignore } else { Reaction::Respond(HELLO) });
    let mut profile = profile(server, Rate::PerSecond(10.0), 10);
    profile.connections = 1;
    profile.timeout = Duration::from_millis(300);
    let report = profile.run().unwrap();
    assert!(report.failed_by(Failure::TimedOut) >= 1, "{report:?}");
    assert_eq!(report.ok + report.failed_by(Failure::TimedOut), 10, "{report:?}");
}

#[test]
fn a_response_that_is_not_http_counts_as_malformed() {
    let server = serve(|_| Reaction::Respond(b"-ERR unknown command\r\n\r\n"));
    let report = profile(server, Rate::ClosedLoop, 10).run().unwrap();
    assert_failed(&report, Failure::Malformed, 10);
}
