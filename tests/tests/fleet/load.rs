//! A steady rate of requests during a test, and a report of the results.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bench::open_loop::{LoadProfile, Rate, Report, Requests, Route};

use super::{PRODUCTS, a_while, rate};

/// A request may take as long as a person waits. It has failed only if there is no response by then.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The limit of connections. A hanging host delays many requests until NGINX notices, and each of them holds a
/// connection.
const MAX_CONNECTIONS: usize = 8192;

/// The duration and the number of trials that measure the machine's maximum rate, and the largest share of it that the
/// load may use. On a busier machine, hosts respond late and NGINX treats them as hanging.
const TRIAL: Duration = Duration::from_secs(1);
const TRIALS: usize = 3;
const SHARE: f64 = 0.5;

/// The minimum share of the time during which there must have been load. Without load nothing could fail.
const PRESENT: f64 = 0.9;

/// A load on a server.
pub struct Load {
    stop: Arc<AtomicBool>,
    begun: Instant,
    running: JoinHandle<std::io::Result<Report>>,
}

impl Load {
    /// Starts requests for any product of the catalog on each of the four routes, and waits a while.
    pub async fn start(server: SocketAddr) -> Self {
        Self::of(server, Requests::of(Route::Product, PRODUCTS)).await
    }

    /// Starts requests for these ids and pages, and waits a while.
    pub async fn of(server: SocketAddr, requests: Requests) -> Self {
        let routes = vec![Route::List, Route::Product, Route::Styles, Route::Related];
        let requests = Requests { routes, seed: fastrand::u64(..), ..requests };
        let mut best: f64 = 0.0;
        for _ in 0..TRIALS {
            let trial = LoadProfile::new(server, Rate::ClosedLoop, TRIAL, requests.clone());
            let trial = tokio::task::spawn_blocking(move || trial.run()).await.unwrap().unwrap();
            assert_no_failures("before anything happens", &trial);
            best = best.max(trial.rate());
        }
        let (rate, most) = (rate(), SHARE * best);
        assert!(
            rate <= most,
            "FLEET_RATE={rate}: expected at most {most:.0}, half of this machine's maximum"
        );
        let whole_test = Duration::from_mins(10);
        let mut plan = LoadProfile::new(server, Rate::PerSecond(rate), whole_test, requests);
        (plan.timeout, plan.max_connections, plan.retries) = (TIMEOUT, MAX_CONNECTIONS, true);
        let stop = Arc::clone(&plan.stop);
        let load = Self { stop, begun: Instant::now(), running: thread::spawn(move || plan.run()) };
        a_while().await;
        load
    }

    /// Waits a while, stops the load, and prints and returns its report.
    pub async fn end(self, what: &str) -> Report {
        a_while().await;
        let lasted = self.begun.elapsed();
        self.stop.store(true, Ordering::Relaxed);
        let report = tokio::task::spawn_blocking(|| self.running.join().unwrap().unwrap()).await.unwrap();
        let milliseconds = |share| report.quantile(share).as_secs_f64() * 1e3;
        println!(
            "{what}: sent {} ({:.0}/s), ok {}, failed {} {:?}, retried {}, p50 {:.1} ms, p99 {:.1} ms, slowest \
             {:.0} ms",
            report.sent,
            report.sent as f64 / report.elapsed.as_secs_f64(),
            report.ok,
            report.failed(),
            report.failures,
            report.retried,
            milliseconds(0.5),
            milliseconds(0.99),
            milliseconds(1.0),
        );
        assert!(
            report.due_for >= lasted.mul_f64(PRESENT),
            "{what}: the load ended after {:?}",
            report.due_for
        );
        report
    }

    /// Stops the load. No request may have failed, and no connection may have been lost.
    pub async fn end_without_failures(self, what: &str) {
        let report = self.end(what).await;
        assert_eq!(report.retried, 0, "{what}: connections were lost");
        assert_no_failures(what, &report);
    }
}

/// Asserts that there were requests, and that none failed.
pub fn assert_no_failures(what: &str, report: &Report) {
    assert!(report.ok > 0 && report.failed() == 0, "{what}: {:?}, {:?}", report.failures, report.statuses);
}
