//! The connections of a host: it picks one for each statement, by the status of the servers and the load of the
//! connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::time::timeout;

use super::closing::Closer;
use super::connection::{Connection, startup_options};
use super::reconnect::{Reconnector, Slot};
use super::replicas::Replicas;
use super::statistics::{ConnectionState, ServerMetrics, ServerStatistics};
use super::{ConnectOptions, Error, Routing, Settings};

/// A connection pool.
#[derive(Debug)]
pub(super) struct Pool {
    /// The first connection to each server, then the second to each, and so on.
    slots: Vec<Arc<Slot>>,
    /// The host and port of each server, and what is measured of it.
    servers: Vec<(String, ServerMetrics)>,
    pub(super) replicas: Arc<Replicas>,
    /// Counts statements, to spread them over the servers.
    next: AtomicUsize,
    /// Changes when a connection comes up.
    connected: Arc<watch::Sender<()>>,
    closer: Closer,
}

impl Pool {
    /// Starts this number of connections to each server, and reconnects them until the pool is closed or dropped. Needs
    /// a running tokio runtime.
    pub(super) fn start(settings: &Settings, routing: Routing, connections: usize) -> Self {
        let (connected, closer) = (Arc::new(watch::Sender::default()), Closer::new());
        let name = if routing == Routing::Primary { "atelier-cart" } else { "atelier" };
        let servers = startup_options(settings, name).servers();
        let metrics: Vec<(String, ServerMetrics)> =
            servers.iter().map(|server| (server.host_and_port(), ServerMetrics::default())).collect();
        // Servers alternate, so that consecutive slots belong to different servers.
        let targets: Vec<(usize, ConnectOptions)> =
            std::iter::repeat_n(servers.into_iter().enumerate(), connections).flatten().collect();
        let replicas = Arc::new(Replicas::new(routing, targets.len()));
        let start = |(number, (server, options))| {
            let slot: Arc<Slot> = Arc::default();
            let reconnector = Reconnector {
                settings: settings.clone(),
                options,
                slot: Arc::clone(&slot),
                number,
                server,
                metrics: metrics.get(server).map(|(_, metrics)| metrics.clone()).unwrap_or_default(),
                replicas: Arc::clone(&replicas),
                connected: Arc::clone(&connected),
            };
            tokio::spawn(reconnector.run(closer.subscribe()));
            slot
        };
        let slots = targets.into_iter().enumerate().map(start).collect();
        Self { slots, servers: metrics, replicas, next: AtomicUsize::new(0), connected, closer }
    }

    /// Waits up to `limit` until a connection is up, and returns whether one is.
    pub(super) async fn wait_until_connected(&self, limit: Duration) -> bool {
        let mut connected = self.connected.subscribe();
        let is_connected = async {
            while self.least_busy(None).is_none() {
                let _ = connected.changed().await; // fails only without `self.connected`
            }
        };
        timeout(limit, is_connected).await.is_ok()
    }

    /// Closes the connections, gracefully if they can. Later requests fail at once.
    pub(super) async fn close(&self) {
        self.closer.close().await;
    }

    /// Returns a healthy connection other than `except`.
    pub(super) async fn connection(
        &self,
        except: Option<&Arc<Connection>>,
    ) -> Result<Arc<Connection>, Error> {
        if self.closer.is_closing() {
            return Err(Error::NOT_CONNECTED);
        }
        self.healthy(except).await.ok_or(Error::NOT_CONNECTED)
    }

    /// Returns the connections to each server, and the number of statements in flight.
    pub(super) fn statistics(&self) -> (Vec<ServerStatistics>, usize) {
        let mut in_flight = 0;
        let mut state = |(number, slot): (usize, &Arc<Slot>)| {
            let Some(live) = slot.live() else { return ConnectionState::Down };
            in_flight += live.health().in_flight();
            match self.replicas.routing() {
                _ if live.health().is_stalled() => ConnectionState::Stalled,
                _ if self.replicas.is_eligible(number) => ConnectionState::Up,
                Routing::UpToDate => ConnectionState::Lagging,
                Routing::Primary => ConnectionState::ReadOnly,
            }
        };
        let slots = || self.slots.iter().enumerate();
        let servers = self.servers.iter().enumerate().map(|(server, (name, metrics))| ServerStatistics {
            server: name.clone(),
            connections: slots().skip(server).step_by(self.servers.len()).map(&mut state).collect(),
            reconnects: metrics.reconnects.get(),
            statements: metrics.statements.clone(),
        });
        (servers.collect(), in_flight)
    }

    /// Returns a connection other than `except` that was used recently or has responded to a probe.
    async fn healthy(&self, except: Option<&Arc<Connection>>) -> Option<Arc<Connection>> {
        let first = self.least_busy(except)?;
        if first.probe_if_idle().await {
            return Some(first);
        }
        // The fault that ended one connection may have ended all. Connections that need no probe come first. The others
        // are probed at the same time, so that it takes no longer than one probe.
        let (idle, active): (Vec<_>, Vec<_>) =
            self.eligible(0, except).partition(|live| live.health().needs_probe());
        if let Some(connection) = active.into_iter().min_by_key(|live| shares_server(live, except)) {
            return Some(connection);
        }
        let are_up = join_all(idle.iter().map(|connection| connection.probe_if_idle())).await;
        idle.into_iter().zip(are_up).find_map(|(connection, is_up)| is_up.then_some(connection))
    }

    /// Returns the connection with the fewest statements in flight, other than `except`. Statements of a connection run
    /// one after another, so a new one waits for all of those. Connections that stalled, and those to the server of
    /// `except`, which may share its fault, come last. Among equals, the servers take turns; within a server the first
    /// connection wins, because a Postgres process that has just responded is faster than one that was idle.
    fn least_busy(&self, except: Option<&Arc<Connection>>) -> Option<Arc<Connection>> {
        let server = self.next.fetch_add(1, Ordering::Relaxed) % self.servers.len().max(1);
        self.eligible(server, except).min_by_key(|live| {
            let health = live.health();
            (shares_server(live, except), health.is_stalled(), health.in_flight())
        })
    }

    /// Returns each connection that is up and eligible, except `except`, from the slot `first` on and around.
    fn eligible(
        &self,
        first: usize,
        except: Option<&Arc<Connection>>,
    ) -> impl Iterator<Item = Arc<Connection>> {
        let connections = self.slots.len();
        (0..connections).filter_map(move |step| {
            let number = first.wrapping_add(step) % connections;
            let live = self.slots.get(number)?.live()?;
            let is_other = except.is_none_or(|except| !Arc::ptr_eq(except, &live));
            (is_other && self.replicas.is_eligible(number)).then_some(live)
        })
    }
}

/// Returns whether two connections are to the same server.
fn shares_server(one: &Arc<Connection>, other: Option<&Arc<Connection>>) -> bool {
    other.is_some_and(|other| one.server() == other.server())
}
