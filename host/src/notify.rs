//! Notifications to the service manager: ready, alive (watchdog) and stopping.
//!
//! The protocol is systemd's `sd_notify(3)`: datagrams of `NAME=value` to the socket in `NOTIFY_SOCKET`. Without that
//! variable the host sends nothing. systemd itself sets these variables; they are not part of the service's
//! configuration.

use std::ffi::OsString;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::time::Duration;

/// The service manager that started this process, if any.
#[derive(Debug, Clone)]
pub(crate) struct ServiceManager {
    socket: Option<Arc<UnixDatagram>>,
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// Returns the service manager that the environment names. If its socket is unreachable, the host logs a warning
    /// and serves requests all the same.
    pub(crate) fn from_environment() -> Self {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Self { socket: None, watchdog: None };
        };
        let socket = connect(&name).map_err(|error| {
            tracing::warn!(%error, cause = %error, socket = ?name, "cannot reach the service manager");
        });
        Self { socket: socket.ok().map(Arc::new), watchdog: watchdog(&|name| std::env::var(name).ok()) }
    }

    /// Reports that the host serves requests, and starts the watchdog notifications. They come from a task on the
    /// threads that serve requests, so they stop if those threads hang. systemd recommends half its timeout as the
    /// interval.
    pub(crate) fn ready(&self) {
        self.notify("READY=1");
        let Some(watchdog_timeout) = self.watchdog else { return };
        let manager = self.clone();
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(watchdog_timeout / 2);
            loop {
                ticks.tick().await;
                manager.notify("WATCHDOG=1");
            }
        });
    }

    /// Reports that the host is draining.
    pub(crate) fn stopping(&self) {
        self.notify("STOPPING=1");
    }

    fn notify(&self, state: &str) {
        if let Some(Err(error)) = self.socket.as_ref().map(|socket| socket.send(state.as_bytes())) {
            tracing::warn!(%error, cause = %error, state, "cannot notify the service manager");
        }
    }
}

/// Connects to the socket. Sends never block, so a service manager that does not read cannot delay the host.
fn connect(name: &OsString) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    #[cfg(target_os = "linux")]
    {
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::ffi::OsStrExt;
        use std::os::unix::net::SocketAddr;

        // `@` stands for the null byte at the start of an abstract name, which is not in the file system.
        if let Some(abstract_name) = name.as_bytes().strip_prefix(b"@") {
            socket.connect_addr(&SocketAddr::from_abstract_name(abstract_name)?)?;
            return Ok(socket);
        }
    }
    socket.connect(name)?;
    Ok(socket)
}

/// Returns the watchdog timeout, if the service manager watches this process. Child processes inherit the variables, so
/// `WATCHDOG_PID` names the process they are for.
fn watchdog(lookup: &dyn Fn(&str) -> Option<String>) -> Option<Duration> {
    let is_for_another = lookup("WATCHDOG_PID").is_some_and(|id| id != std::process::id().to_string());
    let microseconds = lookup("WATCHDOG_USEC")?.parse().ok().filter(|microseconds| *microseconds > 0)?;
    (!is_for_another).then(|| Duration::from_micros(microseconds))
}
