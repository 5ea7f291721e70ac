//! The password of an address without one: from `PGPASSWORD`, or from a password file as libpq reads it.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;

use super::ConnectOptions;
use super::url::{DATABASE_URL, shown_host};
use crate::variables::Default::Described;
use crate::variables::Kind::Text;
use crate::variables::ReadBy::All;
use crate::variables::{Error, Lookup, Variable};

/// The password.
pub(super) static PGPASSWORD: Variable =
    Variable::new("PGPASSWORD", Text("a password"), Described("none"), All)
        .summary("the password if `DATABASE_URL` has none, which is never logged");

/// The password file.
pub(super) static PGPASSFILE: Variable =
    Variable::new("PGPASSFILE", Text("a password file"), Described("~/.pgpass"), All)
        .summary("the password file, read if neither `DATABASE_URL` nor `PGPASSWORD` has a password")
        .details(
            "The parameter `passfile` of `DATABASE_URL` takes precedence. Each line is \
             `host:port:database:user:password`, where `*` matches anything and `\\` escapes `:` and `\\`; the \
             first line that matches counts. The host of a Unix socket is its directory, or `localhost` for \
             the usual ones. All servers of `DATABASE_URL` must have the same password. Only the file's owner \
             may have access to it (mode 0600 or 0400). It is read once, at start.",
        );

/// The directories of Unix sockets that libpq calls `localhost`, depending on how it was built.
const USUAL_SOCKETS: [&str; 3] = ["/tmp", "/run/postgresql", "/var/run/postgresql"];

/// Adds the password that belongs to the options, if there is one. `pass_file` is the parameter `passfile`.
///
/// # Errors
/// A password file that was named is unreadable; the line that matches is in a file to which others have access; or the
/// servers have different passwords.
pub(super) fn with_password(
    options: ConnectOptions,
    pass_file: Option<&str>,
    lookup: Lookup<'_>,
) -> Result<ConnectOptions, Error> {
    if options.settings().get_password().is_some() {
        return Ok(options);
    }
    let password = match PGPASSWORD.value(lookup).filter(|password| !password.is_empty()) {
        Some(password) => Some(password),
        None => from_file(&options, pass_file, lookup)?,
    };
    Ok(match password {
        Some(password) => options.with(|settings| _ = settings.password(password)),
        None => options,
    })
}

fn from_file(
    options: &ConnectOptions,
    pass_file: Option<&str>,
    lookup: Lookup<'_>,
) -> Result<Option<String>, Error> {
    let invalid = |path: &str, expected: String| match pass_file {
        Some(_) => DATABASE_URL.invalid(format!("(passfile {path})"), expected),
        None => PGPASSFILE.invalid(path, expected),
    };
    let named =
        pass_file.map(str::to_owned).or_else(|| PGPASSFILE.value(lookup)).filter(|path| !path.is_empty());
    let is_named = named.is_some();
    let Some(path) = named.or_else(|| lookup("HOME").map(|home| format!("{home}/.pgpass"))) else {
        return Ok(None);
    };
    let (text, mode) = match read(&path) {
        Ok(file) => file,
        Err(_) if !is_named => return Ok(None),
        Err(error) => return Err(invalid(&path, format!("{} ({error})", PGPASSFILE.kind))),
    };
    let found: Vec<_> = options.servers().iter().map(|server| password_of(server, &text)).collect();
    let Some(first) = found.iter().flatten().next().cloned() else { return Ok(None) };
    if mode & 0o077 != 0 {
        let expected = format!("a file to which only its owner has access (chmod 0600), not mode {mode:04o}");
        return Err(invalid(&path, expected));
    }
    if found.iter().any(|password| password.as_ref() != Some(&first)) {
        let expected = "servers with the same password in the password file";
        return Err(DATABASE_URL.invalid(shown_host(options), expected));
    }
    Ok(Some(first))
}

/// Returns the text and the permissions of a regular file.
fn read(path: &str) -> std::io::Result<(String, u32)> {
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(std::io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8(bytes).map_err(|_| std::io::Error::other("it is not UTF-8"))?;
    Ok((text, metadata.permissions().mode() & 0o7777))
}

/// Returns the password of one server in the text of a password file.
fn password_of(server: &ConnectOptions, text: &str) -> Option<String> {
    let settings = server.settings();
    let host = server.host();
    let host = if USUAL_SOCKETS.contains(&host.as_str()) { "localhost" } else { &host };
    let port = settings.get_ports().first().copied().unwrap_or(5432).to_string();
    let user = settings.get_user().unwrap_or_default();
    let database = settings.get_dbname().unwrap_or(user);
    let wanted = [host, &port, database, user];
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let fields = fields(line);
        let matches = |(value, (written, field)): (_, &(String, String))| written == "*" || field == value;
        let is_match = fields.len() > wanted.len() && wanted.into_iter().zip(&fields).all(matches);
        is_match.then(|| fields[wanted.len()].1.clone()).filter(|password| !password.is_empty())
    })
}

/// Returns the fields of a line, each as written and without escapes.
fn fields(line: &str) -> Vec<(String, String)> {
    let mut fields = vec![(String::new(), String::new())];
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        if character == ':' {
            fields.push(Default::default());
        } else if let Some((written, field)) = fields.last_mut() {
            written.push(character);
            let escaped = if character == '\\' { characters.next() } else { None };
            written.extend(escaped);
            field.push(escaped.unwrap_or(character));
        }
    }
    fields
}

#[cfg(test)]
mod tests;
