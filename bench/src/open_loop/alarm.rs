//! Waits for events until a moment that is exact to microseconds.
//!
//! Linux rounds the time that a wait for events may take up to milliseconds: at 10,000 requests a second, that is ten of
//! them at once. So there the moment is an event too, of a timer of the kernel. Elsewhere the wait is exact itself.

use std::io;
use std::time::Instant;

use mio::{Events, Poll, Registry};

/// Wakes a wait for events.
#[derive(Debug)]
pub(super) struct Alarm {
    #[cfg(target_os = "linux")]
    timer: std::os::fd::OwnedFd,
    #[cfg(target_os = "linux")]
    set_to: Option<Instant>,
}

#[cfg(target_os = "linux")]
impl Alarm {
    pub(super) fn new(registry: &Registry) -> io::Result<Self> {
        use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};
        use std::os::fd::AsRawFd;
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        let mut source = mio::unix::SourceFd(&timer.as_raw_fd());
        registry.register(&mut source, mio::Token(usize::MAX), mio::Interest::READABLE)?;
        Ok(Self { timer, set_to: None })
    }

    /// Waits until there is an event, or that moment has come.
    pub(super) fn wait(&mut self, poll: &mut Poll, events: &mut Events, until: Instant) -> io::Result<()> {
        use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return again_if_interrupted(|| poll.poll(events, Some(left)));
        }
        if self.set_to != Some(until) {
            let once = Timespec { tv_sec: 0, tv_nsec: 0 };
            let left = Timespec::try_from(left).map_err(io::Error::other)?;
            let setting = Itimerspec { it_interval: once, it_value: left };
            timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &setting)?;
            self.set_to = Some(until);
        }
        again_if_interrupted(|| poll.poll(events, None))
    }
}

#[cfg(not(target_os = "linux"))]
impl Alarm {
    pub(super) fn new(_: &Registry) -> io::Result<Self> {
        Ok(Self {})
    }

    /// Waits until there is an event, or that moment has come.
    pub(super) fn wait(&mut self, poll: &mut Poll, events: &mut Events, until: Instant) -> io::Result<()> {
        again_if_interrupted(|| poll.poll(events, Some(until.saturating_duration_since(Instant::now()))))
    }
}

fn again_if_interrupted(mut wait: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    loop {
        match wait() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}
