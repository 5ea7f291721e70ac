//! The host's connections to clients: malformed and slow requests, the limit of connections, and the drain.

// In helpers too: clippy does not treat them as tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::Duration;

use rig::Database;
use support::{TEST_TIMEOUT, TestHost, poll_status, publish, read_all, request, send};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

const POST: &str =
    "POST /cart HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n";

#[tokio::test]
async fn a_header_that_never_ends_closes_the_connection() {
    let database = Database::create().await.unwrap();
    let host = TestHost::start(&database, &[("HEADER_READ_TIMEOUT", "50ms")]).await;
    for incomplete in ["", "GET /healthz HTTP/1.1\r\nhost: x\r\n"] {
        let response = read_all(send(host.address, incomplete).await).await;
        assert!(!response.contains("200"), "{response}");
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_returns_413() {
    let database = Database::create().await.unwrap();
    let host = TestHost::start(&database, &[]).await;
    let body = "x".repeat(1025);
    let declared = send(host.address, &format!("{POST}content-length: 1025\r\n\r\n{body}")).await;
    let chunked =
        send(host.address, &format!("{POST}transfer-encoding: chunked\r\n\r\n401\r\n{body}\r\n")).await;
    for stream in [declared, chunked] {
        let response = read_all(stream).await;
        assert!(
            response.starts_with("HTTP/1.1 413 ") && response.contains("application/problem+json"),
            "{response}"
        );
    }
}

#[tokio::test]
async fn a_body_that_never_arrives_returns_408() {
    let database = Database::create().await.unwrap();
    let host = TestHost::start(&database, &[("REQUEST_TIMEOUT", "50ms")]).await;
    let response = read_all(send(host.address, &format!("{POST}content-length: 12\r\n\r\n{{")).await).await;
    assert!(
        response.starts_with("HTTP/1.1 408 ") && response.contains("application/problem+json"),
        "{response}"
    );
}

#[tokio::test]
async fn malformed_http_is_rejected_and_the_next_connection_is_served() {
    let database = Database::create().await.unwrap();
    let host = TestHost::start(&database, &[]).await;
    let long = format!("GET /healthz HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "x".repeat(200_000));
    for (sent, status) in [("\0\r\n\r\n", " 400 "), ("GET /a b HTTP/1.1\r\n\r\n", " 400 "), (&long, " 431 ")]
    {
        let response = read_all(send(host.address, sent).await).await;
        assert!(response.lines().next().is_some_and(|line| line.contains(status)), "{response}");
        assert!(response.contains("\r\ncontent-type: application/problem+json\r\n"), "{response}");
        assert!(response.contains("\r\naccess-control-allow-origin: *\r\n"), "{response}");
    }
    assert!(request(host.address, "GET /healthz HTTP/1.1").await.starts_with("HTTP/1.1 200 "));
}

/// Returns the statuses of all responses on a connection.
fn statuses(responses: &str) -> Vec<&str> {
    responses
        .split("HTTP/1.1 ")
        .skip(1)
        .map(|response| response.split(' ').next().unwrap_or_default())
        .collect()
}

#[tokio::test]
async fn a_repaired_request_keeps_its_connection_and_the_requests_after_it() {
    let database = Database::create().await.unwrap();
    publish(&database).await;
    let host = TestHost::start(&database, &[]).await;
    let json = "host: x\r\nauthorization: me\r\ncontent-type: application/json\r\n";
    let post = |target: &str| {
        format!("POST {target} HTTP/1.1\r\n{json}content-length: 14\r\n\r\n{{\"sku_id\":\"1\"}}")
    };
    let last = format!(
        "POST /cart?\" HTTP/1.1\r\n{json}transfer-encoding: chunked\r\n\r\n6\r\n{{\"sku_\r\n8\r\nid\":\"1\"}}\r\n0\r\n\r\n"
    );
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nhost: x\r\n\r\n");
    let many: String = (0..110).map(|n| format!("x-forwarded-{n}: 1\r\n")).collect();
    let requests = [
        get("/products/1?\""),
        get("/products/1"),
        post("/cart"),
        post("/cart?<"),
        "\r\n".to_owned() + &get("/products/1`"),
        format!("GET /products/2 HTTP/1.1\r\nhost: x\r\n{many}\r\n"),
        post("/cart?a=\"b\""),
        get("/products/1?\"").replace("\r\n", "\n"),
        last, // the host then closes the connection, because the body has no known length
    ];
    let expected = ["200", "200", "201", "201", "400", "200", "201", "200", "201"];
    // All requests at once, then one by one and in pieces.
    let all = read_all(send(host.address, &requests.concat()).await).await;
    assert_eq!(statuses(&all), expected, "{all}");
    for pieces in [1, 2, 3, 7] {
        let mut stream = send(host.address, "").await;
        for request in &requests {
            for piece in request.as_bytes().chunks(request.len().div_ceil(pieces)) {
                stream.write_all(piece).await.unwrap();
                tokio::time::sleep(Duration::from_millis(2)).await; // so that the host usually reads it separately
            }
        }
        let responses = read_all(stream).await;
        assert_eq!(statuses(&responses), expected, "{pieces} pieces: {responses}");
    }
    let cart = request(host.address, "GET /cart HTTP/1.1\r\nauthorization: me").await;
    assert!(cart.ends_with(r#"[{"sku_id":1,"count":20}]"#), "{cart}");
}

#[tokio::test]
async fn a_malformed_request_is_the_last_of_its_connection_and_earlier_ones_get_their_responses() {
    let database = Database::create().await.unwrap();
    let host = TestHost::start(&database, &[]).await;
    let get = "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
    let post = format!("{POST}content-length: 2\r\n\r\n{{}}").replace("connection: close\r\n", "");
    for before in ["".to_owned(), get.to_owned(), get.repeat(3), post.clone(), post + get] {
        let responses = read_all(
            send(host.address, &format!("{before}HEAD /\x01 HTTP/1.1\r\nX-Request-ID: mine\r\n\r\n{get}"))
                .await,
        )
        .await;
        let (_, last) = responses.rsplit_once("HTTP/1.1 ").unwrap();
        assert!(last.starts_with("400 ") && last.contains("\r\nx-request-id: mine\r\n"), "{responses}");
        assert!(last.contains("\r\nconnection: close\r\n") && last.ends_with("\r\n\r\n"), "{responses}");
        let expected = before.matches("HTTP/1.1\r\n").count() + 1;
        assert_eq!(statuses(&responses).len(), expected, "{responses}");
    }
}

#[tokio::test]
async fn a_draining_host_is_not_ready_and_closes_each_connection_after_its_next_response() {
    let database = Database::create().await.unwrap();
    let host = TestHost::start(&database, &[]).await;
    let mut kept = send(host.address, "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let mut first = [0; 15];
    tokio::io::AsyncReadExt::read_exact(&mut kept, &mut first).await.unwrap();
    let address = host.address;
    let ended = host.stop();
    let not_ready = poll_status(address, "GET /readyz HTTP/1.1", " 503 ").await;
    assert!(not_ready.contains("This process is about to end."), "{not_ready}");
    kept.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let response = read_all(kept).await; // the host closes the connection
    assert!(
        response.contains("HTTP/1.1 200 OK\r\n") && response.contains("\r\nconnection: close\r\n"),
        "{response}"
    );
    assert_eq!(ended.await.unwrap(), 0);
    assert!(TcpStream::connect(address).await.is_err());
}

const GET: &str = "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";

/// Sends a request on an open connection and reads its response.
async fn get(stream: &mut TcpStream) {
    stream.write_all(GET.as_bytes()).await.unwrap();
    expect_response(stream).await;
}

async fn expect_response(stream: &mut TcpStream) {
    let mut response = Vec::new();
    let reading = async {
        while !response.ends_with(b"}") {
            assert!(stream.read_buf(&mut response).await.unwrap() > 0, "the host closed the connection");
        }
    };
    tokio::time::timeout(TEST_TIMEOUT, reading).await.expect("no response");
    assert!(response.starts_with(b"HTTP/1.1 200 OK\r\n"), "{}", String::from_utf8_lossy(&response));
}

/// Returns a client that is connected and has received a response.
async fn served_client(host: &TestHost) -> TcpStream {
    let mut stream = send(host.address, "").await;
    get(&mut stream).await;
    stream
}

#[tokio::test]
async fn at_the_limit_a_new_client_replaces_the_connection_that_has_been_idle_the_longest() {
    let database = Database::create().await.unwrap();
    let host = TestHost::start(&database, &[("MAX_CONNECTIONS", "3")]).await;
    let mut first = served_client(&host).await;
    let second = served_client(&host).await;
    let third = served_client(&host).await;
    get(&mut first).await; // now the second one has been idle for the longest
    let mut fourth = served_client(&host).await;
    assert_eq!(read_all(second).await, "");
    get(&mut fourth).await;
    let _fifth = served_client(&host).await;
    assert_eq!(read_all(third).await, "");
    get(&mut first).await;
    let _sixth = served_client(&host).await;
    assert_eq!(read_all(fourth).await, "");
    get(&mut first).await;
}

#[tokio::test]
async fn at_the_limit_a_new_client_replaces_connections_without_a_complete_request() {
    let database = Database::create().await.unwrap();
    let host = TestHost::start(&database, &[("MAX_CONNECTIONS", "3")]).await;
    let mut trickling = send(host.address, "GET /healthz HTTP/1.1\r\n").await;
    let silent = send(host.address, "").await;
    let mut used_before = served_client(&host).await;
    for byte in b"x-slow: 1" {
        trickling.write_all(&[*byte]).await.unwrap(); // does not make it less idle
        get(&mut used_before).await;
    }
    used_before.write_all(b"GET /healthz HTTP/1.1\r\nx-slow: ").await.unwrap();
    let mut open = Vec::new();
    for idle in [trickling, silent, used_before] {
        open.push(served_client(&host).await);
        assert_eq!(read_all(idle).await, "");
    }
}

#[tokio::test]
async fn a_connection_with_a_request_in_flight_stays_open_and_new_clients_wait_for_it() {
    let database = Database::create().await.unwrap();
    let host = TestHost::start(&database, &[("MAX_CONNECTIONS", "2"), ("REQUEST_TIMEOUT", "60s")]).await;
    let close = format!("{POST}expect: 100-continue\r\ncontent-length: 2\r\n\r\n");
    let keep_alive = close.replace("connection: close\r\n", "");
    let mut in_flight = [send(host.address, &keep_alive).await, send(host.address, &close).await];
    for stream in &mut in_flight {
        stream.read_exact(&mut [0; 25]).await.unwrap(); // `100 Continue`: the host has the request
    }
    let mut waiting = send(host.address, GET).await;
    let early = tokio::time::timeout(Duration::from_millis(300), waiting.read_u8()).await;
    assert!(early.is_err(), "a connection above the limit got a response");
    // The first connection becomes idle and makes room. The second one still gets its response.
    let [mut first, mut second] = in_flight;
    first.write_all(b"{}").await.unwrap();
    let response = read_all(first).await;
    assert!(response.starts_with("HTTP/1.1 400 ") && !response.contains("connection: close"), "{response}");
    expect_response(&mut waiting).await;
    second.write_all(b"{}").await.unwrap();
    let response = read_all(second).await;
    assert!(response.starts_with("HTTP/1.1 400 "), "{response}");
}

#[tokio::test]
async fn requests_that_have_arrived_are_served_though_their_connections_exceed_the_limit() {
    let database = Database::create().await.unwrap();
    let host = TestHost::start(&database, &[("MAX_CONNECTIONS", "1")]).await;
    // The host runs on this thread too. So all requests arrive before it accepts the first connection.
    let mut clients = Vec::new();
    for _ in 0..50 {
        let mut stream = std::net::TcpStream::connect(host.address).unwrap();
        std::io::Write::write_all(&mut stream, GET.as_bytes()).unwrap();
        stream.set_nonblocking(true).unwrap();
        clients.push(TcpStream::from_std(stream).unwrap());
    }
    for mut client in clients {
        expect_response(&mut client).await;
    }
}

/// The host aborts the response when its grace period ends. The client still receives the bytes that the system had
/// buffered: less than 100 KB of the host's, and its own receive buffer.
#[tokio::test]
async fn the_system_buffers_little_of_a_response_that_its_client_does_not_read() {
    const LENGTH: usize = 4_000_000;
    const MAX_BUFFERED: usize = 256 * 1024;
    let database = Database::create().await.unwrap();
    publish(&database).await;
    let large = format!(
        "update catalog.documents set product = convert_to(repeat('x', {LENGTH}), 'UTF8') where product_id = 1"
    );
    database.connect().await.unwrap().batch_execute(&large).await.unwrap();
    let host = TestHost::start(
        &database,
        &[
            ("SHUTDOWN_DELAY", "10ms"),
            ("SHUTDOWN_GRACE", "10ms"),
            ("REQUEST_TIMEOUT", "60s"),
            ("DATABASE_STATEMENT_TIMEOUT", "30s"),
        ],
    )
    .await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 * 1024).unwrap();
    let mut stream = socket.connect(host.address).await.unwrap();
    stream.write_all(b"GET /products/1 HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    stream.readable().await.unwrap();
    assert_eq!(host.stop().await.unwrap(), 1, "the host wrote the whole response");
    let received = read_all(stream).await;
    assert!(received.contains(&format!("\r\ncontent-length: {LENGTH}\r\n")), "{:?}", received.get(..1000));
    assert!(received.len() <= MAX_BUFFERED, "{} bytes", received.len());
}

#[tokio::test]
async fn a_request_sent_in_part_still_gets_its_response_while_draining() {
    let database = Database::create().await.unwrap();
    let host = TestHost::start(&database, &[("SHUTDOWN_DELAY", "10ms")]).await;
    let address = host.address;
    // The first response shows that the host has accepted the connection.
    let mut partial = send(address, "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let mut first = [0; 15];
    tokio::io::AsyncReadExt::read_exact(&mut partial, &mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200 OK");
    partial.write_all(b"POST /cart HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n").await.unwrap();
    let mut waiting = send(address, "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
    tokio::io::AsyncReadExt::read_exact(&mut waiting, &mut first).await.unwrap();

    let ended = host.stop();
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    partial.write_all(b"{}").await.unwrap();
    let response = read_all(partial).await;
    assert!(response.contains("HTTP/1.1 415 "), "{response}"); // the host read the whole body, which has no type
    assert_eq!(ended.await.unwrap(), 0);
}

#[tokio::test]
async fn a_client_that_connects_before_the_host_stops_listening_gets_a_response() {
    let database = Database::create().await.unwrap();
    for _ in 0..10 {
        let host = TestHost::start(&database, &[("SHUTDOWN_DELAY", "20ms")]).await;
        let address = host.address;
        let ended = host.stop();
        tokio::task::yield_now().await;
        // The host runs on this thread too. So it finds these connections just as the delay ends.
        let until = std::time::Instant::now() + Duration::from_millis(40);
        let mut waiting = Vec::new();
        while std::time::Instant::now() < until {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            std::io::Write::write_all(&mut stream, b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
            waiting.push(stream);
            std::thread::sleep(Duration::from_millis(5));
        }
        for stream in waiting {
            stream.set_nonblocking(true).unwrap();
            let response = read_all(TcpStream::from_std(stream).unwrap()).await;
            assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
        }
        assert_eq!(ended.await.unwrap(), 0);
    }
}

#[tokio::test]
async fn concurrent_requests_each_get_their_own_response() {
    let database = Database::create().await.unwrap();
    publish(&database).await;
    let host = TestHost::start(&database, &[]).await;
    let address = host.address;
    let requests: Vec<_> = (0..300)
        .map(|number| {
            let product_id = 1 + number % 150; // each twice, and more than the catalog has
            tokio::spawn(async move {
                (product_id, request(address, &format!("GET /products/{product_id}/styles HTTP/1.1")).await)
            })
        })
        .collect();
    let mut found = 0;
    for task in requests {
        let (product_id, response) = task.await.unwrap();
        if response.starts_with("HTTP/1.1 200 ") {
            assert!(response.contains(&format!(r#"{{"product_id":"{product_id}","#)), "{response}");
            found += 1;
        } else {
            assert!(response.starts_with("HTTP/1.1 404 "), "{response}");
        }
    }
    let client = database.connect().await.unwrap();
    let existing: i64 =
        client.query_one("select count(*) from catalog.products where id <= 150", &[]).await.unwrap().get(0);
    assert_eq!(found, 2 * existing);
}
