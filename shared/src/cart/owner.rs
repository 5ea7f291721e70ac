//! The owner of a cart: a hash of the `Authorization` header or of the session cookie. Only the hash is stored.

use std::fmt::Write;

use http::header::{AUTHORIZATION, COOKIE, InvalidHeaderValue};
use http::{HeaderMap, HeaderValue};
use sha2::{Digest, Sha256};

/// The name of the session cookie. Its value is 32 lowercase hex digits.
const COOKIE_NAME: &str = "atelier_session";

/// 400 days, the max lifetime of a cookie in browsers.
const COOKIE_SECONDS: u32 = 34_560_000;

/// The SHA-256 of the credential that a client sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner([u8; 32]);

impl Owner {
    /// Returns the owner by the `Authorization` header, else by the session cookie. `None` if the client sent neither,
    /// or if the cookie has a form that this service does not issue.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let authorization = headers.get(AUTHORIZATION).filter(|value| !value.is_empty());
        match authorization {
            Some(value) => Some(Self::hash("authorization", value.as_bytes())),
            None => headers.get_all(COOKIE).iter().find_map(session).map(|id| Self::hash("session", id)),
        }
    }

    /// Returns the hash: 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Hashes a credential together with its kind, so that an `Authorization` header with the id of a session does not
    /// open that session.
    fn hash(kind: &str, credential: &[u8]) -> Self {
        Self(Sha256::new().chain_update(kind).chain_update([0]).chain_update(credential).finalize().into())
    }
}

/// A new session, for a client without one.
pub struct Session {
    id: String,
}

impl Session {
    /// Creates a session with an id of 128 random bits.
    ///
    /// # Errors
    /// The operating system provides no random bytes.
    pub fn issue() -> Result<Self, getrandom::Error> {
        let mut bits = [0; 16];
        getrandom::fill(&mut bits)?;
        let mut id = String::with_capacity(32);
        for byte in bits {
            let _ = write!(id, "{byte:02x}"); // writing to a String cannot fail
        }
        Ok(Self { id })
    }

    /// Returns the owner that the session stands for.
    #[must_use]
    pub fn owner(&self) -> Owner {
        Owner::hash("session", self.id.as_bytes())
    }

    /// Returns the `Set-Cookie` value. With `secure`, browsers send the cookie only with TLS.
    ///
    /// # Errors
    /// None in practice, because every character of the value is valid in a header.
    pub fn cookie(&self, secure: bool) -> Result<HeaderValue, InvalidHeaderValue> {
        let secure = if secure { "; Secure" } else { "" };
        let id = &self.id;
        let mut value = HeaderValue::try_from(format!(
            "{COOKIE_NAME}={id}; Max-Age={COOKIE_SECONDS}; Path=/; HttpOnly; SameSite=Lax{secure}"
        ))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// Returns the first valid session id among the cookies of one header.
fn session(cookies: &HeaderValue) -> Option<&[u8]> {
    cookies.as_bytes().split(|byte| *byte == b';').find_map(|cookie| {
        let id = cookie.trim_ascii().strip_prefix(COOKIE_NAME.as_bytes())?.strip_prefix(b"=")?;
        let hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        (id.len() == 32 && id.iter().all(hex)).then_some(id)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    fn owner(headers: &[(&'static str, &str)]) -> Option<Owner> {
        let pairs = headers.iter().map(|(name, value)| {
            (http::HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        });
        Owner::from_headers(&pairs.collect())
    }

    #[test]
    fn the_cookie_of_a_session_identifies_its_owner() {
        let session = Session::issue().unwrap();
        let cookie = session.cookie(false).unwrap();
        let cookie = cookie.to_str().unwrap();
        let (pair, attributes) = cookie.split_once("; ").unwrap();
        assert_eq!(attributes, "Max-Age=34560000; Path=/; HttpOnly; SameSite=Lax");
        assert_eq!(owner(&[("cookie", pair)]), Some(session.owner()));
        assert_eq!(owner(&[("cookie", &format!("theme=dark;{pair}; x=1"))]), Some(session.owner()));
        assert_ne!(Session::issue().unwrap().owner(), session.owner());
        assert!(session.cookie(true).unwrap().to_str().unwrap().ends_with("; Secure"));
    }

    #[test]
    fn a_cookie_of_another_form_identifies_no_owner() {
        for value in [
            "atelier_session=1",
            "atelier_session=",
            "atelier_session",
            "atelier_session=0123456789ABCDEF0123456789ABCDEF",
            "atelier_session=0123456789abcdef0123456789abcdef0",
            "other_atelier_session=0123456789abcdef0123456789abcdef",
            "atelier_session=\"0123456789abcdef0123456789abcdef\"",
        ] {
            assert_eq!(owner(&[("cookie", value)]), None, "{value}");
        }
        assert_eq!(owner(&[]), None);
        assert_eq!(owner(&[("authorization", "")]), None);
    }

    #[test]
    fn authorization_takes_precedence_over_the_cookie_and_opens_no_session() {
        let cookie = format!("atelier_session={ID}");
        let by_header = owner(&[("authorization", "Bearer 7"), ("cookie", &cookie)]).unwrap();
        assert_eq!(owner(&[("authorization", "Bearer 7")]), Some(by_header.clone()));
        assert_ne!(owner(&[("authorization", "Bearer 8")]), Some(by_header));
        assert_ne!(owner(&[("authorization", ID)]), owner(&[("cookie", &cookie)]));
    }
}
