//! Against servers on this machine that fail in a way of their own.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{Failure, Pace, Plan, Report, Requests, Route};

const HELLO: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

/// What a server does with its nth request, counted from 0 over all connections: it answers, or the connection ends.
enum Turn {
    Answer(&'static [u8]),
    /// The same, and then it closes.
    AnswerAndClose(&'static [u8]),
    AnswerAfter(Duration),
    Close,
    /// Until the other side has had enough.
    Silence,
}

/// A server with a thread for each connection; it lasts as long as the process of the tests.
fn serve(turn: impl Fn(u64) -> Turn + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = listener.local_addr().unwrap();
    let (turn, count) = (Arc::new(turn), Arc::new(AtomicU64::new(0)));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (turn, count) = (Arc::clone(&turn), Arc::clone(&count));
            thread::spawn(move || converse(&stream.unwrap(), &*turn, &count));
        }
    });
    server
}

fn converse(mut stream: &TcpStream, turn: &impl Fn(u64) -> Turn, count: &AtomicU64) {
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
        let written = match turn(count.fetch_add(1, Ordering::SeqCst)) {
            Turn::Answer(answer) => stream.write_all(answer),
            Turn::AnswerAfter(wait) => {
                thread::sleep(wait);
                stream.write_all(HELLO)
            }
            Turn::AnswerAndClose(answer) => {
                let _ = stream.write_all(answer);
                return;
            }
            Turn::Close => return,
            Turn::Silence => Ok(()),
        };
        if written.is_err() {
            return;
        }
    }
}

fn plan(server: SocketAddr, pace: Pace, count: u64) -> Plan {
    let requests = Requests::of(Route::Styles, 1000);
    let mut plan = Plan::new(server, pace, Duration::from_mins(10), requests);
    plan.at_most = count;
    plan.connections = 4;
    plan.timeout = Duration::from_mins(1); // so that no machine is too slow
    plan
}

/// All failed in this way, but for those that were answered.
fn assert_failed(report: &Report, how: Failure, count: u64) {
    assert_eq!(report.failed_by(how), count, "{report:?}");
    assert_eq!((report.failed(), report.ok), (count, report.sent - count), "{report:?}");
}

#[test]
fn every_request_is_sent_and_counted() {
    let server = serve(|_| Turn::Answer(HELLO));
    for pace in [Pace::PerSecond(2000.0), Pace::Closed] {
        let report = plan(server, pace, 500).run().unwrap();
        assert_eq!((report.sent, report.ok, report.failed()), (500, 500, 0), "{report:?}");
        assert_eq!((report.bytes, report.bodies), (500 * HELLO.len() as u64, 500 * 5));
        assert_eq!(report.statuses.into_iter().collect::<Vec<_>>(), [(200, 500)]);
    }
}

#[test]
fn all_that_was_due_during_a_stall_waited() {
    const STALL: Duration = Duration::from_millis(500);
    // One connection, so whatever is due while the server is late has to wait for it.
    let server = serve(|nth| if nth == 100 { Turn::AnswerAfter(STALL) } else { Turn::Answer(HELLO) });
    let mut plan = plan(server, Pace::PerSecond(1000.0), 1000);
    (plan.connections, plan.most_connections) = (1, 1);
    let report = plan.run().unwrap();
    assert_eq!((report.sent, report.ok, report.connections), (1000, 1000, 1), "{report:?}");
    // The one that met it waited for all of it, the one that was due 400 ms later for the rest of 100 ms.
    assert!(report.slower_than(STALL) >= 1);
    assert!(report.slower_than(Duration::from_millis(100)) >= 400, "{report:?}");
}

#[test]
fn others_overtake_a_slow_answer_on_connections_that_are_opened_for_them() {
    // The first is answered once 200 others have been, which takes a connection for each at a time.
    let others = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&others);
    let server = serve(move |nth| {
        if nth > 0 {
            seen.fetch_add(1, Ordering::SeqCst);
            return Turn::Answer(HELLO);
        }
        let since = Instant::now();
        while seen.load(Ordering::SeqCst) < 200 && since.elapsed() < Duration::from_mins(1) {
            thread::yield_now();
        }
        Turn::Answer(HELLO)
    });
    let mut plan = plan(server, Pace::PerSecond(1000.0), 300);
    (plan.connections, plan.most_connections) = (1, 8);
    let report = plan.run().unwrap();
    assert_eq!((report.ok, others.load(Ordering::SeqCst)), (300, 299), "{report:?}");
    assert!((2..=8).contains(&report.connections), "{report:?}");
}

#[test]
fn a_status_that_is_no_success_is_a_failure() {
    const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 2\r\n\r\n{}";
    let server = serve(|nth| Turn::Answer(if nth % 4 == 0 { BUSY } else { HELLO }));
    let report = plan(server, Pace::PerSecond(2000.0), 400).run().unwrap();
    assert_failed(&report, Failure::Status, 100);
    assert_eq!(report.statuses.into_iter().collect::<Vec<_>>(), [(200, 300), (503, 100)]);
}

#[test]
fn an_answer_that_ends_too_early_was_cut_off() {
    const HALF: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe";
    let server = serve(|nth| if nth % 10 == 9 { Turn::AnswerAndClose(HALF) } else { Turn::Answer(HELLO) });
    let report = plan(server, Pace::PerSecond(1000.0), 200).run().unwrap();
    assert_failed(&report, Failure::CutOff, 20);
    assert!(report.connections >= 5, "others took their place: {report:?}");
}

#[test]
fn a_connection_that_ends_before_an_answer_is_told_apart_by_its_use() {
    // One connection: its first request is answered, its second is not.
    let server = serve(|nth| if nth % 2 == 1 { Turn::Close } else { Turn::Answer(HELLO) });
    let mut used = plan(server, Pace::Closed, 20);
    used.connections = 1;
    assert_failed(&used.run().unwrap(), Failure::Unanswered, 10);

    let server = serve(|_| Turn::Close);
    let report = plan(server, Pace::Closed, 20).run().unwrap();
    assert_failed(&report, Failure::CutOff, 20);
}

#[test]
fn a_request_that_went_unanswered_is_sent_again_where_the_plan_says_so() {
    let server = serve(|nth| if nth % 2 == 1 { Turn::Close } else { Turn::Answer(HELLO) });
    let mut plan = plan(server, Pace::Closed, 20);
    (plan.connections, plan.asks_again) = (1, true);
    let report = plan.run().unwrap();
    // All but the first meet a connection that was used and closes, and are answered over another.
    assert_eq!((report.sent, report.ok, report.asked_again), (20, 20, 19), "{report:?}");
}

#[test]
fn nothing_becomes_due_once_it_was_told_to_stop() {
    let asked = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&asked);
    let server = serve(move |nth| {
        seen.store(nth, Ordering::SeqCst);
        Turn::Answer(HELLO)
    });
    let plan = plan(server, Pace::Closed, u64::MAX);
    let stop = Arc::clone(&plan.stop);
    let running = thread::spawn(move || plan.run().unwrap());
    while asked.load(Ordering::SeqCst) < 100 {
        thread::yield_now();
    }
    stop.store(true, Ordering::Relaxed);
    let report = running.join().unwrap();
    assert_eq!((report.sent, report.failed()), (report.ok, 0), "{report:?}");
}

#[test]
fn what_was_due_when_it_was_told_to_stop_is_asked_all_the_same() {
    const STALL: Duration = Duration::from_millis(300);
    let stop = Arc::<AtomicBool>::default();
    let told = Arc::clone(&stop);
    // One connection, so all that is due before it is told to stop waits for the first answer, which comes after that.
    let server = serve(move |nth| {
        if nth == 0 {
            thread::sleep(STALL);
            told.store(true, Ordering::SeqCst);
        }
        Turn::Answer(HELLO)
    });
    let mut plan = plan(server, Pace::PerSecond(1000.0), u64::MAX);
    (plan.connections, plan.most_connections, plan.stop) = (1, 1, stop);
    let report = plan.run().unwrap();
    assert_eq!((report.sent, report.failed()), (report.ok, 0), "{report:?}");
    assert!(report.due_for >= STALL && report.due_for < plan.duration, "{report:?}");
    assert!(report.sent as f64 >= 1000.0 * report.due_for.as_secs_f64(), "{report:?}");
}

#[test]
fn a_server_that_says_that_it_closes_fails_nothing() {
    const LAST: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello";
    let server = serve(|_| Turn::AnswerAndClose(LAST));
    let report = plan(server, Pace::PerSecond(1000.0), 100).run().unwrap();
    assert_eq!((report.ok, report.failed()), (100, 0), "{report:?}");
    assert!(report.connections >= 100, "{report:?}");
}

#[test]
fn nobody_listening_fails_each_request_by_itself() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = listener.local_addr().unwrap();
    drop(listener);
    let report = plan(server, Pace::PerSecond(1000.0), 100).run().unwrap();
    assert_failed(&report, Failure::Connect, 100);
}

#[test]
fn silence_is_given_up_and_the_connection_with_it() {
    let server = serve(|nth| if nth == 0 { Turn::Silence } else { Turn::Answer(HELLO) });
    let mut plan = plan(server, Pace::PerSecond(10.0), 10);
    plan.connections = 1;
    plan.timeout = Duration::from_millis(300);
    let report = plan.run().unwrap();
    assert!(report.failed_by(Failure::TimedOut) >= 1, "{report:?}");
    assert_eq!(report.ok + report.failed_by(Failure::TimedOut), 10, "{report:?}");
}

#[test]
fn what_is_no_http_is_unreadable() {
    let server = serve(|_| Turn::Answer(b"-ERR unknown command\r\n\r\n"));
    let report = plan(server, Pace::Closed, 10).run().unwrap();
    assert_failed(&report, Failure::Unreadable, 10);
}
