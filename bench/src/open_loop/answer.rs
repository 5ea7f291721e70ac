//! Reads of an answer in HTTP/1.1 what tells its status, where it ends, and whether the connection ends with it.
//!
//! Every server here says how long a body is; an answer in chunks, or one that goes on until the connection ends, is
//! none that it would send.

use memchr::memmem;

/// The longest head that is read; NGINX takes 8 KiB from the service.
const HEAD_LIMIT: usize = 16 * 1024;

/// What is there of an answer.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// A head that came in parts, so far.
    partial: Vec<u8>,
    /// Once the head is there.
    head: Option<Head>,
    /// How much of the body has still to come.
    left: u64,
}

/// What is read of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: u16,
    /// Whether the server will close the connection.
    pub(super) closes: bool,
    /// Bytes of the body.
    pub(super) length: u64,
}

/// It is not an answer of HTTP/1.1 with a length, or there is more than one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

impl Answer {
    /// Whether any of it has come.
    pub(super) fn has_begun(&self) -> bool {
        self.head.is_some() || !self.partial.is_empty()
    }

    /// Takes what has come; returns the head when that was the end of the answer, and is ready for another.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<Option<Head>, Unreadable> {
        let Some(head) = self.head else { return self.take_head(bytes) };
        self.left = self.left.checked_sub(bytes.len() as u64).ok_or(Unreadable)?;
        Ok(self.end(head))
    }

    fn take_head(&mut self, bytes: &[u8]) -> Result<Option<Head>, Unreadable> {
        let whole = if self.partial.is_empty() {
            bytes
        } else {
            self.partial.extend_from_slice(bytes);
            &self.partial
        };
        let Some(end) = memmem::find(whole, b"\r\n\r\n") else {
            if whole.len() > HEAD_LIMIT {
                return Err(Unreadable);
            }
            if self.partial.is_empty() {
                self.partial.extend_from_slice(bytes);
            }
            return Ok(None);
        };
        let head = Head::parse(&whole[..end]).ok_or(Unreadable)?;
        let body = whole.len() - end - 4;
        self.partial.clear();
        self.left = head.length.checked_sub(body as u64).ok_or(Unreadable)?;
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
    /// Of all that comes before the empty line.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut lines = bytes.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii_end);
        let status = number(lines.next()?.strip_prefix(b"HTTP/1.1 ")?.get(..3)?)?;
        let status = u16::try_from(status).ok()?;
        let (mut length, mut closes) = (None, false);
        for line in lines {
            // Few names begin so, and comparing the others would be most of the work.
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
    use super::{Answer, Unreadable};

    const WHOLE: &[u8] =
        b"HTTP/1.1 200 OK\r\nContent-Type: x\r\ncontent-length: 5\r\nConnection: close\r\n\r\nhello";

    #[test]
    fn an_answer_is_read_wherever_it_is_cut() {
        for cut in 1..WHOLE.len() {
            let mut answer = Answer::default();
            assert_eq!(answer.take(&WHOLE[..cut]), Ok(None), "cut at {cut}");
            assert!(answer.has_begun());
            let head = answer.take(&WHOLE[cut..]).unwrap().expect("the end");
            assert_eq!((head.status, head.closes), (200, true), "cut at {cut}");
            assert!(!answer.has_begun(), "it is ready for another");
        }
    }

    #[test]
    fn an_answer_without_a_body_ends_with_its_head() {
        let mut answer = Answer::default();
        let head = answer.take(b"HTTP/1.1 304 Not Modified\r\netag: x\r\n\r\n").unwrap().expect("the end");
        assert_eq!((head.status, head.closes), (304, false));
    }

    #[test]
    fn what_has_no_length_or_is_more_than_one_answer_is_refused() {
        for bytes in [
            &b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"[..],
            b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n22",
            &[b'x'; 20_000],
        ] {
            assert_eq!(Answer::default().take(bytes), Err(Unreadable), "{}", bytes.escape_ascii());
        }
    }
}
