//! `with-postgres COMMAND…`: runs a command such as `cargo test` with a temporary Postgres, and exits with its code.

use std::process::ExitCode;

use anyhow::{Context, Result};
use rig::{CLUSTER_VARIABLE, Cluster, Settings};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let program = arguments.next().context("no command: expected with-postgres COMMAND…")?;
    let cluster = Cluster::start_temporary(&Settings::disposable()).await?;
    let mut command = tokio::process::Command::new(&program);
    command.args(arguments).env(CLUSTER_VARIABLE, cluster.address().sockets());
    let status = command.status().await;
    cluster.stop().await?;
    let status = status.with_context(|| format!("cannot run {}", program.display()))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from)) // a signal has no code
}
