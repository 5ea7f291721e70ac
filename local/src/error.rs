//! Errors of private clusters, load balancers and fleets.

use std::path::{Path, PathBuf};

/// An error of a private Postgres or a fleet. Its text says what failed, why, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No searched folder has both `postgres` and `initdb`.
    #[error(
        "no PostgreSQL server found: looked for `postgres` and `initdb` in {searched}; install one \
         (Debian, Ubuntu: apt-get install postgresql; macOS: brew install postgresql@17) or set PG_BIN to its bin folder"
    )]
    NotFound {
        /// The searched folders, in order.
        searched: String,
    },
    /// `PG_BIN` names a folder without a server.
    #[error("invalid PG_BIN {}: expected a folder with `postgres` and `initdb` of one server", .0.display())]
    PgBin(PathBuf),
    /// An operation on a file or a program failed.
    #[error("cannot {what} {}", .path.display())]
    Io {
        /// The operation, as a verb: "create the directory".
        what: &'static str,
        /// The file or program.
        path: PathBuf,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// A program failed. The text includes its standard error.
    #[error("{program} failed ({status}): {stderr}")]
    Program {
        /// Its name.
        program: String,
        /// Its exit status.
        status: std::process::ExitStatus,
        /// Its standard error.
        stderr: String,
    },
    /// Another user owns a directory that must be private.
    #[error("{} belongs to another user; remove it", .0.display())]
    NotOurs(PathBuf),
    /// This process runs as root, and neither the user `postgres` nor `nobody` exists.
    #[error(
        "PostgreSQL does not run as root, and no user `postgres` or `nobody` exists; run this as another user"
    )]
    NoAccount,
    /// Another process uses this cluster.
    #[error("the database in {} is already running (pid {pid}); stop that process first", .directory.display())]
    AlreadyRunning {
        /// The cluster's directory.
        directory: PathBuf,
        /// The process id in its `postmaster.pid`, or `unknown`.
        pid: String,
    },
    /// Postgres ended or did not accept connections during its start.
    #[error("PostgreSQL did not start in {}: {why}; its log ends with:\n{log}", .directory.display())]
    Start {
        /// The cluster's directory.
        directory: PathBuf,
        /// The reason.
        why: String,
        /// The last lines of its log.
        log: String,
    },
    /// No `nginx` was found.
    #[error(
        "no NGINX found: looked for `nginx` in PATH, /usr/sbin, /opt/homebrew/bin and /usr/local/bin; install it with \
         `scripts/install.sh nginx`"
    )]
    NoNginx,
    /// NGINX ended or did not respond during its start.
    #[error("NGINX did not start in {}: {why}; its log:\n{log}", .directory.display())]
    LoadBalancer {
        /// The load balancer's directory.
        directory: PathBuf,
        /// The reason.
        why: String,
        /// Its log.
        log: String,
    },
    /// A host of a fleet ended or was not ready in time.
    #[error("the host on {address} did not start: {why}; see its log {}", .log.display())]
    Host {
        /// The address of the host.
        address: std::net::SocketAddr,
        /// The reason.
        why: String,
        /// The file with its output.
        log: PathBuf,
    },
    /// A process does not exist.
    #[error("cannot send SIG{name} to process {pid}: no such process")]
    Signal {
        /// Its id.
        pid: u32,
        /// The signal's name.
        name: String,
    },
    /// Another program of this workspace is not in the folder of this one.
    #[error("{} is missing; build it with `make build`, or `make bench` for an optimised build", .0.display())]
    NotBuilt(PathBuf),
    /// A process did not stop in time.
    #[error("process {0} did not stop within one minute")]
    Stop(u32),
    /// Postgres returned an error.
    #[error("private PostgreSQL: {}", etl::database::describe(.0))]
    Database(tokio_postgres::Error),
    /// The migration of the template database for tests failed.
    #[error("cannot migrate the template database")]
    Migrate(#[from] etl::migrate::MigrateError),
}

// Not `#[from]`, which would make it a `source`: the text contains the whole error already.
impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error)
    }
}

impl Error {
    /// Returns a function for `map_err` on calls to the operating system.
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { what, path: path.to_owned(), source }
    }
}
