//! The metrics of a host: each one changes with what it measures, and no label has a text of a client.

// In helpers too: clippy does not treat them as tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use rig::{Cluster, Database, Settings, until};
use support::{TestHost, publish, read_all, request, send};
use tokio::io::AsyncReadExt;

const PRODUCT: &str = "GET /products/1 HTTP/1.1";

/// Returns the number of requests with these labels.
fn requests(host: &TestHost, route: &str, method: &str, status: u16) -> Option<f64> {
    host.metric(&format!(
        "http_server_request_duration_seconds_count{{http_route=\"{route}\",http_request_method=\"{method}\",\
         http_response_status_code=\"{status}\"}}"
    ))
}

async fn served() -> (Database, TestHost) {
    let database = Database::create().await.unwrap();
    publish(&database).await;
    let host = TestHost::start(&database, &[]).await;
    (database, host)
}

#[tokio::test]
async fn requests_are_counted_by_route_method_and_status_and_no_label_comes_from_a_client() {
    let (_database, host) = served().await;
    let secret = "user-agent: hostile-agent\r\nauthorization: hostile-token";
    for head in [
        "GET /products/71012/styles?hostile=query HTTP/1.1",
        "GET /products/71013/styles HTTP/1.1",
        "GET /hostile/path HTTP/1.1",
        "HOSTILE /cart HTTP/1.1",
        "DELETE /cart/71014 HTTP/1.1",
        "GET /products/hostile-id HTTP/1.1",
        "GET /products?q=hostile HTTP/1.1",
    ] {
        request(host.address, &format!("{head}\r\n{secret}")).await;
    }
    request(host.address, "GET /readyz HTTP/1.1").await;
    read_all(send(host.address, "GET /hostile path HTTP/1.1\r\n\r\n").await).await;
    assert_eq!(requests(&host, "/products/{product_id}/styles", "GET", 404), Some(2.0));
    assert_eq!(requests(&host, "", "GET", 404), Some(1.0));
    assert_eq!(requests(&host, "", "GET", 400), Some(1.0), "a malformed request");
    assert_eq!(requests(&host, "", "_OTHER", 405), Some(1.0), "a rejected request has no route");
    assert_eq!(requests(&host, "/products/{product_id}", "GET", 400), Some(1.0));
    let text = host.scrape();
    assert!(!text.contains("readyz"), "{text}");
    for hostile in ["hostile", "HOSTILE", "7101"] {
        assert!(!text.contains(hostile), "{hostile}: {text}");
    }
    let le = text.lines().filter(|line| line.contains("styles") && line.contains("_bucket")).count();
    assert_eq!(le, 15, "14 buckets and +Inf");
}

#[tokio::test]
async fn the_number_of_series_is_bounded_whatever_a_client_sends() {
    let (_database, host) = served().await;
    let paths =
        atelier_host::ENDPOINTS.iter().map(|endpoint| endpoint.path_with("7101")).chain(["/x".to_owned()]);
    let long = "x".repeat(9_000);
    for path in paths {
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "HOSTILE"] {
            request(host.address, &format!("{method} {path} HTTP/1.1\r\nexpect: nothing")).await;
            request(host.address, &format!("{method} {path} HTTP/1.1\r\ncontent-length: 5000")).await;
        }
        request(host.address, &format!("GET {path}?{long} HTTP/1.1")).await;
        request(host.address, &format!("GET {path} HTTP/1.1\r\nx: {}", long.repeat(4))).await;
    }
    let text = host.scrape();
    for status in [405, 413, 414, 431] {
        let with_status = format!("http_response_status_code=\"{status}\"");
        let mut lines = text.lines().filter(|line| line.contains(&with_status));
        let first = lines.next().unwrap_or_else(|| panic!("no response was {status}"));
        assert!(lines.chain([first]).all(|line| line.contains("http_route=\"\"")), "{status}: {text}");
    }
    let series = text.lines().filter(|line| !line.starts_with('#')).count();
    assert!(series < 4_000, "{series}");
}

#[tokio::test]
async fn the_bytes_of_bodies_are_counted_by_route() {
    let (_database, host) = served().await;
    let series = "http_server_response_body_bytes_total{http_route=\"/products/{product_id}\"}";
    assert_eq!(host.metric(series), Some(0.0));
    let response = request(host.address, PRODUCT).await;
    let (_, body) = response.split_once("\r\n\r\n").unwrap();
    let length = u32::try_from(body.len()).unwrap();
    assert_eq!(host.metric(series), Some(length.into()));
}

#[tokio::test]
async fn a_request_is_active_until_its_response_and_a_connection_until_it_closes() {
    let (_database, host) = served().await;
    let counts =
        || ["http_server_active_requests", "atelier_connections"].map(|name| host.metric(name).unwrap());
    let head = "POST /cart HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n";
    let mut stream = send(host.address, head).await;
    stream.read_exact(&mut [0; 25]).await.unwrap(); // this response shows that the host has the request
    assert_eq!(counts(), [1.0, 1.0]);
    drop(stream);
    until("the request and its connection have ended", async || counts() == [0.0, 0.0]).await;
}

#[tokio::test]
async fn an_evicted_connection_is_counted() {
    let database = Database::create().await.unwrap();
    let host = TestHost::start(&database, &[("MAX_CONNECTIONS", "1")]).await;
    assert_eq!(host.metric("atelier_connections_max"), Some(1.0));
    let idle = send(host.address, "").await;
    until("the host has the idle connection", async || host.metric("atelier_connections") == Some(1.0)).await;
    request(host.address, "GET /healthz HTTP/1.1").await;
    assert_eq!(host.metric("atelier_connections_evicted_total"), Some(1.0));
    drop(idle);
}

#[tokio::test]
async fn shed_load_is_counted() {
    let database = Database::create().await.unwrap();
    publish(&database).await;
    let variables = [("DATABASE_MAX_WAITING", "1"), ("CACHE_BYTES", "0")];
    let host = TestHost::start(&database, &variables).await;
    // The first read holds the only place in the queue until the lock is released.
    let mut client = database.connect().await.unwrap();
    let locked = client.transaction().await.unwrap();
    locked.batch_execute("lock table catalog.documents").await.unwrap();
    let waiting = send(host.address, &format!("{PRODUCT}\r\nhost: x\r\nconnection: close\r\n\r\n")).await;
    let queued = "atelier_database_queued{pool=\"catalog\"}";
    until("a request waits", async || host.metric(queued) == Some(1.0)).await;
    assert_eq!(host.metric("atelier_database_statements_in_flight{pool=\"catalog\"}"), Some(1.0));
    assert_eq!(host.metric("atelier_database_queue_limit{pool=\"catalog\"}"), Some(1.0));
    let shed = request(host.address, "GET /products/2 HTTP/1.1").await;
    assert!(shed.starts_with("HTTP/1.1 503 "), "{shed}");
    assert_eq!(host.metric("atelier_requests_shed_total"), Some(1.0));
    locked.rollback().await.unwrap();
    assert!(read_all(waiting).await.starts_with("HTTP/1.1 200 "));
    assert_eq!(host.metric("atelier_requests_shed_total"), Some(1.0));
    assert_eq!(host.metric(queued), Some(0.0));
}

#[tokio::test]
async fn cache_and_batches_are_counted() {
    let (_database, host) = served().await;
    for _ in 0..3 {
        request(host.address, PRODUCT).await;
        request(host.address, "GET /products HTTP/1.1").await;
    }
    for (series, value) in [
        ("atelier_cache_hits_total{kind=\"product\"}", 2.0),
        ("atelier_cache_misses_total{kind=\"product\"}", 1.0),
        ("atelier_cache_hits_total{kind=\"overview\"}", 0.0),
        ("atelier_cache_hits_total{kind=\"list\"}", 2.0),
        ("atelier_cache_misses_total{kind=\"list\"}", 1.0),
        ("atelier_cache_entries", 2.0),
        ("atelier_cache_evictions_total", 0.0),
        ("atelier_database_batch_size_count", 1.0),
        ("atelier_database_batch_size_sum", 1.0),
    ] {
        assert_eq!(host.metric(series), Some(value), "{series}");
    }
    let [bytes, max] =
        ["atelier_cache_bytes", "atelier_cache_max_bytes"].map(|name| host.metric(name).unwrap());
    assert!(bytes > 0.0 && bytes < max);
}

#[tokio::test]
async fn a_database_that_stops_shows_in_connections_and_staleness_until_it_returns() {
    let mut cluster = Cluster::start_temporary(&Settings::disposable()).await.unwrap();
    let database = Database::create_in(&cluster).await.unwrap();
    let host = TestHost::start(&database, &[]).await;
    assert_eq!(host.metric("atelier_catalog_generation"), None, "nothing is published");
    publish(&database).await;
    until("the host has the catalog", async || host.metric("atelier_catalog_generation") == Some(1.0)).await;
    let published = host.metric("atelier_catalog_published_timestamp_seconds").unwrap();
    let client = database.connect().await.unwrap();
    let row =
        client.query_one("select extract(epoch from at)::float8 from etl.publication", &[]).await.unwrap();
    assert!((published - row.get::<_, f64>(0)).abs() <= 1.0);
    drop(client);

    let connections = |pool: &str, state: &str| {
        let text = host.scrape();
        let prefix = format!("atelier_database_connections{{pool=\"{pool}\",server=\"");
        let suffix = format!("\",state=\"{state}\"}} ");
        let line = text.lines().find(|line| line.starts_with(&prefix) && line.contains(&suffix)).unwrap();
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    let staleness = || host.metric("atelier_catalog_staleness_seconds").unwrap();
    until("all connections are up", async || {
        (connections("catalog", "up"), connections("carts", "up")) == (4.0, 2.0)
    })
    .await;
    assert!(staleness() == 0.0);
    cluster.kill().await.unwrap();
    until("all connections are down", async || {
        (connections("catalog", "down"), connections("carts", "down")) == (4.0, 2.0) && staleness() > 0.0
    })
    .await;
    let reconnects = host.scrape();
    let mut reconnects =
        reconnects.lines().filter(|line| line.starts_with("atelier_database_reconnects_total"));
    assert!(reconnects.all(|line| !line.ends_with(" 0")));
    cluster.start_again().await.unwrap();
    until("all connections are up again", async || connections("catalog", "up") == 4.0 && staleness() == 0.0)
        .await;
    drop((host, database));
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_lagging_replica_and_a_read_only_server_for_carts_show_as_such() {
    let primary = Cluster::start_temporary(&Settings::disposable().with_replication()).await.unwrap();
    let database = Database::create_in(&primary).await.unwrap();
    publish(&database).await;
    let replica = primary.start_replica().await.unwrap();
    let url = database.host_url_of(&[&replica, &primary]);
    let host = TestHost::start(&database, &[("DATABASE_URL", &url)]).await;
    let states = |pool: &str, state: &str| -> Vec<String> {
        let of_pool = format!("pool=\"{pool}\"");
        let of_state = format!("state=\"{state}\"");
        let text = host.scrape();
        let mut lines = text.lines().filter(|line| line.starts_with("atelier_database_connections{"));
        let mut values = Vec::new();
        while let Some(line) = lines.find(|line| line.contains(&of_pool) && line.contains(&of_state)) {
            values.push(line.rsplit(' ').next().unwrap().to_owned());
        }
        values
    };
    until("each server has its state", async || {
        states("catalog", "up") == ["4", "4"]
            && states("carts", "read_only") == ["2", "0"]
            && states("carts", "up") == ["0", "2"]
    })
    .await;
    let pause = "select pg_wal_replay_pause()";
    replica.address().connect("postgres").await.unwrap().batch_execute(pause).await.unwrap();
    publish(&database).await;
    until("the replica is behind", async || {
        states("catalog", "lagging") == ["4", "0"] && states("catalog", "up") == ["0", "4"]
    })
    .await;
    drop((host, database));
    replica.stop().await.unwrap();
    primary.stop().await.unwrap();
}

#[tokio::test]
async fn the_process_and_the_release_are_described() {
    let (_database, host) = served().await;
    for name in [
        "process_start_time_seconds",
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_max_fds",
        "process_threads",
    ] {
        assert!(host.metric(name).is_some_and(|value| value >= 0.0), "{name}");
    }
    let text = host.scrape();
    assert!(text.contains(concat!(
        "atelier_build_info{version=\"",
        env!("CARGO_PKG_VERSION"),
        "\",revision=\""
    )));
    let names: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# HELP ")).collect();
    let types = text.lines().filter(|line| line.starts_with("# TYPE ")).count();
    assert_eq!(names.len(), types);
    assert!(names.iter().all(|line| line.ends_with('.')), "{names:?}");
}
