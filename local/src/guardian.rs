//! Ties a server's life to its owner's, even if the owner is killed.
//!
//! A child can ask the kernel to be told of its parent's death only between fork and exec, which takes unsafe code.
//! Instead a small shell script stands between the two. It waits for the end of a pipe that the owner holds: the
//! kernel closes that whatever ends the owner, and the script then stops the server and removes what it left.

use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::{Account, Error};

const SCRIPT: &str = include_str!("guardian.sh");

/// How long a server may take to stop: Postgres writes out all that is in its memory.
const PATIENCE: Duration = Duration::from_mins(1);

/// How to watch over a server.
#[derive(Clone, Copy, Debug)]
pub struct Watch<'a> {
    /// The signal that stops it in good order: `INT` for Postgres, `TERM` for the host.
    pub stop_with: &'a str,
    /// A directory to remove when it has stopped.
    pub remove: Option<&'a Path>,
    /// As whom it runs; the present user if none.
    pub account: Option<Account>,
}

/// A server that runs no longer than this value, or the process that has it.
///
/// It is in a process group of its own: Ctrl-C in a terminal reaches the owner only, which stops things in order.
#[derive(Debug)]
pub struct Guarded {
    guardian: Child,
    lifeline: Option<ChildStdin>,
}

impl Guarded {
    /// Starts `server`, of which program, arguments, environment and directory count, with its output going where
    /// `output` says: to a file for both streams, or wherever the owner's goes.
    ///
    /// # Errors
    /// [`Error::Io`] if there is no `/bin/sh` to start. A server that cannot be started is seen by [`Guarded::ended`].
    pub fn spawn(server: &Command, watch: Watch<'_>, output: Option<std::fs::File>) -> Result<Self, Error> {
        use std::os::unix::process::CommandExt;
        let shell = Path::new("/bin/sh");
        let mut command = Command::new(shell);
        command.args(["-c", SCRIPT, "guardian", watch.stop_with]).arg(watch.remove.unwrap_or(Path::new("")));
        append(&mut command, server);
        if let Some(account) = watch.account {
            account.apply(&mut command);
        }
        if let Some(file) = output {
            command.stderr(file.try_clone().map_err(Error::io("write to the log for", shell))?).stdout(file);
        }
        let mut guardian =
            command.stdin(Stdio::piped()).process_group(0).spawn().map_err(Error::io("start", shell))?;
        let lifeline = guardian.stdin.take();
        Ok(Self { guardian, lifeline })
    }

    /// How the server ended, if it has.
    ///
    /// # Errors
    /// [`Error::Io`] if the operating system cannot say.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, Error> {
        self.guardian.try_wait().map_err(Error::io("wait for", Path::new("/bin/sh")))
    }

    /// Stops the server and waits until it is gone, with what was to be removed.
    ///
    /// # Errors
    /// [`Error::Stop`] if it takes longer than a minute.
    pub async fn stop(mut self) -> Result<ExitStatus, Error> {
        drop(self.lifeline.take());
        let since = Instant::now();
        while since.elapsed() < PATIENCE {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Err(Error::Stop(self.guardian.id()))
    }
}

/// Lets `command` end in that of `server`, to be run as that would be.
pub(crate) fn append(command: &mut Command, server: &Command) {
    command.arg(server.get_program()).args(server.get_args());
    for (name, value) in server.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    if let Some(directory) = server.get_current_dir() {
        command.current_dir(directory);
    }
}
