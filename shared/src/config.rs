#![doc = include_str!("config.md")]
//!
//! Nothing else reads the environment of the service; what Lambda and systemd say there of themselves, `functions/lambda`
//! and the host read. Everything is parsed from a lookup function, so that tests need not change the environment of their
//! process.

mod address;
#[cfg(test)]
mod tests;
mod variables;

use std::net::SocketAddr;
use std::time::Duration;

use crate::database::Address;
use variables::{Variables, environment};

/// What this module's documentation says of each variable, for `--help`.
pub const VARIABLES: &str = include_str!("config.md");

/// Everything that can be set for the host.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the database is and how it is spoken to.
    pub database: Database,
    /// What holds for every request, on any transport.
    pub requests: Requests,
    /// What only the host needs.
    pub host: Host,
    /// What is logged.
    pub log: Log,
}

/// Everything that can be set for a function, a process that is frozen between requests.
#[derive(Debug, Clone)]
pub struct Function {
    /// Where the database is and how it is spoken to: over one connection, which a request waits for.
    pub database: Database,
    /// What holds for every request, on any transport.
    pub requests: Requests,
    /// What is logged.
    pub log: Log,
}

/// Where the database is and how it is spoken to.
#[derive(Debug, Clone)]
pub struct Database {
    /// `DATABASE_URL`, with what `DATABASE_CA_FILE` holds and `DATABASE_AUTH` asks for. Its `Debug` tells no secret.
    pub address: Address,
    /// `DATABASE_CONNECTIONS`, to each server; one for a function.
    pub connections: usize,
    /// `DATABASE_CART_CONNECTIONS`, to each server; `None` for a function, which has no others than the one above.
    pub cart_connections: Option<usize>,
    /// `DATABASE_QUEUE`.
    pub queue: usize,
    /// `DATABASE_CONNECT_TIMEOUT`.
    pub connect_timeout: Duration,
    /// `DATABASE_STATEMENT_TIMEOUT`.
    pub statement_timeout: Duration,
    /// `DATABASE_PROBE_AFTER`.
    pub probe_after: Duration,
    /// How long a request waits for a connection when none is up. The host answers 503 at once. A function is asked
    /// before its first connection is up, so there it is `DATABASE_CONNECT_TIMEOUT`, or less if a request may not take as
    /// long; or until an attempt to connect fails.
    pub wait_for_connection: Duration,
}

/// What holds for every request, on any transport.
#[derive(Debug, Clone)]
pub struct Requests {
    /// `REQUEST_TIMEOUT`.
    pub timeout: Duration,
    /// `CACHE_BYTES`; 0 for a function, which is frozen between requests and could not tell what has become of the
    /// catalog meanwhile.
    pub cache_bytes: u64,
}

/// What only the host needs.
#[derive(Debug, Clone)]
pub struct Host {
    /// `LISTEN`.
    pub listen: SocketAddr,
    /// `MAX_CONNECTIONS`.
    pub connections: usize,
    /// `HEADER_READ_TIMEOUT`.
    pub header_read_timeout: Duration,
    /// `SHUTDOWN_DELAY`.
    pub shutdown_delay: Duration,
    /// `SHUTDOWN_GRACE`.
    pub shutdown_grace: Duration,
    /// `WORKER_THREADS`; `None` is one a processor.
    pub worker_threads: Option<usize>,
}

/// What is logged.
#[derive(Debug, Clone)]
pub struct Log {
    /// `LOG`.
    pub level: Level,
    /// `LOG_ACCESS`.
    pub access: bool,
}

/// How much the service says of itself; each level includes the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Level {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// Why the program cannot start. A value that may hold a secret is not in it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A variable that has no default is not set.
    #[error("{variable} is not set: expected {expected}")]
    Missing {
        /// The variable's name.
        variable: &'static str,
        /// What it should hold.
        expected: String,
    },
    /// A variable holds what it may not.
    #[error("{variable}={value}: expected {expected}")]
    Wrong {
        /// The variable's name.
        variable: &'static str,
        /// What it holds.
        value: String,
        /// What it should hold.
        expected: String,
    },
}

/// Where the database is and how it is spoken to, for programs that take that as arguments too. `lookup` answers with
/// the value of the variable it is given the name of.
///
/// # Errors
/// The first variable that is wrong or missing.
pub fn address_from_lookup(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Address, Error> {
    Variables { lookup }.address()
}

impl Config {
    /// Reads the environment of this process.
    ///
    /// # Errors
    /// The first variable that is wrong or missing.
    pub fn from_environment() -> Result<Self, Error> {
        Self::from_lookup(&environment)
    }

    /// Reads variables through `lookup`, which answers with the value of the variable it is given the name
    /// of.
    ///
    /// # Errors
    /// The first variable that is wrong or missing.
    pub fn from_lookup(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let variables = Variables { lookup };
        let connections = variables.number("DATABASE_CONNECTIONS", 1..=64)?.unwrap_or(4);
        let cart_connections = variables.number("DATABASE_CART_CONNECTIONS", 1..=64)?.unwrap_or(2);
        Ok(Self {
            database: variables.database(connections, Some(cart_connections))?,
            requests: variables.requests(variables.bytes("CACHE_BYTES", 256 << 20)?)?,
            host: variables.host()?,
            log: variables.log()?,
        })
    }
}

impl Function {
    /// Reads the environment of this process.
    ///
    /// # Errors
    /// The first variable that is wrong or missing.
    pub fn from_environment() -> Result<Self, Error> {
        Self::from_lookup(&environment)
    }

    /// Reads variables through `lookup`, as [`Config::from_lookup`] does.
    ///
    /// # Errors
    /// The first variable that is wrong or missing.
    pub fn from_lookup(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let variables = Variables { lookup };
        let (mut database, requests) = (variables.database(1, None)?, variables.requests(0)?);
        // Less than all a request may take, so that it can still be told why.
        database.wait_for_connection = database.connect_timeout.min(requests.timeout.mul_f64(0.75));
        Ok(Self { database, requests, log: variables.log()? })
    }
}

impl Log {
    /// Reads the environment of this process, for a program that needs nothing else of it.
    ///
    /// # Errors
    /// The first variable that is wrong.
    pub fn from_environment() -> Result<Self, Error> {
        Self::from_lookup(&environment)
    }

    /// Reads variables through `lookup`, as [`Config::from_lookup`] does.
    ///
    /// # Errors
    /// The first variable that is wrong.
    pub fn from_lookup(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self, Error> {
        Variables { lookup }.log()
    }
}

impl Level {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "off" => Self::Off,
            "error" => Self::Error,
            "warn" => Self::Warn,
            "info" => Self::Info,
            "debug" => Self::Debug,
            "trace" => Self::Trace,
            _ => return None,
        })
    }
}
