//! Variables, one by one and in the groups that programs have in common.

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use tokio_postgres::config::Host as DatabaseHost;

use super::address::{CA_FILE, DATABASE_URL, DATABASE_URL_EXPECTED, database_address};
use super::{Database, Error, Host, Level, Log, Requests};
use crate::database::Address;
use crate::database::iam::{Keys, Signer};

const MINUTE: Duration = Duration::from_secs(60);
const TEN_MINUTES: Duration = Duration::from_secs(600);
const LARGEST_CACHE_BYTES: u64 = 1 << 40;

pub(super) struct Variables<'a> {
    pub(super) lookup: &'a dyn Fn(&str) -> Option<String>,
}

/// The variables of this process.
pub(super) fn environment(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

impl Variables<'_> {
    pub(super) fn database(
        &self,
        connections: usize,
        cart_connections: Option<usize>,
    ) -> Result<Database, Error> {
        Ok(Database {
            address: self.address()?,
            connections,
            cart_connections,
            queue: self.number("DATABASE_QUEUE", 1..=100_000)?.unwrap_or(1024),
            connect_timeout: self.duration("DATABASE_CONNECT_TIMEOUT", 2_000, MINUTE)?,
            statement_timeout: self.duration("DATABASE_STATEMENT_TIMEOUT", 1_500, MINUTE)?,
            probe_after: self.duration("DATABASE_PROBE_AFTER", 5_000, TEN_MINUTES)?,
            wait_for_connection: Duration::ZERO,
        })
    }

    pub(super) fn address(&self) -> Result<Address, Error> {
        let url = self.required(DATABASE_URL, DATABASE_URL_EXPECTED)?;
        let address = database_address(&url, (self.lookup)(CA_FILE).as_deref())?;
        Ok(match self.signer(&address)? {
            Some(signer) => address.with_signer(signer),
            None => address,
        })
    }

    pub(super) fn requests(&self, cache_bytes: u64) -> Result<Requests, Error> {
        Ok(Requests { timeout: self.duration("REQUEST_TIMEOUT", 2_000, MINUTE)?, cache_bytes })
    }

    pub(super) fn host(&self) -> Result<Host, Error> {
        let listen = self
            .parsed("LISTEN", "an address and a port such as 127.0.0.1:3000", |value| value.parse().ok())?;
        Ok(Host {
            listen: listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 3000))),
            connections: self.number("MAX_CONNECTIONS", 1..=1_000_000)?.unwrap_or(4096),
            header_read_timeout: self.duration("HEADER_READ_TIMEOUT", 65_000, TEN_MINUTES)?,
            shutdown_delay: self.duration("SHUTDOWN_DELAY", 1_000, MINUTE)?,
            shutdown_grace: self.duration("SHUTDOWN_GRACE", 10_000, TEN_MINUTES)?,
            worker_threads: self.number("WORKER_THREADS", 1..=256)?,
        })
    }

    pub(super) fn log(&self) -> Result<Log, Error> {
        let level = self.parsed("LOG", "off, error, warn, info, debug or trace", Level::named)?;
        let access = self.parsed("LOG_ACCESS", "on or off", |value| match value {
            "on" => Some(true),
            "off" => Some(false),
            _ => None,
        })?;
        Ok(Log { level: level.unwrap_or(Level::Info), access: access.unwrap_or(true) })
    }

    pub(super) fn number(
        &self,
        variable: &'static str,
        range: RangeInclusive<usize>,
    ) -> Result<Option<usize>, Error> {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        self.parsed(variable, expected, |value| value.parse().ok().filter(|number| range.contains(number)))
    }

    pub(super) fn bytes(&self, variable: &'static str, default: u64) -> Result<u64, Error> {
        let expected = "a number of bytes, such as 268435456 or 256MiB, up to 1024GiB";
        let bytes = self
            .parsed(variable, expected, |value| bytes(value).filter(|bytes| *bytes <= LARGEST_CACHE_BYTES))?;
        Ok(bytes.unwrap_or(default))
    }

    /// Who signs tokens, if `DATABASE_AUTH` is `iam`.
    fn signer(&self, address: &Address) -> Result<Option<Signer>, Error> {
        let iam = self.parsed("DATABASE_AUTH", "password or iam", |value| match value {
            "password" => Some(false),
            "iam" => Some(true),
            _ => None,
        })?;
        if iam != Some(true) {
            return Ok(None);
        }
        let settings = address.settings();
        let refused = |expected: &str| {
            let (value, expected) = (format!("(host {})", address.host()), expected.to_owned());
            Err(Error::Wrong { variable: DATABASE_URL, value, expected })
        };
        let [DatabaseHost::Tcp(host)] = settings.get_hosts() else {
            return refused("one host, reached by TCP, because DATABASE_AUTH=iam signs for a host and port");
        };
        if !address.has_tls() {
            return refused(
                "sslmode=verify-full, because with DATABASE_AUTH=iam a token is sent as the password",
            );
        }
        let Some(user) = settings.get_user() else {
            return refused(
                "a user, as in postgresql://user@host/database, whom DATABASE_AUTH=iam signs for",
            );
        };
        if settings.get_password().is_some() {
            return refused("no password, because with DATABASE_AUTH=iam a token takes its place");
        }
        let required = |variable, what| {
            self.required(variable, &format!("{what}, which DATABASE_AUTH=iam signs tokens with"))
        };
        let signer = Signer {
            host: host.clone(),
            port: settings.get_ports().first().copied().unwrap_or(5432),
            user: user.to_owned(),
            keys: Keys {
                id: required("AWS_ACCESS_KEY_ID", "the id of an access key")?,
                secret: required("AWS_SECRET_ACCESS_KEY", "the secret of an access key")?,
                session: (self.lookup)("AWS_SESSION_TOKEN").filter(|token| !token.is_empty()),
            },
            region: required("AWS_REGION", "the database's region")?,
        };
        let wrong = |error| {
            let (value, expected) = ("iam".to_owned(), format!("what a token can be signed for ({error})"));
            Error::Wrong { variable: "DATABASE_AUTH", value, expected }
        };
        signer.checked().map(Some).map_err(wrong)
    }

    fn required(&self, variable: &'static str, expected: &str) -> Result<String, Error> {
        let missing = || Error::Missing { variable, expected: expected.to_owned() };
        (self.lookup)(variable).filter(|value| !value.is_empty()).ok_or_else(missing)
    }

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

    fn duration(&self, variable: &'static str, default_ms: u64, most: Duration) -> Result<Duration, Error> {
        let range = Duration::from_millis(10)..=most;
        let expected =
            format!("a whole number with its unit, such as 500ms or 2s, from 10ms to {}s", most.as_secs());
        let duration =
            self.parsed(variable, expected, |value| duration(value).filter(|value| range.contains(value)))?;
        Ok(duration.unwrap_or(Duration::from_millis(default_ms)))
    }
}

/// A number of bytes, without a unit or with one.
fn bytes(value: &str) -> Option<u64> {
    let (number, unit) = number(value)?;
    let unit = match unit {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(unit)
}

fn number(value: &str) -> Option<(u64, &str)> {
    let digits = value.bytes().take_while(u8::is_ascii_digit).count();
    Some((value.get(..digits)?.parse().ok()?, value.get(digits..)?))
}

fn duration(value: &str) -> Option<Duration> {
    let (number, unit) = number(value)?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        _ => None,
    }
}
