//! `make fleet`: several hosts behind NGINX on a private Postgres.
//!
//! It restarts a host that ends, as systemd does. It stops when Postgres or NGINX ends.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use local::{Cluster, Fleet, FleetSettings, Host, LoadBalancerSettings, nginx, program};
use tokio::time::sleep;

use crate::{CatalogOptions, dev_env};

/// Time before a host that has ended is restarted: long enough to observe that no request fails.
const RESTART_DELAY: Duration = Duration::from_secs(2);

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Address and port of the load balancer
    #[arg(long, env = "LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// Number of hosts behind the load balancer
    #[arg(long, default_value = "3", value_name = "NUMBER", value_parser = clap::value_parser!(u8).range(1..=16))]
    hosts: u8,
    /// Whether NGINX and the hosts log each request, to files
    #[arg(long, env = "LOG_ACCESS", default_value = "off", value_name = "on|off", value_parser = ["on", "off"])]
    log_access: String,
    #[command(flatten)]
    catalog: CatalogOptions,
}

/// Serves until a signal arrives. It is an error if Postgres or NGINX ends first.
pub(crate) async fn serve_fleet(options: &Options) -> Result<()> {
    nginx()?;
    let serve = async |cluster: &mut Cluster, url: &str, slot: &mut Option<Fleet>| {
        serve(options, cluster, url, slot).await
    };
    dev_env::with_postgres(options.listen, &options.catalog, serve, Fleet::stop).await
}

async fn serve(options: &Options, cluster: &mut Cluster, url: &str, slot: &mut Option<Fleet>) -> Result<()> {
    let mut server = Command::new(program("atelier-host")?);
    server.env("DATABASE_URL", url);
    let log_access = options.log_access == "on";
    let load_balancer = LoadBalancerSettings { access_log: log_access, ..LoadBalancerSettings::default() };
    let settings =
        FleetSettings { hosts: options.hosts.into(), log_access, load_balancer, usual_admin_ports: true };
    let directory = cluster.directory("fleet")?;
    let fleet = slot.insert(Fleet::start(&directory, options.listen, &server, &settings).await?);
    dev_env::print_instructions(dev_env::loopback_for(options.listen), None, cluster);
    print_processes(fleet, &directory);
    let mut down_since: Vec<Option<Instant>> = vec![None; fleet.hosts().len()];
    loop {
        sleep(Duration::from_millis(100)).await;
        dev_env::ensure_postgres_runs(cluster)?;
        if let Some(status) = fleet.load_balancer().ended()? {
            let log = directory.join("error.log");
            bail!("NGINX ended unexpectedly ({status}): see {}", log.display());
        }
        for (number, (host, down_since)) in (1..).zip(fleet.hosts_mut().iter_mut().zip(&mut down_since)) {
            restart_if_ended(number, host, down_since)?;
        }
    }
}

/// Reports a host that has ended, and restarts it after [`RESTART_DELAY`].
fn restart_if_ended(number: usize, host: &mut Host, down_since: &mut Option<Instant>) -> Result<()> {
    let pid = host.pid();
    if let (Some(status), Some(pid)) = (host.ended()?, pid) {
        eprintln!("Host {number} (pid {pid}) ended unexpectedly ({status}). The other hosts keep serving.");
        *down_since = Some(Instant::now());
    }
    if down_since.is_some_and(|since| since.elapsed() >= RESTART_DELAY) {
        *down_since = None;
        host.spawn()?;
        if let Some(pid) = host.pid() {
            eprintln!("Host {number} restarted on {} (pid {pid}).", host.address());
        }
    }
    Ok(())
}

fn print_processes(fleet: &mut Fleet, directory: &Path) {
    eprintln!("NGINX (pid {}) is load-balancing across:\n", fleet.load_balancer().pid());
    for (number, host) in (1..).zip(fleet.hosts()) {
        let pid = host.pid().unwrap_or_default();
        eprintln!(
            "    host {number}: http://{}, metrics http://{}/metrics, pid {pid}",
            host.address(),
            host.admin()
        );
    }
    eprintln!(
        "
Kill a host: no read fails. Logs and the configuration of NGINX are in {}.
",
        directory.display()
    );
}
