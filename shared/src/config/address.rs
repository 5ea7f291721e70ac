//! An address as people write it, and whether it is spoken to with TLS: within this machine if it asks for it, to any
//! other always. With TLS the server's certificate and name are checked, whatever `sslmode` says.

use std::net::IpAddr;
use std::str::FromStr;

use tokio_postgres::config::Host;

use super::Error;
use crate::database::{Address, tls};

pub(super) const DATABASE_URL: &str = "DATABASE_URL";
pub(super) const DATABASE_URL_EXPECTED: &str =
    "an address such as postgresql://user:password@localhost/atelier";
pub(super) const CA_FILE: &str = "DATABASE_CA_FILE";
const CA_FILE_EXPECTED: &str = "a PEM file with the authorities that may vouch for the database server";

/// What is asked for by `sslmode`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    Plain,
    Nothing,
    Tls,
}

/// Makes an address of the values of `DATABASE_URL` and `DATABASE_CA_FILE`.
///
/// # Errors
/// The URL is no address of a database, or of one that would be spoken to without the encryption it needs; or
/// the file is needed and not named, or of no use. The error tells neither the URL nor a password in it.
pub(super) fn database_address(url: &str, ca_file: Option<&str>) -> Result<Address, Error> {
    let wrong = |value: &str, expected: &str| {
        let (value, expected) = (value.to_owned(), expected.to_owned());
        Err(Error::Wrong { variable: DATABASE_URL, value, expected })
    };
    let (url, ssl_mode) = take_ssl_mode(url);
    // The parser's own message may repeat a piece of the password.
    let Ok(settings) = tokio_postgres::Config::from_str(&url) else {
        return wrong("(not shown, it may hold a password)", DATABASE_URL_EXPECTED);
    };
    let (hosts, addresses) = (settings.get_hosts(), settings.get_hostaddrs());
    if hosts.is_empty() && addresses.is_empty() {
        return wrong("(without a host)", "a host or the directory of a Unix socket (host=/directory)");
    }
    let is_here = hosts.iter().all(is_here) && addresses.iter().all(IpAddr::is_loopback);
    let is_without_name = hosts.is_empty();
    let has_socket = hosts.iter().any(|host| matches!(host, Host::Unix(_)));

    let address = Address::without_tls(settings);
    let shown = format!("(host {})", address.host());
    let asked = match ssl_mode.as_deref() {
        Some("disable") => Asked::Plain,
        None | Some("allow" | "prefer") => Asked::Nothing,
        Some("require" | "verify-ca" | "verify-full") => Asked::Tls,
        Some(_) => return wrong(&shown, "sslmode to be disable, prefer, require, verify-ca or verify-full"),
    };
    if is_here && asked != Asked::Tls {
        return match ca_file {
            Some(path) => authorities(path).map(|_| address), // wrong is wrong, needed or not
            None => Ok(address),
        };
    }
    if asked == Asked::Plain {
        return wrong(
            &shown,
            "no sslmode=disable, because to another machine nothing is sent without encryption",
        );
    }
    if has_socket {
        return wrong(&shown, "hosts reached by TCP and no Unix socket, because those have no TLS");
    }
    if is_without_name {
        return wrong(&shown, "a host beside hostaddr: the name in the server's certificate");
    }
    let Some(path) = ca_file else {
        let expected = format!("{CA_FILE_EXPECTED}, because {DATABASE_URL} {shown} is spoken to with TLS");
        return Err(Error::Missing { variable: CA_FILE, expected });
    };
    Ok(Address::with_tls(address.settings().clone(), authorities(path)?))
}

fn authorities(path: &str) -> Result<tokio_postgres_rustls::MakeRustlsConnect, Error> {
    let wrong = |cause: &dyn std::error::Error| {
        let (value, expected) = (path.to_owned(), format!("{CA_FILE_EXPECTED} ({cause})"));
        Error::Wrong { variable: CA_FILE, value, expected }
    };
    let pem = std::fs::read(path).map_err(|error| wrong(&error))?;
    tls::trusting(&pem).map_err(|error| wrong(&error))
}

fn is_here(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => {
            name == "localhost" || name.parse().is_ok_and(|address: IpAddr| address.is_loopback())
        }
        Host::Unix(_) => true,
    }
}

/// Takes `sslmode` out of an address, as the parser of tokio-postgres does not know all of its values: what is left,
/// and the last value.
fn take_ssl_mode(address: &str) -> (String, Option<String>) {
    if address.starts_with("postgresql://") || address.starts_with("postgres://") {
        take_from_url(address)
    } else {
        take_from_pairs(address)
    }
}

fn take_from_url(url: &str) -> (String, Option<String>) {
    // Before an `@` are user and password, in which a question mark means nothing.
    let (credentials, place) = url.split_at(url.find('@').unwrap_or_default());
    let Some((place, query)) = place.split_once('?') else { return (url.to_owned(), None) };
    let mut ssl_mode = None;
    let mut kept = Vec::new();
    for parameter in query.split('&') {
        match parameter.strip_prefix("sslmode=") {
            Some(value) => ssl_mode = Some(value.to_owned()),
            None => kept.push(parameter),
        }
    }
    let query = if kept.is_empty() { String::new() } else { format!("?{}", kept.join("&")) };
    (format!("{credentials}{place}{query}"), ssl_mode)
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

/// How many bytes the value is long that `text` begins with: to the quote that ends it, else to a space. A backslash
/// takes either's meaning away.
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
