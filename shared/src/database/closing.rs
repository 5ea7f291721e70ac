//! Closing connections: each connection has a task that drives it, and the tasks learn here when to end.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::connect_options::Driver;

/// The max time for closing the connections gracefully.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(300);

/// The owner's side. Dropping it aborts the connections.
#[derive(Debug)]
pub(super) struct Closer(watch::Sender<Phase>);

/// The side of a task, which holds it until its connection is closed.
#[derive(Debug, Clone)]
pub(super) struct Closing(watch::Receiver<Phase>);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    #[default]
    Open,
    Closing,
    Aborting,
}

impl Closer {
    pub(super) fn new() -> Self {
        Self(watch::Sender::default())
    }

    pub(super) fn subscribe(&self) -> Closing {
        Closing(self.0.subscribe())
    }

    pub(super) fn is_closing(&self) -> bool {
        *self.0.borrow() != Phase::Open
    }

    /// Closes the connections once no statement is in flight; after `CLOSE_TIMEOUT` it aborts them.
    pub(super) async fn close(&self) {
        self.0.send_replace(Phase::Closing);
        if timeout(CLOSE_TIMEOUT, self.0.closed()).await.is_err() {
            self.0.send_replace(Phase::Aborting);
        }
    }
}

impl Closing {
    /// Waits until the connections close.
    pub(super) async fn begun(&mut self) {
        self.reached(Phase::Closing).await;
    }

    /// Drives a connection whose client is dropped until it is closed gracefully or aborted.
    pub(super) async fn finish(mut self, driver: Driver) {
        tokio::select! {
            _ = driver => {}
            () = self.reached(Phase::Aborting) => {}
        }
    }

    async fn reached(&mut self, phase: Phase) {
        let _ = self.0.wait_for(|now| *now >= phase).await; // fails if the owner was dropped
    }
}
