//! Child processes that stop when their owner ends, even if the owner is killed.
//!
//! A child can ask the kernel for a signal at its parent's death only between fork and exec, which takes unsafe code.
//! Instead, a small shell script runs between owner and server. It waits for the end of a pipe that the owner holds
//! open. The kernel closes the pipe however the owner ends; the script then stops the server and cleans up.

use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::{Account, Error};

const SCRIPT: &str = include_str!("supervisor.sh");

/// The timeout of a stop: Postgres writes its memory to disk first.
const STOP_TIMEOUT: Duration = Duration::from_mins(1);

/// The way in which a server runs and stops.
#[derive(Clone, Copy, Debug)]
pub struct Supervision<'a> {
    /// The signal for a graceful shutdown: `INT` for Postgres, `TERM` for the host.
    pub stop_with: &'a str,
    /// A directory to remove after the server has stopped.
    pub remove: Option<&'a Path>,
    /// The user that the server runs as; the current user if none.
    pub account: Option<Account>,
}

/// A server that stops when this value is dropped or its process ends.
///
/// It has its own process group: Ctrl-C in a terminal reaches only the owner, which stops its servers in order.
#[derive(Debug)]
pub struct SupervisedChild {
    supervisor: Child,
    lifeline: Option<ChildStdin>,
}

impl SupervisedChild {
    /// Starts `server` with its program, arguments, environment and directory. Standard output and standard error go to
    /// the file `output`, or else to those of the owner.
    ///
    /// # Errors
    /// [`Error::Io`] if `/bin/sh` cannot be started. [`SupervisedChild::ended`] reports a server that cannot
    /// be started.
    pub fn spawn(
        server: &Command,
        supervision: Supervision<'_>,
        output: Option<std::fs::File>,
    ) -> Result<Self, Error> {
        use std::os::unix::process::CommandExt;
        let shell = Path::new("/bin/sh");
        let mut command = Command::new(shell);
        command.args(["-c", SCRIPT, "supervisor", supervision.stop_with]);
        command.arg(supervision.remove.unwrap_or(Path::new("")));
        append(&mut command, server);
        if let Some(account) = supervision.account {
            account.apply(&mut command);
        }
        if let Some(file) = output {
            command.stderr(file.try_clone().map_err(Error::io("write to the log for", shell))?).stdout(file);
        }
        let mut supervisor =
            command.stdin(Stdio::piped()).process_group(0).spawn().map_err(Error::io("start", shell))?;
        let lifeline = supervisor.stdin.take();
        Ok(Self { supervisor, lifeline })
    }

    /// Returns the exit status if the server has ended.
    ///
    /// # Errors
    /// [`Error::Io`] if the operating system cannot tell.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, Error> {
        self.supervisor.try_wait().map_err(Error::io("wait for", Path::new("/bin/sh")))
    }

    /// Stops the server and waits until it has ended and its directory is removed.
    ///
    /// # Errors
    /// [`Error::Stop`] after one minute.
    pub async fn stop(mut self) -> Result<ExitStatus, Error> {
        drop(self.lifeline.take());
        let since = Instant::now();
        while since.elapsed() < STOP_TIMEOUT {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Err(Error::Stop(self.supervisor.id()))
    }
}

/// Appends the command line of `server` to `command`, and copies its environment and directory.
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
