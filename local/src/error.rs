//! What can go wrong between finding a server and speaking to it.

use std::path::{Path, PathBuf};

/// Why there is no private Postgres, or no fleet. The texts are for the person at the keyboard: what, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No folder searched has both `postgres` and `initdb`.
    #[error(
        "no PostgreSQL server found: looked for `postgres` and `initdb` in {searched}. Install one \
         (Debian, Ubuntu: apt-get install postgresql; macOS: brew install postgresql@17) or set PG_BIN to its bin folder"
    )]
    NotFound {
        /// The places looked at, in order, for people.
        searched: String,
    },
    /// `PG_BIN` names a folder without a server in it.
    #[error("PG_BIN is {}, which has no `postgres` beside an `initdb`: it must name the bin folder of a PostgreSQL server", .0.display())]
    PgBin(PathBuf),
    /// The operating system refused something about a file or a program.
    #[error("cannot {what} {}", .path.display())]
    Io {
        /// What was tried, as a verb: "create the directory".
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A program ended with a failure; what it wrote to standard error is part of the text.
    #[error("{program} failed ({status}): {said}")]
    Program {
        /// Its name.
        program: String,
        /// How it ended.
        status: std::process::ExitStatus,
        /// Its standard error.
        said: String,
    },
    /// A directory that should be this user's alone belongs to somebody else.
    #[error("{} belongs to another user: remove it, or have its owner do so", .0.display())]
    NotOurs(PathBuf),
    /// Root, and neither `postgres` nor `nobody` exists to run the server as.
    #[error(
        "PostgreSQL refuses to run as root, and there is neither a user `postgres` nor `nobody` to run it as"
    )]
    NoAccount,
    /// Another process has this cluster.
    #[error("the database in {} is already running, owned by another `atelier-local run` or server (process {pid}): stop that one first", .directory.display())]
    AlreadyRunning {
        /// The cluster's directory.
        directory: PathBuf,
        /// The process id in its postmaster.pid, or "unknown".
        pid: String,
    },
    /// The server ended or did not answer while it was being started.
    #[error("PostgreSQL did not start in {}: {why}. Its log ends:\n{log}", .directory.display())]
    Start {
        /// The cluster's directory.
        directory: PathBuf,
        /// What was seen.
        why: String,
        /// The last lines of its log.
        log: String,
    },
    /// There is no `nginx`.
    #[error(
        "no NGINX found: looked for `nginx` in PATH, /usr/sbin, /opt/homebrew/bin and /usr/local/bin. Install it with \
         `scripts/install.sh nginx`"
    )]
    NoNginx,
    /// NGINX ended or did not answer while it was being started.
    #[error("NGINX did not start in {}: {why}. Its log:\n{log}", .directory.display())]
    Balancer {
        /// The balancer's directory.
        directory: PathBuf,
        /// What was seen.
        why: String,
        /// Its log.
        log: String,
    },
    /// A host of a fleet ended or was not ready in time.
    #[error("the host on {address} did not start: {why}. {} has what it said", .log.display())]
    Host {
        /// Where it was to listen.
        address: std::net::SocketAddr,
        /// What was seen.
        why: String,
        /// The file with what it wrote.
        log: PathBuf,
    },
    /// A process was to be sent a signal and is gone.
    #[error("there is no process {pid} to be sent SIG{name}")]
    Signal {
        /// Its id.
        pid: u32,
        /// The signal's name.
        name: String,
    },
    /// Another program of this workspace is not where this one is.
    #[error("{} is missing: `make build` makes it, and `make bench` its optimised twin", .0.display())]
    NotBuilt(PathBuf),
    /// The server was told to stop and did not in time.
    #[error("process {0} did not stop within a minute of being told to")]
    Stop(u32),
    /// The server refused a statement.
    #[error("the private PostgreSQL refused: {}", etl::database::describe(.0))]
    Database(tokio_postgres::Error),
    /// The template for tests could not be migrated.
    #[error("the template database could not be migrated")]
    Migrate(#[from] etl::migrate::MigrateError),
}

// By hand, so that it is no `source`: its line has all of it, and would be followed by it again.
impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error)
    }
}

impl Error {
    /// For `map_err` on calls to the operating system.
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { what, path: path.to_owned(), source }
    }
}
