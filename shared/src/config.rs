//! The configuration of the host and of the functions. It is read once, at start; an invalid value stops the program.
//!
//! `functions/lambda-adapter` and the host read the variables that Lambda and systemd set.

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::time::Duration;

use crate::log::LogLevel;
use crate::variables::Default::{Described, Value};
use crate::variables::Kind::{self, Bytes, Choice, Number, Text};
use crate::variables::ReadBy::{Daemons, Host, Service};
use crate::variables::{Error, Lookup, Variable, environment};
use crate::{cart, database};

/// The configuration of the host.
#[derive(Debug, Clone)]
pub struct HostConfig {
    /// How to reach the database.
    pub database: database::Settings,
    /// Settings of every request.
    pub requests: RequestConfig,
    /// The HTTP server.
    pub http: HttpConfig,
    /// The log.
    pub log: LogConfig,
}

/// The configuration of a function, a process that is frozen between requests.
#[derive(Debug, Clone)]
pub struct FunctionConfig {
    /// How to reach the database: over one connection, which a request waits for.
    pub database: database::Settings,
    /// Settings of every request.
    pub requests: RequestConfig,
    /// The log.
    pub log: LogConfig,
}

/// Settings of every request, on any transport.
#[derive(Debug, Clone)]
pub struct RequestConfig {
    /// `REQUEST_TIMEOUT`.
    pub timeout: Duration,
    /// `CACHE_BYTES`; 0 for a function, which is frozen between requests and could not notice a new catalog.
    pub cache_bytes: u64,
    /// `CART_KEY` and `COOKIE_SECURE`.
    pub carts: cart::Settings,
}

/// The HTTP server of the host.
#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// `LISTEN`.
    pub listen: SocketAddr,
    /// `ADMIN_LISTEN`; `None` serves no metrics.
    pub admin_listen: Option<SocketAddr>,
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
    /// `DOCS`.
    pub docs: bool,
    /// `PAGE`.
    pub page: bool,
}

/// The log.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// `LOG`.
    pub level: LogLevel,
    /// `LOG_ACCESS`.
    pub access: bool,
}

static REQUEST_TIMEOUT: Variable = Variable::new("REQUEST_TIMEOUT", Kind::Duration(60), Value("2s"), Service)
    .summary("the timeout of a request, after which the client gets 503")
    .details(
        "The body must arrive within the same time, or the client gets 408. Too low: responses that were \
         almost ready are thrown away. Too high: clients pile up behind a database that hangs.",
    );

static CACHE_BYTES: Variable = Variable::new("CACHE_BYTES", Bytes(1024), Value("256MiB"), Host)
    .summary("the memory for cached responses of the catalog, in bytes or with a unit; 0 turns the cache off")
    .details(
        "The process needs about 50 MB in addition, and up to 256 MiB for responses of more than 128 KiB. A \
         host notices a new catalog within a second and then serves nothing of the old one. Too low: more \
         queries, and fewer responses that the host can still serve while the database is unavailable. Too \
         high: the machine runs out of memory.",
    );

static LISTEN: Variable = Variable::new(
    "LISTEN",
    Text("an IP address and a port such as 127.0.0.1:3000"),
    Value("127.0.0.1:3000"),
    Host,
)
.summary("the address and port that the host serves; port 0 takes a free one");

static ADMIN_LISTEN: Variable = Variable::new(
    "ADMIN_LISTEN",
    Text("an IP address and a port such as 127.0.0.1:9464"),
    Described("no metrics"),
    Host,
)
.summary("the address and port of `/metrics`, and of `/healthz` and `/readyz` too")
.details(
    "For monitoring only: choose a loopback or private address that clients cannot reach. Needs another port than \
     `LISTEN`; port 0 takes a free one.",
);

static MAX_CONNECTIONS: Variable =
    Variable::new("MAX_CONNECTIONS", Number(1, 1_000_000), Value("4096"), Host)
        .summary(
            "the max number of client connections; a further client replaces the one that has been idle for \
             the longest",
        )
        .details(
            "Behind a load balancer, a host needs few. Connections with a request in flight stay open; if all \
             have one, further clients wait. Too low: idle clients must reconnect. Too high: each takes about \
             20 KB of memory and a file descriptor (`ulimit -n`). While its client does not read a response, it \
             also takes that response and up to 76 KB of the kernel's memory.",
        );

static HEADER_READ_TIMEOUT: Variable =
    Variable::new("HEADER_READ_TIMEOUT", Kind::Duration(600), Value("65s"), Host)
        .summary("the timeout of a connection, idle or not, on which no complete request header arrives")
        .details(
            "Too low: the load balancer uses connections that were just closed; its own idle timeout must be \
             lower. Too high: idle clients hold memory and file descriptors.",
        );

static SHUTDOWN_DELAY: Variable = Variable::new("SHUTDOWN_DELAY", Kind::Duration(60), Value("1s"), Host)
    .summary(
        "how long the host still accepts connections after SIGTERM; it closes each after its next response",
    )
    .details(
        "Too low: the load balancer sends requests into connections that are closing, and a `POST` among \
         them fails with 502. Too high: a deployment takes longer.",
    );

static SHUTDOWN_GRACE: Variable = Variable::new("SHUTDOWN_GRACE", Kind::Duration(600), Value("10s"), Host)
    .summary("how long requests in flight may take after SIGTERM")
    .details("Too low: they are aborted. Too high: a deployment waits for the slowest client.");

static WORKER_THREADS: Variable =
    Variable::new("WORKER_THREADS", Number(1, 256), Described("one per processor"), Host)
        .summary("threads that serve requests")
        .details("Too low: processors idle. Too high: context switches cost more than the threads gain.");

static DOCS: Variable = Variable::new("DOCS", Choice(&["on", "off"]), Value("on"), Host)
    .summary("whether the host serves the reference of the API, `/docs` and `/openapi.json`")
    .details("With `off`, both paths return 404, as all unknown paths do.");

static PAGE: Variable = Variable::new("PAGE", Choice(&["on", "off"]), Value("on"), Host)
    .summary("whether the host serves the product page at `/`")
    .details("With `off`, `/` and the paths below `/page/` return 404, as all unknown paths do.");

static LOG: Variable =
    Variable::new("LOG", Choice(&["off", "error", "warn", "info", "debug", "trace"]), Value("info"), Daemons)
        .summary("the lowest level that is logged");

static LOG_ACCESS: Variable = Variable::new("LOG_ACCESS", Choice(&["on", "off"]), Value("on"), Service)
    .summary("whether each request is logged, as a line of JSON");

/// The variables of requests.
pub static REQUEST_VARIABLES: [&Variable; 2] = [&REQUEST_TIMEOUT, &CACHE_BYTES];

/// The variables of the HTTP server.
pub static HTTP_VARIABLES: [&Variable; 9] = [
    &LISTEN,
    &ADMIN_LISTEN,
    &MAX_CONNECTIONS,
    &HEADER_READ_TIMEOUT,
    &SHUTDOWN_DELAY,
    &SHUTDOWN_GRACE,
    &WORKER_THREADS,
    &DOCS,
    &PAGE,
];

/// The variables of the log.
pub static LOG_VARIABLES: [&Variable; 2] = [&LOG, &LOG_ACCESS];

/// Returns the variables of the host.
pub fn host_variables() -> Vec<&'static Variable> {
    [&database::VARIABLES[..], &REQUEST_VARIABLES, &cart::VARIABLES, &HTTP_VARIABLES, &LOG_VARIABLES].concat()
}

/// Returns the variables of the endpoints' functions.
pub fn function_variables() -> Vec<&'static Variable> {
    host_variables().into_iter().filter(|variable| variable.read_by != Host).collect()
}

impl HostConfig {
    /// Reads the variables that `lookup` returns by name.
    ///
    /// # Errors
    /// The first variable that is invalid or missing.
    pub fn from_lookup(lookup: Lookup<'_>) -> Result<Self, Error> {
        let listen: SocketAddr = LISTEN.parsed(lookup, |value| value.parse().ok())?;
        let admin_listen = ADMIN_LISTEN.optional(lookup, |value| value.parse().ok())?;
        if let Some(admin) = admin_listen.filter(|admin| conflict(listen, *admin)) {
            let expected = "another port than LISTEN, or another address that LISTEN does not include";
            return Err(ADMIN_LISTEN.invalid(admin.to_string(), expected));
        }
        Ok(Self {
            database: database::Settings::for_host(lookup)?,
            requests: RequestConfig {
                timeout: REQUEST_TIMEOUT.duration(lookup)?,
                cache_bytes: CACHE_BYTES.number(lookup)?,
                carts: cart::Settings::from_lookup(lookup)?,
            },
            http: HttpConfig {
                listen,
                admin_listen,
                max_connections: MAX_CONNECTIONS.number(lookup)?,
                header_read_timeout: HEADER_READ_TIMEOUT.duration(lookup)?,
                shutdown_delay: SHUTDOWN_DELAY.duration(lookup)?,
                shutdown_grace: SHUTDOWN_GRACE.duration(lookup)?,
                worker_threads: WORKER_THREADS.optional(lookup, |value| WORKER_THREADS.kind.number(value))?,
                docs: DOCS.word(lookup)? == "on",
                page: PAGE.word(lookup)? == "on",
            },
            log: LogConfig::from_lookup(lookup)?,
        })
    }
}

impl FunctionConfig {
    /// Reads the variables that `lookup` returns by name.
    ///
    /// # Errors
    /// The first variable that is invalid or missing.
    pub fn from_lookup(lookup: Lookup<'_>) -> Result<Self, Error> {
        let requests = RequestConfig {
            timeout: REQUEST_TIMEOUT.duration(lookup)?,
            cache_bytes: 0,
            carts: cart::Settings::from_lookup(lookup)?,
        };
        let database = database::Settings::for_function(lookup, requests.timeout)?;
        Ok(Self { database, requests, log: LogConfig::from_lookup(lookup)? })
    }
}

impl LogConfig {
    /// Reads `LOG` and `LOG_ACCESS`.
    ///
    /// # Errors
    /// The first variable that is invalid.
    pub fn from_lookup(lookup: Lookup<'_>) -> Result<Self, Error> {
        Ok(Self { level: log_level(lookup)?, access: LOG_ACCESS.word(lookup)? == "on" })
    }
}

/// Reads `LOG`.
///
/// # Errors
/// An invalid value.
pub fn log_level(lookup: Lookup<'_>) -> Result<LogLevel, Error> {
    let word = LOG.word(lookup)?;
    word.parse().map_err(|_| LOG.invalid(word, LOG.kind.to_string()))
}

/// Returns whether two sockets cannot listen at the same time.
fn conflict(one: SocketAddr, other: SocketAddr) -> bool {
    let is_for_all = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && one.port() != 0 && (is_for_all || one.ip() == other.ip())
}

/// Logs which of these variables are set under their former names.
pub fn warn_of_former_names(variables: &[&Variable]) {
    for variable in variables.iter().filter(|variable| variable.has_former_name(&environment)) {
        tracing::warn!(
            variable = variable.former_name,
            new_name = variable.name,
            "variable was renamed: set it under its new name, the former one is read in this release only"
        );
    }
}
