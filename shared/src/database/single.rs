//! The connection of a function. Lambda freezes the process between requests, so a request that finds the connection
//! lost connects again, and nothing runs in the background.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::clock::FreezeAwareInstant;
use super::closing::{Closer, Closing};
use super::connection::{Connection, Lost, startup_options};
use super::statistics::ServerMetrics;
use super::{ConnectOptions, Error, Settings};

/// The age of an attempt to connect from which a request starts another one. The process may have been frozen during the
/// attempt, and the server may have dropped it.
const SLOW_AFTER: Duration = Duration::from_secs(1);

/// The connection of a function, opened when the process starts.
#[derive(Debug)]
pub(super) struct SingleConnection {
    settings: Settings,
    options: ConnectOptions,
    /// How long a request waits for the connection.
    connect_wait: Duration,
    /// `None` once it is closed.
    latest: Mutex<Option<Attempt>>,
    closer: Closer,
}

/// An attempt to connect, or the connection that came of it.
#[derive(Debug, Clone)]
struct Attempt {
    began: FreezeAwareInstant,
    /// The task that connects and then drives the connection. Without it, the connection is closed.
    task: AbortHandle,
    /// All requests that wait for the attempt share its result.
    result: Shared<BoxFuture<'static, Result<Arc<Connection>, Error>>>,
}

impl SingleConnection {
    /// Starts to connect. Needs a running tokio runtime.
    pub(super) fn start(settings: &Settings, connect_wait: Duration) -> Self {
        let options = startup_options(settings, "atelier");
        let closer = Closer::new();
        let latest = Mutex::new(Some(Attempt::start(settings, &options, closer.subscribe())));
        Self { settings: settings.clone(), options, connect_wait, latest, closer }
    }

    /// Returns the connection. Connects again if it is lost, or if it is `failed`.
    pub(super) async fn connection(
        &self,
        failed: Option<&Arc<Connection>>,
    ) -> Result<Arc<Connection>, Error> {
        if let Some(failed) = failed {
            failed.health().mark_dead();
        }
        let connecting = async {
            let connection = self.latest_attempt()?.result.await?;
            if connection.probe_if_idle().await {
                return Ok(connection);
            }
            self.latest_attempt()?.result.await
        };
        timeout(self.connect_wait, connecting).await.unwrap_or(Err(Error::NOT_CONNECTED))
    }

    /// Returns the latest attempt unless it failed, its connection is lost, or it takes long; then it starts another.
    fn latest_attempt(&self) -> Result<Attempt, Error> {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let attempt = latest.as_mut().ok_or(Error::NOT_CONNECTED)?;
        let is_usable = match attempt.result.clone().now_or_never() {
            Some(Ok(connection)) => connection.is_up(),
            Some(Err(_)) => false,
            None if attempt.began.elapsed() < SLOW_AFTER => true,
            None => {
                attempt.task.abort();
                false
            }
        };
        if !is_usable {
            *attempt = Attempt::start(&self.settings, &self.options, self.closer.subscribe());
        }
        Ok(attempt.clone())
    }

    /// Waits up to `limit` until the connection is up, and returns whether it is.
    pub(super) async fn wait_until_connected(&self, limit: Duration) -> bool {
        timeout(limit, self.connection(None)).await.is_ok_and(|connection| connection.is_ok())
    }

    /// Closes the connection, gracefully if it can. Later requests fail at once.
    pub(super) async fn close(&self) {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.closer.close().await;
    }
}

impl Attempt {
    fn start(settings: &Settings, options: &ConnectOptions, closing: Closing) -> Self {
        let (sender, receiver) = oneshot::channel();
        let task = tokio::spawn(run(settings.clone(), options.clone(), closing, sender)).abort_handle();
        let result = receiver.map(|result| result.unwrap_or(Err(Error::NOT_CONNECTED))).boxed().shared();
        Self { began: FreezeAwareInstant::now(), task, result }
    }
}

/// Connects, sends the result, and drives the connection until it is lost or closed.
async fn run(
    settings: Settings,
    options: ConnectOptions,
    mut closing: Closing,
    result: oneshot::Sender<Result<Arc<Connection>, Error>>,
) {
    let opened = tokio::select! {
        opened = Connection::open(&options, 0, &settings, ServerMetrics::default()) => opened,
        () = closing.begun() => return,
    };
    let host = options.host();
    match opened {
        Ok((connection, mut driver)) => {
            let _ = result.send(Ok(Arc::clone(&connection))); // fails once the database is closed
            let lost = connection.until_lost(&mut driver, &mut closing, std::future::pending()).await;
            drop(connection); // the last request in flight drops the other one
            match lost {
                Some(Lost { cause, .. }) => {
                    tracing::warn!(host, error = cause, cause, "lost the database connection");
                }
                None => closing.finish(driver).await,
            }
        }
        Err(cause) => {
            tracing::warn!(host, error = cause, cause, "cannot connect to the database");
            let _ = result.send(Err(Error::NOT_CONNECTED));
        }
    }
}
