//! Failpoints: named places in the loader where a test can kill it.
//!
//! `ATELIER_ETL_FAILPOINT=before-commit:3` kills the process with SIGKILL when it hits that failpoint for the third
//! time. A release build has no failpoints.

#[cfg(debug_assertions)]
use std::sync::atomic::{AtomicU32, Ordering};

/// The variable that names a failpoint and the hit that kills the process.
pub const VARIABLE: &str = "ATELIER_ETL_FAILPOINT";

/// The load is recorded; none of its steps has started.
pub const BEGUN: &str = "begun";
/// Rows of a file are sent; rows, rejects and progress are not committed.
pub const BEFORE_COMMIT: &str = "before-commit";
/// Rows, rejects and progress are committed.
pub const AFTER_COMMIT: &str = "after-commit";
/// A key or an index is not created yet.
pub const BEFORE_INDEX: &str = "before-index";
/// A key or an index is created.
pub const AFTER_INDEX: &str = "after-index";
/// Loaded rows are moved to the rejects; this is not committed.
pub const REJECTING: &str = "rejecting";
/// Documents are sent and not committed.
pub const ASSEMBLING: &str = "assembling";
/// Documents are committed; they have no primary key yet.
pub const ASSEMBLED: &str = "assembled";
/// The list of rejected rows is not written yet.
pub const BEFORE_REJECTS: &str = "before-rejects";
/// The previous catalog is dropped; the schemas are not renamed yet.
pub const BEFORE_SWAP: &str = "before-swap";
/// Schemas are renamed; this is not committed.
pub const SWAPPING: &str = "swapping";
/// The new catalog is served.
pub const AFTER_SWAP: &str = "after-swap";

/// All failpoints, in the order of a load.
pub const ALL: [&str; 12] = [
    BEGUN,
    BEFORE_COMMIT,
    AFTER_COMMIT,
    BEFORE_INDEX,
    AFTER_INDEX,
    REJECTING,
    ASSEMBLING,
    ASSEMBLED,
    BEFORE_REJECTS,
    BEFORE_SWAP,
    SWAPPING,
    AFTER_SWAP,
];

/// Does nothing in a release build.
#[cfg(not(debug_assertions))]
pub fn hit(_: &str) {}

/// Kills the process if [`VARIABLE`] names this failpoint and this hit of it.
#[cfg(debug_assertions)]
pub fn hit(failpoint: &str) {
    static HITS: AtomicU32 = AtomicU32::new(0);
    let Ok(wanted) = std::env::var(VARIABLE) else { return };
    let (name, nth) = wanted.split_once(':').unwrap_or((&wanted, "1"));
    if name == failpoint && nth.parse() == Ok(HITS.fetch_add(1, Ordering::Relaxed) + 1) {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}
