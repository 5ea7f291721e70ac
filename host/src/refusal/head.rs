//! The head of a malformed request: finds its end, repairs its target, and determines the problem.

use shared::Problem;

/// Max bytes of a request line or a header that NGINX forwards to a host.
pub(super) const MAX_LINE_BYTES: usize = 8 * 1024;

/// The problem of a request that the host cannot parse.
pub(super) const UNREADABLE: Problem =
    Problem::bad_request("This is not a request that the service can read.");

/// Methods that a substitute keeps, for the access log and because a response to `HEAD` must not have a body.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// The first line of a head, split at its first and its last space.
struct RequestLine<'a> {
    method: &'a [u8],
    target: &'a [u8],
    version_and_rest: &'a [u8],
}

impl<'a> RequestLine<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let bytes = without_empty_lines(bytes);
        let line = bytes.split(|byte| *byte == b'\n').next()?;
        let first = line.iter().position(|byte| *byte == b' ')?;
        let last = line.iter().rposition(|byte| *byte == b' ').filter(|last| *last > first)?;
        Some(Self {
            method: bytes.get(..first)?,
            target: bytes.get(first + 1..last)?,
            version_and_rest: bytes.get(last + 1..)?,
        })
    }
}

/// Returns the bytes from the request line on, without the empty lines before it.
pub(super) fn without_empty_lines(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|byte| !b"\r\n".contains(byte));
    start.and_then(|start| bytes.get(start..)).unwrap_or_default()
}

/// Returns the offset after the first head and its empty line. Lines may end without a carriage return.
pub(super) fn end(bytes: &[u8]) -> Option<usize> {
    let start = bytes.len() - without_empty_lines(bytes).len();
    memchr::memchr_iter(b'\n', bytes).filter(|end| *end > start).find_map(|end| {
        match bytes.get(end + 1..)? {
            [b'\n', ..] => Some(end + 2),
            [b'\r', b'\n', ..] => Some(end + 3),
            _ => None,
        }
    })
}

/// Returns the bytes with a target that hyper accepts: bytes that are invalid in a URI are percent-encoded. Returns
/// `None` if that changes nothing or does not help.
pub(super) fn with_encoded_target(bytes: &[u8]) -> Option<Vec<u8>> {
    let line = RequestLine::parse(bytes)?;
    let is_valid = |byte: &u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(byte);
    let is_beyond_repair = |byte: &u8| byte.is_ascii_control() || *byte == b' ';
    if line.target.iter().all(is_valid) || line.target.iter().any(is_beyond_repair) {
        return None;
    }
    let mut encoded = Vec::with_capacity(bytes.len() + 64);
    encoded.extend_from_slice(line.method);
    encoded.push(b' ');
    for byte in line.target {
        if is_valid(byte) {
            encoded.push(*byte);
        } else {
            encoded.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
    encoded.push(b' ');
    encoded.extend_from_slice(line.version_and_rest);
    Some(encoded)
}

/// Returns the problem of a head that hyper rejects with `status`.
pub(super) fn problem(bytes: &[u8], status: u16) -> Problem {
    let line = RequestLine::parse(bytes);
    let version = line.filter(|line| line.method != b"PRI").map_or(&b""[..], |line| line.version_and_rest);
    let is_later = |major: &u8| major.is_ascii_digit() && *major > b'1';
    let first_line = without_empty_lines(bytes).split(|byte| *byte == b'\n').next();
    let is_long = first_line.is_some_and(|line| line.len() > MAX_LINE_BYTES);
    match status {
        431 | 414 if is_long => Problem::address_too_long(),
        431 | 414 => Problem::headers_too_large(),
        _ if version.strip_prefix(b"HTTP/").and_then(|version| version.first()).is_some_and(is_later) => {
            Problem::version_not_supported()
        }
        _ => UNREADABLE,
    }
}

/// Returns a substitute for a malformed request, at a path that no endpoint has. It keeps the method and the request id if
/// they are well-formed.
pub(super) fn substitute(bytes: &[u8]) -> String {
    let head = bytes.get(..end(bytes).unwrap_or(bytes.len())).unwrap_or_default();
    let method = RequestLine::parse(head).and_then(|line| str::from_utf8(line.method).ok());
    let method = method.filter(|method| METHODS.contains(method)).unwrap_or("GET");
    let id = header(head, "x-request-id").next().filter(|id| shared::http::request::is_request_id(id));
    let id = id.map(|id| format!("x-request-id: {id}\r\n")).unwrap_or_default();
    format!("{method} // HTTP/1.1\r\nhost: refused\r\n{id}connection: close\r\n\r\n")
}

/// Returns the values of all headers with this name, except values that are not UTF-8.
pub(super) fn header<'a>(head: &'a [u8], name: &str) -> impl Iterator<Item = &'a str> {
    head.split(|byte| *byte == b'\n').skip(1).filter_map(move |line| {
        let (found, value) = str::from_utf8(line).ok()?.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_ends_after_the_first_empty_line() {
        for (bytes, expected) in [
            ("GET / HTTP/1.1\r\n\r\nGET", Some(18)),
            ("GET / HTTP/1.1\n\nGET", Some(16)),
            ("GET / HTTP/1.1\r\na: b\n\r\n", Some(23)),
            ("\r\n\r\nGET / HTTP/1.1\r\n\r\n", Some(22)),
            ("GET / HTTP/1.1\r\n\r", None),
            ("GET / HTTP/1.1\r\n", None),
            ("\r\n\r\n", None),
            ("", None),
        ] {
            assert_eq!(end(bytes.as_bytes()), expected, "{bytes:?}");
        }
    }

    #[test]
    fn invalid_bytes_of_a_target_are_percent_encoded_and_nothing_else_changes() {
        let encoded =
            |bytes: &[u8]| with_encoded_target(bytes).map(|bytes| String::from_utf8(bytes).unwrap());
        assert_eq!(
            encoded(b"\r\nGET /a?q=\"%22\"&b=\xe9<`> HTTP/1.1\r\nx: \"\r\n\r\nbody").unwrap(),
            "GET /a?q=%22%22%22&b=%E9%3C%60%3E HTTP/1.1\r\nx: \"\r\n\r\nbody"
        );
        for bytes in [
            &b"GET /a HTTP/1.1\r\n\r\n"[..],
            b"GET /\"a b HTTP/1.1\r\n\r\n",
            b"GET /\"\x01 HTTP/1.1\r\n",
            b"GET /\"",
            b"",
        ] {
            assert_eq!(encoded(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn a_substitute_has_the_method_and_the_request_id_of_the_head_and_nothing_after_it() {
        let substitute = |bytes: &str| super::substitute(bytes.as_bytes());
        assert_eq!(
            substitute("HEAD /\x01 HTTP/1.1\r\nX-Request-Id:  one \r\n\r\n"),
            "HEAD // HTTP/1.1\r\nhost: refused\r\nx-request-id: one\r\nconnection: close\r\n\r\n"
        );
        for bytes in [
            "GET /\x01 HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\nx-request-id: two\r\n\r\n",
            "BREW / / \r\nx-request-id: a b\r\n",
            "\0",
        ] {
            assert_eq!(
                substitute(bytes),
                "GET // HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n",
                "{bytes:?}"
            );
        }
    }

    #[test]
    fn a_problem_names_the_error_in_the_request_line() {
        let problem_of = |bytes: &str, status| format!("{:?}", problem(bytes.as_bytes(), status));
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(MAX_LINE_BYTES));
        for (bytes, status, expected) in [
            ("GET / HTTP/2.0\r\n\r\n", 400, Problem::version_not_supported()),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, UNREADABLE),
            ("GET / HTTP/1.x\r\n\r\n", 400, UNREADABLE),
            ("GET / HTTP/1.1\r\n", 431, Problem::headers_too_large()),
            (&long, 431, Problem::address_too_long()),
            (&long, 414, Problem::address_too_long()),
        ] {
            assert_eq!(problem_of(bytes, status), format!("{expected:?}"), "{}", &bytes[..15]);
        }
    }
}
