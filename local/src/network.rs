//! Free addresses for servers on this machine, and a health check of them.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Error;

/// The port of the first host's metrics.
const FIRST_ADMIN_PORT: u16 = 9464;

const TIMEOUT: Duration = Duration::from_secs(2);

/// Returns a loopback address that nothing listens on.
///
/// Its port is outside the range that systems assign to outgoing connections and to listeners on port 0. So it is still
/// free when a host restarts.
///
/// # Errors
/// [`Error::Io`] if all tried ports are taken.
pub fn free_address() -> Result<SocketAddr, Error> {
    let mut last_error = std::io::ErrorKind::AddrInUse.into();
    for _ in 0..100 {
        let address = (Ipv4Addr::LOCALHOST, fastrand::u16(10_000..32_000));
        match TcpListener::bind(address).and_then(|listener| listener.local_addr()) {
            Ok(address) => return Ok(address),
            Err(error) => last_error = error,
        }
    }
    Err(Error::io("find a free port on", Path::new("127.0.0.1"))(last_error))
}

/// Returns the address for the metrics of the host with this number, counted from 0: a usual port if that is free, so that
/// monitoring finds it again, or else any.
///
/// # Errors
/// As [`free_address`].
pub fn free_admin_address(number: u16) -> Result<SocketAddr, Error> {
    let usual = SocketAddr::from((Ipv4Addr::LOCALHOST, FIRST_ADMIN_PORT.saturating_add(number)));
    if TcpListener::bind(usual).is_ok() { Ok(usual) } else { free_address() }
}

/// Returns whether the server responds to `path` with 200 within two seconds. The request is written by hand: one
/// status line needs no client library.
pub async fn responds(origin: SocketAddr, path: &str) -> bool {
    let request = async {
        let mut stream = TcpStream::connect(origin).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: {origin}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut status = [0; 12];
        stream.read_exact(&mut status).await?;
        Ok::<_, std::io::Error>(status == *b"HTTP/1.1 200")
    };
    matches!(tokio::time::timeout(TIMEOUT, request).await, Ok(Ok(true)))
}
