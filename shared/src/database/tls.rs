//! TLS to Postgres, with rustls and ring. The server must present a certificate for its host name from an authority in
//! the configured file. No public store of authorities and no setting changes that.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Why a file of certificate authorities is invalid.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    // Without the source's own text, which shows the bytes as a list of numbers.
    #[error("the file is not PEM, or it is truncated")]
    Pem(#[from] pem::Error),
    #[error("the file contains no certificate")]
    Empty,
    #[error("{0}")]
    Tls(#[from] rustls::Error),
}

/// Returns a connector that accepts only servers with a certificate from the authorities in `pem`.
pub(crate) fn trusting(pem: &[u8]) -> Result<MakeRustlsConnect, Error> {
    let mut authorities = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        authorities.add(certificate?)?;
    }
    if authorities.is_empty() {
        return Err(Error::Empty);
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(authorities)
        .with_no_client_auth();
    // Postgres requires this with sslnegotiation=direct, and ignores it otherwise.
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    Ok(MakeRustlsConnect::new(config))
}
