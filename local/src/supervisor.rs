//! Child processes that stop when their owner ends, even if the owner is killed.
//!
//! A child can ask the kernel for a signal at its parent's death only between fork and exec, which takes unsafe code.
//! Instead, a small shell script runs between owner and server. It waits for the end of a socket that the owner holds
//! open. The kernel closes the socket however the owner ends; the script then stops the server and cleans up.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::{Account, Error};

const SCRIPT: &str = include_str!("supervisor.sh");
const SHELL: &str = "/bin/sh";

/// The timeout of a stop: Postgres writes its memory to disk first.
const STOP_TIMEOUT: Duration = Duration::from_mins(1);

/// The pause between two polls of a server.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// The way in which a server runs and stops.
#[derive(Clone, Copy, Debug)]
pub struct Supervision<'a> {
    /// The server's name in errors.
    pub name: &'a str,
    /// The signal for a graceful shutdown: `INT` for Postgres, `TERM` for the host.
    pub stop_with: &'a str,
    /// A directory to remove after the server has stopped.
    pub remove: Option<&'a Path>,
    /// The user that the server runs as; the current user if none.
    pub account: Option<Account>,
    /// The file to which standard output and standard error are appended; those of the owner if none. All processes of
    /// the server inherit the open file and its lock, so the lock is free after the last of them has ended.
    pub log: Option<&'a Path>,
}

impl<'a> Supervision<'a> {
    /// Returns the supervision of a server of this name that stops with SIGTERM, without a log.
    pub fn new(name: &'a str) -> Self {
        Self { name, stop_with: "TERM", remove: None, account: None, log: None }
    }
}

/// A server that stops when this value is dropped or its process ends.
///
/// It has its own process group: Ctrl-C in a terminal reaches only the owner, which stops its servers in order.
#[derive(Debug)]
pub struct SupervisedChild {
    name: String,
    supervisor: Child,
    pid: u32,
    lifeline: UnixStream,
    /// The log, open for reading: readable even after the supervisor has removed the file.
    log: Option<File>,
}

impl SupervisedChild {
    /// Starts `server` with its program, arguments, environment and directory.
    ///
    /// # Errors
    /// [`Error::Io`] if `/bin/sh` cannot be started or the log cannot be opened. [`SupervisedChild::ended`] reports a
    /// server that cannot be started.
    pub fn spawn(server: &Command, supervision: Supervision<'_>) -> Result<Self, Error> {
        let shell = Path::new(SHELL);
        let mut command = Command::new(shell);
        command.args(["-c", SCRIPT, "supervisor", supervision.stop_with]);
        command.arg(supervision.remove.unwrap_or(Path::new("")));
        append(&mut command, server);
        if let Some(account) = supervision.account {
            account.apply(&mut command);
        }
        let mut log = None;
        if let Some(path) = supervision.log {
            let output = open_log(path)?;
            let _ = output.try_lock(); // another process that holds the lock writes to the same log
            log = Some(File::open(path).map_err(Error::io("open", path))?);
            command.stderr(output.try_clone().map_err(Error::io("write to", path))?).stdout(output);
        }
        let started = UnixStream::pair().and_then(|(lifeline, theirs)| {
            let stdin = Stdio::from(OwnedFd::from(theirs));
            Ok((lifeline, command.stdin(stdin).process_group(0).spawn()?))
        });
        let (lifeline, supervisor) = started.map_err(Error::io("start", shell))?;
        drop(command); // holds their end of the socket and the log
        let mut pid = String::new();
        let read = BufReader::new(&lifeline).read_line(&mut pid);
        read.map_err(Error::io("read the process id from", shell))?;
        let pid = pid.trim().parse().map_err(|_| Error::Start {
            name: supervision.name.to_owned(),
            why: "the shell reported no process id".to_owned(),
            log: String::new(),
        })?;
        Ok(Self { name: supervision.name.to_owned(), supervisor, pid, lifeline, log })
    }

    /// Returns the process id of the server.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Returns the exit status if the server has ended.
    ///
    /// # Errors
    /// [`Error::Io`] if the operating system cannot tell.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, Error> {
        self.supervisor.try_wait().map_err(Error::io("wait for", Path::new(SHELL)))
    }

    /// Polls until `is_ready` returns true.
    ///
    /// # Errors
    /// [`Error::Start`] if the server ends first, or is not ready within the timeout.
    pub async fn wait_until_ready<F: Future<Output = bool>>(
        &mut self,
        timeout: Duration,
        is_ready: impl Fn() -> F,
    ) -> Result<(), Error> {
        let since = Instant::now();
        loop {
            if let Some(status) = self.ended()? {
                return Err(self.not_started(format!("it ended ({status})")));
            }
            if is_ready().await {
                return Ok(());
            }
            if since.elapsed() > timeout {
                return Err(self.not_started(format!("it was not ready after {} s", timeout.as_secs())));
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Returns an error with the last lines of the log.
    fn not_started(&self, why: String) -> Error {
        let mut text = Vec::new();
        if let Some(mut log) = self.log.as_ref() {
            let _ = log.read_to_end(&mut text); // a partial log is still useful
        }
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let log = lines[lines.len().saturating_sub(12)..].join("\n");
        Error::Start { name: self.name.clone(), why, log }
    }

    /// Stops the server and waits until it has ended and its directory is removed.
    ///
    /// # Errors
    /// [`Error::Stop`] after one minute.
    pub async fn stop(mut self) -> Result<ExitStatus, Error> {
        let _ = self.lifeline.shutdown(std::net::Shutdown::Both); // fails if the supervisor has ended
        self.wait_until_ended(STOP_TIMEOUT).await
    }

    /// Waits until the server has ended.
    ///
    /// # Errors
    /// [`Error::Stop`] after the timeout.
    pub async fn wait_until_ended(&mut self, timeout: Duration) -> Result<ExitStatus, Error> {
        let since = Instant::now();
        while since.elapsed() < timeout {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Err(Error::Stop { name: self.name.clone(), pid: self.pid })
    }
}

fn open_log(path: &Path) -> Result<File, Error> {
    OpenOptions::new().create(true).append(true).open(path).map_err(Error::io("open", path))
}

/// Waits until no process of a server with this log is left. Returns false after the timeout. A zombie holds no lock.
///
/// # Errors
/// [`Error::Io`] if the log cannot be opened or locked.
pub(crate) async fn wait_until_unlocked(log: &Path, timeout: Duration) -> Result<bool, Error> {
    let file = open_log(log)?;
    let since = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::Error(error)) => return Err(Error::io("lock", log)(error)),
            Err(TryLockError::WouldBlock) if since.elapsed() > timeout => return Ok(false),
            Err(TryLockError::WouldBlock) => tokio::time::sleep(POLL_INTERVAL).await,
        }
    }
}

/// Appends the command line of `server` to `command`, and copies its environment and directory.
pub fn append(command: &mut Command, server: &Command) {
    command.arg(server.get_program()).args(server.get_args());
    inherit(command, server);
}

/// Copies the environment and the directory of `other` to `command`.
pub(crate) fn inherit(command: &mut Command, other: &Command) {
    for (name, value) in other.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    if let Some(directory) = other.get_current_dir() {
        command.current_dir(directory);
    }
}

/// Sends a process a signal: `TERM`, `KILL`, `STOP`, `CONT`. It uses the shell's built-in `kill`, because not every
/// machine has a program of that name.
///
/// # Errors
/// [`Error::Signal`] if the process does not exist.
pub fn signal(pid: u32, name: &str) -> Result<(), Error> {
    let mut kill = Command::new(SHELL);
    kill.args(["-c", r#"kill -s "$0" "$1""#, name, &pid.to_string()]).stderr(Stdio::null());
    let status = kill.status().map_err(Error::io("run", Path::new(SHELL)))?;
    if status.success() { Ok(()) } else { Err(Error::Signal { pid, name: name.to_owned() }) }
}
