//! Requests at a steady rate for as long as something lasts, and what became of them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bench::open_loop::{Pace, Plan, Report, Requests, Route};

use super::{PRODUCTS, a_while, rate};

/// Requests may wait as long as people do: one that an answer comes for has not failed.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What a hanging host holds up, until it is noticed, for each takes a connection of its own.
const MOST_CONNECTIONS: usize = 8192;

/// How long it is tried how many requests the machine can bear, how often, and the share of the most that the load may be.
/// What a busy machine is late with, NGINX takes for a host that hangs.
const TRIAL: Duration = Duration::from_secs(1);
const TRIALS: usize = 3;
const SHARE: f64 = 0.5;

/// The least share of the time for which there must have been a load: of one that was not there, nothing would fail.
const PRESENT: f64 = 0.9;

/// A load on a server.
pub struct Load {
    stop: Arc<AtomicBool>,
    begun: Instant,
    running: JoinHandle<std::io::Result<Report>>,
}

impl Load {
    /// Begins to ask for any product of the catalog, in each of the four routes, and does so for a while.
    pub async fn begin(server: SocketAddr) -> Self {
        Self::of(server, Requests::of(Route::Product, PRODUCTS)).await
    }

    /// The same with these ids and pages.
    pub async fn of(server: SocketAddr, requests: Requests) -> Self {
        let routes = vec![Route::List, Route::Product, Route::Styles, Route::Related];
        let requests = Requests { routes, seed: fastrand::u64(..), ..requests };
        let mut best: f64 = 0.0;
        for _ in 0..TRIALS {
            let trial = Plan::new(server, Pace::Closed, TRIAL, requests.clone());
            let trial = tokio::task::spawn_blocking(move || trial.run()).await.unwrap().unwrap();
            all_well("before anything happens", &trial);
            best = best.max(trial.rate());
        }
        let (rate, most) = (rate(), SHARE * best);
        assert!(
            rate <= most,
            "FLEET_RATE={rate}: expected at most {most:.0}, half of what this machine can bear"
        );
        let whole_test = Duration::from_mins(10);
        let mut plan = Plan::new(server, Pace::PerSecond(rate), whole_test, requests);
        (plan.timeout, plan.most_connections, plan.asks_again) = (TIMEOUT, MOST_CONNECTIONS, true);
        let stop = Arc::clone(&plan.stop);
        let load = Self { stop, begun: Instant::now(), running: thread::spawn(move || plan.run()) };
        a_while().await;
        load
    }

    /// Ends it after another while, and prints what became of it.
    pub async fn end(self, what: &str) -> Report {
        a_while().await;
        let lasted = self.begun.elapsed();
        self.stop.store(true, Ordering::Relaxed);
        let report = tokio::task::spawn_blocking(|| self.running.join().unwrap().unwrap()).await.unwrap();
        let milliseconds = |share| report.quantile(share).as_secs_f64() * 1e3;
        println!(
            "{what}: sent {} ({:.0}/s), ok {}, failed {} {:?}, asked again {}, p50 {:.1} ms, p99 {:.1} ms, slowest \
             {:.0} ms",
            report.sent,
            report.sent as f64 / report.elapsed.as_secs_f64(),
            report.ok,
            report.failed(),
            report.failures,
            report.asked_again,
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

    /// The same; none must have failed, nor any connection have been lost.
    pub async fn ends_well(self, what: &str) {
        let report = self.end(what).await;
        assert_eq!(report.asked_again, 0, "{what}: connections were lost");
        all_well(what, &report);
    }
}

/// There must have been some, and none must have failed.
pub fn all_well(what: &str, report: &Report) {
    assert!(report.ok > 0 && report.failed() == 0, "{what}: {:?}, {:?}", report.failures, report.statuses);
}
