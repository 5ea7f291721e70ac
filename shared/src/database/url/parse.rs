//! The two forms of an address, a URL and `key=value` pairs, as libpq reads them.

use percent_encoding::percent_decode_str;

/// The parameters of an address, in its order. Of several with one name, the last one counts.
#[derive(Default)]
pub(super) struct Address {
    pub(super) parameters: Vec<(String, String)>,
    /// Whether the host may be a part of a password whose special characters are not encoded.
    pub(super) hides_host: bool,
    /// Whether an unknown name may be a part of such a password.
    pub(super) hides_names: bool,
}

impl Address {
    /// Parses an address; `None` if it has neither form.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let url = text.strip_prefix("postgresql://").or_else(|| text.strip_prefix("postgres://"));
        url.map_or_else(|| Self::from_pairs(text), Self::from_url)
    }

    /// Returns the value of a parameter.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().rev().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    fn push(&mut self, name: &str, value: impl Into<String>) {
        self.parameters.push((name.to_owned(), value.into()));
    }

    fn from_url(url: &str) -> Option<Self> {
        let mut address = Self::default();
        // A question mark before the `@` is a part of the password, unless a path comes before it.
        let in_query = |at: &usize| url[..*at].split_once('/').is_some_and(|(_, path)| path.contains('?'));
        let at = url.find('@').filter(|at| !in_query(at));
        let (credentials, target) = at.map_or(("", url), |at| (&url[..at], &url[at + 1..]));
        let (target, query) = target.split_once('?').unwrap_or((target, ""));
        let (hosts, database) = target.split_once('/').unwrap_or((target, ""));
        if target.contains('@') {
            return None; // of a password; what follows the first one is no host
        }
        address.hides_host = at.is_some() && query.contains('@');
        address.hides_names = address.hides_host;

        let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
        let (hosts, ports) = hosts_and_ports(hosts)?;
        let parts = [("user", user), ("password", password), ("host", &hosts), ("dbname", database)];
        for (name, value) in parts.into_iter().filter(|(_, value)| !value.is_empty()) {
            address.push(name, decoded(value)?);
        }
        if ports.contains(|character| character != ',') {
            address.push("port", ports);
        }
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=')?;
            address.push(&decoded(name)?, decoded(value)?);
        }
        Some(address)
    }

    fn from_pairs(pairs: &str) -> Option<Self> {
        let mut address = Self::default();
        let mut rest = pairs.trim_start();
        let mut after_password = false;
        while !rest.is_empty() {
            let (name, value) = rest.split_once('=')?;
            let (name, value) = (name.trim_end(), value.trim_start());
            if name.is_empty() || name.contains(char::is_whitespace) {
                return None;
            }
            address.hides_names |= after_password;
            after_password = name == "password" && !value.starts_with('\'');
            let (value, further) = take_value(value)?;
            address.push(name, value);
            rest = further.trim_start();
        }
        Some(address)
    }
}

/// Splits the hosts of a URL into a list of hosts, still encoded, and one of ports.
fn hosts_and_ports(hosts: &str) -> Option<(String, String)> {
    let mut names = Vec::new();
    let mut ports = Vec::new();
    for host in hosts.split(',') {
        let (name, port) = match host.strip_prefix('[') {
            Some(host) => host.split_once(']').map(|(name, port)| (name, port.trim_start_matches(':')))?,
            None => host.split_once(':').unwrap_or((host, "")),
        };
        names.push(name);
        ports.push(port);
    }
    Some((names.join(","), ports.join(",")))
}

fn decoded(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(Into::into)
}

/// Splits a text after the value at its start, which ends after its closing quote or before a space. A backslash
/// escapes both.
fn take_value(text: &str) -> Option<(String, &str)> {
    let quoted = text.strip_prefix('\'');
    let text = quoted.unwrap_or(text);
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            '\'' if quoted.is_some() => return Some((value, &text[at + 1..])),
            _ if quoted.is_none() && character.is_whitespace() => return Some((value, &text[at..])),
            _ => value.push(character),
        }
    }
    (quoted.is_none() && !value.is_empty()).then_some((value, ""))
}
