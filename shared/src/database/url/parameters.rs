//! The parameters of an address: each is used, or refused with what to do instead.

use std::str::FromStr;
use std::time::Duration;

use tokio_postgres::Config;

use super::parse::Address;

/// The parameters of an address, after their treatment.
pub(super) struct Parameters {
    pub(super) settings: Config,
    pub(super) ssl_mode: Option<String>,
    pub(super) root_cert: Option<String>,
    pub(super) pass_file: Option<String>,
    pub(super) prefers_standby: bool,
}

/// The treatment of a parameter.
enum Treatment {
    /// tokio-postgres reads it, under this name.
    Client(&'static str),
    /// The program reads it.
    Own,
    /// These values request what the client does anyway. It has no other behaviour.
    Only(&'static [&'static str]),
    /// It has no effect that the client could bring about. The text says what to do.
    Refused(&'static str),
}
use Treatment::{Client, Only, Own, Refused};

const OFF: &[&str] = &["0", "false", "off", "no"];
const NO_GSS: &str = "GSSAPI is not supported: use a password or DATABASE_AUTH=iam";
const NO_CERTIFICATE: &str = "client certificates are not supported: use a password or DATABASE_AUTH=iam";
const NO_POOL: &str = "the pool is set by DATABASE_CONNECTIONS and DATABASE_CONNECT_TIMEOUT: remove it";
const NO_TRANSACTION_MODE: &str = "the service needs its session to itself: remove it, and connect to the database \
     or to a pooler in session mode";

/// The treatment of each parameter: those of libpq, then those that providers add for other clients.
const TREATMENTS: &[(&str, Treatment)] = &[
    ("user", Client("user")),
    ("password", Client("password")),
    ("dbname", Client("dbname")),
    ("host", Client("host")),
    ("hostaddr", Client("hostaddr")),
    ("port", Client("port")),
    ("options", Client("options")),
    ("application_name", Client("application_name")),
    ("fallback_application_name", Own),
    ("connect_timeout", Client("connect_timeout")),
    ("keepalives", Client("keepalives")),
    ("keepalives_idle", Client("keepalives_idle")),
    ("keepalives_interval", Client("keepalives_interval")),
    ("keepalives_count", Client("keepalives_retries")),
    ("keepalives_retries", Client("keepalives_retries")),
    ("tcp_user_timeout", Own),
    ("target_session_attrs", Own),
    ("load_balance_hosts", Client("load_balance_hosts")),
    ("channel_binding", Client("channel_binding")),
    ("passfile", Own),
    ("sslmode", Own),
    ("ssl", Own),
    ("sslrootcert", Own),
    ("sslsni", Only(&["1"])),
    ("sslcompression", Only(&["0"])),
    ("sslnegotiation", Only(&["postgres"])),
    ("sslcertmode", Only(&["disable", "allow"])),
    ("ssl_min_protocol_version", Only(&["TLSv1", "TLSv1.1", "TLSv1.2"])),
    ("ssl_max_protocol_version", Only(&["TLSv1.3"])),
    ("min_protocol_version", Only(&["3.0"])),
    ("max_protocol_version", Only(&["3.0"])),
    ("client_encoding", Only(&["UTF8", "UTF-8", "utf8", "utf-8"])),
    ("replication", Only(OFF)),
    ("gssencmode", Only(&["disable", "prefer"])),
    ("gssdelegation", Only(&["0"])),
    ("krbsrvname", Refused(NO_GSS)),
    ("gsslib", Refused(NO_GSS)),
    ("sslcert", Refused(NO_CERTIFICATE)),
    ("sslkey", Refused(NO_CERTIFICATE)),
    ("sslpassword", Refused(NO_CERTIFICATE)),
    ("sslcrl", Refused("revocation lists are not read: remove it")),
    ("sslcrldir", Refused("revocation lists are not read: remove it")),
    ("requirepeer", Refused("the owner of a socket is not checked: remove it")),
    (
        "require_auth",
        Refused("the method cannot be restricted: use channel_binding=require, which needs SCRAM"),
    ),
    ("service", Refused("service files are not read: write its parameters into DATABASE_URL")),
    ("servicefile", Refused("service files are not read: write its parameters into DATABASE_URL")),
    ("pgbouncer", Refused(NO_TRANSACTION_MODE)),
    ("supa", Refused(NO_TRANSACTION_MODE)),
    ("prepareThreshold", Refused(NO_TRANSACTION_MODE)),
    ("statement_cache_size", Refused(NO_TRANSACTION_MODE)),
    ("prepared_statement_cache_size", Refused(NO_TRANSACTION_MODE)),
    ("default_query_exec_mode", Refused(NO_TRANSACTION_MODE)),
    ("prepared_statements", Refused(NO_TRANSACTION_MODE)),
    ("connection_limit", Refused(NO_POOL)),
    ("pool_timeout", Refused(NO_POOL)),
    ("pool_max_conns", Refused(NO_POOL)),
    ("pool_size", Refused(NO_POOL)),
    ("pool", Refused(NO_POOL)),
    ("socket_timeout", Refused("statements are limited by DATABASE_STATEMENT_TIMEOUT: remove it")),
    ("schema", Refused("the schemas have fixed names: remove it, and use a database of its own")),
    ("currentSchema", Refused("the schemas have fixed names: remove it, and use a database of its own")),
    ("sslaccept", Refused("the certificate is always verified: remove it, and set DATABASE_CA_FILE")),
    ("sslidentity", Refused(NO_CERTIFICATE)),
];

impl Parameters {
    /// Treats each parameter.
    ///
    /// # Errors
    /// What was expected instead of the first parameter that cannot be used.
    pub(super) fn of(address: &Address) -> Result<Self, String> {
        let mut for_client = String::new();
        let all = &address.parameters;
        for (at, (name, value)) in all.iter().enumerate() {
            if all[at + 1..].iter().any(|(later, _)| later == name) {
                continue;
            }
            match TREATMENTS.iter().find(|(known, _)| known == name).map(|(_, treatment)| treatment) {
                Some(Client(known)) => for_client += &pair(name, known, value)?,
                Some(Own) => for_client += &own(address, name, value)?,
                Some(Only(values)) if values.contains(&value.as_str()) => {}
                Some(Only(values)) => return Err(format!("{name} to be {}", values.join(" or "))),
                Some(Refused(what_to_do)) => return Err(format!("no parameter {name}: {what_to_do}")),
                None if address.hides_names || !is_plain(name) => {
                    return Err("no unknown parameter, and special characters of the password to be encoded"
                        .to_owned());
                }
                None => return Err(format!("no parameter {name}, which is unknown: remove it")),
            }
        }
        let mut settings = Config::from_str(&for_client).map_err(|_| "valid parameters".to_owned())?;
        if let Some(timeout) = address.get("tcp_user_timeout").and_then(|text| text.parse().ok()) {
            settings.tcp_user_timeout(Duration::from_millis(timeout)); // tokio-postgres reads seconds, libpq milliseconds
        }
        let text = |name| address.get(name).map(str::to_owned);
        let ssl = address.get("ssl").map(|_| "require".to_owned()); // as in libpq, for addresses of JDBC
        Ok(Self {
            settings,
            ssl_mode: text("sslmode").or(ssl),
            root_cert: text("sslrootcert"),
            pass_file: text("passfile"),
            prefers_standby: address.get("target_session_attrs") == Some("prefer-standby"),
        })
    }
}

/// Returns whether an unknown name looks like that of a parameter, and not like a part of an address or a password.
fn is_plain(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphabetic() || b"_-".contains(&byte))
}

/// Checks a parameter that the program reads. Returns it for tokio-postgres, if that knows it in another form.
fn own(address: &Address, name: &str, value: &str) -> Result<String, String> {
    match (name, value) {
        ("ssl", "true") => Ok(String::new()),
        ("ssl", _) => Err("sslmode in place of ssl".to_owned()),
        ("fallback_application_name", _) if address.get("application_name").is_none() => {
            pair(name, "application_name", value)
        }
        ("tcp_user_timeout", _) if value.parse::<u32>().is_err() => {
            Err("tcp_user_timeout to be a number of milliseconds".to_owned())
        }
        ("sslrootcert", "system") => {
            Err("sslrootcert to be a file, because the system's authorities are not read".to_owned())
        }
        // A replica is read-only, and a server that loads and carts cannot write to is of no use as the primary.
        ("target_session_attrs", "primary") => pair(name, name, "read-write"),
        ("target_session_attrs", "standby") => pair(name, name, "read-only"),
        ("target_session_attrs", "any" | "read-write" | "read-only") => pair(name, name, value),
        ("target_session_attrs", "prefer-standby") => Ok(String::new()), // see `ConnectOptions::connect`
        ("target_session_attrs", _) => {
            Err("target_session_attrs to be any, read-write, primary, read-only, standby or prefer-standby"
                .to_owned())
        }
        _ => Ok(String::new()),
    }
}

/// Returns a parameter as tokio-postgres reads it, if it accepts the value.
fn pair(name: &str, known: &str, value: &str) -> Result<String, String> {
    let pair = format!("{known}='{}' ", value.replace('\\', r"\\").replace('\'', r"\'"));
    match Config::from_str(&pair) {
        Ok(_) => Ok(pair),
        Err(_) => Err(format!("a valid value of {name}")),
    }
}
