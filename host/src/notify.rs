//! Notifications to the service manager: ready, alive (watchdog) and stopping. Without `NOTIFY_SOCKET` nothing is sent.
//! systemd itself sets its variables; they are not part of the service's configuration.

use sd_notify::NotifyState;

/// A service manager that was reachable at the start, or none.
#[derive(Debug)]
pub(crate) struct ServiceManager {
    is_reachable: bool,
}

impl ServiceManager {
    /// Reports that the host serves requests, and starts the watchdog notifications. They come from a task on the threads
    /// that serve requests, so they stop if those threads hang. systemd recommends half its timeout as the interval. If the
    /// socket is unreachable, the host logs one warning and serves requests all the same.
    pub(crate) fn ready() -> Self {
        let is_reachable = notify(NotifyState::Ready);
        let interval =
            sd_notify::watchdog_enabled().map(|timeout| timeout / 2).filter(|half| !half.is_zero());
        if let Some(interval) = interval.filter(|_| is_reachable) {
            tokio::spawn(async move {
                let mut ticks = tokio::time::interval(interval);
                loop {
                    ticks.tick().await;
                    notify(NotifyState::Watchdog);
                }
            });
        }
        Self { is_reachable }
    }

    /// Reports that the host is draining.
    pub(crate) fn stopping(&self) {
        if self.is_reachable {
            notify(NotifyState::Stopping);
        }
    }
}

/// Sends a state, and returns whether that succeeded.
fn notify(state: NotifyState<'_>) -> bool {
    let sent = sd_notify::notify(&[state]);
    if let Err(error) = &sent {
        let socket = std::env::var_os("NOTIFY_SOCKET").unwrap_or_default();
        tracing::warn!(%error, cause = %error, ?socket, "cannot reach the service manager");
    }
    sent.is_ok()
}
