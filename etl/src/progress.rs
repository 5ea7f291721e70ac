//! Progress output of a load: bars on a terminal, otherwise a line at the end of each task.

use std::io::IsTerminal;
use std::time::Instant;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::shown::shown_in_line;

/// The target of progress output.
#[derive(Clone, Debug)]
pub enum Progress {
    /// Bars on standard error.
    Bars(MultiProgress),
    /// Lines on standard error.
    Lines,
    /// Lines in the log.
    Log,
    /// No output.
    Silent,
}

impl Progress {
    /// Returns bars if standard error is a terminal, otherwise lines.
    pub fn for_stderr() -> Self {
        if std::io::stderr().is_terminal() { Self::Bars(MultiProgress::new()) } else { Self::Lines }
    }

    /// Shows a line that belongs to no task.
    pub fn show(&self, line: &str) {
        match self {
            // An error means that the terminal is closed.
            Self::Bars(bars) => drop(bars.println(shown_in_line(line))),
            Self::Lines => eprintln!("{}", shown_in_line(line)),
            Self::Log => tracing::info!(detail = line, "load progress"),
            Self::Silent => {}
        }
    }

    /// Starts a task of `total` bytes.
    pub fn bytes(&self, name: impl Into<String>, total: u64) -> Task {
        self.start(
            name.into(),
            total,
            "{msg:<22} {bar:32} {bytes:>10}/{total_bytes:<10} {bytes_per_sec:>12} {eta:>4}",
        )
    }

    /// Starts a task of `total` steps.
    pub fn steps(&self, name: impl Into<String>, total: u64) -> Task {
        self.start(name.into(), total, "{msg:<22} {bar:32} {human_pos:>10}/{human_len:<10} {elapsed:>12}")
    }

    fn start(&self, name: String, total: u64, template: &str) -> Task {
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
        Task { name, bar, started: Instant::now(), progress }
    }
}

/// A task with visible progress.
#[derive(Clone, Debug)]
pub struct Task {
    name: String,
    bar: ProgressBar,
    started: Instant,
    /// The target of the final line; none if a bar shows the end.
    progress: Progress,
}

impl Task {
    /// Adds `by` to the finished bytes or steps.
    pub fn advance(&self, by: u64) {
        self.bar.inc(by);
    }

    /// Sets the finished steps and the total.
    pub fn set(&self, done: u64, of: u64) {
        self.bar.set_length(of);
        self.bar.set_position(done);
    }

    /// Ends the task without a final line.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }

    /// Ends the task.
    pub fn finish(&self) {
        self.bar.finish();
        let elapsed = self.started.elapsed();
        match &self.progress {
            Progress::Log => {
                let duration_ms = shared::log::milliseconds(elapsed);
                tracing::info!(task = self.name, duration_ms, "load task finished");
            }
            progress => progress.show(&format!("{} done in {:.1} s", self.name, elapsed.as_secs_f64())),
        }
    }
}
