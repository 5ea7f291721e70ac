//! Load time of a product page from another region, by round-trip time and by strategy of the client.
//!
//! One uncached host is behind a proxy that delivers all bytes half a round trip later. All strategies run in turn, page
//! by page, over connections that are already open.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Result;
use futures_util::future::try_join_all;
use rig::Proxy;

use crate::env::Env;
use crate::server::{Client, Server};
use crate::turns::median;

/// Round-trip times in milliseconds.
const ROUND_TRIPS: [u64; 4] = [0, 20, 80, 200];

/// The number of pages per strategy, each of a random product.
const PAGES: usize = 15;

/// Prints the table.
pub(crate) async fn measure(env: &Env) -> Result<()> {
    let highest = env.load_all().await?;
    let host = Server::start(env.builds[0].host(env, 0)?).await?;
    let mut table = String::from(
        "| round trip | 4 sequential requests | 4 parallel requests | overview |\n|---:|---:|---:|---:|\n",
    );
    for round_trip in ROUND_TRIPS {
        let proxy = Proxy::with_round_trip(host.listen, Duration::from_millis(round_trip)).await?;
        let client = Client::new();
        let mut times = [const { Vec::new() }; 3];
        // The first page opens connections and prepares statements, so it does not count.
        for page in 0..=PAGES {
            let id = fastrand::i32(1..=highest);
            for (strategy, times) in times.iter_mut().enumerate() {
                let since = Instant::now();
                request(&client, proxy.address(), strategy, id).await?;
                if page > 0 {
                    times.push(since.elapsed().as_secs_f64() * 1e3);
                }
            }
        }
        let [sequential, parallel, overview] = times.map(|times| median(&times));
        table += &format!("| {round_trip} ms | {sequential:.1} | {parallel:.1} | {overview:.1} |\n");
    }
    println!("\n## Regions\n\nMilliseconds until a product page is complete, with gzip:\n\n{table}");
    host.stop().await
}

/// Requests a page: product, styles, related and a list, one after another or in parallel, or the overview alone.
async fn request(client: &Client, server: SocketAddr, strategy: usize, id: i32) -> Result<()> {
    let product = format!("/products/{id}");
    let of_page = ["", "/styles", "/related"].map(|part| format!("{product}{part}"));
    let paths = of_page.into_iter().chain(["/products?count=5".to_owned()]);
    match strategy {
        0 => {
            for path in paths {
                client.get(server, &path, "gzip").await?;
            }
        }
        1 => {
            try_join_all(paths.map(async |path| client.get(server, &path, "gzip").await)).await?;
        }
        _ => drop(client.get(server, &format!("{product}/overview"), "gzip").await?),
    }
    Ok(())
}
