//! Whether a server answers. Too little HTTP is needed for that to take a client library.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Whether `path` is answered with 200, within two seconds.
pub async fn is_answered(origin: SocketAddr, path: &str) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(origin).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: {origin}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut status = [0; 12];
        stream.read_exact(&mut status).await?;
        Ok::<_, std::io::Error>(status == *b"HTTP/1.1 200")
    };
    matches!(tokio::time::timeout(Duration::from_secs(2), ask).await, Ok(Ok(true)))
}
