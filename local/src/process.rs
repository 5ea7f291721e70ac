//! Signals to processes, and files with process ids.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::Error;

/// Sends a process a signal: `TERM`, `KILL`, `STOP`, `CONT`. It uses the shell's built-in `kill`, because not every
/// machine has a program of that name.
///
/// # Errors
/// [`Error::Signal`] if the process does not exist.
pub fn signal(pid: u32, name: &str) -> Result<(), Error> {
    let shell = Path::new("/bin/sh");
    let mut kill = Command::new(shell);
    kill.args(["-c", r#"kill -s "$0" "$1""#, name, &pid.to_string()]).stderr(Stdio::null());
    let status = kill.status().map_err(Error::io("run", shell))?;
    if status.success() { Ok(()) } else { Err(Error::Signal { pid, name: name.to_owned() }) }
}

/// Reads the process id in a file; none if the file does not exist or is not complete yet.
pub(crate) fn read_pid(path: &Path) -> Option<u32> {
    std::fs::read_to_string(path).ok()?.strip_suffix('\n')?.parse().ok()
}
