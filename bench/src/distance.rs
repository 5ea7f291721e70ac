//! A TCP proxy that simulates a distant server: it delivers all bytes half a round trip later.
//!
//! ```text
//! client ──> read at t ──> in flight, in order ──> written at t + half a round trip ──> server
//!        <── the same in the other direction                                       <──
//! ```
//! It adds latency and no bandwidth limit: it reads further bytes while others are in flight. A new connection costs
//! one round trip before its first byte, as a TCP handshake does. The operating system connects the client at once, so
//! the proxy keeps the bytes of that round trip until it has passed. A TLS handshake consists of ordinary bytes.
//!
//! The proxy can stop forwarding, and reset connections. Both affect only the open connections, as the loss of a
//! packet or of a route does. A reset reaches the other end at once. The proxy does not simulate retransmissions,
//! bandwidth, or TCP slow start, which sends 14 KB in the first round trip of a connection and twice as much in each
//! further one.
//!
//! Delivery is never early, and late by some tenths of a millisecond.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet, spawn_blocking};

/// The max number of bytes in one read.
const CHUNK_BYTES: usize = 16 * 1024;

/// The max number of chunks in flight in one direction of a connection. It limits memory to 16 MB.
const MAX_CHUNKS_IN_FLIGHT: usize = 1024;

/// A proxy to one server, on its own local port. Dropping it closes its connections.
#[derive(Debug)]
pub struct DelayProxy {
    address: SocketAddr,
    state: watch::Sender<LinkState>,
    task: AbortHandle,
}

/// The link's state. Connections have ascending numbers.
#[derive(Clone, Copy, Debug, Default)]
struct LinkState {
    /// Accepted connections.
    connections: u64,
    /// Connections with a lower number forward nothing.
    stalled_below: u64,
    /// Connections with a lower number are reset.
    reset_below: u64,
}

impl DelayProxy {
    /// Starts a proxy to a server with this round-trip time. Needs a running tokio runtime.
    ///
    /// # Errors
    /// The operating system's error if no port is free.
    pub async fn to(server: SocketAddr, round_trip: Duration) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let state = watch::Sender::default();
        let task = tokio::spawn(serve(listener, server, round_trip, state.clone())).abort_handle();
        Ok(Self { address, state, task })
    }

    /// Returns the local address of the proxy.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops forwarding in both directions on all open connections. The proxy keeps the bytes that it reads.
    pub fn stop_forwarding(&self) {
        self.state.send_modify(|state| state.stalled_below = state.connections);
    }

    /// Resumes forwarding, first of the kept bytes.
    pub fn resume_forwarding(&self) {
        self.state.send_modify(|state| state.stalled_below = 0);
    }

    /// Resets all open connections at both ends. Bytes in flight are lost.
    pub fn reset_connections(&self) {
        self.state.send_modify(|state| state.reset_below = state.connections);
    }
}

impl Drop for DelayProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Accepts connections until the proxy is dropped, which ends all of them.
async fn serve(
    listener: TcpListener,
    server: SocketAddr,
    round_trip: Duration,
    state: watch::Sender<LinkState>,
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
        let direction = Direction {
            number,
            open_at: Instant::now() + round_trip,
            delay: round_trip / 2,
            state: state.subscribe(),
        };
        connections.spawn(connect(client, server, direction));
    }
}

/// Connects to the server and relays. If one end fails, the proxy resets the other.
async fn connect(mut client: TcpStream, server: SocketAddr, direction: Direction) {
    let open_at = direction.open_at;
    let Ok(mut server) = TcpStream::connect(server).await else {
        // If the sleep fails, the client sees the reset earlier.
        let _ = sleep_until(open_at).await;
        let _ = client.set_zero_linger();
        return;
    };
    let forwarded = relay(&mut client, &mut server, direction).await;
    if forwarded.is_err() {
        // If this fails, dropping the streams closes them without a reset.
        let _ = (client.set_zero_linger(), server.set_zero_linger());
    }
}

async fn relay(client: &mut TcpStream, server: &mut TcpStream, direction: Direction) -> io::Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let (number, mut state) = (direction.number, direction.state.clone());
    let reset = state.wait_for(|state| number < state.reset_below);
    let to_server = forward(from_client, to_server, direction.clone());
    let to_client = forward(from_server, to_client, direction.clone());
    tokio::select! {
        forwarded = async { tokio::try_join!(to_server, to_client) } => forwarded.map(drop),
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
    state: watch::Receiver<LinkState>,
}

impl Direction {
    /// Returns the delivery time of bytes that are read at `read_at`.
    fn due(&self, read_at: Instant) -> Instant {
        read_at.max(self.open_at) + self.delay
    }
}

/// Reads chunks, including the end of the stream, and writes each one after its delay.
async fn forward(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut direction: Direction,
) -> io::Result<()> {
    let (send, mut receive) = mpsc::channel::<(Instant, Vec<u8>)>(MAX_CHUNKS_IN_FLIGHT);
    let delays = direction.clone();
    let read = async move {
        loop {
            let mut chunk = vec![0; CHUNK_BYTES];
            let length = from.read(&mut chunk).await?;
            chunk.truncate(length);
            let due = delays.due(Instant::now());
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
