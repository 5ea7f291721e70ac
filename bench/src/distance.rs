//! A long line to a server that is near: a proxy for TCP that delivers what it is given half a round trip later.
//!
//! ```text
//! client ──> taken at t ──> in flight, in order ──> delivered at t + half a round trip ──> server
//!        <── and the same on the way back                                              <──
//! ```
//! It delays and does not hold up: while bytes are in flight more are taken, as many as a line without a limit of
//! bandwidth would carry. A connection costs a round trip before its first byte leaves, as a handshake does: the
//! operating system has the client connected at once, so what it sends within that round trip is kept until it has
//! passed. A handshake of TLS is bytes like others, and pays for itself where there is one.
//!
//! The line can fall silent, and cut connections off; both concern the connections that there are at that moment, as the
//! loss of a packet or of a route does. The other end hears of a connection that is cut off at once. Not to be had are
//! packets that are lost and sent again, bandwidth, and the slow start of TCP, which sends 14 KB in the first round trip
//! of a connection and twice as much in each one after it.
//!
//! Delivery is never early, and late by some tenths of a millisecond.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet, spawn_blocking};

/// Bytes that are taken at a time, at most.
const PIECE: usize = 16 * 1024;

/// Pieces that are in flight on one way of a connection, at most: up to 16 MB, so that it keeps no more in memory.
const IN_FLIGHT: usize = 1024;

/// A line to one server, from a port of its own on this machine. Dropping it cuts its connections off.
#[derive(Debug)]
pub struct Line {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
    task: AbortHandle,
}

/// What befalls connections, which are numbered as they come.
#[derive(Clone, Copy, Debug, Default)]
struct Weather {
    /// How many there have been.
    connections: u64,
    /// Those with a lower number are silent.
    silent_below: u64,
    /// Those with a lower number are cut off.
    cut_off_below: u64,
}

impl Line {
    /// A line to a server that is this round trip away. Needs a running tokio runtime.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn to(server: SocketAddr, round_trip: Duration) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let weather = watch::Sender::default();
        let task = tokio::spawn(serve(listener, server, round_trip, weather.clone())).abort_handle();
        Ok(Self { address, weather, task })
    }

    /// Where the near end of it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Has nothing delivered any more, either way, on the connections that there are. What they are given is kept.
    pub fn fall_silent(&self) {
        self.weather.send_modify(|weather| weather.silent_below = weather.connections);
    }

    /// Has what was kept delivered, and what comes from now on.
    pub fn speak_again(&self) {
        self.weather.send_modify(|weather| weather.silent_below = 0);
    }

    /// Resets the connections that there are, at both ends. What is in flight is lost.
    pub fn cut_off(&self) {
        self.weather.send_modify(|weather| weather.cut_off_below = weather.connections);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Takes connections for as long as the line is there; all of them end with it.
async fn serve(
    listener: TcpListener,
    server: SocketAddr,
    round_trip: Duration,
    weather: watch::Sender<Weather>,
) {
    let mut connections = JoinSet::new();
    loop {
        // A client that has gone before it was taken is no reason to stop.
        let Ok((client, _)) = listener.accept().await else { continue };
        while connections.try_join_next().is_some() {}
        let mut number = 0;
        weather.send_modify(|weather| {
            number = weather.connections;
            weather.connections += 1;
        });
        let way = Way {
            number,
            open_at: Instant::now() + round_trip,
            delay: round_trip / 2,
            weather: weather.subscribe(),
        };
        connections.spawn(connect(client, server, way));
    }
}

/// Carries what a client and the server have for each other. A connection that fails at one end is reset at the other.
async fn connect(mut client: TcpStream, server: SocketAddr, way: Way) {
    let open_at = way.open_at;
    let Ok(mut server) = TcpStream::connect(server).await else {
        // The client is told at once where this fails.
        let _ = sleep_until(open_at).await;
        let _ = client.set_zero_linger();
        return;
    };
    let carried = both_ways(&mut client, &mut server, way).await;
    if carried.is_err() {
        // Closed without more ado where this fails, which is an end too.
        let _ = (client.set_zero_linger(), server.set_zero_linger());
    }
}

async fn both_ways(client: &mut TcpStream, server: &mut TcpStream, way: Way) -> io::Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let (number, mut weather) = (way.number, way.weather.clone());
    let cut_off = weather.wait_for(|weather| number < weather.cut_off_below);
    tokio::select! {
        carried = async {
            tokio::try_join!(carry(from_client, to_server, way.clone()), carry(from_server, to_client, way.clone()))
        } => carried.map(drop),
        _ = cut_off => Err(io::ErrorKind::ConnectionReset.into()),
    }
}

/// One way of a connection.
#[derive(Clone, Debug)]
struct Way {
    number: u64,
    /// When the client hears that it is connected: nothing is on its way before.
    open_at: Instant,
    delay: Duration,
    weather: watch::Receiver<Weather>,
}

impl Way {
    /// When what is taken at this moment is to be delivered.
    fn due(&self, taken: Instant) -> Instant {
        taken.max(self.open_at) + self.delay
    }
}

/// Takes what comes, end included, and delivers each piece when its time has passed.
async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut way: Way,
) -> io::Result<()> {
    let (depart, mut arrive) = mpsc::channel::<(Instant, Vec<u8>)>(IN_FLIGHT);
    let timetable = way.clone();
    let take = async move {
        loop {
            let mut piece = vec![0; PIECE];
            let length = from.read(&mut piece).await?;
            piece.truncate(length);
            let due = timetable.due(Instant::now());
            if depart.send((due, piece)).await.is_err() || length == 0 {
                return Ok(());
            }
        }
    };
    let deliver = async {
        while let Some((due, piece)) = arrive.recv().await {
            sleep_until(due).await?;
            let number = way.number;
            let speaks = way.weather.wait_for(|weather| number >= weather.silent_below).await;
            speaks.map_err(io::Error::other)?;
            if piece.is_empty() {
                return to.shutdown().await;
            }
            to.write_all(&piece).await?;
        }
        Ok(())
    };
    tokio::try_join!(take, deliver).map(drop)
}

/// A sleep of a thread, which Linux ends within tenths of a millisecond. Those of tokio end up to two later, and a round
/// trip has two of them.
async fn sleep_until(due: Instant) -> io::Result<()> {
    let left = due.saturating_duration_since(Instant::now());
    if !left.is_zero() {
        spawn_blocking(move || std::thread::sleep(left)).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
