//! A host in its own process.

use std::net::SocketAddr;
use std::process::{Output, Stdio};

use rig::Database;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};

use super::TEST_TIMEOUT;

/// A host in its own process.
pub(crate) struct Host {
    pub(crate) process: Child,
    pub(crate) address: SocketAddr,
    log: BufReader<ChildStdout>,
}

impl Host {
    /// Starts a host on a free port and waits until it serves.
    pub(crate) async fn start(database: &Database, variables: &[(&str, &str)]) -> Self {
        let url = database.host_url() + "&password=s3cret";
        let mut process = command(variables)
            .env("DATABASE_URL", url)
            .env("LISTEN", "127.0.0.1:0")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stdout.take().unwrap());
        loop {
            let mut line = String::new();
            assert!(log.read_line(&mut line).await.unwrap() > 0, "the host exited before it served");
            if let Some((_, address)) = line.split_once(r#""message":"serving","address":""#) {
                let address = address.split('"').next().unwrap().parse().unwrap();
                return Self { process, address, log };
            }
        }
    }

    /// Starts a host with metrics, and returns their address too.
    pub(crate) async fn with_metrics(database: &Database, variables: &[(&str, &str)]) -> (Self, SocketAddr) {
        let admin = local::free_address().unwrap();
        let address = admin.to_string();
        let variables = [variables, &[("ADMIN_LISTEN", address.as_str())]].concat();
        (Self::start(database, &variables).await, admin)
    }

    pub(crate) fn signal(&self, name: &str) {
        local::signal(self.process.id().unwrap(), name).unwrap();
    }

    /// Waits for a successful exit. Returns the lines logged since the host served.
    pub(crate) async fn log(mut self) -> Vec<serde_json::Map<String, serde_json::Value>> {
        let mut log = String::new();
        tokio::time::timeout(TEST_TIMEOUT, self.log.read_to_string(&mut log)).await.unwrap().unwrap();
        assert!(self.process.wait().await.unwrap().success());
        for secret in ["s3cret", "Bearer", "atelier_session", "0123456789abcdef"] {
            assert!(!log.contains(secret), "{log}");
        }
        log.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

pub(crate) fn command(variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_atelier-host"));
    command.env_clear().envs(variables.iter().copied()).kill_on_drop(true);
    command
}

pub(crate) async fn output(variables: &[(&str, &str)], arguments: &[&str]) -> Output {
    command(variables).args(arguments).output().await.unwrap()
}
