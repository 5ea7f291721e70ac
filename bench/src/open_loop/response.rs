//! A minimal parser of HTTP/1.1 responses: status, length, and whether the server closes the connection.
//!
//! All servers here send a `Content-Length`. The parser rejects chunked responses and responses that end with the
//! connection.

use memchr::memmem;

/// The max size of a head in bytes; NGINX accepts 8 KiB from the service.
const HEAD_LIMIT: usize = 16 * 1024;

/// The state of the current response.
#[derive(Debug, Default)]
pub(super) struct ResponseReader {
    /// The first part of an incomplete head.
    partial: Vec<u8>,
    /// Set once the head is complete.
    head: Option<Head>,
    /// Bytes of the body that are missing.
    left: u64,
}

/// The parsed head of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: u16,
    /// Whether the server will close the connection.
    pub(super) closes: bool,
    /// Bytes of the body.
    pub(super) length: u64,
}

/// The error for bytes that are not exactly one HTTP/1.1 response with a length.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

impl ResponseReader {
    /// Returns whether any byte of the response has arrived.
    pub(super) fn has_begun(&self) -> bool {
        self.head.is_some() || !self.partial.is_empty()
    }

    /// Consumes bytes. Returns the head when the response is complete; the reader is then ready for the next response.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<Option<Head>, Malformed> {
        let Some(head) = self.head else { return self.take_head(bytes) };
        self.left = self.left.checked_sub(bytes.len() as u64).ok_or(Malformed)?;
        Ok(self.end(head))
    }

    fn take_head(&mut self, bytes: &[u8]) -> Result<Option<Head>, Malformed> {
        let whole = if self.partial.is_empty() {
            bytes
        } else {
            self.partial.extend_from_slice(bytes);
            &self.partial
        };
        let Some(end) = memmem::find(whole, b"\r\n\r\n") else {
            if whole.len() > HEAD_LIMIT {
                return Err(Malformed);
            }
            if self.partial.is_empty() {
                self.partial.extend_from_slice(bytes);
            }
            return Ok(None);
        };
        let head = Head::parse(&whole[..end]).ok_or(Malformed)?;
        let body = whole.len() - end - 4;
        self.partial.clear();
        self.left = head.length.checked_sub(body as u64).ok_or(Malformed)?;
        self.head = Some(head);
        Ok(self.end(head))
    }

    fn end(&mut self, head: Head) -> Option<Head> {
        (self.left == 0).then(|| {
            self.head = None;
            head
        })
    }
}

impl Head {
    /// Parses all lines before the empty line.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut lines = bytes.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii_end);
        let status = number(lines.next()?.strip_prefix(b"HTTP/1.1 ")?.get(..3)?)?;
        let status = u16::try_from(status).ok()?;
        let (mut length, mut closes) = (None, false);
        for line in lines {
            // Few header names begin with c, and comparing the others would be most of the work.
            if !line.first().is_some_and(|first| b"cC".contains(first)) {
                continue;
            }
            let colon = line.iter().position(|&byte| byte == b':')?;
            let value = line[colon + 1..].trim_ascii();
            if line[..colon].eq_ignore_ascii_case(b"content-length") {
                length = Some(number(value)?);
            } else if line[..colon].eq_ignore_ascii_case(b"connection") {
                closes = value.eq_ignore_ascii_case(b"close");
            }
        }
        if matches!(status, 204 | 304) {
            length = Some(0);
        }
        Some(Self { status, closes, length: length? })
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Malformed, ResponseReader};

    const WHOLE: &[u8] =
        b"HTTP/1.1 200 OK\r\nContent-Type: x\r\ncontent-length: 5\r\nConnection: close\r\n\r\nhello";

    #[test]
    fn a_response_is_read_wherever_it_is_split() {
        for cut in 1..WHOLE.len() {
            let mut response = ResponseReader::default();
            assert_eq!(response.take(&WHOLE[..cut]), Ok(None), "split at {cut}");
            assert!(response.has_begun());
            let head = response.take(&WHOLE[cut..]).unwrap().expect("the end");
            assert_eq!((head.status, head.closes), (200, true), "split at {cut}");
            assert!(!response.has_begun(), "it is ready for the next response");
        }
    }

    #[test]
    fn a_response_without_a_body_ends_with_its_head() {
        let mut response = ResponseReader::default();
        let head = response.take(b"HTTP/1.1 304 Not Modified\r\netag: x\r\n\r\n").unwrap().expect("the end");
        assert_eq!((head.status, head.closes), (304, false));
    }

    #[test]
    fn responses_without_a_length_or_with_extra_bytes_are_rejected() {
        for bytes in [
            &b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"[..],
            b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n22",
            &[b'x'; 20_000],
        ] {
            assert_eq!(ResponseReader::default().take(bytes), Err(Malformed), "{}", bytes.escape_ascii());
        }
    }
}
