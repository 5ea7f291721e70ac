//! Free addresses for servers on this machine.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;

use crate::Error;

/// Returns a loopback address that nothing listens on.
///
/// Its port is outside the range that systems assign to outgoing connections and to listeners on port 0. So it is still
/// free when a host restarts.
///
/// # Errors
/// [`Error::Io`] if all tried ports are taken.
pub fn free_address() -> Result<SocketAddr, Error> {
    let mut last_error = None;
    for _ in 0..100 {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, fastrand::u16(10_000..32_000)))
            .and_then(|l| l.local_addr())
        {
            Ok(address) => return Ok(address),
            Err(error) => last_error = Some(error),
        }
    }
    let error = last_error.unwrap_or_else(|| std::io::ErrorKind::AddrInUse.into());
    Err(Error::io("find a free port on", Path::new("127.0.0.1"))(error))
}
