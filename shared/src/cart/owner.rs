//! The owner of a cart: a hash of the `Authorization` header or of the id of a session. Only the hash is stored.

use std::fmt::Write;

use http::header::{COOKIE, InvalidHeaderValue};
use http::{HeaderMap, HeaderValue};
use sha2::{Digest, Sha256};

/// The name of the session cookie with TLS. Browsers accept this prefix only from the host itself, and only with TLS, so
/// that no other host of the domain can set the cookie.
const SECURE_COOKIE_NAME: &str = "__Host-atelier_session";

/// The name of the session cookie without TLS.
const COOKIE_NAME: &str = "atelier_session";

/// The length of the id of a session: 128 bits as lowercase hex digits.
const ID_LENGTH: usize = 32;

/// The length of the MAC that follows the id if the service has a key: 256 bits as lowercase hex digits.
const MAC_LENGTH: usize = 64;

/// 400 days, the max lifetime of a cookie in browsers.
const COOKIE_SECONDS: u32 = 34_560_000;

/// The hash of the credential that a client sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    pub(super) hash: [u8; 32],
    /// The hash under which the same client's cart may be stored from the time before the service had a key.
    pub(super) former: Option<[u8; 32]>,
    /// Whether the credential is an anonymous session.
    pub(super) is_session: bool,
}

/// Returns the bytes of a credential with its kind, so that an `Authorization` header with the id of a session does not
/// open that session.
pub(super) fn credential(kind: &str, value: &[u8]) -> Vec<u8> {
    [kind.as_bytes(), &[0], value].concat()
}

pub(super) fn sha256(credential: &[u8]) -> [u8; 32] {
    Sha256::digest(credential).into()
}

/// A session: what a cookie contains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Session {
    pub(super) id: String,
    /// The MAC of the id that the client sent, or the one to send to it.
    pub(super) mac: Option<String>,
}

impl Session {
    /// Creates a session with an id of 128 random bits, without a MAC.
    ///
    /// # Errors
    /// The operating system provides no random bytes.
    pub(super) fn issue() -> Result<Self, getrandom::Error> {
        let mut bits = [0; ID_LENGTH / 2];
        getrandom::fill(&mut bits)?;
        Ok(Self { id: hex(&bits), mac: None })
    }

    /// Returns the owner that the session stands for. It does not depend on a key, because an id cannot be guessed.
    pub(super) fn owner(&self) -> Owner {
        Owner { hash: sha256(&self.credential()), former: None, is_session: true }
    }

    /// Returns the bytes that the MAC covers.
    pub(super) fn credential(&self) -> Vec<u8> {
        credential("session", self.id.as_bytes())
    }

    /// Returns the `Set-Cookie` value. With `secure`, browsers send the cookie only with TLS.
    ///
    /// # Errors
    /// None in practice, because every character of the value is valid in a header.
    pub(super) fn cookie(&self, secure: bool) -> Result<HeaderValue, InvalidHeaderValue> {
        let (name, secure) = if secure { (SECURE_COOKIE_NAME, "; Secure") } else { (COOKIE_NAME, "") };
        let (id, mac) = (&self.id, self.mac.as_deref().unwrap_or_default());
        let mut value = HeaderValue::try_from(format!(
            "{name}={id}{mac}; Max-Age={COOKIE_SECONDS}; Path=/; HttpOnly; SameSite=Lax{secure}"
        ))?;
        value.set_sensitive(true);
        Ok(value)
    }

    fn parse(value: &[u8]) -> Option<Self> {
        let is_hex = value.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let value = str::from_utf8(value).ok().filter(|_| is_hex)?;
        let (id, mac) = value.split_at_checked(ID_LENGTH)?;
        [0, MAC_LENGTH]
            .contains(&mac.len())
            .then(|| Self { id: id.to_owned(), mac: (!mac.is_empty()).then(|| mac.to_owned()) })
    }
}

/// Returns the sessions in a client's cookies, those that only this host can have set first.
pub(super) fn sessions(headers: &HeaderMap) -> impl Iterator<Item = Session> {
    [SECURE_COOKIE_NAME, COOKIE_NAME].into_iter().flat_map(move |name| {
        let cookies =
            headers.get_all(COOKIE).into_iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
        cookies.filter_map(move |cookie| {
            let value = cookie.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
            Session::parse(value)
        })
    })
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let mut digits = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(digits, "{byte:02x}"); // writing to a String cannot fail
    }
    digits
}
