//! Random pipelines of requests, some of which hyper rejects. Each request gets its own response, in order, at any
//! split of the stream into reads. The host never parses bytes of a body as a request.

// In helpers too: clippy does not treat them as tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use fastrand::Rng;
use rig::Database;
use support::{TestHost, publish};
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

const PIPELINES: u64 = 300;

/// A request, the status of its response, and whether the host then closes the connection.
struct Sent {
    bytes: String,
    id: String,
    status: u16,
    is_last: bool,
}

fn request(rng: &mut Rng, number: usize) -> Sent {
    let id = format!("r{number}");
    let mut headers = format!("host: x\r\nx-request-id: {id}\r\nauthorization: pipelined\r\n");
    for pad in 0..rng.usize(..3) {
        headers += &format!("p{pad}: {}\r\n", "x".repeat([1, 50, 2000, 4000, 7900][rng.usize(..5)]));
    }
    if rng.u8(..8) == 0 {
        headers += &(0..110).map(|n| format!("x-forwarded-{n}: 1\r\n")).collect::<String>();
    }
    let body =
        ["", "\n\n", "\r\n\r\n", "DELETE /cart?\" HTTP/1.1\r\nhost: x\r\nauthorization: pipelined\r\n\r\n"];
    let body =
        body[rng.usize(..4)].to_owned() + r#"{"sku_id":1}"# + &" ".repeat([0, 1, 500, 900][rng.usize(..4)]);
    let quote = ["", "?\"", "?<>"][rng.usize(..3)];
    let with_body = |line: &str| format!("{line}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len());
    let (bytes, status, is_last) = match rng.u8(..9) {
        0 => (format!("GET /products/1{quote} HTTP/1.1\r\n{headers}\r\n"), 200, false),
        1 => (format!("HEAD /products/1{quote} HTTP/1.1\r\n{headers}\r\n"), 200, false),
        2 => (
            format!("\r\nGET /products/1{quote} HTTP/1.1\r\n{headers}\r\n").replace("\r\n", "\n"),
            200,
            false,
        ),
        3 => (format!("GET /products/1` HTTP/1.1\r\n{headers}\r\n"), 400, false),
        4 => (format!("GET /products/1 HTTP/1.1\r\n{headers}content-length: 0\r\n\r\n"), 200, false),
        5 => (with_body(&format!("PUT /cart{quote} HTTP/1.1")), 405, false),
        6 => (
            format!(
                "POST /cart{quote} HTTP/1.1\r\n{headers}transfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
                body.len()
            ),
            415,
            true, // because the body has no known length
        ),
        7 if rng.bool() => (format!("GET /a b HTTP/1.1\r\n{headers}\r\n"), 400, true),
        _ => (with_body(&format!("POST /cart{quote} HTTP/1.1")), 415, false),
    };
    Sent { bytes, id, status, is_last }
}

/// Returns the request id and the status of each response.
fn responses(mut bytes: &[u8], sent: &[Sent]) -> Vec<(String, u16)> {
    let mut responses = Vec::new();
    while let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
        let length: usize = header("content-length").map_or(0, |length| length.parse().unwrap());
        let is_head = sent.get(responses.len()).is_some_and(|sent| sent.bytes.starts_with("HEAD"));
        bytes = &bytes[end + 4 + if is_head { 0 } else { length }..];
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        responses.push((header("x-request-id").unwrap_or(&head).to_owned(), status));
    }
    responses
}

#[tokio::test]
async fn each_request_of_a_pipeline_gets_its_own_response_at_any_split_of_the_stream() {
    let database = Database::create().await.unwrap();
    publish(&database).await;
    let host = TestHost::start(&database, &[]).await;
    for seed in 0..PIPELINES {
        let mut rng = Rng::with_seed(seed);
        let mut sent: Vec<Sent> = Vec::new();
        for number in 0..[2, 4, 8, 20][rng.usize(..4)] {
            sent.push(request(&mut rng, number));
        }
        let end =
            "GET /healthz HTTP/1.1\r\nhost: x\r\nx-request-id: end\r\nconnection: close\r\n\r\n".to_owned();
        sent.push(Sent { bytes: end, id: "end".to_owned(), status: 200, is_last: true });
        let bytes: String = sent.iter().map(|sent| sent.bytes.as_str()).collect();
        let last = sent.iter().position(|sent| sent.is_last).unwrap();
        let expected: Vec<_> = sent[..=last].iter().map(|sent| (sent.id.clone(), sent.status)).collect();

        let (mut reading, mut writing) = TcpStream::connect(host.address).await.unwrap().into_split();
        let piece = [usize::MAX, rng.usize(1..5000), 8192, 16_384, 20_000][rng.usize(..5)];
        let pause = std::time::Duration::from_micros([0, 500, 3000][rng.usize(..3)]);
        let write = async {
            for piece in bytes.as_bytes().chunks(piece) {
                if writing.write_all(piece).await.is_err() {
                    break; // the host closed the connection after the last request
                }
                tokio::time::sleep(pause).await; // so that the host reads the pieces separately
            }
        };
        let mut received = Vec::new();
        let read = async {
            let _ = reading.read_to_end(&mut received).await; // an error if unread bytes reset the connection
        };
        tokio::join!(write, read);
        let mut responses = responses(&received, &sent);
        if let (Some((id, 400)), 400) = (responses.last_mut(), sent[last].status) {
            id.clone_from(&sent[last].id); // the host may reject it before its id arrives
        }
        assert_eq!(responses, expected, "seed {seed}, pieces of {piece}");
    }
}
