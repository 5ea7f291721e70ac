//! Servers that are measured, or measured against: started, asked, stopped.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Command as StdCommand;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use local::{Guarded, Watch};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// A server of this workspace, which ends with this process.
pub(crate) struct Server {
    guarded: Guarded,
    pub(crate) listen: SocketAddr,
}

impl Server {
    /// Starts it, and waits until it answers `/readyz`.
    pub(crate) async fn start(command: &StdCommand, listen: SocketAddr) -> Result<Self> {
        let guarded =
            Guarded::spawn(command, Watch { stop_with: "TERM", remove: None, account: None }, None)?;
        let mut server = Self { guarded, listen };
        while ask(listen, "/readyz", "identity").await.is_err() {
            if let Some(status) = server.guarded.ended()? {
                bail!("{} has ended ({status})", command.get_program().display());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(server)
    }

    pub(crate) async fn stop(self) -> Result<()> {
        self.guarded.stop().await?;
        Ok(())
    }
}

/// Asks once and answers with the body. Too little HTTP is needed here for a client library.
pub(crate) async fn ask(server: SocketAddr, path: &str, coding: &str) -> Result<Vec<u8>> {
    let mut stream = BufReader::new(TcpStream::connect(server).await?);
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: {server}\r\naccept-encoding: {coding}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    ensure!(line.starts_with("HTTP/1.1 200"), "{server}{path} answered {}", line.trim());
    while line != "\r\n" {
        line.clear();
        ensure!(stream.read_line(&mut line).await? > 0, "{server}{path} ended within its headers");
    }
    let mut body = Vec::new();
    stream.read_to_end(&mut body).await?;
    Ok(body)
}

/// Free now; nothing else on this machine is expected to take it within the next moment.
pub(crate) fn free_port() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
