//! What the command lines of the programs share: the version with the commit, errors, exit codes, completions and man
//! pages.
//!
//! The commit changes with each build, so only crates of programs with a command line depend on this one. No function
//! contains it.

mod man;

use std::fmt::Display;
use std::io::Write as _;

use anstyle::{AnsiColor, Style};
use clap::Command;
pub use clap_complete::Shell;

pub use man::write_man_pages;

/// The version of the programs: `0.1.0`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The first twelve digits of the commit of this build; empty if it is unknown.
pub const REVISION: &str = env!("ATELIER_BUILD_REVISION");

/// The version with the commit and its date, as far as they are known: `0.1.0 (0123456789ab, 2026-11-27)`.
pub const LONG_VERSION: &str = env!("ATELIER_BUILD_VERSION");

/// The date of the commit, or empty.
const DATE: &str = env!("ATELIER_BUILD_DATE");

/// The exit code for wrong arguments, the same as clap's, and for an invalid variable.
pub const WRONG_ARGUMENTS: u8 = 2;

/// Exit codes and their meanings.
pub type ExitCodes = [(u8, &'static str)];

/// Returns the text of `--help` for exit codes.
#[must_use]
pub fn exit_codes_help(codes: &ExitCodes) -> String {
    let lines: Vec<String> = codes.iter().map(|(code, meaning)| format!("  {code}  {meaning}\n")).collect();
    format!("Exit codes:\n{}", lines.concat())
}

/// Returns the completion script of a program for a shell.
#[must_use]
pub fn completions(mut command: Command, shell: Shell) -> String {
    let (name, mut script) = (command.get_name().to_owned(), Vec::new());
    clap_complete::generate(shell, &mut command, &name, &mut script);
    // For a name with a hyphen, the labels of commands in the script of bash match no state:
    // https://github.com/clap-rs/clap/issues/6421
    String::from_utf8_lossy(&script).replace(&name.replace('-', "__subcmd__"), &name.replace('-', "__"))
}

/// Writes the line of a check to standard output, in colour as [`report`] does.
///
/// # Errors
/// Standard output is closed.
pub fn print_check(is_ok: bool, text: impl Display) -> std::io::Result<()> {
    let (word, color) = if is_ok { ("ok", AnsiColor::Green) } else { ("failed", AnsiColor::Red) };
    let style = Style::new().fg_color(Some(color.into())).bold();
    writeln!(anstream::stdout(), "{style}{word:<6}{style:#}  {text}")
}

/// Writes an error to standard error, in colour if that is a terminal and `NO_COLOR` is not set. Ignores a failed write.
pub fn report(error: impl Display) {
    let style = Style::new().fg_color(Some(AnsiColor::Red.into())).bold();
    let _ = writeln!(anstream::stderr(), "{style}error:{style:#} {error}");
}
