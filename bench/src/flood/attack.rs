//! The attacker: distinct list requests from another loopback address, on connections that it resets.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::future::join_all;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// The attacker's address. The visitor uses 127.0.0.1.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// The attacker's requests per second, within NGINX's default limit for one address (2,000).
pub(super) const RATE: f64 = 1_500.0;

/// The max number of connections that the attacker has open at a time, and the timeout of each.
const CONNECTIONS: usize = 64;
const TIMEOUT: Duration = Duration::from_secs(1);

/// The time from a request to the reset. With an immediate reset, a host mostly drops the request before it reads from
/// Postgres.
const RESET_AFTER: Duration = Duration::from_millis(5);

/// Sends distinct list pages at a steady rate and resets each connection. Returns the number of sent requests.
pub(super) async fn run(server: SocketAddr, count: u32, pages: u32, duration: Duration) -> Result<u64> {
    let bind = TcpSocket::new_v4()?.bind((ADDRESS, 0).into());
    bind.with_context(|| format!("cannot send requests from {ADDRESS}: add it to the loopback interface"))?;
    let (start, number) = (Instant::now(), AtomicU64::new(0));
    let (count, pages) = (u64::from(count), u64::from(pages.max(1)));
    let connections = (0..CONNECTIONS).map(async |_| {
        let mut sent = 0;
        loop {
            let number = number.fetch_add(1, Ordering::Relaxed);
            let due = start + Duration::from_secs_f64(number as f64 / RATE);
            if due.max(Instant::now()) >= start + duration {
                return sent;
            }
            sleep_until(due).await;
            // After all pages of a size, the size changes, so that no two requests coalesce.
            let (page, count) = (number % pages + 1, count - number / pages % count.div_ceil(2));
            if matches!(timeout(TIMEOUT, send_and_reset(server, page, count)).await, Ok(Ok(()))) {
                sent += 1;
            }
        }
    });
    Ok(join_all(connections).await.into_iter().sum())
}

async fn send_and_reset(server: SocketAddr, page: u64, count: u64) -> io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((ADDRESS, 0).into())?;
    let mut connection = socket.connect(server).await?;
    connection.set_zero_linger()?; // resets the connection when it is dropped
    let request = format!(
        "GET /products?page={page}&count={count} HTTP/1.1\r\nhost: bench\r\naccept-encoding: gzip\r\n\r\n"
    );
    connection.write_all(request.as_bytes()).await?;
    sleep(RESET_AFTER).await;
    Ok(())
}
