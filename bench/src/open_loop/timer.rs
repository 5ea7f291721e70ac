//! A timeout with microsecond precision for waits for events.
//!
//! Linux rounds the timeout of such a wait up to milliseconds. At 10,000 requests per second that would send ten
//! requests at once. So on Linux a kernel timer ends the wait with an event. Other systems have a precise timeout.

use std::io;
use std::time::Instant;

use mio::{Events, Poll, Registry};

/// A timer that ends a wait for events.
#[derive(Debug)]
pub(super) struct Timer {
    #[cfg(target_os = "linux")]
    timer: std::os::fd::OwnedFd,
    #[cfg(target_os = "linux")]
    set_to: Option<Instant>,
}

#[cfg(target_os = "linux")]
impl Timer {
    pub(super) fn new(registry: &Registry) -> io::Result<Self> {
        use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};
        use std::os::fd::AsRawFd;
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        let mut source = mio::unix::SourceFd(&timer.as_raw_fd());
        registry.register(&mut source, mio::Token(usize::MAX), mio::Interest::READABLE)?;
        Ok(Self { timer, set_to: None })
    }

    /// Waits for an event, up to `until`.
    pub(super) fn wait(&mut self, poll: &mut Poll, events: &mut Events, until: Instant) -> io::Result<()> {
        use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return retry_if_interrupted(|| poll.poll(events, Some(left)));
        }
        if self.set_to != Some(until) {
            let once = Timespec { tv_sec: 0, tv_nsec: 0 };
            let left = Timespec::try_from(left).map_err(io::Error::other)?;
            let setting = Itimerspec { it_interval: once, it_value: left };
            timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &setting)?;
            self.set_to = Some(until);
        }
        retry_if_interrupted(|| poll.poll(events, None))
    }
}

#[cfg(not(target_os = "linux"))]
impl Timer {
    pub(super) fn new(_: &Registry) -> io::Result<Self> {
        Ok(Self {})
    }

    /// Waits for an event, up to `until`.
    pub(super) fn wait(&mut self, poll: &mut Poll, events: &mut Events, until: Instant) -> io::Result<()> {
        retry_if_interrupted(|| poll.poll(events, Some(until.saturating_duration_since(Instant::now()))))
    }
}

fn retry_if_interrupted(mut wait: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    loop {
        match wait() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}
