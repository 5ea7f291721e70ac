//! An HTTP health check. It writes the request by hand: one status line needs no client library.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const TIMEOUT: Duration = Duration::from_secs(2);

/// Returns whether the server responds to `path` with 200 within two seconds.
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
