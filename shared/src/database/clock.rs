//! A clock for a process that may be frozen, as Lambda freezes a function between requests.

use std::time::{Duration, Instant, SystemTime};

/// A point in time on two clocks. The monotonic clock may stand still while the process is frozen; the wall clock may
/// be set back.
#[derive(Debug, Clone, Copy)]
pub(super) struct FreezeAwareInstant {
    monotonic: Instant,
    wall: SystemTime,
}

impl FreezeAwareInstant {
    pub(super) fn now() -> Self {
        Self { monotonic: Instant::now(), wall: SystemTime::now() }
    }

    /// Returns the time since then, on the clock on which more has passed.
    pub(super) fn elapsed(self) -> Duration {
        self.monotonic.elapsed().max(self.wall.elapsed().unwrap_or_default())
    }
}
