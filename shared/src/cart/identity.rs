//! What identifies the caller of a cart: the `Authorization` header, or the session cookie.
//!
//! With a key (`CART_KEY`), a cookie carries a MAC of its session, so that a client cannot choose its own, and the hash of
//! an `Authorization` header is keyed, so that a password in it cannot be guessed from a copy of the database.
//!
//! Carts from the time before the key are still found. A session without a valid MAC counts if it has a cart; its next
//! `POST` returns it with a MAC. A lookup in the database alone could not decide, because `DELETE /cart` deletes the cart
//! of a session, and two concurrent `POST`s after that must share one. The former hash of an `Authorization` header is
//! read too, and the next `POST` moves its cart.

use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderValue, InvalidHeaderValue};
use ring::hmac;

use super::owner::{Owner, Session, credential, hex, sessions, sha256};
use crate::variables::Default::{Described, Value};
use crate::variables::Kind::{Choice, Text};
use crate::variables::ReadBy::Service;
use crate::variables::{Error, Lookup, Variable};

/// The min length of a key. As hex digits, these are 128 bits.
const MIN_KEY_LENGTH: usize = 32;

static CART_KEY: Variable =
    Variable::new("CART_KEY", Text("at least 32 random characters"), Described("no key; an empty value too"), Service)
        .summary("a secret key for the owners of carts, at least 32 random characters such as from `openssl rand -hex 32`")
        .details(
            "All hosts and functions need the same one. With it, only cookies that the service issued create carts, and \
             nobody can guess an `Authorization` text from a copy of the database. Carts from before are still found. \
             While some processes lack the key, they do not find the carts of `Authorization` texts that others have \
             written to. If the key is lost or changes, those carts are lost; those of cookies stay.",
        );

static COOKIE_SECURE: Variable = Variable::new("COOKIE_SECURE", Choice(&["auto", "always"]), Value("auto"), Service)
    .summary("whether session cookies are for HTTPS only: always, or if the proxy in front says that the client uses HTTPS")
    .details(
        "Such a cookie is `Secure` and its name begins with `__Host-`. `auto` reads `X-Forwarded-Proto`, in which the \
         NGINX of `deploy/nginx` sends its own scheme. Set `always` if TLS ends before NGINX. With `always`, browsers \
         that use HTTP get no session.",
    );

/// The variables of carts.
pub static VARIABLES: [&Variable; 2] = [&CART_KEY, &COOKIE_SECURE];

/// The settings of carts. Their `Debug` does not show the key.
#[derive(Debug, Clone)]
pub struct Settings {
    key: Option<hmac::Key>,
    always_secure: bool,
}

/// The caller of a cart.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// May create a cart.
    Known(Owner),
    /// Names a session that this service may not have issued.
    Unproven(Session),
}

impl Settings {
    /// Reads `CART_KEY` and `COOKIE_SECURE`.
    ///
    /// # Errors
    /// The first variable that is invalid. The error does not show the key.
    pub fn from_lookup(lookup: Lookup<'_>) -> Result<Self, Error> {
        let key = match CART_KEY.value(lookup).filter(|key| !key.is_empty()) {
            Some(key) if key.len() < MIN_KEY_LENGTH => {
                return Err(CART_KEY.invalid("…", CART_KEY.kind.to_string()));
            }
            key => key.map(|key| hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes())),
        };
        Ok(Self { key, always_secure: COOKIE_SECURE.word(lookup)? == "always" })
    }

    /// Returns the caller: by the `Authorization` header, else by a session cookie. `None` if the client sent neither, or
    /// if no cookie has a form that this service issues.
    pub(super) fn caller(&self, headers: &HeaderMap) -> Option<Caller> {
        if let Some(value) = headers.get(AUTHORIZATION).filter(|value| !value.is_empty()) {
            return Some(Caller::Known(self.owner_by_header(value)));
        }
        match sessions(headers).find(|session| self.is_issued(session)) {
            Some(issued) => Some(Caller::Known(issued.owner())),
            None => sessions(headers).next().map(Caller::Unproven),
        }
    }

    fn owner_by_header(&self, value: &HeaderValue) -> Owner {
        let credential = credential("authorization", value.as_bytes());
        let unkeyed = sha256(&credential);
        let Some(key) = &self.key else {
            return Owner { hash: unkeyed, former: None, is_session: false };
        };
        let mut hash = [0; 32];
        hash.copy_from_slice(hmac::sign(key, &credential).as_ref()); // SHA-256 has 32 bytes
        Owner { hash, former: Some(unkeyed), is_session: false }
    }

    /// Returns whether the service issued the session. Without a key, it takes each for issued.
    fn is_issued(&self, session: &Session) -> bool {
        let Some(key) = &self.key else { return true };
        let mac = session.mac.as_deref().and_then(bytes);
        mac.is_some_and(|mac| hmac::verify(key, &session.credential(), &mac).is_ok())
    }

    /// Returns the `Set-Cookie` value of a session.
    pub(super) fn cookie(
        &self,
        session: Session,
        is_behind_tls: bool,
    ) -> Result<HeaderValue, InvalidHeaderValue> {
        let mac = self.key.as_ref().map(|key| hex(hmac::sign(key, &session.credential()).as_ref()));
        Session { mac, ..session }.cookie(is_behind_tls || self.always_secure)
    }
}

/// Returns the bytes of hex digits.
fn bytes(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests;
