//! The metrics of a fleet under requests: graphs, names, help texts and labels.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use bytes::Bytes;
use conformance::{Transport as _, small_dataset};
use http::Request;
use local::Host;
use rig::{Database, until};

use crate::files::{alarms, panels, queries, title};
use crate::prometheus::{Monitored, get};
use crate::support::loader::Loader;
use crate::support::serving::Socket;

/// A text that the hostile client sends wherever it can.
const MARK: &str = "mark7f3a";

/// A series of a scrape: the name of the sample, and its labels.
type Series<'a> = (&'a str, Vec<(&'a str, &'a str)>);

/// Returns the series of a scrape. No value of a label contains a quote.
fn series(scrape: &str) -> Vec<Series<'_>> {
    let label = |text| {
        let (name, value) = str::split_once(text, "=\"").unwrap();
        (name, value.trim_end_matches('"'))
    };
    let samples = scrape.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let parse = |line| match str::split_once(line, '{') {
        None => (line.split(' ').next().unwrap(), Vec::new()),
        Some((name, rest)) => {
            let labels = rest.rsplit_once('}').unwrap().0.split("\",").filter(|label| !label.is_empty());
            (name, labels.map(label).collect())
        }
    };
    samples.map(parse).collect()
}

/// Returns the metrics that a query names.
fn metrics(query: &str) -> BTreeSet<&str> {
    let words = query.split(|char: char| !char.is_ascii_alphanumeric() && char != '_');
    words
        .filter(|word| ["atelier_", "http_server_", "process_"].iter().any(|prefix| word.starts_with(prefix)))
        .collect()
}

/// Returns the help texts of a scrape by metric.
fn help(scrape: &str) -> BTreeMap<&str, &str> {
    scrape.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split_once(' ')).collect()
}

fn assert_promtool_accepts(scrape: &str) {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool: install it with `scripts/install.sh prometheus`");
    promtool.stdin.take().unwrap().write_all(scrape.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Sends a request with the mark in headers, and returns the status.
async fn send(server: SocketAddr, method: &str, path: &str, body: &'static str) -> u16 {
    let mut request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    for header in ["authorization", "referer", "user-agent", "x-forwarded-for", "x-request-id"] {
        request = request.header(header, MARK);
    }
    Socket(server).call(request.body(Bytes::from_static(body.as_bytes())).unwrap()).await.status().as_u16()
}

/// Sends requests to each endpoint of the catalog, to carts, and those of a hostile client.
async fn send_requests(server: SocketAddr) {
    for path in [
        "/products",
        "/products/1",
        "/products/1/styles",
        "/products/1/related",
        "/products/1/overview",
        "/cards?ids=1",
        "/categories",
        "/catalog",
        "/cart",
        "/cart/lines",
        "/docs",
        "/openapi.json",
    ] {
        assert_eq!(send(server, "GET", path, "").await, 200, "{path}");
    }
    assert_eq!(send(server, "POST", "/cart", r#"{"sku_id":1}"#).await, 201);
    for (method, path, status) in [
        ("GET", "/products/7654321", 404),
        ("GET", "/products/mark7f3a", 400),
        ("GET", "/mark7f3a/7654321?mark7f3a=7654321", 404),
        ("GET", "/docs/mark7f3a", 404),
        ("DELETE", "/cart/7654321", 204),
        ("PATCH", "/products", 405),
        ("OPTIONS", "/products", 204),
    ] {
        assert_eq!(send(server, method, path, "").await, status, "{method} {path}");
    }
    let unknown = send(server, "MARK7F3A", "/products", "").await; // NGINX rejects it itself
    assert!([400, 405, 501].contains(&unknown), "{unknown}");
}

#[tokio::test]
async fn prometheus_scrapes_a_fleet_and_each_graph_has_data() {
    let database = Database::create().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("atelier.prom");
    let dataset = small_dataset();
    Loader::of_folder(&database, &dataset, &["--metrics", report.to_str().unwrap()]).succeeds().await;
    let monitored = Monitored::start(&database).await;
    std::fs::copy(&report, monitored.load_file()).unwrap();
    send_requests(monitored.fleet.address()).await;
    for host in monitored.fleet.hosts() {
        send_requests(host.address()).await;
    }

    // All graphs, with the variables as Grafana replaces them for all hosts.
    for panel in panels() {
        for query in queries(&panel) {
            let query = query.replace("$instance", ".*").replace("$__rate_interval", "1m");
            assert!(!query.contains('$'), "{}: a variable is left in {query}", title(&panel));
            let has_series = async || !monitored.prometheus.query(&query).await.is_empty();
            until(&format!("{}: {query} gives a series", title(&panel)), has_series).await;
        }
    }
    // Each query of the host's variable selects all hosts.
    let up = monitored.prometheus.query(r#"up{job="atelier-host",instance=~".*"} == 1"#).await;
    assert_eq!(up.len(), monitored.fleet.hosts().len());

    let host = monitored.fleet.hosts().first().map(Host::admin).unwrap();
    let (_, scrape) = get(host, "/metrics").await;
    let load = std::fs::read_to_string(&report).unwrap();
    let both = format!("{scrape}\n{load}");
    let names: BTreeSet<&str> = series(&both).into_iter().map(|(name, _)| name).collect();
    let (panels, alarms) = (panels(), alarms());
    let of_alarms = alarms.values().map(|rule| rule["expr"].as_str().unwrap());
    for query in panels.iter().flat_map(queries).chain(of_alarms) {
        for metric in metrics(query) {
            assert!(names.contains(metric), "neither a host nor a load has {metric}: {query}");
        }
    }
    for text in [&scrape, &load] {
        assert_promtool_accepts(text);
        let help = help(text);
        for (name, _) in series(text) {
            let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part));
            let text = help.get(name).or_else(|| help.get(of_histogram?)).copied().unwrap_or_default();
            assert!(!text.is_empty(), "{name}: no help");
        }
    }
    assert_labels_are_bounded(&scrape);
    println!("{} series of a host, {} of a load", series(&scrape).len(), series(&load).len());
    monitored.stop().await;
}

/// Asserts that no label has a text or an id of a client.
fn assert_labels_are_bounded(scrape: &str) {
    let methods = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "_OTHER"];
    let mut routes: BTreeSet<&str> = atelier_host::ENDPOINTS.iter().map(|endpoint| endpoint.path).collect();
    routes.insert("");
    assert!(routes.remove("/healthz") && routes.remove("/readyz"), "health checks are not recorded");
    let (mut methods_seen, mut routes_seen) = (BTreeSet::new(), BTreeSet::new());
    for (name, labels) in series(scrape) {
        for (label, value) in labels {
            let lower = value.to_lowercase();
            assert!(!lower.contains(MARK) && !lower.contains("7654321"), "{name}: {label}={value}");
            match label {
                "http_request_method" => {
                    assert!(methods.contains(&value), "{name}: {label}={value}");
                    methods_seen.insert(value);
                }
                "http_route" => {
                    let is_page = ["/", "/openapi.json"].contains(&value)
                        || ["/docs", "/page/"].iter().any(|start| value.starts_with(start));
                    assert!(routes.contains(value) || is_page, "{name}: {label}={value}");
                    routes_seen.insert(value);
                }
                "http_response_status_code" => {
                    let is_status = value.len() == 3 && value.parse::<u16>().is_ok();
                    assert!(is_status, "{name}: {label}={value}");
                }
                _ => {}
            }
        }
    }
    let expected = BTreeSet::from(["GET", "POST", "DELETE", "OPTIONS", "_OTHER"]);
    assert_eq!(methods_seen, expected, "the methods of `send_requests`");
    assert!(routes_seen.is_superset(&routes), "{routes_seen:?}");
}
