//! Places at which a test can have the loader killed, to see what becomes of its work.
//!
//! `ATELIER_ETL_FAILPOINT=before-commit:3` ends the process by SIGKILL when it comes to that place for the third time.
//! A release build has none of it.

#[cfg(debug_assertions)]
use std::sync::atomic::{AtomicU32, Ordering};

/// Names a place, and how often it must be reached.
pub const VARIABLE: &str = "ATELIER_ETL_FAILPOINT";

/// A load is recorded, and nothing of it done.
pub const BEGUN: &str = "begun";
/// Rows of a file are sent; they, their rejects and their progress are not committed.
pub const BEFORE_COMMIT: &str = "before-commit";
/// They are.
pub const AFTER_COMMIT: &str = "after-commit";
/// A key or an index is about to be made.
pub const BEFORE_INDEX: &str = "before-index";
/// It is made.
pub const AFTER_INDEX: &str = "after-index";
/// Rows are taken out of a table and recorded as set aside; neither is committed.
pub const SETTING_ASIDE: &str = "setting-aside";
/// Documents are sent, and not committed.
pub const ASSEMBLING: &str = "assembling";
/// Documents are committed, and their key is not made.
pub const ASSEMBLED: &str = "assembled";
/// What was set aside is about to be written.
pub const BEFORE_REJECTS: &str = "before-rejects";
/// The catalog before the one that is served is dropped.
pub const BEFORE_SWAP: &str = "before-swap";
/// Schemas are renamed, and that is not committed.
pub const SWAPPING: &str = "swapping";
/// The catalog is served.
pub const AFTER_SWAP: &str = "after-swap";

/// All of them, in the order of a load.
pub const ALL: [&str; 12] = [
    BEGUN,
    BEFORE_COMMIT,
    AFTER_COMMIT,
    BEFORE_INDEX,
    AFTER_INDEX,
    SETTING_ASIDE,
    ASSEMBLING,
    ASSEMBLED,
    BEFORE_REJECTS,
    BEFORE_SWAP,
    SWAPPING,
    AFTER_SWAP,
];

/// Marks a place.
#[cfg(not(debug_assertions))]
pub fn reach(_: &str) {}

/// Marks a place.
#[cfg(debug_assertions)]
pub fn reach(place: &str) {
    static TIMES: AtomicU32 = AtomicU32::new(0);
    let Ok(wanted) = std::env::var(VARIABLE) else { return };
    let (name, times) = wanted.split_once(':').unwrap_or((&wanted, "1"));
    if name == place && times.parse() == Ok(TIMES.fetch_add(1, Ordering::Relaxed) + 1) {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}
