//! Parses `DATABASE_URL` and decides on TLS: always for another machine, on request for this one. With TLS the server's
//! certificate and name are verified, whatever `sslmode` says.

use std::net::IpAddr;
use std::str::FromStr;

use tokio_postgres::config::Host;
use tokio_postgres_rustls::MakeRustlsConnect;

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
     first server that it reaches; for the functions of the cart, add `target_session_attrs=read-write`, \
     which selects the primary. A Unix socket is `postgresql:///database?host=/directory&user=name`. \
     Connections to a socket, `localhost` or a loopback address are not encrypted unless `sslmode` is \
     `require`, `verify-ca` or `verify-full`. Connections to any other host always use TLS; \
     `sslmode=disable` is an error there. With TLS the server must present a certificate for the host's name \
     from an authority in `DATABASE_CA_FILE`: all three modes mean `verify-full`. The client uses SCRAM \
     channel binding if the server offers it; `channel_binding=require` makes it mandatory. The password is \
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

/// Parses the values of `DATABASE_URL` and `DATABASE_CA_FILE`.
///
/// # Errors
/// The URL is invalid, or its connection would lack the encryption it needs; or the file is required and missing, or
/// invalid. The error shows neither the URL nor its password.
pub(super) fn connect_options(url: &str, ca_file: Option<&str>) -> Result<ConnectOptions, Error> {
    let invalid = |value: &str, expected: &str| Err(DATABASE_URL.invalid(value, expected));
    let (url, ssl_mode) = take_ssl_mode(url);
    // The parser's own message may contain a part of the password.
    let Ok(settings) = tokio_postgres::Config::from_str(&url) else {
        return invalid("(not shown, it may hold a password)", &DATABASE_URL.kind.to_string());
    };
    let (hosts, addresses) = (settings.get_hosts(), settings.get_hostaddrs());
    if hosts.is_empty() && addresses.is_empty() {
        return invalid("(without a host)", "a host or the directory of a Unix socket (host=/directory)");
    }
    let is_local = hosts.iter().all(is_local) && addresses.iter().all(IpAddr::is_loopback);
    let is_without_name = hosts.is_empty();
    let has_socket = hosts.iter().any(|host| matches!(host, Host::Unix(_)));

    let options = ConnectOptions::without_tls(settings);
    let shown = shown_host(&options);
    let requests_tls = match ssl_mode.as_deref() {
        None | Some("allow" | "prefer") => None,
        Some("disable") => Some(false),
        Some("require" | "verify-ca" | "verify-full") => Some(true),
        Some(_) => {
            return invalid(&shown, "sslmode to be disable, prefer, require, verify-ca or verify-full");
        }
    };
    if is_local && requests_tls != Some(true) {
        ca_file.map(authorities).transpose()?; // an invalid file is an error even if it is not needed
        return Ok(options);
    }
    if requests_tls == Some(false) {
        return invalid(&shown, "no sslmode=disable, because connections to another machine always use TLS");
    }
    if has_socket {
        return invalid(&shown, "hosts reached by TCP and no Unix socket, because those have no TLS");
    }
    if is_without_name {
        return invalid(&shown, "a host beside hostaddr: the name in the server's certificate");
    }
    let Some(path) = ca_file else {
        let expected = format!("{}, because DATABASE_URL {shown} requires TLS", DATABASE_CA_FILE.kind);
        return Err(Error::Missing(DATABASE_CA_FILE.name, expected));
    };
    Ok(ConnectOptions::with_tls(options.settings().clone(), authorities(path)?))
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

/// Removes `sslmode` from an address, because the parser of tokio-postgres does not know all of its values. Returns the
/// rest and the last value.
fn take_ssl_mode(address: &str) -> (String, Option<String>) {
    if address.starts_with("postgresql://") || address.starts_with("postgres://") {
        take_from_url(address)
    } else {
        take_from_pairs(address)
    }
}

fn take_from_url(url: &str) -> (String, Option<String>) {
    // User and password are before the `@`; a question mark in them does not start the query.
    let (credentials, target) = url.split_at(url.find('@').unwrap_or_default());
    let Some((target, query)) = target.split_once('?') else { return (url.to_owned(), None) };
    let mut ssl_mode = None;
    let mut kept = Vec::new();
    for parameter in query.split('&') {
        match parameter.strip_prefix("sslmode=") {
            Some(value) => ssl_mode = Some(value.to_owned()),
            None => kept.push(parameter),
        }
    }
    let query = if kept.is_empty() { String::new() } else { format!("?{}", kept.join("&")) };
    (format!("{credentials}{target}{query}"), ssl_mode)
}

fn take_from_pairs(pairs: &str) -> (String, Option<String>) {
    let mut ssl_mode = None;
    let mut kept = String::new();
    let mut rest = pairs;
    while let Some((key, further)) = rest.split_once('=') {
        let further = further.trim_start();
        let (value, further) = further.split_at(value_length(further));
        if key.trim() == "sslmode" {
            ssl_mode = Some(value.trim_matches('\'').to_owned());
        } else {
            kept += &format!("{key}={value}");
        }
        rest = further;
    }
    (kept + rest, ssl_mode)
}

/// Returns the length in bytes of the value at the start of `text`, which ends after its closing quote or before a
/// space. A backslash escapes both.
fn value_length(text: &str) -> usize {
    let is_quoted = text.starts_with('\'');
    let mut is_escaped = false;
    for (at, character) in text.char_indices().skip(usize::from(is_quoted)) {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '\'' if is_quoted => return at + 1,
            _ if !is_quoted && character.is_whitespace() => return at,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests;
