//! Servers under measurement: the host and the baseline.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command as StdCommand;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use local::{HOST_LOGIN, SupervisedChild, Supervision, free_address, program, responds};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::bench_env::BenchEnv;

/// A server of this workspace. It stops when this value is dropped or its process ends.
pub(crate) struct Server {
    child: SupervisedChild,
    pub(crate) listen: SocketAddr,
}

impl Server {
    /// Starts a server on a free port, passed in `LISTEN`, and waits until `/readyz` returns 200.
    pub(crate) async fn start(mut command: StdCommand) -> Result<Self> {
        let listen = free_address()?;
        command.env("LISTEN", listen.to_string());
        let child = SupervisedChild::spawn(
            &command,
            Supervision { stop_with: "TERM", remove: None, account: None },
            None,
        )?;
        let mut server = Self { child, listen };
        while !responds(listen, "/readyz").await {
            if let Some(status) = server.child.ended()? {
                bail!("{} ended unexpectedly ({status})", command.get_program().display());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(server)
    }

    pub(crate) async fn stop(self) -> Result<()> {
        self.child.stop().await?;
        Ok(())
    }
}

/// Returns the command of a host with a cache of `cache_bytes` and without an access log.
pub(crate) fn host(env: &BenchEnv, database: &str, cache_bytes: u64) -> Result<StdCommand> {
    Ok(host_of(&program("atelier-host")?, env, database, cache_bytes))
}

/// Returns the command of a host whose program is in this file.
pub(crate) fn host_of(program: &Path, env: &BenchEnv, database: &str, cache_bytes: u64) -> StdCommand {
    let mut command = StdCommand::new(program);
    command.env("DATABASE_URL", env.address().url(HOST_LOGIN, database));
    command.env("CACHE_BYTES", cache_bytes.to_string()).env("LOG_ACCESS", "off").env("LOG", "warn");
    command
}

/// Returns the command of a bare server that returns a fixed body of `bytes`.
pub(crate) fn baseline(bytes: u64) -> Result<StdCommand> {
    let mut command = StdCommand::new(program("atelier-bench")?);
    command.args(["baseline-server", "--bytes", &bytes.to_string()]);
    Ok(command)
}

/// Sends one request and returns the body. It needs too little of HTTP for a client library.
pub(crate) async fn ask(server: SocketAddr, path: &str, coding: &str) -> Result<Vec<u8>> {
    let mut stream = BufReader::new(TcpStream::connect(server).await?);
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: {server}\r\naccept-encoding: {coding}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    ensure!(line.starts_with("HTTP/1.1 200"), "{server}{path} returned {}", line.trim());
    while line != "\r\n" {
        line.clear();
        ensure!(stream.read_line(&mut line).await? > 0, "{server}{path} ended within its headers");
    }
    let mut body = Vec::new();
    stream.read_to_end(&mut body).await?;
    Ok(body)
}
