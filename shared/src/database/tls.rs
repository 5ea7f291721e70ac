//! TLS to Postgres: rustls with ring. The server has to prove that it is the host that was asked for, by a certificate
//! of an authority that was named; no public store and no setting makes an exception.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Why a file of authorities is of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    // What was found is left out: rustls tells it as a list of numbers.
    #[error("it is not PEM, or cut off")]
    Pem(#[from] pem::Error),
    #[error("it holds no certificate")]
    Empty,
    #[error("{0}")]
    Tls(#[from] rustls::Error),
}

/// What connects to servers that the authorities in `pem` vouch for, and to no others.
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
    // Where the address says sslnegotiation=direct, Postgres insists on it; elsewhere it does no harm.
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    Ok(MakeRustlsConnect::new(config))
}
