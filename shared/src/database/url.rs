//! Parses `DATABASE_URL` and decides on TLS: always for another machine, on request for this one. With TLS the server's
//! certificate and name are verified, whatever `sslmode` says.

mod parameters;
mod parse;

use std::net::IpAddr;

use tokio_postgres::Config;
use tokio_postgres::config::Host;
use tokio_postgres_rustls::MakeRustlsConnect;

use self::parameters::Parameters;
use self::parse::Address;
use super::{ConnectOptions, tls};
use crate::variables::Default::Required;
use crate::variables::Kind::Text;
use crate::variables::ReadBy::All;
use crate::variables::{Error, Variable};

/// The address of Postgres.
pub static DATABASE_URL: Variable = Variable::new(
    "DATABASE_URL",
    Text("an address such as postgresql://user:password@localhost/atelier"),
    Required("required"),
    All,
)
.summary("the address of Postgres, as postgresql://user:password@host/database or key=value pairs")
.details(
    "It may name several servers, a primary and its replicas, in any order: \
     `postgresql://user:password@one,two/database`. The host reads from every server that has the latest \
     catalog and keeps carts on the primary; it checks each server once a second. It never reads from a \
     lagging replica, even if no other server is left. The loader uses the primary. A function uses the \
     first server that it reaches; for the functions of the cart, add `target_session_attrs=read-write` (or \
     `primary`), which selects the primary. `read-only` (or `standby`) selects a replica, and `prefer-standby` \
     a replica if there is one. \
     A Unix socket is `postgresql:///database?host=/directory&user=name`.\n\n\
     Connections to a socket, `localhost` or a loopback address are not encrypted unless `sslmode` is \
     `require`, `verify-ca` or `verify-full`. Connections to any other host always use TLS; \
     `sslmode=disable` is an error there. With TLS the server must present a certificate for the host's name \
     from an authority in `DATABASE_CA_FILE` or in the parameter `sslrootcert`: all three modes mean \
     `verify-full`. The client uses SCRAM channel binding if the server offers it; `channel_binding=require` \
     makes it mandatory.\n\n\
     In a URL, special characters are percent-encoded, such as `@` as `%40`. These parameters of libpq are \
     used: `user`, `password`, `dbname`, `host`, `hostaddr`, `port`, `options`, `application_name`, \
     `fallback_application_name`, `connect_timeout`, `keepalives`, `keepalives_idle`, `keepalives_interval`, \
     `keepalives_count`, `tcp_user_timeout`, `target_session_attrs`, \
     `load_balance_hosts`, `channel_binding`, `passfile`, `sslmode` and `sslrootcert` (a file). Others may only \
     request what the client does anyway: `client_encoding=UTF8`, `gssencmode=disable` or `prefer`, \
     `sslnegotiation=postgres`, `sslsni=1` and the like. Any other parameter is an error that names it and says \
     what to do, such as `pgbouncer=true`, `schema`, `connection_limit` and `sslcert`. The password is \
     never logged.",
);

/// The certificate authorities.
pub static DATABASE_CA_FILE: Variable = Variable::new(
    "DATABASE_CA_FILE",
    Text("a PEM file with the authorities that may vouch for the database server"),
    Required("required with TLS"),
    All,
)
.summary(
    "a PEM file of the certificate authorities that may sign the database server's certificate; required \
     with TLS",
)
.details(
    "For RDS, use the bundle of its region. Every authority in the file can impersonate the database, so \
     keep it short.",
);

/// What an error shows in place of an address that may reveal its password.
const HIDDEN: &str = "(not shown, it may hold a password)";

/// What `DATABASE_URL` and `DATABASE_CA_FILE` say.
pub(super) struct Target {
    /// The options, without a password unless the URL has one.
    pub(super) options: ConnectOptions,
    /// The parameter `passfile`.
    pub(super) pass_file: Option<String>,
}

/// Parses the values of `DATABASE_URL` and `DATABASE_CA_FILE`.
///
/// # Errors
/// The URL is invalid, has a parameter that cannot be used, or its connection would lack the encryption it needs; or the
/// file is required and missing, or invalid. The error shows neither the URL nor its password.
pub(super) fn target(url: &str, ca_file: Option<&str>) -> Result<Target, Error> {
    let invalid = |value: &str, expected: &str| Err(DATABASE_URL.invalid(value, expected));
    let form = format!("{}, with special characters encoded, such as @ as %40", DATABASE_URL.kind);
    let Some(address) = Address::parse(url) else { return invalid(HIDDEN, &form) };
    let shown = shown_address(&address);
    let parameters = match Parameters::of(&address) {
        Ok(parameters) => parameters,
        Err(expected) => return invalid(&shown, &expected),
    };
    let ca_file = match (parameters.root_cert.as_deref(), ca_file) {
        (Some(file), Some(other)) if file != other => {
            return invalid(&shown, "no sslrootcert, because DATABASE_CA_FILE names another file");
        }
        (root_cert, ca_file) => root_cert.or(ca_file),
    };
    let options = encrypted(parameters.settings, parameters.ssl_mode.as_deref(), ca_file, &shown)?;
    let options = options.preferring_standby(parameters.prefers_standby);
    Ok(Target { options, pass_file: parameters.pass_file })
}

/// Decides on TLS.
fn encrypted(
    settings: Config,
    ssl_mode: Option<&str>,
    ca_file: Option<&str>,
    shown: &str,
) -> Result<ConnectOptions, Error> {
    let invalid = |expected: &str| Err(DATABASE_URL.invalid(shown, expected));
    let (hosts, addresses) = (settings.get_hosts(), settings.get_hostaddrs());
    if hosts.is_empty() && addresses.is_empty() {
        return invalid("a host or the directory of a Unix socket (host=/directory)");
    }
    let is_local = hosts.iter().all(is_local) && addresses.iter().all(IpAddr::is_loopback);
    let requests_tls = match ssl_mode {
        None | Some("allow" | "prefer") => None,
        Some("disable") => Some(false),
        Some("require" | "verify-ca" | "verify-full") => Some(true),
        Some(_) => return invalid("sslmode to be disable, prefer, require, verify-ca or verify-full"),
    };
    if is_local && requests_tls != Some(true) {
        ca_file.map(authorities).transpose()?; // an invalid file is an error even if it is not needed
        return Ok(ConnectOptions::without_tls(settings));
    }
    if requests_tls == Some(false) {
        return invalid("no sslmode=disable, because connections to another machine always use TLS");
    }
    if hosts.iter().any(|host| matches!(host, Host::Unix(_))) {
        return invalid("hosts reached by TCP and no Unix socket, because those have no TLS");
    }
    if hosts.is_empty() {
        return invalid("a host beside hostaddr: the name in the server's certificate");
    }
    let Some(path) = ca_file else {
        let expected = format!("{}, because DATABASE_URL {shown} requires TLS", DATABASE_CA_FILE.kind);
        return Err(Error::Missing(DATABASE_CA_FILE.name, expected));
    };
    Ok(ConnectOptions::with_tls(settings, authorities(path)?))
}

/// Returns the hosts as an error shows them, before the options exist.
fn shown_address(address: &Address) -> String {
    match address.get("host").or_else(|| address.get("hostaddr")) {
        _ if address.hides_host => HIDDEN.to_owned(),
        Some(hosts) => format!("(host {})", hosts.replace(',', ", ")),
        None => "(without a host)".to_owned(),
    }
}

/// Returns the hosts as an error shows them in place of the URL.
pub(super) fn shown_host(options: &ConnectOptions) -> String {
    format!("(host {})", options.host())
}

fn authorities(path: &str) -> Result<MakeRustlsConnect, Error> {
    let invalid = |cause: &dyn std::error::Error| {
        DATABASE_CA_FILE.invalid(path, format!("{} ({cause})", DATABASE_CA_FILE.kind))
    };
    let pem = std::fs::read(path).map_err(|error| invalid(&error))?;
    tls::trusting(&pem).map_err(|error| invalid(&error))
}

fn is_local(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => {
            name == "localhost" || name.parse().is_ok_and(|address: IpAddr| address.is_loopback())
        }
        Host::Unix(_) => true,
    }
}

#[cfg(test)]
mod tests;
