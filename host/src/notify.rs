//! What a service manager is told of this process: that it serves, that it is still alive, that it is ending.
//!
//! It is systemd's protocol (`sd_notify(3)`): a datagram of `NAME=value` to the socket that `NOTIFY_SOCKET`
//! names. A process that no manager started is not told of one, and then nothing here does anything. These
//! variables are what systemd says of itself to what it starts; they are no configuration of the service.

use std::ffi::OsString;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::time::Duration;

/// The socket of the manager that started this process, if one did and asks to be told.
#[derive(Debug, Clone)]
pub(crate) struct Manager {
    socket: Option<Arc<UnixDatagram>>,
    watchdog: Option<Duration>,
}

impl Manager {
    /// The manager that the environment names. One that cannot be reached is warned of and left alone: requests
    /// are served all the same, and it is for the manager to end what it hears nothing from.
    pub(crate) fn from_environment() -> Self {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Self { socket: None, watchdog: None };
        };
        let socket = connect(&name).map_err(|error| {
            tracing::warn!(cause = %error, socket = ?name, "cannot reach the service manager");
        });
        Self { socket: socket.ok().map(Arc::new), watchdog: watchdog(&|name| std::env::var(name).ok()) }
    }

    /// Says that requests are answered from now on. From then on one of the tasks that the threads for requests run
    /// says that they still do; half the time after which the process is taken for dead is what systemd recommends.
    pub(crate) fn ready(&self) {
        self.say("READY=1");
        let Some(deadline) = self.watchdog else { return };
        let manager = self.clone();
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(deadline / 2);
            loop {
                ticks.tick().await;
                manager.say("WATCHDOG=1");
            }
        });
    }

    /// Says that no more connections are taken, and that requests under way are being finished.
    pub(crate) fn stopping(&self) {
        self.say("STOPPING=1");
    }

    fn say(&self, state: &str) {
        if let Some(Err(error)) = self.socket.as_ref().map(|socket| socket.send(state.as_bytes())) {
            tracing::warn!(cause = %error, state, "cannot tell the service manager");
        }
    }
}

/// A datagram is sent whole or not at all, and at once: a manager that does not read holds nothing up.
fn connect(name: &OsString) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    #[cfg(target_os = "linux")]
    {
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::ffi::OsStrExt;
        use std::os::unix::net::SocketAddr;

        // An @ stands for the null byte that begins a name which is not in the file system.
        if let Some(abstract_name) = name.as_bytes().strip_prefix(b"@") {
            socket.connect_addr(&SocketAddr::from_abstract_name(abstract_name)?)?;
            return Ok(socket);
        }
    }
    socket.connect(name)?;
    Ok(socket)
}

/// After how long without a word the manager takes this process for dead, if it watches it. The variables are
/// inherited: `WATCHDOG_PID` says for which process they are meant.
fn watchdog(lookup: &dyn Fn(&str) -> Option<String>) -> Option<Duration> {
    let of_another = lookup("WATCHDOG_PID").is_some_and(|id| id != std::process::id().to_string());
    let microseconds = lookup("WATCHDOG_USEC")?.parse().ok().filter(|microseconds| *microseconds > 0)?;
    (!of_another).then(|| Duration::from_micros(microseconds))
}
