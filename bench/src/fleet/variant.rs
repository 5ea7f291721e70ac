//! A variant in the comparison: three servers behind the load balancer.

use std::net::SocketAddr;
use std::process::Command;
use std::thread::available_parallelism;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bench::open_loop::{Ids, LoadProfile, Rate, Report, Requests, Route};
use local::{Fleet, FleetSettings, Host, free_address};

use super::Run;
use crate::server::baseline;

/// The number of servers, as in a deployment.
const SERVERS: usize = 3;

/// The variants: bare servers with a fixed body, hosts without a cache, hosts with the whole catalog in their cache.
pub(super) const BASELINE: &str = "baseline";
pub(super) const UNCACHED: &str = "uncached";
pub(super) const CACHED: &str = "cached";

/// The same variants with the hosts of the base commit.
pub(super) const BASE_UNCACHED: &str = "base, uncached";
pub(super) const BASE_CACHED: &str = "base, cached";

/// A running variant: three servers behind the load balancer.
pub(super) struct Variant {
    pub(super) name: &'static str,
    fleet: Fleet,
}

impl Variant {
    /// Starts hosts with a cache of `cache_bytes` each.
    pub(super) async fn of_hosts(name: &'static str, run: &Run<'_>, host: &Command) -> Result<Self> {
        Ok(Self { name, fleet: fleet(run, name, host, SERVERS).await? })
    }

    /// Starts bare servers with a fixed body of `bytes`, the average size in this encoding.
    pub(super) async fn of_fixed(run: &Run<'_>, coding: &str, bytes: u64) -> Result<Self> {
        let mut server = baseline(bytes)?;
        // The same number of threads as the hosts of a fleet.
        let threads = available_parallelism().map_or(1, |all| (all.get() / SERVERS).max(1));
        server.env("TOKIO_WORKER_THREADS", threads.to_string());
        let fleet = fleet(run, &format!("{BASELINE} {coding}"), &server, SERVERS).await?;
        Ok(Self { name: BASELINE, fleet })
    }

    /// Returns the address of the load balancer.
    pub(super) fn address(&self) -> SocketAddr {
        self.fleet.address()
    }

    /// Returns one of its servers.
    pub(super) fn a_server(&self) -> Result<&Host> {
        self.fleet.hosts().first().context("the fleet has no hosts")
    }

    /// Requests the styles of each product from each server, which fills the caches.
    pub(super) async fn warm(&self, run: &Run<'_>) -> Result<()> {
        for host in self.fleet.hosts() {
            request_all_styles(host.address(), run.highest).await?;
        }
        Ok(())
    }

    pub(super) async fn stop(self) -> Result<()> {
        Ok(self.fleet.stop().await?)
    }
}

/// Starts servers behind the load balancer without access logs. Their output goes to a folder of this name.
pub(super) async fn fleet(run: &Run<'_>, name: &str, server: &Command, hosts: usize) -> Result<Fleet> {
    let directory = run.env.directory(&name.replace(' ', "-"))?;
    let settings = FleetSettings { hosts, ..FleetSettings::default() };
    Ok(Fleet::start(&directory, free_address()?, server, &settings).await?)
}

/// Requests the styles of each product once from a server.
pub(super) async fn request_all_styles(server: SocketAddr, highest: u32) -> Result<()> {
    let requests = Requests { ids: Ids::Ascending, ..Requests::of(Route::Styles, highest) };
    run_without_failures(closed_loop(server, highest.into(), requests)).await.map(drop)
}

/// Returns a load profile of `count` requests in a closed loop, with a timeout that never applies.
pub(super) fn closed_loop(server: SocketAddr, count: u64, requests: Requests) -> LoadProfile {
    let hours = Duration::from_hours(24);
    LoadProfile {
        max_requests: count,
        timeout: hours,
        ..LoadProfile::new(server, Rate::ClosedLoop, hours, requests)
    }
}

/// Runs a load profile. It is an error if a request fails.
pub(super) async fn run_without_failures(profile: LoadProfile) -> Result<Report> {
    let server = profile.server;
    let report = run_profile(profile).await?;
    ensure!(report.failed() == 0, "some requests to {server} failed: {:?}", report.failures);
    Ok(report)
}

/// Runs a load profile on a separate thread.
pub(crate) async fn run_profile(profile: LoadProfile) -> Result<Report> {
    let server = profile.server;
    tokio::task::spawn_blocking(move || profile.run())
        .await?
        .with_context(|| format!("cannot send requests to {server}"))
}
