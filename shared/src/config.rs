//! The configuration of the host and of the functions. It is read once, at start; an invalid value stops the program.
//!
//! `functions/lambda-adapter` and the host read the variables that Lambda and systemd set.

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::time::Duration;

use crate::database;
use crate::log::LogLevel;
use crate::variables::{
    Default, Error, Kind, MINUTE, ON_OR_OFF, ReadBy, Reader, TEN_MINUTES, Variable, environment,
};

/// The configuration of the host.
#[derive(Debug, Clone)]
pub struct HostConfig {
    /// How to reach the database.
    pub database: database::Settings,
    /// Limits of every request.
    pub requests: RequestConfig,
    /// The HTTP server.
    pub http: HttpConfig,
    /// The log.
    pub log: LogConfig,
    /// Variables that are set under their former names.
    pub former_names: Vec<&'static Variable>,
}

/// The configuration of a function, a process that is frozen between requests.
#[derive(Debug, Clone)]
pub struct FunctionConfig {
    /// How to reach the database: over one connection, which a request waits for.
    pub database: database::Settings,
    /// Limits of every request.
    pub requests: RequestConfig,
    /// The log.
    pub log: LogConfig,
    /// Variables that are set under their former names.
    pub former_names: Vec<&'static Variable>,
}

/// Limits of every request, on any transport.
#[derive(Debug, Clone)]
pub struct RequestConfig {
    /// `REQUEST_TIMEOUT`.
    pub timeout: Duration,
    /// `CACHE_BYTES`; 0 for a function, which is frozen between requests and could not notice a new catalog.
    pub cache_bytes: u64,
}

/// The HTTP server of the host.
#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// `LISTEN`.
    pub listen: SocketAddr,
    /// `MAX_CONNECTIONS`.
    pub max_connections: usize,
    /// `HEADER_READ_TIMEOUT`.
    pub header_read_timeout: Duration,
    /// `SHUTDOWN_DELAY`.
    pub shutdown_delay: Duration,
    /// `SHUTDOWN_GRACE`.
    pub shutdown_grace: Duration,
    /// `WORKER_THREADS`; `None` is one per processor.
    pub worker_threads: Option<usize>,
}

/// The log.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// `LOG`.
    pub level: LogLevel,
    /// `LOG_ACCESS`.
    pub access: bool,
}

static REQUEST_TIMEOUT: Variable = Variable {
    name: "REQUEST_TIMEOUT",
    former_name: None,
    kind: Kind::Duration { max: MINUTE },
    default: Default::Value("2s"),
    read_by: ReadBy::Service,
    summary: "the timeout of a request, after which the client gets 503",
    details: "The body must arrive within the same time, or the client gets 408. Too low: responses that were almost ready \
        are thrown away. Too high: clients pile up behind a database that hangs.",
};

static CACHE_BYTES: Variable = Variable {
    name: "CACHE_BYTES",
    former_name: None,
    kind: Kind::Bytes { max_gib: 1024 },
    default: Default::Value("256MiB"),
    read_by: ReadBy::Host,
    summary: "the memory for cached responses of the catalog, in bytes or with a unit; 0 turns the cache off",
    details: "The process needs about 50 MB in addition, and up to 256 MiB for responses of more than 128 KiB. A host notices a new catalog within a second and then serves nothing of \
        the old one. Too low: more queries, and fewer responses that the host can still serve while the database is \
        unavailable. Too high: the machine runs out of memory.",
};

static LISTEN: Variable = Variable {
    name: "LISTEN",
    former_name: None,
    kind: Kind::Text("an address and a port such as 127.0.0.1:3000"),
    default: Default::Value("127.0.0.1:3000"),
    read_by: ReadBy::Host,
    summary: "the address and port that the host serves; port 0 takes a free one",
    details: "",
};

static MAX_CONNECTIONS: Variable = Variable {
    name: "MAX_CONNECTIONS",
    former_name: None,
    kind: Kind::Number { min: 1, max: 1_000_000 },
    default: Default::Value("4096"),
    read_by: ReadBy::Host,
    summary: "the max number of client connections; further clients wait until one closes",
    details: "Behind a load balancer, a host needs few. Too low: clients wait for others that are idle. Too high: each takes \
        about 20 KB of memory and a file descriptor.",
};

static HEADER_READ_TIMEOUT: Variable = Variable {
    name: "HEADER_READ_TIMEOUT",
    former_name: None,
    kind: Kind::Duration { max: TEN_MINUTES },
    default: Default::Value("65s"),
    read_by: ReadBy::Host,
    summary: "the timeout of a connection, idle or not, on which no complete request header arrives",
    details: "Too low: the load balancer uses connections that were just closed; its own idle timeout must be lower. Too high: \
        idle clients hold memory and file descriptors.",
};

static SHUTDOWN_DELAY: Variable = Variable {
    name: "SHUTDOWN_DELAY",
    former_name: None,
    kind: Kind::Duration { max: MINUTE },
    default: Default::Value("1s"),
    read_by: ReadBy::Host,
    summary: "how long the host still accepts connections after SIGTERM; it closes each after its next response",
    details: "Too low: the load balancer sends requests into connections that are closing, and a `POST` among them fails with 502. Too \
        high: a deployment takes longer.",
};

static SHUTDOWN_GRACE: Variable = Variable {
    name: "SHUTDOWN_GRACE",
    former_name: None,
    kind: Kind::Duration { max: TEN_MINUTES },
    default: Default::Value("10s"),
    read_by: ReadBy::Host,
    summary: "how long requests in flight may take after SIGTERM",
    details: "Too low: they are aborted. Too high: a deployment waits for the slowest client.",
};

static WORKER_THREADS: Variable = Variable {
    name: "WORKER_THREADS",
    former_name: None,
    kind: Kind::Number { min: 1, max: 256 },
    default: Default::Described("one per processor"),
    read_by: ReadBy::Host,
    summary: "threads that serve requests",
    details: "Too low: processors idle. Too high: context switches cost more than the threads gain.",
};

static LOG: Variable = Variable {
    name: "LOG",
    former_name: None,
    kind: Kind::Choice(&["off", "error", "warn", "info", "debug", "trace"]),
    default: Default::Value("info"),
    read_by: ReadBy::Daemons,
    summary: "the lowest level that is logged",
    details: "",
};

static LOG_ACCESS: Variable = Variable {
    name: "LOG_ACCESS",
    former_name: None,
    kind: ON_OR_OFF,
    default: Default::Value("on"),
    read_by: ReadBy::Service,
    summary: "whether each request is logged, as a line of JSON",
    details: "",
};

/// The variables of requests.
pub static REQUEST_VARIABLES: [&Variable; 2] = [&REQUEST_TIMEOUT, &CACHE_BYTES];

/// The variables of the HTTP server.
pub static HTTP_VARIABLES: [&Variable; 6] =
    [&LISTEN, &MAX_CONNECTIONS, &HEADER_READ_TIMEOUT, &SHUTDOWN_DELAY, &SHUTDOWN_GRACE, &WORKER_THREADS];

/// The variables of the log.
pub static LOG_VARIABLES: [&Variable; 2] = [&LOG, &LOG_ACCESS];

/// Returns the variables of the host.
pub fn host_variables() -> Vec<&'static Variable> {
    [&database::VARIABLES[..], &REQUEST_VARIABLES, &HTTP_VARIABLES, &LOG_VARIABLES].concat()
}

/// Returns the variables of the endpoints' functions.
pub fn function_variables() -> Vec<&'static Variable> {
    host_variables().into_iter().filter(|variable| variable.read_by != ReadBy::Host).collect()
}

impl HostConfig {
    /// Reads the environment of this process.
    ///
    /// # Errors
    /// The first variable that is invalid or missing.
    pub fn from_environment() -> Result<Self, Error> {
        Self::from_lookup(&environment)
    }

    /// Reads the variables that `lookup` returns by name.
    ///
    /// # Errors
    /// The first variable that is invalid or missing.
    pub fn from_lookup(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let reader = Reader::new(lookup);
        Ok(Self {
            database: database::Settings::for_host(&reader)?,
            requests: RequestConfig {
                timeout: reader.duration(&REQUEST_TIMEOUT)?,
                cache_bytes: reader.bytes(&CACHE_BYTES)?,
            },
            http: HttpConfig {
                listen: reader.parsed(&LISTEN, |value| value.parse().ok())?,
                max_connections: reader.number(&MAX_CONNECTIONS)?,
                header_read_timeout: reader.duration(&HEADER_READ_TIMEOUT)?,
                shutdown_delay: reader.duration(&SHUTDOWN_DELAY)?,
                shutdown_grace: reader.duration(&SHUTDOWN_GRACE)?,
                worker_threads: reader.optional_number(&WORKER_THREADS)?,
            },
            log: LogConfig::read(&reader)?,
            former_names: reader.into_former_names(),
        })
    }
}

impl FunctionConfig {
    /// Reads the environment of this process.
    ///
    /// # Errors
    /// The first variable that is invalid or missing.
    pub fn from_environment() -> Result<Self, Error> {
        Self::from_lookup(&environment)
    }

    /// Reads the variables that `lookup` returns by name.
    ///
    /// # Errors
    /// The first variable that is invalid or missing.
    pub fn from_lookup(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let reader = Reader::new(lookup);
        let requests = RequestConfig { timeout: reader.duration(&REQUEST_TIMEOUT)?, cache_bytes: 0 };
        Ok(Self {
            database: database::Settings::for_function(&reader, requests.timeout)?,
            requests,
            log: LogConfig::read(&reader)?,
            former_names: reader.into_former_names(),
        })
    }
}

impl LogConfig {
    /// Reads `LOG` and `LOG_ACCESS`.
    ///
    /// # Errors
    /// The first variable that is invalid.
    pub fn read(reader: &Reader<'_>) -> Result<Self, Error> {
        Ok(Self { level: log_level(reader)?, access: reader.switch(&LOG_ACCESS)? })
    }
}

/// Reads `LOG`.
///
/// # Errors
/// An invalid value.
pub fn log_level(reader: &Reader<'_>) -> Result<LogLevel, Error> {
    Ok(LEVELS[reader.choice(&LOG)?])
}

/// The levels, in the order of the words that `LOG` can hold.
const LEVELS: [LogLevel; 6] =
    [LogLevel::OFF, LogLevel::ERROR, LogLevel::WARN, LogLevel::INFO, LogLevel::DEBUG, LogLevel::TRACE];

/// Logs which variables are set under their former names.
pub fn warn_of_former_names(variables: &[&'static Variable]) {
    for variable in variables {
        tracing::warn!(
            variable = variable.former_name,
            new_name = variable.name,
            "variable was renamed: set it under its new name, the former one is read in this release only"
        );
    }
}
