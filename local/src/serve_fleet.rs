//! What `make fleet` does: that of `make run`, with several hosts, and NGINX in front of them.
//!
//! A host that ends is started again, as systemd would; that one of them may end at any time is what a fleet is for.
//! Where Postgres or NGINX ends, nothing is left to be served.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use local::{BalancerSettings, Cluster, Fleet, FleetSettings, Host, nginx, program};
use tokio::time::sleep;

use crate::{Catalog, stage};

/// How long a host that has ended stays away: time to see what that changes, which is nothing.
const AWAY: Duration = Duration::from_secs(2);

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Address and port of the balancer
    #[arg(long, env = "LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// How many hosts there are behind it
    #[arg(long, default_value = "3", value_name = "NUMBER", value_parser = clap::value_parser!(u8).range(1..=16))]
    hosts: u8,
    /// Whether the balancer and the hosts log each request, to files
    #[arg(long, env = "LOG_ACCESS", default_value = "off", value_name = "on|off", value_parser = ["on", "off"])]
    log_access: String,
    #[command(flatten)]
    catalog: Catalog,
}

/// Runs until a signal, or until Postgres or NGINX ends, which is an error.
pub(crate) async fn serve_fleet(options: &Options) -> Result<()> {
    nginx()?;
    let serve = async |cluster: &mut Cluster, url: &str, slot: &mut Option<Fleet>| {
        serve(options, cluster, url, slot).await
    };
    stage::beside_postgres(options.listen, &options.catalog, serve, Fleet::stop).await
}

async fn serve(options: &Options, cluster: &mut Cluster, url: &str, slot: &mut Option<Fleet>) -> Result<()> {
    let mut server = Command::new(program("atelier-host")?);
    server.env("DATABASE_URL", url);
    let log_access = options.log_access == "on";
    let balancer = BalancerSettings { access_log: log_access, ..BalancerSettings::default() };
    let settings = FleetSettings { hosts: options.hosts.into(), log_access, balancer };
    let directory = cluster.directory("fleet")?;
    let fleet = slot.insert(Fleet::start(&directory, options.listen, &server, &settings).await?);
    stage::welcome(stage::reachable(options.listen), cluster);
    introduce(fleet, &directory);
    let mut away: Vec<Option<Instant>> = vec![None; fleet.hosts().len()];
    loop {
        sleep(Duration::from_millis(100)).await;
        stage::check(cluster)?;
        if let Some(status) = fleet.balancer().ended()? {
            bail!("NGINX has ended by itself ({status}); {} says why", directory.join("error.log").display());
        }
        for (number, (host, away)) in (1..).zip(fleet.hosts_mut().iter_mut().zip(&mut away)) {
            look_after(number, host, away).await?;
        }
    }
}

/// Notices that a host has ended, and starts it again when it was away for long enough.
async fn look_after(number: usize, host: &mut Host, away: &mut Option<Instant>) -> Result<()> {
    let pid = host.pid();
    if let (Some(status), Some(pid)) = (host.ended()?, pid) {
        eprintln!("Host {number}, process {pid}, has ended by itself ({status}). The others go on.");
        *away = Some(Instant::now());
    }
    if away.is_some_and(|since| since.elapsed() >= AWAY) {
        *away = None;
        host.begin().await?;
        if let Some(pid) = host.pid() {
            eprintln!("Host {number} is started again on {}, as process {pid}.", host.address());
        }
    }
    Ok(())
}

fn introduce(fleet: &mut Fleet, directory: &Path) {
    eprintln!("What answers is NGINX, process {}, from these hosts:\n", fleet.balancer().pid());
    for (number, host) in (1..).zip(fleet.hosts()) {
        eprintln!("    host {number}: http://{}, process {}", host.address(), host.pid().unwrap_or_default());
    }
    eprintln!(
        "
Kill one, and nobody will notice. Logs and NGINX's configuration are in {}.
",
        directory.display()
    );
}
