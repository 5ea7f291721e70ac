//! Helpers of this crate's tests.

#![allow(clippy::unwrap_used, clippy::panic)] // in helpers too, which clippy does not take for tests

use std::path::Path;
use std::time::Duration;

/// Creates a directory that the server's account can pass through.
pub(crate) fn reachable_directory() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let enter = std::fs::Permissions::from_mode(0o711);
    tempfile::Builder::new().prefix("atelier-test-").permissions(enter).tempdir_in("/tmp").unwrap()
}

/// Polls a condition. The timeout of one minute suits busy machines.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("timed out after one minute: {what}");
}

/// Returns the process id of the running server of the cluster in `root`.
pub(crate) fn server_of(root: &Path) -> String {
    let file = std::fs::read_to_string(root.join("data/postmaster.pid")).unwrap();
    file.lines().next().unwrap().to_owned()
}

/// Sends a signal and returns whether that succeeded.
pub(crate) fn signal(name: &str, process: &str) -> bool {
    local::signal(process.parse().unwrap(), name).is_ok()
}

/// Returns whether a process of this id exists.
pub(crate) fn is_alive(process: &str) -> bool {
    signal("0", process)
}
