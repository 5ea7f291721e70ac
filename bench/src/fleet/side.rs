//! One side of a comparison: three servers, and NGINX in front of them.

use std::net::SocketAddr;
use std::process::Command;
use std::thread::available_parallelism;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bench::open_loop::{Ids, Pace, Plan, Report, Requests, Route};
use local::{Fleet, FleetSettings, Host, free_address};

use super::Run;
use crate::server::{hello, host};
use crate::stage::CATALOG;

/// As many as a deployment has.
const SERVERS: usize = 3;

/// The sides: servers with a fixed body, hosts that cache nothing, hosts that have the whole catalog in their cache.
pub(super) const CEILING: &str = "baseline";
pub(super) const UNCACHED: &str = "uncached";
pub(super) const CACHED: &str = "cached";

/// Three servers behind NGINX.
pub(super) struct Side {
    pub(super) name: &'static str,
    fleet: Fleet,
}

impl Side {
    /// Starts hosts, each with a cache of `cache_bytes`.
    pub(super) async fn of_hosts(name: &'static str, run: &Run<'_>, cache_bytes: u64) -> Result<Self> {
        let server = host(run.stage, CATALOG, cache_bytes)?;
        Ok(Self { name, fleet: fleet(run, name, &server, SERVERS).await? })
    }

    /// Starts servers with a fixed body of `bytes`, for this encoding.
    pub(super) async fn of_fixed(run: &Run<'_>, coding: &str, bytes: u64) -> Result<Self> {
        let mut server = hello(bytes)?;
        // As many as a fleet gives its hosts.
        let threads = available_parallelism().map_or(1, |all| (all.get() / SERVERS).max(1));
        server.env("TOKIO_WORKER_THREADS", threads.to_string());
        let fleet = fleet(run, &format!("{CEILING} {coding}"), &server, SERVERS).await?;
        Ok(Self { name: CEILING, fleet })
    }

    /// Where NGINX answers.
    pub(super) fn address(&self) -> SocketAddr {
        self.fleet.address()
    }

    /// One of the servers behind it.
    pub(super) fn a_server(&self) -> Result<&Host> {
        self.fleet.hosts().first().context("a fleet without hosts")
    }

    /// Asks each server for the styles of every product.
    pub(super) async fn warm(&self, run: &Run<'_>) -> Result<()> {
        for host in self.fleet.hosts() {
            ask_for_all(host.address(), run.highest).await?;
        }
        Ok(())
    }

    pub(super) async fn stop(self) -> Result<()> {
        Ok(self.fleet.stop().await?)
    }
}

/// Starts servers behind NGINX without an access log. They write their output into a folder of this name.
pub(super) async fn fleet(run: &Run<'_>, name: &str, server: &Command, hosts: usize) -> Result<Fleet> {
    let directory = run.stage.directory(&name.replace(' ', "-"))?;
    let settings = FleetSettings { hosts, ..FleetSettings::default() };
    Ok(Fleet::start(&directory, free_address()?, server, &settings).await?)
}

/// Asks a server for the styles of every product, once each.
pub(super) async fn ask_for_all(server: SocketAddr, highest: u32) -> Result<()> {
    let requests = Requests { ids: Ids::Ascending, ..Requests::of(Route::Styles, highest) };
    well_answered(so_many(server, highest.into(), requests)).await.map(drop)
}

/// A plan of `count` requests in a closed loop, without a timeout in practice.
pub(super) fn so_many(server: SocketAddr, count: u64, requests: Requests) -> Plan {
    let hours = Duration::from_hours(24);
    Plan { at_most: count, timeout: hours, ..Plan::new(server, Pace::Closed, hours, requests) }
}

/// Carries a plan out; an error if any request failed.
pub(super) async fn well_answered(plan: Plan) -> Result<Report> {
    let server = plan.server;
    let report = carry_out(plan).await?;
    ensure!(report.failed() == 0, "{server} failed some requests: {:?}", report.failures);
    Ok(report)
}

/// Carries a plan out on a thread of its own.
pub(super) async fn carry_out(plan: Plan) -> Result<Report> {
    let server = plan.server;
    tokio::task::spawn_blocking(move || plan.run()).await?.with_context(|| format!("cannot ask {server}"))
}
