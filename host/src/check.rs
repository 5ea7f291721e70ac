//! `atelier-host check`: whether a host with this configuration would serve, and what to do if not.

mod database;
mod server;

use std::collections::BTreeSet;
use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;
use shared::config::HostConfig;
use shared::variables::{Error, environment};

/// The timeout of the request to a program that uses the port.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// The result of one check.
#[derive(Debug, Serialize)]
struct Finding {
    /// The subject: a variable, or a server and an aspect of it.
    check: String,
    ok: bool,
    /// What was found.
    detail: String,
    /// What to do; none if nothing is wrong.
    remedy: Option<String>,
}

impl Finding {
    fn ok(check: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { check: check.into(), ok: true, detail: detail.into(), remedy: None }
    }

    fn failed(check: impl Into<String>, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        let remedy = Some(remedy.into());
        Self { check: check.into(), ok: false, detail: detail.into(), remedy }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.check, self.detail)?;
        self.remedy.as_ref().map_or(Ok(()), |remedy| write!(f, "; {remedy}"))
    }
}

/// All results.
#[derive(Serialize)]
struct Report {
    ok: bool,
    checks: Vec<Finding>,
}

/// Checks the configuration and the database, and prints the results. Fails only if it cannot print them.
pub(crate) fn check(as_json: bool) -> anyhow::Result<ExitCode> {
    let checks = findings()?;
    let report = Report { ok: checks.iter().all(|finding| finding.ok), checks };
    let printed = match as_json {
        true => writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(&report)?),
        false => report.checks.iter().try_for_each(|finding| cli::print_check(finding.ok, finding)),
    };
    printed.context("cannot write to standard output")?;
    Ok(if report.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn findings() -> anyhow::Result<Vec<Finding>> {
    let (mut findings, config) = configuration();
    let Some(config) = config else { return Ok(findings) };
    findings.push(listen("LISTEN", config.http.listen));
    findings.extend(config.http.admin_listen.map(|address| listen("ADMIN_LISTEN", address)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the thread that connects to the database")?;
    findings.extend(runtime.block_on(database::check(&config)));
    Ok(findings)
}

/// Reads all variables. An invalid one is reported, and the others are then read as if it were not set.
fn configuration() -> (Vec<Finding>, Option<HostConfig>) {
    let (mut findings, mut invalid) = (Vec::new(), BTreeSet::new());
    loop {
        let lookup = |name: &str| environment(name).filter(|_| !invalid.contains(name));
        let (name, error) = match HostConfig::from_lookup(&lookup) {
            Ok(config) if findings.is_empty() => {
                findings.push(Finding::ok("configuration", "each variable is valid"));
                return (findings, Some(config));
            }
            Ok(config) => return (findings, Some(config)),
            Err(error @ (Error::Missing(name, _) | Error::Invalid(name, ..))) => (name, error),
        };
        let was_set = lookup(name).is_some();
        if !invalid.contains(name) {
            findings.push(Finding::failed("configuration", error.to_string(), remedy(name)));
        }
        if !was_set || !invalid.insert(name) {
            return (findings, None);
        }
    }
}

fn remedy(variable: &str) -> String {
    format!("set {variable}, for example in /etc/atelier/host.env; `atelier-host --help` describes it")
}

/// Checks whether the host could listen on an address.
fn listen(variable: &str, address: SocketAddr) -> Finding {
    let check = format!("{variable}={address}");
    match TcpListener::bind(address) {
        Ok(_) if variable == "ADMIN_LISTEN" && address.ip().is_unspecified() => Finding::failed(
            check,
            "is for all addresses of this machine, also those that clients can reach",
            "set ADMIN_LISTEN to a loopback or private address",
        ),
        Ok(_) => Finding::ok(check, "is free"),
        Err(error) if error.kind() == ErrorKind::AddrInUse && is_host(address) => {
            Finding::ok(check, "a host serves there now; stop it before you start another one")
        }
        Err(error) => Finding::failed(check, error.to_string(), listen_remedy(variable, error.kind())),
    }
}

/// Returns the error of a host that cannot listen on the address of a variable.
pub(crate) fn cannot_listen(variable: &str, address: SocketAddr, error: &std::io::Error) -> anyhow::Error {
    let remedy = listen_remedy(variable, error.kind());
    anyhow::anyhow!("cannot listen on {variable}={address}: {error}; {remedy}")
}

fn listen_remedy(variable: &str, kind: ErrorKind) -> String {
    match kind {
        ErrorKind::AddrInUse => {
            format!("stop the other program (`ss -ltnp`), or set {variable} to another port")
        }
        ErrorKind::AddrNotAvailable => format!("set {variable} to an address of this machine (`ip address`)"),
        ErrorKind::PermissionDenied => format!("set {variable} to a port above 1023, which needs no right"),
        _ => format!("set {variable} to another address"),
    }
}

/// Returns whether a host responds at an address.
fn is_host(address: SocketAddr) -> bool {
    let response = || {
        let mut stream = TcpStream::connect_timeout(&address, PROBE_TIMEOUT)?;
        stream.set_read_timeout(Some(PROBE_TIMEOUT))?;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: check\r\nconnection: close\r\n\r\n")?;
        let mut response = Vec::new();
        stream.take(4096).read_to_end(&mut response)?;
        Ok::<_, std::io::Error>(response)
    };
    let response = response().unwrap_or_default();
    let response = String::from_utf8_lossy(&response);
    // The health check of NGINX has the same body, without an id.
    response.contains("\r\nx-request-id: ") && response.ends_with(r#"{"status":"alive"}"#)
}
