//! Servers under measurement, and a client for single requests.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use bytes::Bytes;
use http::header::ACCEPT_ENCODING;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::{self, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use local::{SupervisedChild, Supervision, free_address, program, responds};

/// The timeout of a start; callgrind makes a host about fifty times slower.
const START_TIMEOUT: Duration = Duration::from_mins(2);

/// A server. It stops when this value is dropped or its process ends.
pub(crate) struct Server {
    child: SupervisedChild,
    pub(crate) listen: SocketAddr,
}

impl Server {
    /// Starts a server on a free port, passed in `LISTEN`, and waits until `/readyz` returns 200.
    pub(crate) async fn start(mut command: Command) -> Result<Self> {
        let listen = free_address()?;
        command.env("LISTEN", listen.to_string());
        Self::start_at(listen, &command).await
    }

    /// Starts a server that listens on this address.
    pub(crate) async fn start_at(listen: SocketAddr, command: &Command) -> Result<Self> {
        let name = command.get_program().display().to_string();
        let mut child = SupervisedChild::spawn(command, Supervision::new(&name))?;
        child.wait_until_ready(START_TIMEOUT, || responds(listen, "/readyz")).await?;
        Ok(Self { child, listen })
    }

    /// Returns the process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Stops the server gracefully and waits until it has ended.
    pub(crate) async fn stop(self) -> Result<()> {
        self.child.stop().await?;
        Ok(())
    }
}

/// Returns the command of a bare server that returns a fixed body of `bytes`.
pub(crate) fn baseline(bytes: u64) -> Result<Command> {
    let mut command = Command::new(program("atelier-baseline")?);
    command.env("BYTES", bytes.to_string());
    Ok(command)
}

/// A client that keeps its connections.
#[derive(Clone)]
pub(crate) struct Client(legacy::Client<HttpConnector, Empty<Bytes>>);

impl Client {
    pub(crate) fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self(legacy::Client::builder(TokioExecutor::new()).build(connector))
    }

    /// Sends one GET request and returns the body. Any other status than 200 is an error.
    pub(crate) async fn get(&self, server: SocketAddr, path: &str, coding: &str) -> Result<Bytes> {
        let request = Request::get(format!("http://{server}{path}")).header(ACCEPT_ENCODING, coding);
        let response = self.0.request(request.body(Empty::new())?).await?;
        let status = response.status();
        ensure!(status == StatusCode::OK, "{server}{path} returned {status}");
        Ok(response.into_body().collect().await?.to_bytes())
    }
}
