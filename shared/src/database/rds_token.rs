//! RDS tokens: signed URLs that replace a password. This process signs a token with its AWS credentials, and RDS
//! verifies it with IAM. A token is valid for 15 minutes, and only for opening connections.

use std::fmt;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign};
use aws_sigv4::sign::v4;

/// The max lifetime that AWS allows.
const LIFETIME: Duration = Duration::from_secs(900);

const SCHEME: &str = "https://"; // signed, but not part of the token

/// A signer of tokens for one user on one server.
#[derive(Clone)]
pub(crate) struct RdsTokenSigner {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) user: String,
    pub(crate) region: String,
    pub(crate) credentials: Credentials,
}

/// Why a token cannot be signed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("incomplete request for a token")]
    Incomplete(#[from] v4::signing_params::BuildError),
    #[error("cannot sign the request for a token")]
    Unsigned(#[from] aws_sigv4::http_request::SigningError),
}

impl RdsTokenSigner {
    /// Returns the signer if it can sign a token. If it can now, it always can.
    pub(crate) fn checked(self) -> Result<Self, Error> {
        self.token(SystemTime::now()).map(|_| self)
    }

    /// Returns a token signed at this time. It needs no network.
    pub(crate) fn token(&self, at: SystemTime) -> Result<String, Error> {
        let identity = self.credentials.clone().into();
        let mut settings = SigningSettings::default();
        settings.expires_in = Some(LIFETIME);
        settings.signature_location = SignatureLocation::QueryParams;
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name("rds-db")
            .time(at)
            .settings(settings)
            .build()?
            .into();
        let (host, port) = (&self.host, self.port);
        let mut url = format!("{SCHEME}{host}:{port}/?Action=connect&DBUser={}", percent_encode(&self.user));
        let request = SignableRequest::new("GET", &url, std::iter::empty(), SignableBody::Bytes(&[]))?;
        let (signed, _) = sign(request, &parameters)?.into_parts();
        let (_, mut signed) = signed.into_parts();
        // AWS accepts any order. This is the order of its other libraries, so that a test can compare tokens.
        signed.sort_by_key(|(name, _)| *name == "X-Amz-Signature");
        for (name, value) in &signed {
            url += &format!("&{name}={}", percent_encode(value));
        }
        Ok(url.split_off(SCHEME.len()))
    }
}

/// Shows no secret.
impl fmt::Debug for RdsTokenSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, port, user, region) = (&self.host, self.port, &self.user, &self.region);
        write!(f, "RdsTokenSigner for {user} at {host}:{port} in {region}")
    }
}

/// Percent-encodes all bytes except letters, digits and `-_.~`, as a signature requires.
fn percent_encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let one = |byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "db.cluster-c0ffee.eu-central-1.rds.amazonaws.com";
    const PLAIN: &str = "\
        db.cluster-c0ffee.eu-central-1.rds.amazonaws.com:5432/?Action=connect&DBUser=web\
        &X-Amz-Algorithm=AWS4-HMAC-SHA256\
        &X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20260301%2Feu-central-1%2Frds-db%2Faws4_request\
        &X-Amz-Date=20260301T120000Z&X-Amz-Expires=900&X-Amz-SignedHeaders=host\
        &X-Amz-Signature=f0dc99e89ce3289089e4e29571aa3c87701c1ee3fbd02ae2a6ac6afa765a4f3c";
    const WITH_SESSION: &str = "\
        db.cluster-c0ffee.eu-central-1.rds.amazonaws.com:5432/?Action=connect&DBUser=web\
        &X-Amz-Algorithm=AWS4-HMAC-SHA256\
        &X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20260301%2Feu-central-1%2Frds-db%2Faws4_request\
        &X-Amz-Date=20260301T120000Z&X-Amz-Expires=900&X-Amz-SignedHeaders=host\
        &X-Amz-Security-Token=IQoJb3JpZ2lu%2B%2Fx%2F%2Fw%3D%3DEXAMPLE%2Btoken%2F%3D\
        &X-Amz-Signature=95c580e4436aedcacedda807eacba7fa4968b1cfd49493550155d17eac50a018";
    const ODD_USER: &str = "\
        localhost:15432/?Action=connect&DBUser=we%20b%2B%C3%BC%2F%40%26%3D~%2A%27%25\
        &X-Amz-Algorithm=AWS4-HMAC-SHA256\
        &X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20260301%2Fus-east-1%2Frds-db%2Faws4_request\
        &X-Amz-Date=20260301T120000Z&X-Amz-Expires=900&X-Amz-SignedHeaders=host\
        &X-Amz-Security-Token=a%2Bb%2Fc%3D%3D\
        &X-Amz-Signature=360db0b127d440dd6d3a9175b50f74e55d60666eab22867f369599f657382714";

    fn signer(host: &str, port: u16, user: &str, region: &str, session: Option<&str>) -> RdsTokenSigner {
        let (id, secret) = ("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
        let credentials = Credentials::new(id, secret, session.map(str::to_owned), None, "test");
        let (host, user, region) = (host.to_owned(), user.to_owned(), region.to_owned());
        RdsTokenSigner { host, port, user, region, credentials }
    }

    /// Tokens of botocore 1.44.8 for the same input, at noon of 1 March 2026:
    ///
    /// ```python
    /// import datetime, botocore.session
    /// from unittest import mock
    /// session = botocore.session.Session()
    /// session.set_credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", SESSION)
    /// noon = lambda *_, **__: datetime.datetime(2026, 3, 1, 12)
    /// with mock.patch("botocore.auth.get_current_datetime", noon):
    ///     print(session.create_client("rds", region_name=REGION).generate_db_auth_token(HOST, PORT, USER, REGION))
    /// ```
    #[test]
    fn a_token_equals_that_of_the_aws_library() {
        let noon = SystemTime::UNIX_EPOCH + Duration::from_secs(1_772_366_400);
        let session = "IQoJb3JpZ2lu+/x//w==EXAMPLE+token/=";
        for (signer, expected) in [
            (signer(HOST, 5432, "web", "eu-central-1", None), PLAIN),
            (signer(HOST, 5432, "web", "eu-central-1", Some(session)), WITH_SESSION),
            (signer("localhost", 15432, "we b+ü/@&=~*'%", "us-east-1", Some("a+b/c==")), ODD_USER),
        ] {
            assert_eq!(signer.token(noon).unwrap(), expected);
        }
    }

    #[test]
    fn debug_output_of_a_signer_shows_no_secret() {
        let shown = format!("{:?}", signer(HOST, 5432, "web", "eu-central-1", Some("s3ssion")));
        assert!(shown.contains("web") && !shown.contains("wJalr") && !shown.contains("s3ssion"), "{shown}");
    }
}
