//! The notifications of `atelier-host` to systemd.

// In helpers too: clippy does not treat them as tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::Path;

use rig::Database;
use support::process::Host;
use support::{TEST_TIMEOUT, read_all, request, send};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixDatagram;
use tokio::sync::mpsc;

/// A service manager, and the notifications received so far.
struct ServiceManager {
    notifications: mpsc::UnboundedReceiver<String>,
    received: Vec<String>,
}

impl ServiceManager {
    fn listen(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        let (sender, notifications) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut datagram = [0; 64];
            while let Ok(length) = socket.recv(&mut datagram).await {
                let states = str::from_utf8(&datagram[..length]).unwrap();
                states.lines().for_each(|state| drop(sender.send(state.to_owned())));
            }
        });
        Self { notifications, received: Vec::new() }
    }

    /// Waits until this state was received `times` times in total.
    async fn wait_for(&mut self, state: &str, times: usize) {
        while self.received.iter().filter(|received| *received == state).count() < times {
            let next = tokio::time::timeout(TEST_TIMEOUT, self.notifications.recv()).await;
            let next = next.unwrap_or_else(|_| panic!("{state} was not received: {:?}", self.received));
            self.received.push(next.unwrap());
        }
    }
}

#[tokio::test]
async fn the_service_manager_receives_ready_watchdog_and_stopping_notifications() {
    let database = Database::create().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let mut manager = ServiceManager::listen(&path);
    let variables = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "40000")];
    let host = Host::start(&database, &variables).await;
    manager.wait_for("READY=1", 1).await;
    assert_eq!(manager.received, ["READY=1"], "READY is the first notification");
    assert!(request(host.address, "GET /healthz HTTP/1.1").await.starts_with("HTTP/1.1 200 "));
    manager.wait_for("WATCHDOG=1", 3).await;

    let head = "POST /cart HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n";
    let mut stream = send(host.address, head).await;
    stream.read_exact(&mut [0; 25]).await.unwrap();
    host.signal("TERM");
    manager.wait_for("STOPPING=1", 1).await;
    let so_far = manager.received.iter().filter(|received| *received == "WATCHDOG=1").count();
    manager.wait_for("WATCHDOG=1", so_far + 2).await; // the watchdog notifications continue while the host drains
    stream.write_all(b"{}").await.unwrap();
    read_all(stream).await;
    host.log().await;
    assert_eq!(manager.received.iter().filter(|received| *received == "READY=1").count(), 1);
}

#[tokio::test]
async fn a_watchdog_for_another_process_is_ignored() {
    let database = Database::create().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let mut manager = ServiceManager::listen(&path);
    let variables =
        [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "1000"), ("WATCHDOG_PID", "1")];
    let host = Host::start(&database, &variables).await;
    manager.wait_for("READY=1", 1).await;
    host.signal("TERM");
    manager.wait_for("STOPPING=1", 1).await;
    host.log().await;
    assert_eq!(manager.received, ["READY=1", "STOPPING=1"]);
}

#[tokio::test]
async fn an_unreachable_service_manager_logs_a_warning_and_the_host_serves_requests() {
    let database = Database::create().await.unwrap();
    let host =
        Host::start(&database, &[("NOTIFY_SOCKET", "/nowhere/notify"), ("WATCHDOG_USEC", "1000")]).await;
    assert!(request(host.address, "GET /healthz HTTP/1.1").await.starts_with("HTTP/1.1 200 "));
    host.signal("TERM");
    let log = host.log().await;
    let warnings: Vec<_> =
        log.iter().filter(|line| line.get("level").is_some_and(|level| level == "WARN")).collect();
    let [warning] = warnings[..] else { panic!("{log:?}") };
    assert_eq!(warning["message"], "cannot reach the service manager");
    assert_eq!(warning["socket"], r#""/nowhere/notify""#);
}
