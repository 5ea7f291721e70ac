//! The program `atelier-host`: its variables, signals and log.

// In helpers too: clippy does not treat them as tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::process::Stdio;

use rig::Database;
use support::process::{Host, command, output};
use support::{TEST_TIMEOUT, read_all, request, send};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::process::Command;

#[tokio::test]
async fn an_invalid_variable_stops_the_host_with_a_one_line_error() {
    let url = ("DATABASE_URL", "postgresql://reader:s3cret@localhost/atelier");
    for (variables, expected) in [
        (&[][..], "error: DATABASE_URL is not set: expected an address such as "),
        (
            &[url, ("LISTEN", "3000")],
            "error: LISTEN=3000: expected an IP address and a port such as 127.0.0.1:3000",
        ),
        (
            &[url, ("ADMIN_LISTEN", "9464")],
            "error: ADMIN_LISTEN=9464: expected an IP address and a port such as 127.0.0.1:9464",
        ),
        (
            &[url, ("LISTEN", "127.0.0.1:3000"), ("ADMIN_LISTEN", "127.0.0.1:3000")],
            "error: ADMIN_LISTEN=127.0.0.1:3000: expected another port than LISTEN, ",
        ),
        (
            &[url, ("LISTEN", "127.0.0.1:3000"), ("ADMIN_LISTEN", "0.0.0.0:3000")],
            "error: ADMIN_LISTEN=0.0.0.0:3000: expected another port than LISTEN, ",
        ),
        (
            &[url, ("DATABASE_CONNECTIONS", "0")],
            "error: DATABASE_CONNECTIONS=0: expected a whole number from 1 to 64",
        ),
        (
            &[("DATABASE_URL", "postgresql://reader:s3cret@db/atelier?sslmode=disable")],
            "error: DATABASE_URL=(host db): expected no sslmode=disable, because ",
        ),
        (
            &[("DATABASE_URL", "postgresql://reader:s3cret@db/atelier")],
            "error: DATABASE_CA_FILE is not set: expected a PEM file ",
        ),
    ] {
        let output = output(variables, &[]).await;
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr.starts_with(expected) && stderr.lines().count() == 1, "{stderr}");
        assert!(!stderr.contains("s3cret"), "{stderr}");
        assert!(output.stdout.is_empty());
    }
}

#[tokio::test]
async fn a_port_in_use_stops_the_host_with_a_clear_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let output = output(&[("DATABASE_URL", "host=/nowhere user=nobody"), ("LISTEN", &listen)], &[]).await;
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(stderr.starts_with(&format!("error: cannot listen on LISTEN={listen}: ")), "{stderr}");
    assert!(
        stderr.ends_with("; stop the other program (`ss -ltnp`), or set LISTEN to another port\n"),
        "{stderr}"
    );
    let variables =
        [("DATABASE_URL", "host=/nowhere user=nobody"), ("LISTEN", "127.0.0.1:0"), ("ADMIN_LISTEN", &listen)];
    let stderr = String::from_utf8(self::output(&variables, &[]).await.stderr).unwrap();
    assert!(stderr.starts_with(&format!("error: cannot listen on ADMIN_LISTEN={listen}: ")), "{stderr}");
}

#[tokio::test]
async fn the_host_reserves_its_port_at_once_and_refuses_connections_until_it_has_a_database() {
    // Accepts connections and sends nothing.
    let database = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgresql://atelier_host@{}/atelier", database.local_addr().unwrap());
    let free = local::free_address().unwrap();
    let variables =
        [("DATABASE_URL", url.as_str()), ("DATABASE_CONNECT_TIMEOUT", "60s"), ("LISTEN", &free.to_string())];
    let host = command(&variables).stdout(Stdio::null()).spawn().unwrap();
    // By then the host has bound its address.
    let connected = tokio::time::timeout(TEST_TIMEOUT, database.accept()).await;
    let _silent = connected.expect("the host connects").unwrap();
    assert!(TcpSocket::new_v4().unwrap().bind(free).is_err());
    let refused = TcpStream::connect(free).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    drop(host);
}

#[tokio::test]
async fn help_lists_every_variable() {
    let output = output(&[], &["--help"]).await;
    assert!(output.status.success());
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .contains(shared::variables::help(&shared::config::host_variables()).trim())
    );
}

#[tokio::test]
async fn a_request_in_flight_is_finished_on_sigterm() {
    let database = Database::create().await.unwrap();
    let host = Host::start(&database, &[("SHUTDOWN_DELAY", "10ms")]).await;
    let head = "POST /cart HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n";
    let mut stream = send(host.address, head).await;
    let mut interim = [0; 25]; // this response shows that the host has the request
    stream.read_exact(&mut interim).await.unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");

    host.signal("TERM");
    while TcpStream::connect(host.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    stream.write_all(b"{}").await.unwrap();
    let response = read_all(stream).await;
    assert!(response.starts_with("HTTP/1.1 415 "), "{response}"); // the endpoint's own response: the body has no type
    let log = host.log().await;
    assert_eq!(log.last().unwrap()["message"], "stopped");
}

#[tokio::test]
async fn a_request_that_exceeds_the_grace_period_is_aborted_with_a_warning() {
    let database = Database::create().await.unwrap();
    let host = Host::start(&database, &[("SHUTDOWN_GRACE", "50ms"), ("REQUEST_TIMEOUT", "60s")]).await;
    let head = "POST /cart HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n";
    let mut stream = send(host.address, head).await;
    stream.read_exact(&mut [0; 25]).await.unwrap();
    host.signal("INT");
    let log = host.log().await;
    let warning = log.iter().find(|line| line.get("level").is_some_and(|level| level == "WARN")).unwrap();
    assert_eq!(warning["message"], "shutdown grace period exceeded, aborted connections");
    assert_eq!(warning["connections"], 1);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_host_without_free_file_descriptors_evicts_idle_connections() {
    let database = Database::create().await.unwrap();
    let host = Host::start(&database, &[]).await;
    let pid = host.process.id().unwrap().to_string();
    let limited = Command::new("prlimit").args(["--pid", &pid, "--nofile=64"]).status().await.unwrap();
    assert!(limited.success());
    let mut idle = Vec::new();
    for _ in 0..80 {
        idle.push(send(host.address, "").await);
    }
    assert!(request(host.address, "GET /healthz HTTP/1.1").await.starts_with("HTTP/1.1 200 "));
    host.signal("TERM");
    let log = host.log().await;
    assert!(log.iter().any(|line| line.get("message").is_some_and(|m| m == "cannot accept a connection")));
}

#[tokio::test]
async fn each_request_logs_one_json_line_without_secrets() {
    let database = Database::create().await.unwrap();
    let host = Host::start(&database, &[]).await;
    let secrets = "authorization: Bearer abc\r\ncookie: atelier_session=0123456789abcdef0123456789abcdef";
    request(
        host.address,
        &format!("GET /products/7/styles?token=s3cret HTTP/1.1\r\nx-request-id: one-1\r\n{secrets}"),
    )
    .await;
    request(host.address, "DELETE /elsewhere HTTP/1.1\r\nx-request-id: two-2").await;
    host.signal("TERM");
    let log = host.log().await;
    let lines: Vec<_> = log.iter().filter(|line| line.contains_key("request_id")).collect();
    let [one, two] = lines[..] else { panic!("{log:?}") };
    assert_eq!(one["request_id"], "one-1");
    assert_eq!(one["method"], "GET");
    assert_eq!(one["route"], "/products/{product_id}/styles");
    assert_eq!(one["status"], 503);
    assert!(one["ms"].is_f64() && one["ts"].as_str().unwrap().ends_with('Z'));
    assert_eq!(two["method"], "DELETE");
    assert_eq!(two["route"], serde_json::Value::Null);
    assert_eq!(two["status"], 404);
}

#[tokio::test]
async fn the_line_of_a_request_names_its_trace_if_the_header_is_valid() {
    let database = Database::create().await.unwrap();
    let host = Host::start(&database, &[]).await;
    let (trace, span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    for parent in [format!("00-{trace}-{span}-01"), format!("00-{trace}-{span}")] {
        request(host.address, &format!("GET /healthz HTTP/1.1\r\ntraceparent: {parent}")).await;
    }
    host.signal("TERM");
    let log = host.log().await;
    let lines: Vec<_> = log.iter().filter(|line| line.contains_key("request_id")).collect();
    let [traced, untraced] = lines[..] else { panic!("{log:?}") };
    assert_eq!((&traced["trace_id"], &traced["span_id"]), (&trace.into(), &span.into()));
    assert!(!untraced.contains_key("trace_id") && !untraced.contains_key("span_id"));
}

#[tokio::test]
async fn metrics_and_health_checks_have_an_address_of_their_own_until_the_process_ends() {
    let database = Database::create().await.unwrap();
    let (host, admin) = Host::with_metrics(&database, &[("SHUTDOWN_GRACE", "60s")]).await;
    assert!(request(host.address, "GET /metrics HTTP/1.1").await.starts_with("HTTP/1.1 404 "));
    let scrape = request(admin, "GET /metrics HTTP/1.1\r\nuser-agent: Prometheus").await;
    assert!(
        scrape.starts_with("HTTP/1.1 200 ") && scrape.contains("\nhttp_server_active_requests 0\n"),
        "{scrape}"
    );
    assert!(scrape.contains("\r\ncontent-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{scrape}");
    for (head, status) in [
        ("HEAD /metrics", "200"),
        ("POST /metrics", "405"),
        ("OPTIONS /metrics", "204"),
        ("GET /healthz", "200"),
        ("GET /readyz", "503"), // nothing is published
        ("GET /products/1", "404"),
    ] {
        let response = request(admin, &format!("{head} HTTP/1.1")).await;
        assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{head}: {response}");
    }
    // A request in flight keeps the process alive, and monitoring sees it.
    let head = "POST /cart HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n";
    let mut stream = send(host.address, head).await;
    stream.read_exact(&mut [0; 25]).await.unwrap();
    host.signal("TERM");
    while TcpStream::connect(host.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    let scrape = request(admin, "GET /metrics HTTP/1.1").await;
    assert!(scrape.contains("\nhttp_server_active_requests 1\n"), "{scrape}");
    stream.write_all(b"{}").await.unwrap();
    read_all(stream).await;
    host.log().await;
}

#[tokio::test]
async fn a_malformed_request_is_logged_too() {
    let database = Database::create().await.unwrap();
    let host = Host::start(&database, &[]).await;
    for (sent, status) in [
        ("DELETE /a b HTTP/1.1\r\nx-request-id: one\r\n\r\n".to_owned(), "400"),
        (format!("GET / HTTP/1.1\r\nx-request-id: two\r\nx: {}\r\n\r\n", "x".repeat(100_000)), "431"),
        ("GET /products/7/styles?\" HTTP/1.1\r\nhost: x\r\nx-request-id: three\r\nconnection: close\r\n\r\n".to_owned(), "503"),
    ] {
        let response = read_all(send(host.address, &sent).await).await;
        assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{response}");
    }
    host.signal("TERM");
    let log = host.log().await;
    let lines: Vec<_> = log.iter().filter(|line| line.contains_key("request_id")).collect();
    let logged: Vec<_> = lines
        .iter()
        .map(|line| [&line["request_id"], &line["method"], &line["status"], &line["route"]])
        .collect();
    let expected = serde_json::json!([
        ["one", "DELETE", 400, null],
        ["two", "GET", 431, null],
        ["three", "GET", 503, "/products/{product_id}/styles"]
    ]);
    assert_eq!(serde_json::json!(logged), expected);
}

#[tokio::test]
async fn the_access_log_can_be_disabled() {
    let database = Database::create().await.unwrap();
    let host = Host::start(&database, &[("LOG_ACCESS", "off")]).await;
    request(host.address, "GET /healthz HTTP/1.1").await;
    host.signal("TERM");
    let log = host.log().await;
    assert!(log.iter().all(|line| !line.contains_key("request_id")));
}
