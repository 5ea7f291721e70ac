//! A flood of list requests from one address, and the latency of a visitor from another one.
//!
//! The attacker requests distinct list pages, each on a connection of its own, and resets the connection before it has
//! the response. The control is the same attack with small pages. Both run in turn against three uncached hosts behind
//! NGINX with its default limits, so each request of the visitor reads from Postgres.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::future::join_all;
use local::{Fleet, FleetSettings, LoadBalancerSettings, free_address};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::Options;
use crate::env::Env;
use crate::oha;
use crate::turns::in_turn;

/// The products per page of the attacker's requests, in the control and in the flood.
const CONTROL: u32 = 5;
const FLOOD: u32 = 1_000;

/// The visitor's requests per second.
const VISITOR_RATE: f64 = 200.0;

/// The attacker's address. The visitor uses 127.0.0.1.
const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// The attacker's requests per second, within NGINX's default limit for one address (2,000).
const ATTACKER_RATE: f64 = 1_500.0;

/// The max number of connections that the attacker has open at a time, and the timeout of each.
const CONNECTIONS: usize = 64;
const TIMEOUT: Duration = Duration::from_secs(1);

/// The time from a request to the reset. With an immediate reset, a host mostly drops the request before it reads from
/// Postgres.
const RESET_AFTER: Duration = Duration::from_millis(5);

/// Measures the visitor's p99 during the control and the flood, and prints the table.
pub(crate) async fn measure(env: &Env, options: &Options) -> Result<()> {
    let highest = env.load_all().await?;
    let (mut fleets, mut subjects) = (Vec::new(), Vec::new());
    for build in &env.builds {
        // An empty value means the default of a deployment.
        let variables = ["RATE_LIMIT", "CONNECTION_LIMIT"].map(|name| (name, String::new())).to_vec();
        let load_balancer = LoadBalancerSettings { variables, ..LoadBalancerSettings::default() };
        let settings = FleetSettings { load_balancer, ..FleetSettings::default() };
        let folder = env.folder(&format!("fleet-{}", build.name))?;
        let fleet = Fleet::start(&folder, free_address()?, &build.host(env, 0)?, &settings).await?;
        visit(env, fleet.address(), highest, 2).await?; // opens connections and prepares statements
        subjects.push(build.subject("control", None, (fleet.address(), CONTROL)));
        subjects.push(build.subject("flood", Some(&build.label("control")), (fleet.address(), FLOOD)));
        fleets.push(fleet);
    }
    let p99 = in_turn(options.rounds, "p99 in ms", &subjects, async |&(server, count): &(_, u32)| {
        let duration = Duration::from_secs(options.seconds.into());
        let visiting = visit(env, server, highest, options.seconds);
        let pages = u32::try_from(highest)? / count;
        let (attacks, visitor) = tokio::try_join!(attack(server, count, pages, duration), visiting)?;
        ensure!(attacks > 0, "no request of the attacker was sent");
        println!("{attacks} attacks; the visitor's p50 {:.2} ms, {}", visitor.p50, visitor.failures());
        Ok(visitor.p99)
    });
    let p99 = p99.await?;
    println!(
        "\n## Flood\n\nA visitor's latency at {VISITOR_RATE}/s while another address sends {ATTACKER_RATE} list \
         requests per second; lower is better.\n\n{p99}"
    );
    for fleet in fleets {
        fleet.stop().await?;
    }
    Ok(())
}

/// Sends the visitor's requests at a steady rate.
async fn visit(env: &Env, server: SocketAddr, highest: i32, seconds: u32) -> Result<oha::Report> {
    let path = || {
        let id = fastrand::i32(1..=highest);
        match fastrand::u8(..4) {
            0 => format!("/products?page={}&count={}", 1 + id / 10, fastrand::u8(5..=10)),
            1 => format!("/products/{id}"),
            2 => format!("/products/{id}/styles"),
            _ => format!("/products/{id}/related"),
        }
    };
    oha::run(env, server, VISITOR_RATE, seconds, path).await
}

/// Sends distinct list pages at a steady rate and resets each connection. Returns the number of sent requests.
async fn attack(server: SocketAddr, count: u32, pages: u32, duration: Duration) -> Result<u64> {
    let bind = TcpSocket::new_v4()?.bind((ATTACKER, 0).into());
    bind.with_context(|| format!("cannot send requests from {ATTACKER}: add it to the loopback interface"))?;
    let (start, number) = (Instant::now(), AtomicU64::new(0));
    let (count, pages) = (u64::from(count), u64::from(pages.max(1)));
    let connections = (0..CONNECTIONS).map(async |_| {
        let mut sent = 0;
        loop {
            let number = number.fetch_add(1, Ordering::Relaxed);
            let due = start + Duration::from_secs_f64(number as f64 / ATTACKER_RATE);
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
    socket.bind((ATTACKER, 0).into())?;
    let mut connection = socket.connect(server).await?;
    connection.set_zero_linger()?; // resets the connection when it is dropped
    let request = format!(
        "GET /products?page={page}&count={count} HTTP/1.1\r\nhost: bench\r\naccept-encoding: gzip\r\n\r\n"
    );
    connection.write_all(request.as_bytes()).await?;
    sleep(RESET_AFTER).await;
    Ok(())
}
