//! `make run`: one host on a private Postgres.
//!
//! It checks the port, starts Postgres, migrates, generates and loads a catalog if none is published, and starts
//! `atelier-host`. It runs the real programs from its own folder and stops them when it ends.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};
use local::{Cluster, SupervisedChild, Supervision, program, responds};
use tokio::time::sleep;

use crate::{CatalogOptions, dev_env};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Address and port of the host
    #[arg(long, env = "LISTEN", default_value = "127.0.0.1:3000", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    #[command(flatten)]
    catalog: CatalogOptions,
}

/// Serves until a signal arrives. It is an error if a server ends first.
pub(crate) async fn run(options: &Options) -> Result<()> {
    let serve = async |cluster: &mut Cluster, url: &str, slot: &mut Option<SupervisedChild>| {
        serve(options.listen, cluster, url, slot).await
    };
    let stop = async |host: SupervisedChild| host.stop().await.map(drop);
    dev_env::with_postgres(options.listen, &options.catalog, serve, stop).await
}

async fn serve(
    listen: SocketAddr,
    cluster: &mut Cluster,
    url: &str,
    slot: &mut Option<SupervisedChild>,
) -> Result<()> {
    let mut command = Command::new(program("atelier-host")?);
    command.env("DATABASE_URL", url).env("LISTEN", listen.to_string());
    let host = slot.insert(SupervisedChild::spawn(&command, Supervision::new("atelier-host"))?);
    let origin = dev_env::loopback_for(listen);
    while !responds(origin, "/readyz").await {
        ensure_all_run(cluster, host)?;
        sleep(Duration::from_millis(20)).await;
    }
    dev_env::print_instructions(origin, cluster);
    loop {
        sleep(Duration::from_millis(100)).await;
        ensure_all_run(cluster, host)?;
    }
}

fn ensure_all_run(cluster: &mut Cluster, host: &mut SupervisedChild) -> Result<()> {
    dev_env::ensure_postgres_runs(cluster)?;
    if let Some(status) = host.ended()? {
        bail!("atelier-host ended unexpectedly ({status}): its error is above");
    }
    Ok(())
}
