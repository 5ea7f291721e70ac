//! How a program reaches the database, and the variables that say so.

use std::time::Duration;

use aws_credential_types::Credentials;
use tokio_postgres::config::Host;

use super::ConnectOptions;
use super::rds_token::RdsTokenSigner;
use super::url::{DATABASE_CA_FILE, DATABASE_URL, connect_options, shown_host};
use crate::variables::{Default, Error, Kind, MINUTE, ReadBy, Reader, TEN_MINUTES, Variable};

/// How a program reaches the database.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `DATABASE_URL`, `DATABASE_CA_FILE` and `DATABASE_AUTH`. Its `Debug` shows no secret.
    pub connect: ConnectOptions,
    /// How many connections.
    pub connections: Connections,
    /// `DATABASE_MAX_WAITING`.
    pub max_waiting: usize,
    /// `DATABASE_CONNECT_TIMEOUT`.
    pub connect_timeout: Duration,
    /// `DATABASE_STATEMENT_TIMEOUT`.
    pub statement_timeout: Duration,
    /// `DATABASE_IDLE_CHECK_AFTER`.
    pub idle_check_after: Duration,
}

/// The connections of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connections {
    /// A host has several to each server. When none is up, requests fail at once.
    Pool {
        /// `DATABASE_CONNECTIONS`.
        catalog: usize,
        /// `DATABASE_CART_CONNECTIONS`.
        carts: usize,
    },
    /// A function has one, to the first server of the address that it reaches, as in libpq. It gets requests before the
    /// connection is up.
    Single {
        /// How long a request waits for the connection.
        connect_wait: Duration,
    },
}

/// Passwords or tokens.
pub static DATABASE_AUTH: Variable = Variable {
    name: "DATABASE_AUTH",
    former_name: None,
    kind: Kind::Choice(&["password", "iam"]),
    default: Default::Value("password"),
    read_by: ReadBy::All,
    summary: "how to authenticate: with the password in `DATABASE_URL`, or with a signed RDS token",
    details: "`iam` signs a new token for each connection. It requires TLS, one server and a user in `DATABASE_URL`, no \
        password there, and the variables `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION` and, for temporary \
        keys, `AWS_SESSION_TOKEN`. Lambda sets all of them.",
};

/// The access key that signs tokens.
static AWS_ACCESS_KEY_ID: Variable = Variable {
    name: "AWS_ACCESS_KEY_ID",
    former_name: None,
    kind: Kind::Text("the id of an access key, which DATABASE_AUTH=iam signs tokens with"),
    default: Default::RequiredWith("`DATABASE_AUTH=iam`"),
    read_by: ReadBy::All,
    summary: "the access key that signs tokens; its role needs `rds-db:connect`",
    details: "",
};

/// Its secret.
static AWS_SECRET_ACCESS_KEY: Variable = Variable {
    name: "AWS_SECRET_ACCESS_KEY",
    former_name: None,
    kind: Kind::Text("the secret of an access key, which DATABASE_AUTH=iam signs tokens with"),
    default: Default::RequiredWith("`DATABASE_AUTH=iam`"),
    read_by: ReadBy::All,
    summary: "its secret, which is never logged",
    details: "",
};

/// The session that it belongs to.
static AWS_SESSION_TOKEN: Variable = Variable {
    name: "AWS_SESSION_TOKEN",
    former_name: None,
    kind: Kind::Text("the session token of a temporary access key"),
    default: Default::Described("none"),
    read_by: ReadBy::All,
    summary: "the session token of a temporary access key, which is never logged",
    details: "",
};

/// The region of the database.
static AWS_REGION: Variable = Variable {
    name: "AWS_REGION",
    former_name: None,
    kind: Kind::Text("the database's region, which DATABASE_AUTH=iam signs tokens with"),
    default: Default::RequiredWith("`DATABASE_AUTH=iam`"),
    read_by: ReadBy::All,
    summary: "the region of the database",
    details: "",
};

static DATABASE_CONNECTIONS: Variable = Variable {
    name: "DATABASE_CONNECTIONS",
    former_name: None,
    kind: Kind::Number { min: 1, max: 64 },
    default: Default::Value("4"),
    read_by: ReadBy::Host,
    summary: "connections to each server for the catalog",
    details: "All requests share them: statements are pipelined, so no request waits for a free connection. Too low: one \
        slow statement delays those behind it. Too high: more Postgres processes, and no more throughput. A function \
        has one connection.",
};

static DATABASE_CART_CONNECTIONS: Variable = Variable {
    name: "DATABASE_CART_CONNECTIONS",
    former_name: None,
    kind: Kind::Number { min: 1, max: 64 },
    default: Default::Value("2"),
    read_by: ReadBy::Host,
    summary: "connections to each server for carts",
    details: "Concurrent writes to one cart wait for each other. Too low: they delay other carts. Too high: as for \
        `DATABASE_CONNECTIONS`.",
};

static DATABASE_MAX_WAITING: Variable = Variable {
    name: "DATABASE_MAX_WAITING",
    former_name: Some("DATABASE_QUEUE"),
    kind: Kind::Number { min: 1, max: 100_000 },
    default: Default::Value("1024"),
    read_by: ReadBy::Service,
    summary: "the queue limit: how many requests may wait for the database at once",
    details: "Beyond it, requests get 503 at once unless the cache has their response. Carts have a queue of their own, with \
        the same limit. Too low: a burst that the database could serve gets 503. Too high: under overload every request \
        waits until `REQUEST_TIMEOUT`, and none succeeds.",
};

static DATABASE_CONNECT_TIMEOUT: Variable = Variable {
    name: "DATABASE_CONNECT_TIMEOUT",
    former_name: None,
    kind: Kind::Duration { max: MINUTE },
    default: Default::Value("2s"),
    read_by: ReadBy::Service,
    summary: "the timeout of one attempt to connect",
    details: "A request to a function waits this long for a connection, but at most three quarters of `REQUEST_TIMEOUT`. Too low: a busy server is never reached. Too high: a \
        server that disappeared is noticed late.",
};

static DATABASE_STATEMENT_TIMEOUT: Variable = Variable {
    name: "DATABASE_STATEMENT_TIMEOUT",
    former_name: None,
    kind: Kind::Duration { max: MINUTE },
    default: Default::Value("1500ms"),
    read_by: ReadBy::Service,
    summary: "the timeout after which Postgres cancels a statement",
    details: "Too low: large pages of the list fail on a busy server. Higher than `REQUEST_TIMEOUT`: Postgres works on \
        responses that no client waits for. A server that stops responding is detected 250 ms after this timeout; the \
        statement is then retried on another server, within `REQUEST_TIMEOUT`.",
};

static DATABASE_IDLE_CHECK_AFTER: Variable = Variable {
    name: "DATABASE_IDLE_CHECK_AFTER",
    former_name: Some("DATABASE_PROBE_AFTER"),
    kind: Kind::Duration { max: TEN_MINUTES },
    default: Default::Value("5s"),
    read_by: ReadBy::Service,
    summary: "the idle time after which a connection is health-checked before use",
    details: "A connection whose process was frozen counts as idle. If the check gets no response within 250 ms, the \
        connection is replaced. Too low: many requests cost one more round trip. Too high: requests use dead \
        connections, so reads are slow and additions to carts return 503.",
};

/// The variables of the database, in the order in which the documentation lists them.
pub static VARIABLES: [&Variable; 13] = [
    &DATABASE_URL,
    &DATABASE_CA_FILE,
    &DATABASE_AUTH,
    &AWS_ACCESS_KEY_ID,
    &AWS_SECRET_ACCESS_KEY,
    &AWS_SESSION_TOKEN,
    &AWS_REGION,
    &DATABASE_CONNECTIONS,
    &DATABASE_CART_CONNECTIONS,
    &DATABASE_MAX_WAITING,
    &DATABASE_CONNECT_TIMEOUT,
    &DATABASE_STATEMENT_TIMEOUT,
    &DATABASE_IDLE_CHECK_AFTER,
];

impl Settings {
    /// Reads the settings of a host.
    ///
    /// # Errors
    /// The first variable that is invalid or missing.
    pub fn for_host(reader: &Reader<'_>) -> Result<Self, Error> {
        let catalog = reader.number(&DATABASE_CONNECTIONS)?;
        let carts = reader.number(&DATABASE_CART_CONNECTIONS)?;
        Self::read(reader, |_| Connections::Pool { catalog, carts })
    }

    /// Reads the settings of a function, whose requests may take `request_timeout`.
    ///
    /// # Errors
    /// As [`Self::for_host`].
    pub fn for_function(reader: &Reader<'_>, request_timeout: Duration) -> Result<Self, Error> {
        // Less than the whole timeout, so that the client still gets a response that says why.
        let max = request_timeout.mul_f64(0.75);
        Self::read(reader, |connect_timeout| Connections::Single { connect_wait: connect_timeout.min(max) })
    }

    fn read(reader: &Reader<'_>, connections: impl Fn(Duration) -> Connections) -> Result<Self, Error> {
        let connect_timeout = reader.duration(&DATABASE_CONNECT_TIMEOUT)?;
        Ok(Self {
            connect: ConnectOptions::read(reader)?,
            connections: connections(connect_timeout),
            max_waiting: reader.number(&DATABASE_MAX_WAITING)?,
            connect_timeout,
            statement_timeout: reader.duration(&DATABASE_STATEMENT_TIMEOUT)?,
            idle_check_after: reader.duration(&DATABASE_IDLE_CHECK_AFTER)?,
        })
    }
}

impl ConnectOptions {
    /// Reads `DATABASE_URL`, `DATABASE_CA_FILE` and `DATABASE_AUTH`.
    ///
    /// # Errors
    /// The first variable that is invalid or missing.
    pub fn read(reader: &Reader<'_>) -> Result<Self, Error> {
        let url = reader.required(&DATABASE_URL)?;
        let options = connect_options(&url, reader.value(&DATABASE_CA_FILE).as_deref())?;
        let is_iam = reader.choice(&DATABASE_AUTH)? == 1;
        if is_iam { signer(reader, &options).map(|signer| options.with_signer(signer)) } else { Ok(options) }
    }
}

fn signer(reader: &Reader<'_>, options: &ConnectOptions) -> Result<RdsTokenSigner, Error> {
    let settings = options.settings();
    let invalid = |expected: &str| {
        let (value, expected) = (shown_host(options), expected.to_owned());
        Err(Error::Invalid { variable: DATABASE_URL.name, value, expected })
    };
    let [Host::Tcp(host)] = settings.get_hosts() else {
        return invalid("one host, reached by TCP, because DATABASE_AUTH=iam signs for a host and port");
    };
    if !options.has_tls() {
        return invalid(
            "sslmode=verify-full, because with DATABASE_AUTH=iam a token is sent as the password",
        );
    }
    let Some(user) = settings.get_user() else {
        return invalid(
            "a user, as in postgresql://user@host/database, because DATABASE_AUTH=iam signs for a user",
        );
    };
    if settings.get_password().is_some() {
        return invalid("no password, because with DATABASE_AUTH=iam a token replaces it");
    }
    let signer = RdsTokenSigner {
        host: host.clone(),
        port: settings.get_ports().first().copied().unwrap_or(5432),
        user: user.to_owned(),
        credentials: Credentials::new(
            reader.required(&AWS_ACCESS_KEY_ID)?,
            reader.required(&AWS_SECRET_ACCESS_KEY)?,
            reader.value(&AWS_SESSION_TOKEN).filter(|token| !token.is_empty()),
            None,
            "environment",
        ),
        region: reader.required(&AWS_REGION)?,
    };
    signer.checked().map_err(|error| Error::Invalid {
        variable: DATABASE_AUTH.name,
        value: "iam".to_owned(),
        expected: format!("settings that a token can be signed with ({error})"),
    })
}
