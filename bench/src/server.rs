//! Servers that are measured, or measured against: started, asked, stopped.

use std::net::SocketAddr;
use std::process::Command as StdCommand;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use local::{Guarded, HOST_LOGIN, Watch, free_address, is_answered, program};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::stage::Stage;

/// A server of this workspace, which ends with this process.
pub(crate) struct Server {
    guarded: Guarded,
    pub(crate) listen: SocketAddr,
}

impl Server {
    /// Starts it on a free port, which it is told in `LISTEN`, and waits until it answers `/readyz`.
    pub(crate) async fn start(mut command: StdCommand) -> Result<Self> {
        let listen = free_address()?;
        command.env("LISTEN", listen.to_string());
        let guarded =
            Guarded::spawn(&command, Watch { stop_with: "TERM", remove: None, account: None }, None)?;
        let mut server = Self { guarded, listen };
        while !is_answered(listen, "/readyz").await {
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

/// The host, without a log of requests, and with a cache of so many bytes.
pub(crate) fn host(stage: &Stage, database: &str, cache_bytes: u64) -> Result<StdCommand> {
    let mut command = StdCommand::new(program("atelier-host")?);
    command.env("DATABASE_URL", stage.address().url(HOST_LOGIN, database));
    command.env("CACHE_BYTES", cache_bytes.to_string()).env("LOG_ACCESS", "off").env("LOG", "warn");
    Ok(command)
}

/// The server with a fixed body of so many bytes.
pub(crate) fn hello(bytes: u64) -> Result<StdCommand> {
    let mut command = StdCommand::new(program("atelier-bench")?);
    command.args(["hello", "--bytes", &bytes.to_string()]);
    Ok(command)
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
