//! The health of one connection: whether its server responds, and the probe of an idle connection before use.
//!
//! A connection can die without an error: the server disappears, or the connection ends while this process is frozen.
//! So an idle connection is probed before use, and a connection without any response within the timeout is dead.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_postgres::Client;

use super::clock::FreezeAwareInstant;
use super::{Error, Settings};

/// How much longer than the statement timeout a response may take. Postgres cancels the statement at its timeout and
/// reports that, so no report within this time means that the server does not respond.
const TIMEOUT_GRACE: Duration = Duration::from_millis(250);

/// The timeout of a probe. Postgres has nothing to do for it, so this is time for the network.
const PROBE_TIMEOUT: Duration = Duration::from_millis(250);

/// How long statements may be in flight without any response before requests prefer another connection. Most statements
/// take less time, and few requests are delayed until then.
const STALL_AFTER: Duration = Duration::from_millis(250);

/// The health of one connection.
#[derive(Debug)]
pub(super) struct Health {
    /// The max time for a response.
    response_timeout: Duration,
    /// How long the connection may be idle before it is probed.
    idle_check_after: Duration,
    last_response: Mutex<FreezeAwareInstant>,
    /// How many statements are in flight.
    in_flight: AtomicUsize,
    /// Since when at least one is.
    busy_since: Mutex<FreezeAwareInstant>,
    /// Locked during a probe. Concurrent callers wait for it and share its result.
    probe: tokio::sync::Mutex<()>,
    is_dead: AtomicBool,
    died: Notify,
}

impl Health {
    pub(super) fn new(settings: &Settings) -> Self {
        let (in_flight, probe, is_dead, died) = Default::default();
        let now = FreezeAwareInstant::now();
        Self {
            response_timeout: settings.statement_timeout + TIMEOUT_GRACE,
            idle_check_after: settings.idle_check_after,
            last_response: Mutex::new(now),
            in_flight,
            busy_since: Mutex::new(now),
            probe,
            is_dead,
            died,
        }
    }

    /// Returns how many statements are in flight.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Returns whether the statements in flight have had no response for so long that another connection is the better
    /// choice.
    pub(super) fn is_stalled(&self) -> bool {
        self.in_flight() > 0
            && lock(&self.busy_since).elapsed() > STALL_AFTER
            && self.idle_time() > STALL_AFTER
    }

    /// Returns whether the connection was idle for so long that it may have died unnoticed, as every connection does
    /// while the process is frozen.
    pub(super) fn needs_probe(&self) -> bool {
        // A probe would wait behind the statements in flight, so its timeout would prove nothing.
        let is_busy = self.in_flight() > 0;
        let limit =
            if is_busy { self.idle_check_after + self.response_timeout } else { self.idle_check_after };
        self.idle_time() > limit
    }

    /// Probes the connection if it needs it, and marks it dead if it does not respond.
    pub(super) async fn probe_if_idle(&self, client: &Client) {
        let is_due = || !self.is_dead() && !client.is_closed() && self.needs_probe();
        if !is_due() {
            return;
        }
        let _guard = self.probe.lock().await;
        if is_due() {
            match timeout(PROBE_TIMEOUT, client.check_connection()).await {
                Ok(Ok(())) => self.touch(),
                Ok(Err(_)) | Err(_) => self.mark_dead(),
            }
        }
    }

    /// Waits for a response within the timeout, and records when it arrives or that it does not.
    pub(super) async fn track<T>(
        &self,
        response: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Error> {
        if self.in_flight() == 0 {
            *lock(&self.busy_since) = FreezeAwareInstant::now();
        }
        let in_flight = InFlight::new(&self.in_flight);
        let response = timeout(self.response_timeout, response).await;
        drop(in_flight);
        let Ok(response) = response else {
            // A server that has responded to other statements since, or to this one after it cancelled another, is only
            // slow. Otherwise it hangs or has disappeared: it has sent nothing since this statement, or only the
            // responses to statements just before it.
            let idle_time = self.idle_time();
            if idle_time >= self.response_timeout {
                self.mark_dead(); // later statements would time out too
            }
            let is_stalled = idle_time >= self.response_timeout.min(TIMEOUT_GRACE + STALL_AFTER);
            return Err(if is_stalled { Error::STALLED } else { Error::TIMED_OUT });
        };
        self.touch();
        Ok(response?)
    }

    /// Returns whether the server did not respond within a timeout.
    pub(super) fn is_dead(&self) -> bool {
        self.is_dead.load(Ordering::Relaxed)
    }

    /// Waits until the connection is marked dead.
    pub(super) async fn dead(&self) {
        self.died.notified().await;
    }

    /// Ends the connection.
    pub(super) fn mark_dead(&self) {
        self.is_dead.store(true, Ordering::Relaxed);
        self.died.notify_one();
    }

    /// Records a response.
    fn touch(&self) {
        *lock(&self.last_response) = FreezeAwareInstant::now();
    }

    /// Returns the time since the last response.
    fn idle_time(&self) -> Duration {
        lock(&self.last_response).elapsed()
    }
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts a statement as in flight until it is dropped.
struct InFlight<'a>(&'a AtomicUsize);

impl<'a> InFlight<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
