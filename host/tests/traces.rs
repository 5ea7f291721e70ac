//! The spans of a host that is built with the feature `otlp`, as a collector receives them.

// In helpers too: clippy does not treat them as tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::net::SocketAddr;
use std::process::Stdio;

use support::{TEST_TIMEOUT, request};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

/// A host without a database that sends its spans to `collector`.
struct Host {
    process: Child,
    address: SocketAddr,
}

impl Host {
    async fn start(collector: SocketAddr, variables: &[(&str, &str)]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_atelier-host"))
            .env_clear()
            .envs([("DATABASE_URL", "host=/nowhere user=nobody"), ("LISTEN", "127.0.0.1:0")])
            .envs([("DATABASE_CONNECT_TIMEOUT", "10ms"), ("SHUTDOWN_DELAY", "10ms")])
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{collector}"))
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stdout.take().unwrap()).lines();
        loop {
            let line = log.next_line().await.unwrap().expect("the host exited before it served");
            if let Some((_, address)) = line.split_once(r#""message":"serving","address":""#) {
                let address = address.split('"').next().unwrap().parse().unwrap();
                tokio::spawn(async move { while let Ok(Some(_)) = log.next_line().await {} });
                return Self { process, address };
            }
        }
    }

    /// Stops the host, which sends its last spans before it exits.
    async fn stop(mut self) {
        local::signal(self.process.id().unwrap(), "TERM").unwrap();
        let exited = tokio::time::timeout(TEST_TIMEOUT, self.process.wait()).await;
        assert!(exited.expect("the host exits").unwrap().success());
    }
}

/// Receives one export, and returns its head and its body.
async fn receive(collector: &TcpListener) -> (String, Vec<u8>) {
    let receiving = async {
        let (mut stream, _) = collector.accept().await.unwrap();
        let mut received = Vec::new();
        loop {
            let mut chunk = [0; 4096];
            let length = stream.read(&mut chunk).await.unwrap();
            received.extend_from_slice(&chunk[..length]);
            let Some(end) = received.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { continue };
            let head = String::from_utf8(received[..end].to_vec()).unwrap().to_lowercase();
            let length = head.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap();
            if received.len() == end + 4 + length.parse::<usize>().unwrap() {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
                return (head, received.split_off(end + 4));
            }
        }
    };
    tokio::time::timeout(TEST_TIMEOUT, receiving).await.expect("the collector receives spans")
}

fn contains(body: &[u8], part: &[u8]) -> bool {
    body.windows(part.len()).any(|window| window == part)
}

/// Returns the bytes of an id in hex, as spans have it.
fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

#[tokio::test]
async fn a_request_becomes_a_span_of_its_callers_trace() {
    let collector = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = Host::start(collector.local_addr().unwrap(), &[]).await;
    let head = "GET /products/71012?hostile=query HTTP/1.1\r\nuser-agent: hostile-agent";
    request(host.address, &format!("{head}\r\ntraceparent: 00-{TRACE}-{SPAN}-01")).await;
    let (stopped, (head, body)) = tokio::join!(host.stop(), receive(&collector));
    let () = stopped;
    assert!(head.starts_with("post /v1/traces http/1.1\r\n"), "{head}");
    assert!(contains(&body, &bytes(TRACE)) && contains(&body, &bytes(SPAN)));
    for expected in ["GET /products/{product_id}", "http.route", "http.response.status_code", "atelier-host"]
    {
        assert!(contains(&body, expected.as_bytes()), "{expected}");
    }
    for secret in ["hostile", "71012"] {
        assert!(!contains(&body, secret.as_bytes()), "{secret}");
    }
}

#[tokio::test]
async fn a_trace_that_its_caller_does_not_record_is_not_sent() {
    let collector = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = Host::start(collector.local_addr().unwrap(), &[]).await;
    let unrecorded = format!("00-{}-{SPAN}-00", "1".repeat(32));
    request(host.address, &format!("GET /products/1 HTTP/1.1\r\ntraceparent: {unrecorded}")).await;
    request(host.address, &format!("GET /products/2 HTTP/1.1\r\ntraceparent: 00-{TRACE}-{SPAN}-01")).await;
    let ((), (_, body)) = tokio::join!(host.stop(), receive(&collector));
    assert!(contains(&body, &bytes(TRACE)) && !contains(&body, &bytes(&"1".repeat(32))));
}

#[tokio::test]
async fn an_address_that_is_no_plain_http_stops_the_host_with_a_one_line_error() {
    for endpoint in ["https://collector:4318", "collector"] {
        let output = Command::new(env!("CARGO_BIN_EXE_atelier-host"))
            .env_clear()
            .envs([("DATABASE_URL", "host=/nowhere user=nobody"), ("LISTEN", "127.0.0.1:0")])
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
            .output();
        let output = tokio::time::timeout(TEST_TIMEOUT, output).await.unwrap().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        let error = format!(
            "error: OTEL_EXPORTER_OTLP_ENDPOINT={endpoint}: expected the address of a collector such as "
        );
        assert!(stderr.starts_with(&error) && stderr.lines().count() == 1, "{stderr}");
    }
}

#[tokio::test]
async fn without_its_collector_the_host_serves_and_stops() {
    let unreachable = local::free_address().unwrap();
    let host = Host::start(unreachable, &[]).await;
    assert!(request(host.address, "GET /healthz HTTP/1.1").await.starts_with("HTTP/1.1 200 "));
    host.stop().await;
}
