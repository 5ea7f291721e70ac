//! What a person sees while a load runs: bars on a terminal, a line at the end of each task elsewhere.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// Where progress is shown.
#[derive(Clone, Debug)]
pub enum Progress {
    /// Bars on standard error.
    Bars(MultiProgress),
    /// Lines on standard error.
    Lines,
    /// Lines in the log.
    Log,
    /// Nowhere.
    Silent,
}

impl Progress {
    /// Bars where standard error is a terminal, lines elsewhere.
    pub fn for_stderr() -> Self {
        if std::io::stderr().is_terminal() { Self::Bars(MultiProgress::new()) } else { Self::Lines }
    }

    /// Says something that is neither begun nor finished.
    pub fn say(&self, line: &str) {
        match self {
            // An error here is a terminal that went away.
            Self::Bars(bars) => drop(bars.println(line)),
            Self::Lines => eprintln!("{line}"),
            Self::Log => tracing::info!("{line}"),
            Self::Silent => {}
        }
    }

    /// Begins a task of `total` bytes, which is done when each of its `parts` is.
    pub fn bytes(&self, name: impl Into<String>, total: u64, parts: usize) -> Task {
        self.begin(
            name.into(),
            (total, parts),
            "{msg:<22} {bar:32} {bytes:>10}/{total_bytes:<10} {bytes_per_sec:>12} {eta:>4}",
        )
    }

    /// Begins a task of `total` steps.
    pub fn steps(&self, name: impl Into<String>, total: u64) -> Task {
        self.begin(
            name.into(),
            (total, 1),
            "{msg:<22} {bar:32} {human_pos:>10}/{human_len:<10} {elapsed:>12}",
        )
    }

    fn begin(&self, name: String, (total, parts): (u64, usize), template: &str) -> Task {
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = match self {
            Self::Bars(bars) => bars.add(ProgressBar::new(total)),
            Self::Lines | Self::Log | Self::Silent => ProgressBar::hidden(),
        };
        bar.set_style(style);
        bar.set_message(name.clone());
        let progress = match self {
            Self::Bars(_) => Self::Silent,
            other => other.clone(),
        };
        Task { name, bar, begun: Instant::now(), parts: Arc::new(AtomicUsize::new(parts)), progress }
    }
}

/// One thing that takes a while.
#[derive(Clone, Debug)]
pub struct Task {
    name: String,
    bar: ProgressBar,
    begun: Instant,
    /// How many parts are not done.
    parts: Arc<AtomicUsize>,
    /// Where it is said that it is done, unless a bar shows that.
    progress: Progress,
}

impl Task {
    /// So much more is done.
    pub fn advance(&self, by: u64) {
        self.bar.inc(by);
    }

    /// So much of so much is done.
    pub fn reach(&self, done: u64, of: u64) {
        self.bar.set_length(of);
        self.bar.set_position(done);
    }

    /// It is over and need not be spoken of.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }

    /// All of it is done, or one of its parts.
    pub fn finish(&self) {
        if self.parts.fetch_sub(1, Ordering::Relaxed) > 1 {
            return;
        }
        self.bar.finish();
        self.progress.say(&format!("{} done in {:.1} s", self.name, self.begun.elapsed().as_secs_f64()));
    }
}
