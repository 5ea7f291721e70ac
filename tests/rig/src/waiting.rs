//! Waiting with a limit, and processes and folders of servers.

use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

/// The limit of each wait in tests, long enough for a busy machine.
pub const TEST_TIMEOUT: Duration = Duration::from_mins(2);

/// Polls until the condition holds. Panics after [`TEST_TIMEOUT`].
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let polling = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(TEST_TIMEOUT, polling).await.is_ok(), "timed out: {what}");
}

/// Returns the process id of the running server of the cluster in `root`. Panics if there is none.
pub fn server_of(root: &Path) -> u32 {
    let file = std::fs::read_to_string(root.join("data/postmaster.pid")).unwrap();
    file.lines().next().unwrap().parse().unwrap()
}

/// Returns whether a process of this id exists.
pub fn is_alive(process: u32) -> bool {
    local::signal(process, "0").is_ok()
}

/// Creates a directory that the server's account can pass through. Panics if that fails.
pub fn reachable_directory() -> TempDir {
    use std::os::unix::fs::PermissionsExt;
    let enter = std::fs::Permissions::from_mode(0o711);
    tempfile::Builder::new().prefix("atelier-test-").permissions(enter).tempdir_in("/tmp").unwrap()
}
