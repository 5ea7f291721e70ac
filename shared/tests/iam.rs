//! `DATABASE_AUTH=iam`, without AWS. Postgres cannot verify a token, so these tests use a server that implements the
//! protocol up to the password.

#![allow(clippy::unwrap_used, clippy::panic)] // clippy does not count helpers as tests

mod support;

use std::io::Write;
use std::sync::Arc;

use rig::TEST_TIMEOUT;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, crypto::ring};
use support::app;
use tempfile::NamedTempFile;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// The request for TLS.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// The request for a password.
const PASSWORD_REQUEST: &[u8] = b"R\0\0\0\x08\0\0\0\x03";

/// Reads a message that begins with its length, and returns the rest.
async fn message(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let length = stream.read_u32().await.unwrap();
    let mut rest = vec![0; usize::try_from(length).unwrap() - 4];
    stream.read_exact(&mut rest).await.unwrap();
    rest
}

/// Reads up to the password, and closes the connection.
async fn password(mut stream: TcpStream, tls: &TlsAcceptor) -> String {
    let mut request = [0; 8];
    stream.read_exact(&mut request).await.unwrap();
    assert_eq!(request, SSL_REQUEST);
    stream.write_all(b"S").await.unwrap();
    let mut stream = tls.accept(stream).await.unwrap();
    let startup = message(&mut stream).await;
    assert!(String::from_utf8_lossy(&startup).contains("user\0we&b\0"));
    stream.write_all(PASSWORD_REQUEST).await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'p');
    let password = message(&mut stream).await;
    String::from_utf8(password).unwrap().trim_end_matches('\0').to_owned()
}

#[tokio::test]
async fn each_connection_uses_its_own_token() {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(certified.cert.pem().as_bytes()).unwrap();
    let key = PrivateKeyDer::Pkcs8(certified.signing_key.serialize_der().into());
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    let tls = TlsAcceptor::from(Arc::new(config));

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let url = format!("host=localhost hostaddr=127.0.0.1 port={port} user=we&b sslmode=verify-full");
    let app = app(&[
        ("DATABASE_URL", &url),
        ("DATABASE_CA_FILE", file.path().to_str().unwrap()),
        ("DATABASE_AUTH", "iam"),
        ("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
        ("AWS_SESSION_TOKEN", "a+b/c=="),
        ("AWS_REGION", "eu-central-1"),
    ]);
    let tokens = async {
        let mut tokens = Vec::new();
        // A signature changes every second. If each attempt signs a token, two different tokens arrive.
        while tokens.len() < 2 {
            let (stream, _) = listener.accept().await.unwrap();
            tokens.push(password(stream, &tls).await);
            tokens.dedup();
        }
        tokens
    };
    // A request connects again if the attempt before it failed.
    let requests = async {
        loop {
            let _ = app.readiness().await;
        }
    };
    let tokens = async {
        tokio::select! { tokens = tokens => tokens, never = requests => never }
    };
    for token in tokio::time::timeout(TEST_TIMEOUT, tokens).await.unwrap() {
        let start =
            format!("localhost:{port}/?Action=connect&DBUser=we%26b&X-Amz-Algorithm=AWS4-HMAC-SHA256&");
        assert!(token.starts_with(&start), "{token}");
        assert!(token.contains("&X-Amz-Security-Token=a%2Bb%2Fc%3D%3D&X-Amz-Signature="), "{token}");
    }
}
