//! How a program reaches the database, and the variables that say so.

use std::time::Duration;

use aws_credential_types::Credentials;
use tokio_postgres::config::Host;

use super::ConnectOptions;
use super::password::{PGPASSFILE, PGPASSWORD, with_password};
use super::rds_token::RdsTokenSigner;
use super::url::{DATABASE_CA_FILE, DATABASE_URL, Target, shown_host, target};
use crate::variables::Default::{Described, Required, Value};
use crate::variables::Kind::{self, Choice, Number, Text};
use crate::variables::ReadBy::{self, All, Service};
use crate::variables::{Error, Lookup, Variable};

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
    /// Whether `DATABASE_PLAN_MODE` is `generic`.
    pub has_generic_plans: bool,
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
pub static DATABASE_AUTH: Variable =
    Variable::new("DATABASE_AUTH", Choice(&["password", "iam"]), Value("password"), All)
        .summary("how to authenticate: with the password in `DATABASE_URL`, or with a signed RDS token")
        .details(
            "`iam` signs a new token for each connection. It requires TLS, one server and a user in \
             `DATABASE_URL`, no password there, and the variables `AWS_ACCESS_KEY_ID`, \
             `AWS_SECRET_ACCESS_KEY`, `AWS_REGION` and, for temporary keys, `AWS_SESSION_TOKEN`. Lambda sets \
             all of them.",
        );

/// A variable that `DATABASE_AUTH=iam` requires.
const fn aws(name: &'static str, expected: &'static str) -> Variable {
    Variable::new(name, Text(expected), Required("required with `DATABASE_AUTH=iam`"), All)
}

static AWS_ACCESS_KEY_ID: Variable =
    aws("AWS_ACCESS_KEY_ID", "the id of an access key, which DATABASE_AUTH=iam signs tokens with")
        .summary("the access key that signs tokens; its role needs `rds-db:connect`");

static AWS_SECRET_ACCESS_KEY: Variable =
    aws("AWS_SECRET_ACCESS_KEY", "the secret of an access key, which DATABASE_AUTH=iam signs tokens with")
        .summary("its secret, which is never logged");

static AWS_SESSION_TOKEN: Variable = Variable::new(
    "AWS_SESSION_TOKEN",
    Text("the session token of a temporary access key"),
    Described("none"),
    All,
)
.summary("the session token of a temporary access key, which is never logged");

static AWS_REGION: Variable =
    aws("AWS_REGION", "the database's region, which DATABASE_AUTH=iam signs tokens with")
        .summary("the region of the database");

static DATABASE_CONNECTIONS: Variable =
    Variable::new("DATABASE_CONNECTIONS", Number(1, 64), Value("4"), ReadBy::Host)
        .summary("connections to each server for the catalog")
        .details(
            "All requests share them: statements are pipelined, so no request waits for a free connection. \
             Too low: one slow statement delays those behind it. Too high: more Postgres processes, and no \
             more throughput. A function has one connection.",
        );

static DATABASE_CART_CONNECTIONS: Variable =
    Variable::new("DATABASE_CART_CONNECTIONS", Number(1, 64), Value("2"), ReadBy::Host)
        .summary("connections to each server for carts")
        .details(
            "Concurrent writes to one cart wait for each other. Too low: they delay other carts. Too high: \
             as for `DATABASE_CONNECTIONS`.",
        );

static DATABASE_MAX_WAITING: Variable =
    Variable::new("DATABASE_MAX_WAITING", Number(1, 100_000), Value("1024"), Service)
        .formerly("DATABASE_QUEUE")
        .summary("the queue limit: how many requests may wait for the database at once")
        .details(
            "Beyond it, requests get 503 at once unless the cache has their response. Carts have a queue of \
             their own, with the same limit. Too low: a burst that the database could serve gets 503. Too \
             high: under overload every request waits until `REQUEST_TIMEOUT`, and none succeeds.",
        );

static DATABASE_CONNECT_TIMEOUT: Variable =
    Variable::new("DATABASE_CONNECT_TIMEOUT", Kind::Duration(60), Value("2s"), Service)
        .summary("the timeout of one attempt to connect")
        .details(
            "A request to a function waits this long for a connection, but at most three quarters of \
             `REQUEST_TIMEOUT`. Too low: a busy server is never reached. Too high: a server that disappeared \
             is noticed late.",
        );

static DATABASE_STATEMENT_TIMEOUT: Variable =
    Variable::new("DATABASE_STATEMENT_TIMEOUT", Kind::Duration(60), Value("1500ms"), Service)
        .summary("the timeout after which Postgres cancels a statement")
        .details(
            "Too low: large pages of the list fail on a busy server. Higher than `REQUEST_TIMEOUT`: Postgres \
             works on responses that no client waits for. A server that stops responding is detected 250 ms \
             after this timeout; the statement is then retried on another server, within `REQUEST_TIMEOUT`.",
        );

static DATABASE_IDLE_CHECK_AFTER: Variable =
    Variable::new("DATABASE_IDLE_CHECK_AFTER", Kind::Duration(600), Value("5s"), Service)
        .formerly("DATABASE_PROBE_AFTER")
        .summary("the idle time after which a connection is health-checked before use")
        .details(
            "A connection whose process was frozen counts as idle. If the check gets no response within 250 \
             ms, the connection is replaced. Too low: many requests cost one more round trip. Too high: \
             requests use dead connections, so reads are slow and additions to carts return 503.",
        );

static DATABASE_PLAN_MODE: Variable = Variable::new(
    "DATABASE_PLAN_MODE",
    Choice(&["generic", "auto"]),
    Value("generic"),
    Service,
)
.summary("whether Postgres plans each prepared statement once (`generic`), or decides itself (`auto`)")
.details(
    "`generic` saves the planning of reads of few ids. Use `auto` for an engine that cannot plan `= any($1)` \
             without its values, such as Citus.",
);

/// The variables of the database, in the order in which the documentation lists them.
pub static VARIABLES: [&Variable; 16] = [
    &DATABASE_URL,
    &DATABASE_CA_FILE,
    &DATABASE_AUTH,
    &PGPASSWORD,
    &PGPASSFILE,
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
    &DATABASE_PLAN_MODE,
];

impl Settings {
    /// Reads the settings of a host.
    pub(crate) fn for_host(lookup: Lookup<'_>) -> Result<Self, Error> {
        let catalog = DATABASE_CONNECTIONS.number(lookup)?;
        let carts = DATABASE_CART_CONNECTIONS.number(lookup)?;
        Self::read(lookup, Connections::Pool { catalog, carts })
    }

    /// Reads the settings of a function, whose requests may take `request_timeout`.
    pub(crate) fn for_function(lookup: Lookup<'_>, request_timeout: Duration) -> Result<Self, Error> {
        // Less than the whole timeout, so that the client still gets a response that says why.
        let max = request_timeout.mul_f64(0.75);
        let connect_wait = DATABASE_CONNECT_TIMEOUT.duration(lookup)?.min(max);
        Self::read(lookup, Connections::Single { connect_wait })
    }

    fn read(lookup: Lookup<'_>, connections: Connections) -> Result<Self, Error> {
        Ok(Self {
            connections,
            connect_timeout: DATABASE_CONNECT_TIMEOUT.duration(lookup)?,
            connect: ConnectOptions::from_lookup(lookup)?,
            max_waiting: DATABASE_MAX_WAITING.number(lookup)?,
            statement_timeout: DATABASE_STATEMENT_TIMEOUT.duration(lookup)?,
            idle_check_after: DATABASE_IDLE_CHECK_AFTER.duration(lookup)?,
            has_generic_plans: DATABASE_PLAN_MODE.word(lookup)? == "generic",
        })
    }
}

impl ConnectOptions {
    /// Reads `DATABASE_URL`, `DATABASE_CA_FILE`, `DATABASE_AUTH` and, for the password, `PGPASSWORD` and `PGPASSFILE`.
    ///
    /// # Errors
    /// The first variable that is invalid or missing.
    pub fn from_lookup(lookup: Lookup<'_>) -> Result<Self, Error> {
        let url = DATABASE_URL.required(lookup)?;
        let Target { options, pass_file } = target(&url, DATABASE_CA_FILE.value(lookup).as_deref())?;
        if DATABASE_AUTH.word(lookup)? != "iam" {
            return with_password(options, pass_file.as_deref(), lookup);
        }
        if pass_file.is_some() {
            let expected = "no passfile, because with DATABASE_AUTH=iam a token replaces the password";
            return Err(DATABASE_URL.invalid(shown_host(&options), expected));
        }
        signer(lookup, &options).map(|signer| options.with_signer(signer))
    }
}

fn signer(lookup: Lookup<'_>, options: &ConnectOptions) -> Result<RdsTokenSigner, Error> {
    let settings = options.settings();
    let invalid = |expected| Err(DATABASE_URL.invalid(shown_host(options), expected));
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
            AWS_ACCESS_KEY_ID.required(lookup)?,
            AWS_SECRET_ACCESS_KEY.required(lookup)?,
            AWS_SESSION_TOKEN.value(lookup).filter(|token| !token.is_empty()),
            None,
            "environment",
        ),
        region: AWS_REGION.required(lookup)?,
    };
    signer.checked().map_err(|error| {
        DATABASE_AUTH.invalid("iam", format!("settings that a token can be signed with ({error})"))
    })
}
