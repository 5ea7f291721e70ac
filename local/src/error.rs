//! Errors of private clusters, load balancers and fleets.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;

/// An error of a private Postgres or a fleet. Its text says what failed, why, and what to do.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the texts name the fields
pub enum Error {
    /// No installed `what`, which needs these programs.
    #[error("no {what} found: looked for {programs} in {searched}; {install}")]
    NotFound { what: &'static str, programs: &'static str, searched: &'static str, install: &'static str },
    /// `PG_BIN` names a folder without a server.
    #[error("invalid PG_BIN {}: expected a folder with `postgres` and `initdb` of one server", .0.display())]
    PgBin(PathBuf),
    /// An operation on a file or a program failed. `what` is a verb: "create the directory".
    #[error("cannot {what} {}", .path.display())]
    Io { what: &'static str, path: PathBuf, source: std::io::Error },
    /// A program failed. The text includes its standard error.
    #[error("{program} failed ({status}): {stderr}")]
    Program { program: String, status: ExitStatus, stderr: String },
    /// Another user owns a directory that must be private.
    #[error("{} belongs to another user; remove it", .0.display())]
    NotOurs(PathBuf),
    /// This process runs as root, and neither the user `postgres` nor `nobody` exists.
    #[error(
        "PostgreSQL does not run as root, and no user `postgres` or `nobody` exists; run this as another user"
    )]
    NoAccount,
    /// Another process uses this cluster. `pid` is the process id in its `postmaster.pid`, or `unknown`.
    #[error("the database in {} is already running (pid {pid}); stop that process first", .directory.display())]
    AlreadyRunning { directory: PathBuf, pid: String },
    /// A server ended during its start, or was not ready in time. `log` is the end of its log.
    #[error("{name} did not start: {why}; its log ends with:\n{log}")]
    Start { name: String, why: String, log: String },
    /// A process does not exist.
    #[error("cannot send SIG{name} to process {pid}: no such process; it has ended")]
    Signal { pid: u32, name: String },
    /// Another program of this workspace is not in the folder of this one.
    #[error("{} is missing; build it with `make build`, or `make bench` for an optimised build", .0.display())]
    NotBuilt(PathBuf),
    /// A process did not stop in time.
    #[error("{name} (process {pid}) did not stop in time; end it with `kill -KILL {pid}`")]
    Stop { name: String, pid: u32 },
    /// Postgres returned an error.
    #[error("private PostgreSQL: {}; see `server.log` in the data directory", shared::database::error_chain(.0))]
    Database(tokio_postgres::Error),
}

// Not `#[from]`, which would make it a `source`: the text contains the whole error already.
impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error)
    }
}

impl Error {
    /// Returns a function for `map_err` on calls to the operating system.
    pub fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { what, path: path.to_owned(), source }
    }

    /// Returns the error of a program, unless it succeeded.
    pub(crate) fn unless_success(program: &Path, output: std::process::Output) -> Result<Vec<u8>, Self> {
        if output.status.success() {
            return Ok(output.stdout);
        }
        let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(Self::Program { program: program.display().to_string(), status: output.status, stderr })
    }
}
