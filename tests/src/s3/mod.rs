//! A local replacement for S3: moto's server, which supports `Range` and `If-Match` ([`Bucket`]). Tests put
//! `rig::HttpProxy` in front of it.

mod bucket;
mod moto;
pub mod refusal;

use std::ffi::OsString;
use std::net::SocketAddr;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST, HeaderValue};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

pub use bucket::{Bucket, Object};

/// The region of all buckets.
pub const REGION: &str = "eu-central-1";

/// Returns the variables that make programs with the AWS SDK use `server` as S3.
pub fn variables(server: SocketAddr) -> [(&'static str, OsString); 4] {
    [
        ("AWS_ENDPOINT_URL", format!("http://{server}").into()),
        ("AWS_REGION", REGION.into()),
        ("AWS_ACCESS_KEY_ID", "x".into()),
        ("AWS_SECRET_ACCESS_KEY", "x".into()),
    ]
}

/// Sends one request, whose URI is a path, on a new connection. The signature is not valid: moto only checks that there
/// is one.
///
/// # Errors
/// The connection's error, if there is no complete response.
pub async fn send(server: SocketAddr, request: Request<Bytes>) -> Result<Response<Bytes>, hyper::Error> {
    let stream = TcpStream::connect(server).await.unwrap_or_else(|error| panic!("{server}: {error}"));
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let (mut parts, body) = request.into_parts();
    parts.headers.entry(HOST).or_insert_with(|| HeaderValue::try_from(server.to_string()).unwrap());
    parts.headers.entry(AUTHORIZATION).or_insert_with(|| {
        let scope = format!("x/20260101/{REGION}/s3/aws4_request");
        let value = format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=x");
        HeaderValue::try_from(value).unwrap()
    });
    let response = sender.send_request(Request::from_parts(parts, Full::new(body))).await?;
    let (parts, body) = response.into_parts();
    let body = body.collect().await?.to_bytes();
    connection.abort();
    Ok(Response::from_parts(parts, body))
}
