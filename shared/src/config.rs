#![doc = include_str!("config.md")]
//!
//! Nothing else in the service reads the environment. Everything is parsed from a lookup function, so that
//! tests need not change the environment of their process.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use tokio_postgres::config::{Host as DatabaseHost, SslMode};

/// What this module's documentation says of each variable, for `--help`.
pub const VARIABLES: &str = include_str!("config.md");

/// Everything that can be set.
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

/// Where the database is and how it is spoken to.
#[derive(Debug, Clone)]
pub struct Database {
    /// `DATABASE_URL`. Its `Debug` leaves the password out.
    pub url: tokio_postgres::Config,
    /// `DATABASE_CONNECTIONS`.
    pub connections: usize,
    /// `DATABASE_CONNECT_TIMEOUT`.
    pub connect_timeout: Duration,
    /// `DATABASE_STATEMENT_TIMEOUT`.
    pub statement_timeout: Duration,
}

/// What holds for every request, on any transport.
#[derive(Debug, Clone)]
pub struct Requests {
    /// `REQUEST_TIMEOUT`.
    pub timeout: Duration,
}

/// What only the host needs.
#[derive(Debug, Clone)]
pub struct Host {
    /// `LISTEN`.
    pub listen: SocketAddr,
    /// `HEADER_READ_TIMEOUT`.
    pub header_read_timeout: Duration,
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

impl Config {
    /// Reads the environment of this process.
    ///
    /// # Errors
    /// The first variable that is wrong or missing.
    pub fn from_environment() -> Result<Self, Error> {
        Self::from_lookup(&|name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
    }

    /// Reads variables through `lookup`, which answers with the value of the variable it is given the name
    /// of.
    ///
    /// # Errors
    /// The first variable that is wrong or missing.
    pub fn from_lookup(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let variables = Variables { lookup };
        let ten_minutes = Duration::from_secs(600);
        let minute = Duration::from_secs(60);
        Ok(Self {
            database: Database {
                url: variables.database_url()?,
                connections: variables.number("DATABASE_CONNECTIONS", 1..=64)?.unwrap_or(4),
                connect_timeout: variables.duration("DATABASE_CONNECT_TIMEOUT", 2_000, minute)?,
                statement_timeout: variables.duration("DATABASE_STATEMENT_TIMEOUT", 1_500, minute)?,
            },
            requests: Requests { timeout: variables.duration("REQUEST_TIMEOUT", 2_000, minute)? },
            host: Host {
                listen: variables
                    .parsed("LISTEN", "an address and a port such as 127.0.0.1:3000", |value| {
                        value.parse().ok()
                    })?
                    .unwrap_or(SocketAddr::from(([127, 0, 0, 1], 3000))),
                header_read_timeout: variables.duration("HEADER_READ_TIMEOUT", 65_000, ten_minutes)?,
                shutdown_grace: variables.duration("SHUTDOWN_GRACE", 10_000, ten_minutes)?,
                worker_threads: variables.number("WORKER_THREADS", 1..=256)?,
            },
            log: Log {
                level: variables
                    .parsed("LOG", "off, error, warn, info, debug or trace", Level::named)?
                    .unwrap_or(Level::Info),
                access: variables
                    .parsed("LOG_ACCESS", "on or off", |value| match value {
                        "on" => Some(true),
                        "off" => Some(false),
                        _ => None,
                    })?
                    .unwrap_or(true),
            },
        })
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

struct Variables<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
}

impl Variables<'_> {
    fn parsed<T>(
        &self,
        variable: &'static str,
        expected: impl fmt::Display,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let Some(value) = (self.lookup)(variable) else { return Ok(None) };
        match parse(&value) {
            Some(parsed) => Ok(Some(parsed)),
            None => Err(Error::Wrong { variable, value, expected: expected.to_string() }),
        }
    }

    fn number(&self, variable: &'static str, range: RangeInclusive<usize>) -> Result<Option<usize>, Error> {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        self.parsed(variable, expected, |value| value.parse().ok().filter(|number| range.contains(number)))
    }

    fn duration(&self, variable: &'static str, default_ms: u64, most: Duration) -> Result<Duration, Error> {
        let range = Duration::from_millis(10)..=most;
        let expected =
            format!("a whole number with its unit, such as 500ms or 2s, from 10ms to {}s", most.as_secs());
        let duration =
            self.parsed(variable, expected, |value| duration(value).filter(|value| range.contains(value)))?;
        Ok(duration.unwrap_or(Duration::from_millis(default_ms)))
    }

    fn database_url(&self) -> Result<tokio_postgres::Config, Error> {
        match (self.lookup)(DATABASE_URL) {
            Some(value) => database_url(&value),
            None => {
                Err(Error::Missing { variable: DATABASE_URL, expected: DATABASE_URL_EXPECTED.to_owned() })
            }
        }
    }
}

const DATABASE_URL: &str = "DATABASE_URL";
const DATABASE_URL_EXPECTED: &str = "an address such as postgresql://user:password@localhost/atelier";

/// Parses the value of `DATABASE_URL`, for programs that also take it as an argument.
///
/// # Errors
/// It is no address of a database, or one that must not be spoken to without encryption. The error tells neither
/// the value nor a password in it.
pub fn database_url(value: &str) -> Result<tokio_postgres::Config, Error> {
    // The parser's own message may repeat a piece of the password.
    let wrong = |value: &str, expected: &str| {
        let (value, expected) = (value.to_owned(), expected.to_owned());
        Err(Error::Wrong { variable: DATABASE_URL, value, expected })
    };
    let Ok(url) = tokio_postgres::Config::from_str(value) else {
        return wrong("(not shown, it may hold a password)", DATABASE_URL_EXPECTED);
    };
    let named: Vec<String> = url.get_hosts().iter().map(host_name).collect();
    let shown = format!("(host {})", named.join(", "));
    if named.is_empty() && url.get_hostaddrs().is_empty() {
        return wrong("(without a host)", "a host or the directory of a Unix socket (host=/directory)");
    }
    if url.get_ssl_mode() == SslMode::Require
        || !url.get_hosts().iter().all(is_here)
        || !url.get_hostaddrs().iter().all(IpAddr::is_loopback)
    {
        return wrong(
            &shown,
            "a Unix socket, localhost or a loopback address, without sslmode=require: \
             encryption is not supported yet, and nothing is sent over a network without it",
        );
    }
    Ok(url)
}

fn host_name(host: &DatabaseHost) -> String {
    match host {
        DatabaseHost::Tcp(name) => name.clone(),
        DatabaseHost::Unix(directory) => directory.display().to_string(),
    }
}

fn is_here(host: &DatabaseHost) -> bool {
    match host {
        DatabaseHost::Tcp(name) => {
            name == "localhost" || name.parse().is_ok_and(|address: IpAddr| address.is_loopback())
        }
        DatabaseHost::Unix(_) => true,
    }
}

fn duration(value: &str) -> Option<Duration> {
    let digits = value.bytes().take_while(u8::is_ascii_digit).count();
    let number = value.get(..digits)?.parse().ok()?;
    match value.get(digits..)? {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    const URL: &str = "postgresql://reader:s3cret@localhost/atelier";

    fn parse(pairs: &[(&str, &str)]) -> Result<Config, Error> {
        Config::from_lookup(&|name| {
            let pair = pairs.iter().find(|(variable, _)| *variable == name);
            pair.map(|(_, value)| (*value).to_owned()).or((name == "DATABASE_URL").then(|| URL.to_owned()))
        })
    }

    #[test]
    fn everything_but_the_database_has_a_default() {
        let config = parse(&[]).unwrap();
        assert_eq!(config.host.listen.to_string(), "127.0.0.1:3000");
        assert_eq!(config.database.connections, 4);
        assert_eq!(config.requests.timeout, Duration::from_secs(2));
        assert!(config.log.access);
        let missing = Config::from_lookup(&|_| None).unwrap_err().to_string();
        assert!(missing.starts_with("DATABASE_URL is not set: expected an address such as "), "{missing}");
    }

    #[test]
    fn a_wrong_value_is_named_with_its_variable_and_what_was_expected() {
        for (variable, value, expected) in [
            ("LISTEN", "3000", "an address and a port such as 127.0.0.1:3000"),
            ("LISTEN", "", "an address and a port such as 127.0.0.1:3000"),
            ("DATABASE_CONNECTIONS", "0", "a whole number from 1 to 64"),
            ("DATABASE_CONNECTIONS", "four", "a whole number from 1 to 64"),
            ("WORKER_THREADS", "-1", "a whole number from 1 to 256"),
            ("REQUEST_TIMEOUT", "2", "a whole number with its unit, such as 500ms or 2s, from 10ms to 60s"),
            ("REQUEST_TIMEOUT", "61s", "a whole number with its unit, such as 500ms or 2s, from 10ms to 60s"),
            ("LOG", "loud", "off, error, warn, info, debug or trace"),
            ("LOG_ACCESS", "false", "on or off"),
        ] {
            let error = parse(&[(variable, value)]).unwrap_err();
            assert_eq!(error.to_string(), format!("{variable}={value}: expected {expected}"));
        }
    }

    #[test]
    fn durations_take_milliseconds_and_seconds() {
        let config = parse(&[("REQUEST_TIMEOUT", "250ms"), ("SHUTDOWN_GRACE", "3s")]).unwrap();
        assert_eq!(config.requests.timeout, Duration::from_millis(250));
        assert_eq!(config.host.shutdown_grace, Duration::from_secs(3));
    }

    #[test]
    fn the_database_password_is_never_printed() {
        let shown = format!("{:?}", parse(&[]).unwrap());
        assert!(shown.contains("reader") && !shown.contains("s3cret"), "{shown}");
        for url in ["postgresql://reader:s3cret@localhost:port/atelier", "password=s3cret host", "s3cret=1"] {
            let error = parse(&[("DATABASE_URL", url)]).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn a_database_elsewhere_is_refused_until_there_is_encryption() {
        for url in [
            "postgresql://reader:s3cret@db.example.com/atelier",
            "postgresql://reader@10.0.0.7/atelier",
            "postgresql://reader@localhost,db.example.com/atelier",
            "postgresql://reader@localhost/atelier?sslmode=require",
            "host=localhost hostaddr=10.0.0.7 user=reader",
        ] {
            let error = parse(&[("DATABASE_URL", url)]).unwrap_err().to_string();
            assert!(
                error.contains("encryption is not supported yet") && !error.contains("s3cret"),
                "{error}"
            );
        }
        for url in [
            "postgresql:///atelier?host=/run/postgresql&user=reader",
            "host=/run/postgresql user=reader dbname=atelier",
            "postgresql://reader@127.0.0.1:5433/atelier",
            "postgresql://reader@[::1]/atelier",
        ] {
            parse(&[("DATABASE_URL", url)]).unwrap();
        }
    }

    #[test]
    fn every_variable_that_is_read_is_documented() {
        let read = RefCell::new(Vec::new());
        Config::from_lookup(&|name| {
            read.borrow_mut().push(name.to_owned());
            (name == "DATABASE_URL").then(|| URL.to_owned())
        })
        .unwrap();
        for variable in read.borrow().iter() {
            assert!(VARIABLES.contains(&format!("- `{variable}` (")), "{variable}");
        }
        assert_eq!(VARIABLES.matches("\n- `").count(), read.borrow().len());
    }
}
