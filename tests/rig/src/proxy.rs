//! A proxy in front of a server, which adds latency, counts traffic, and stalls or resets connections.
//!
//! ```text
//! client ──> read at t ──> in flight, in order ──> written at t + half a round trip ──> server
//!        <── the same in the other direction                                       <──
//! ```
//! Latency limits no bandwidth: the proxy reads further bytes while others are in flight. A new connection costs one
//! round trip before its first byte, as a TCP handshake does. The operating system connects the client at once, so the
//! proxy keeps the bytes of that round trip until it has passed. Delivery is never early, and late by some tenths of a
//! millisecond.
//!
//! Stalls and resets affect only the open connections, as the loss of a packet or of a route does. The proxy does not
//! simulate retransmissions, bandwidth, or TCP slow start.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet, spawn_blocking};

/// The max number of bytes in one read.
const CHUNK_BYTES: usize = 16 * 1024;

/// The max number of chunks in flight in one direction of a connection. It limits memory to 16 MB.
const MAX_CHUNKS_IN_FLIGHT: usize = 1024;

/// The address of a proxy's server.
#[derive(Clone, Debug)]
pub enum Server {
    /// A TCP server.
    Tcp(SocketAddr),
    /// A server on a unix socket, such as a private Postgres.
    Unix(PathBuf),
}

impl From<SocketAddr> for Server {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl From<PathBuf> for Server {
    fn from(socket: PathBuf) -> Self {
        Self::Unix(socket)
    }
}

/// The traffic over all connections of a proxy.
#[derive(Clone, Debug, Default)]
pub struct Traffic {
    /// The number of accepted connections.
    pub connections: usize,
    /// The number of bytes that clients have received.
    pub received: usize,
    /// The bytes that clients have sent, except those on stalled connections.
    pub forwarded: Vec<u8>,
    /// The bytes that clients have sent on stalled connections.
    pub held: Vec<u8>,
}

/// A proxy to one server, on its own local TCP port. Dropping it closes its connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    state: watch::Sender<State>,
    traffic: Arc<Mutex<Traffic>>,
    task: AbortHandle,
}

/// The state of the connections, which have ascending numbers.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// Accepted connections.
    connections: u64,
    /// Connections with a lower number forward nothing.
    stalled_below: u64,
    /// Connections with a lower number are reset.
    reset_below: u64,
}

impl Proxy {
    /// Starts a proxy without latency. Needs a running tokio runtime, as long as the proxy is used.
    ///
    /// # Errors
    /// The operating system's error if no port is free.
    pub async fn to(server: impl Into<Server>) -> io::Result<Self> {
        Self::with_round_trip(server, Duration::ZERO).await
    }

    /// Starts a proxy that simulates a distant server with this round-trip time.
    ///
    /// # Errors
    /// As [`Proxy::to`].
    pub async fn with_round_trip(server: impl Into<Server>, round_trip: Duration) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (state, traffic) = (watch::Sender::default(), Arc::default());
        let serving = serve(listener, server.into(), round_trip, state.clone(), Arc::clone(&traffic));
        Ok(Self { address, state, traffic, task: tokio::spawn(serving).abort_handle() })
    }

    /// Returns the local address of the proxy.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops forwarding in both directions on all open connections, and leaves them open. The proxy keeps the bytes that
    /// it reads. Without [`Proxy::resume`], they are black holes.
    pub fn stall(&self) {
        self.state.send_modify(|state| state.stalled_below = state.connections);
    }

    /// Resumes forwarding, first of the kept bytes.
    pub fn resume(&self) {
        self.state.send_modify(|state| state.stalled_below = 0);
    }

    /// Resets all open connections. Bytes in flight are lost.
    pub fn reset(&self) {
        self.state.send_modify(|state| state.reset_below = state.connections);
    }

    /// Reads the traffic up to now.
    pub fn traffic<T>(&self, read: impl FnOnce(&Traffic) -> T) -> T {
        read(&self.traffic.lock().unwrap())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Accepts connections until the proxy is dropped, which ends all of them.
async fn serve(
    listener: TcpListener,
    server: Server,
    round_trip: Duration,
    state: watch::Sender<State>,
    traffic: Arc<Mutex<Traffic>>,
) {
    let mut connections = JoinSet::new();
    loop {
        // A client that disconnects before `accept` is no reason to stop.
        let Ok((client, _)) = listener.accept().await else { continue };
        while connections.try_join_next().is_some() {}
        let mut number = 0;
        state.send_modify(|state| {
            number = state.connections;
            state.connections += 1;
        });
        traffic.lock().unwrap().connections += 1;
        let open_at = Instant::now() + round_trip;
        let direction = Direction { number, open_at, delay: round_trip / 2, state: state.subscribe() };
        connections.spawn(connect(client, server.clone(), direction, Arc::clone(&traffic)));
    }
}

/// Connects to the server and relays. If that fails, the proxy resets the client's connection and closes the server's.
async fn connect(mut client: TcpStream, server: Server, direction: Direction, traffic: Arc<Mutex<Traffic>>) {
    let open_at = direction.open_at;
    let relayed = async {
        client.set_nodelay(true)?;
        match server {
            Server::Tcp(address) => {
                let server = TcpStream::connect(address).await?;
                server.set_nodelay(true)?;
                relay(&mut client, server, direction, traffic).await
            }
            Server::Unix(path) => {
                relay(&mut client, UnixStream::connect(path).await?, direction, traffic).await
            }
        }
    };
    if relayed.await.is_err() {
        // If this sleep fails, the client sees the reset earlier; if the next call fails, a close without a reset.
        let _ = sleep_until(open_at).await;
        let _ = client.set_zero_linger();
    }
}

async fn relay(
    client: &mut TcpStream,
    server: impl AsyncRead + AsyncWrite,
    direction: Direction,
    traffic: Arc<Mutex<Traffic>>,
) -> io::Result<()> {
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = tokio::io::split(server);
    let (number, mut state) = (direction.number, direction.state.clone());
    let reset = state.wait_for(|state| number < state.reset_below);
    let requests = forward(from_client, to_server, direction.clone(), |bytes, is_stalled| {
        let mut traffic = traffic.lock().unwrap();
        let sent = if is_stalled { &mut traffic.held } else { &mut traffic.forwarded };
        sent.extend_from_slice(bytes);
    });
    let responses = forward(from_server, to_client, direction, |bytes, is_stalled| {
        if !is_stalled {
            traffic.lock().unwrap().received += bytes.len();
        }
    });
    tokio::select! {
        forwarded = async { tokio::try_join!(requests, responses) } => forwarded.map(drop),
        _ = reset => Err(io::ErrorKind::ConnectionReset.into()),
    }
}

/// One direction of a connection.
#[derive(Clone, Debug)]
struct Direction {
    number: u64,
    /// The end of the simulated handshake: no byte leaves before.
    open_at: Instant,
    delay: Duration,
    state: watch::Receiver<State>,
}

impl Direction {
    /// Returns the delivery time of bytes that are read at `read_at`.
    fn due(&self, read_at: Instant) -> Instant {
        read_at.max(self.open_at) + self.delay
    }

    fn is_stalled(&self) -> bool {
        self.number < self.state.borrow().stalled_below
    }
}

/// Reads chunks, including the end of the stream, and writes each one after its delay. Records each chunk that is read,
/// and whether the connection is stalled then.
async fn forward(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut direction: Direction,
    record: impl Fn(&[u8], bool),
) -> io::Result<()> {
    let (send, mut receive) = mpsc::channel::<(Instant, Vec<u8>)>(MAX_CHUNKS_IN_FLIGHT);
    let at_read = direction.clone();
    let read = async move {
        loop {
            let mut chunk = vec![0; CHUNK_BYTES];
            let length = from.read(&mut chunk).await?;
            chunk.truncate(length);
            record(&chunk, at_read.is_stalled());
            let due = at_read.due(Instant::now());
            if send.send((due, chunk)).await.is_err() || length == 0 {
                return Ok(());
            }
        }
    };
    let write = async {
        while let Some((due, chunk)) = receive.recv().await {
            sleep_until(due).await?;
            let number = direction.number;
            let flows = direction.state.wait_for(|state| number >= state.stalled_below).await;
            flows.map_err(io::Error::other)?;
            if chunk.is_empty() {
                return to.shutdown().await;
            }
            to.write_all(&chunk).await?;
        }
        Ok(())
    };
    tokio::try_join!(read, write).map(drop)
}

/// Sleeps in a thread: Linux ends such a sleep within tenths of a millisecond. A tokio sleep ends up to 2 ms late, and
/// a round trip has two sleeps.
async fn sleep_until(due: Instant) -> io::Result<()> {
    let left = due.saturating_duration_since(Instant::now());
    if !left.is_zero() {
        spawn_blocking(move || std::thread::sleep(left)).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
