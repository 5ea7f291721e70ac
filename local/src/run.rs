//! What `make run` does, from nothing to answers.
//!
//! In order: the port is looked at, Postgres starts, `atelier-etl` migrates, generates and loads (where no catalog is
//! published yet), `atelier-host` serves. Each is the real program, found beside this one, and each stops with it.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};
use local::{Cluster, Guarded, Watch, is_answered, program};
use tokio::time::sleep;

use crate::{Catalog, stage};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Address and port of the host
    #[arg(long, env = "LISTEN", default_value = "127.0.0.1:3000", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    #[command(flatten)]
    catalog: Catalog,
}

/// Runs until a signal or until one of the servers ends, which is an error.
pub(crate) async fn run(options: &Options) -> Result<()> {
    let serve = async |cluster: &mut Cluster, url: &str, slot: &mut Option<Guarded>| {
        serve(options.listen, cluster, url, slot).await
    };
    let stop = async |host: Guarded| host.stop().await.map(drop);
    stage::beside_postgres(options.listen, &options.catalog, serve, stop).await
}

async fn serve(
    listen: SocketAddr,
    cluster: &mut Cluster,
    url: &str,
    slot: &mut Option<Guarded>,
) -> Result<()> {
    let mut command = Command::new(program("atelier-host")?);
    command.env("DATABASE_URL", url).env("LISTEN", listen.to_string());
    let host = slot.insert(Guarded::spawn(
        &command,
        Watch { stop_with: "TERM", remove: None, account: None },
        None,
    )?);
    let origin = stage::reachable(listen);
    while !is_answered(origin, "/readyz").await {
        check(cluster, host)?;
        sleep(Duration::from_millis(20)).await;
    }
    stage::welcome(origin, cluster);
    loop {
        sleep(Duration::from_millis(100)).await;
        check(cluster, host)?;
    }
}

/// An error once one of the servers has ended: nobody told it to.
fn check(cluster: &mut Cluster, host: &mut Guarded) -> Result<()> {
    stage::check(cluster)?;
    if let Some(status) = host.ended()? {
        bail!("atelier-host has ended by itself ({status})");
    }
    Ok(())
}
