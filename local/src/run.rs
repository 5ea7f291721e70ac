//! `make run`: one host on a private Postgres.
//!
//! It checks the port, starts Postgres, migrates, generates and loads a catalog if none is published, and starts
//! `atelier-host`. It runs the real programs from its own folder and stops them when it ends.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};
use local::{Cluster, SupervisedChild, Supervision, free_admin_address, program, responds};
use tokio::time::sleep;

use crate::{CatalogOptions, dev_env};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Address and port of the host
    #[arg(long, env = "LISTEN", default_value = "127.0.0.1:3000", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// Address and port of the host's metrics [default: 127.0.0.1:9464 if it is free, or else any port]
    #[arg(long, env = "ADMIN_LISTEN", value_name = "ADDRESS:PORT")]
    admin_listen: Option<SocketAddr>,
    #[command(flatten)]
    catalog: CatalogOptions,
}

/// Serves until a signal arrives. It is an error if a server ends first.
pub(crate) async fn run(options: &Options) -> Result<()> {
    let serve = async |cluster: &mut Cluster, url: &str, slot: &mut Option<SupervisedChild>| {
        serve(options, cluster, url, slot).await
    };
    let stop = async |host: SupervisedChild| host.stop().await.map(drop);
    dev_env::with_postgres(options.listen, &options.catalog, serve, stop).await
}

async fn serve(
    options: &Options,
    cluster: &mut Cluster,
    url: &str,
    slot: &mut Option<SupervisedChild>,
) -> Result<()> {
    let mut command = Command::new(program("atelier-host")?);
    let admin = options.admin_listen.map_or_else(|| free_admin_address(0), Ok)?;
    command.env("DATABASE_URL", url).env("LISTEN", options.listen.to_string());
    command.env("ADMIN_LISTEN", admin.to_string());
    let host = slot.insert(SupervisedChild::spawn(&command, Supervision::new("atelier-host"))?);
    let origin = dev_env::loopback_for(options.listen);
    while !responds(origin, "/readyz").await {
        ensure_all_run(cluster, host)?;
        sleep(Duration::from_millis(20)).await;
    }
    dev_env::print_instructions(origin, Some(admin), cluster);
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
