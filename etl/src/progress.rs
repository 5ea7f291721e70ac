//! What a person sees while a load runs: bars on a terminal, a line at the end of each task elsewhere.

use std::io::IsTerminal;
use std::time::Instant;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// Where progress is shown.
#[derive(Clone, Debug)]
pub enum Progress {
    /// Bars on standard error.
    Bars(MultiProgress),
    /// Lines on standard error.
    Lines,
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
            Self::Silent => {}
        }
    }

    /// Begins a task of `total` bytes.
    pub fn bytes(&self, name: impl Into<String>, total: u64) -> Task {
        self.begin(
            name.into(),
            total,
            "{msg:<22} {bar:32} {bytes:>10}/{total_bytes:<10} {bytes_per_sec:>12} {eta:>4}",
        )
    }

    /// Begins a task of `total` steps.
    pub fn steps(&self, name: impl Into<String>, total: u64) -> Task {
        self.begin(name.into(), total, "{msg:<22} {bar:32} {human_pos:>10}/{human_len:<10} {elapsed:>12}")
    }

    fn begin(&self, name: String, total: u64, template: &str) -> Task {
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = match self {
            Self::Bars(bars) => bars.add(ProgressBar::new(total)),
            Self::Lines | Self::Silent => ProgressBar::hidden(),
        };
        bar.set_style(style);
        bar.set_message(name.clone());
        Task { name, bar, begun: Instant::now(), says_line: matches!(self, Self::Lines) }
    }
}

/// One thing that takes a while.
#[derive(Clone, Debug)]
pub struct Task {
    name: String,
    bar: ProgressBar,
    begun: Instant,
    says_line: bool,
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

    /// All of it is done. Answers how long it took, in seconds.
    pub fn finish(&self) -> f64 {
        let seconds = self.begun.elapsed().as_secs_f64();
        self.bar.finish();
        if self.says_line {
            eprintln!("{} done in {seconds:.1} s", self.name);
        }
        seconds
    }
}
