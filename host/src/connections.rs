//! The clients' connections, up to a limit. At the limit, a new client replaces the connection that has been idle for
//! the longest. hyper has no such limit. Requests stay cheap: the host compares connections only at the limit.

use std::cmp::Reverse;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use hyper::server::conn::http1;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{JoinSet, yield_now};
use tokio::time::timeout;

use crate::metrics::GaugeGuard;
use crate::refusal::{Exchange, Observed};
use crate::{Host, serve_connection};

/// Pause before the next attempt to evict a connection: all have a request in flight, or an accept failed.
pub(crate) const RETRY: Duration = Duration::from_millis(10);

/// How long an idle connection stays open after shutdown begins. A request that its client has already sent arrives
/// within this time.
const IDLE_DRAIN: Duration = Duration::from_millis(250);

pub(crate) struct Connections {
    host: Arc<Host>,
    http: http1::Builder,
    max: usize,
    tasks: JoinSet<()>,
    /// All open connections, and at most `max` closed ones.
    all: Vec<Weak<Connection>>,
    /// Connections to evict, the longest idle last, each with the start of its idle time. All others became idle later.
    idle: Vec<(Instant, Weak<Connection>)>,
}

struct Connection {
    exchange: Exchange,
    eviction: Notify,
}

impl Connections {
    pub(crate) fn new(host: Arc<Host>, http: http1::Builder, max: usize) -> Self {
        Self { host, http, max, tasks: JoinSet::new(), all: Vec::new(), idle: Vec::new() }
    }

    /// Returns the number of open connections.
    pub(crate) fn count(&mut self) -> usize {
        while self.tasks.try_join_next().is_some() {}
        self.tasks.len()
    }

    /// Serves a connection in a task. At the limit, it first waits until an idle connection is evicted.
    pub(crate) async fn serve(&mut self, stream: TcpStream) {
        while self.count() >= self.max {
            if self.evict()
                && let Some(metrics) = &self.host.observers.metrics
            {
                metrics.evicted.inc();
            }
            let _ = timeout(RETRY, self.tasks.join_next()).await;
        }
        let (host, http, stream) = (Arc::clone(&self.host), self.http.clone(), Observed::new(stream));
        let connection = Arc::new(Connection { exchange: stream.exchange(), eviction: Notify::new() });
        if self.all.len() >= 2 * self.max {
            self.all.retain(|connection| connection.strong_count() > 0);
        }
        self.all.push(Arc::downgrade(&connection));
        let counted = host.observers.metrics.as_ref().map(|metrics| GaugeGuard::new(&metrics.connections));
        self.tasks.spawn(async move {
            let _counted = counted;
            tokio::select! {
                biased; // a request that has arrived comes first
                () = serve_connection(&host, http, stream) => {}
                () = connection.evicted() => {}
            }
        });
    }

    /// Closes the connection that has been without a request for the longest. Returns false if all have one in flight.
    pub(crate) fn evict(&mut self) -> bool {
        if self.idle.is_empty() {
            let open = self.all.iter().filter_map(Weak::upgrade);
            let idle = open.filter_map(|open| Some((open.exchange.idle_since()?, Arc::downgrade(&open))));
            self.idle = idle.collect();
            self.idle.sort_unstable_by_key(|(since, _)| Reverse(*since));
        }
        while let Some((since, connection)) = self.idle.pop() {
            if let Some(open) = connection.upgrade().filter(|open| open.exchange.idle_since() == Some(since))
            {
                open.eviction.notify_one();
                return true;
            }
        }
        false
    }

    /// Closes each connection as soon as it is idle, until none is left.
    pub(crate) async fn drain(&mut self) {
        let started = Instant::now();
        while self.count() > 0 {
            if started.elapsed() >= IDLE_DRAIN {
                self.evict();
            }
            let _ = timeout(RETRY, self.tasks.join_next()).await;
        }
    }
}

impl Connection {
    /// Waits until the host evicts this connection while no request is in flight.
    async fn evicted(&self) {
        loop {
            self.eviction.notified().await;
            yield_now().await; // so that the host first reads a request from the receive buffer
            if self.exchange.idle_since().is_some() {
                return;
            }
        }
    }
}

/// Sets the options that connections inherit from their listener.
pub(crate) fn set_options(listener: &TcpListener) -> std::io::Result<()> {
    let socket = socket2::SockRef::from(listener);
    // The host writes each response at once, so a delay to fill a packet only adds latency.
    socket.set_tcp_nodelay(true)?;
    // Linux doubles these. By default, it buffers up to 4 MB for a client that does not read.
    socket.set_send_buffer_size(16 * 1024)?;
    socket.set_recv_buffer_size(16 * 1024)?;
    #[cfg(target_os = "linux")]
    {
        // The segments of jumbo frames. One of loopback's, of 64 KiB, would fill the buffer and wait for a delayed ACK.
        socket.set_tcp_mss(9000)?;
        // How long a client may leave a response unread or unacknowledged before the system closes the connection.
        socket.set_tcp_user_timeout(Some(Duration::from_secs(30)))?;
    }
    Ok(())
}
