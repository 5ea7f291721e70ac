use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

use super::{CHUNK_BYTES, Direction, Proxy, State, forward};

const DELAY: Duration = Duration::from_millis(40);

/// The timeout of each step.
const TEST_TIMEOUT: Duration = Duration::from_secs(20);

fn direction(open_at: Instant, state: &watch::Sender<State>) -> Direction {
    Direction { number: 0, open_at, delay: DELAY, state: state.subscribe() }
}

/// One direction between two in-memory pipes.
struct Link {
    near: DuplexStream,
    far: DuplexStream,
    state: watch::Sender<State>,
}

fn link(pipe_bytes: usize) -> Link {
    let (near, from) = duplex(pipe_bytes);
    let (to, far) = duplex(pipe_bytes);
    let state = watch::Sender::default();
    tokio::spawn(forward(from, to, direction(Instant::now(), &state), |_, _| ()));
    Link { near, far, state }
}

async fn read_to_end(mut stream: DuplexStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    timeout(TEST_TIMEOUT, stream.read_to_end(&mut bytes)).await.expect("no end").unwrap();
    bytes
}

#[test]
fn each_chunk_has_its_own_delivery_time_after_the_handshake() {
    let (state, begin) = (watch::Sender::default(), Instant::now());
    let direction = direction(begin + 2 * DELAY, &state);
    assert_eq!(direction.due(begin), begin + 3 * DELAY, "bytes sent at once wait for the handshake");
    assert_eq!(direction.due(begin + 2 * DELAY), begin + 3 * DELAY);
    let (one, other) = (begin + 5 * DELAY, begin + 5 * DELAY + DELAY / 10);
    assert_eq!(direction.due(one), one + DELAY);
    assert_eq!(direction.due(other), other + DELAY, "it does not wait for the chunk in flight");
}

#[tokio::test]
async fn no_byte_arrives_before_the_delay_has_passed() {
    let Link { mut near, far, .. } = link(64);
    let begin = Instant::now();
    near.write_all(b"hello").await.unwrap();
    drop(near);
    assert_eq!(read_to_end(far).await, b"hello");
    assert!(begin.elapsed() >= DELAY, "after {:?}", begin.elapsed());
}

#[tokio::test]
async fn bytes_arrive_unchanged_and_in_order_and_then_the_end() {
    let Link { mut near, far, .. } = link(1_500);
    let sent: Vec<u8> = (0..=250).cycle().take(20 * CHUNK_BYTES).collect();
    let expected = sent.clone();
    tokio::spawn(async move {
        for chunk in sent.chunks(1_000) {
            near.write_all(chunk).await.unwrap();
        }
    });
    let arrived = read_to_end(far).await;
    assert_eq!(arrived.len(), expected.len());
    assert!(arrived == expected);
}

#[tokio::test]
async fn a_stalled_link_still_reads_and_loses_no_byte() {
    let Link { mut near, mut far, state } = link(1_000);
    state.send_modify(|state| state.stalled_below = u64::MAX);
    let sent = vec![b'x'; 100_000];
    timeout(TEST_TIMEOUT, near.write_all(&sent)).await.expect("the write waits for bytes in flight").unwrap();
    drop(near);
    assert!(timeout(2 * DELAY, far.read_u8()).await.is_err(), "the link is not stalled");
    state.send_modify(|state| state.stalled_below = 0);
    assert_eq!(read_to_end(far).await, sent);
}

/// Starts an echo server.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await
            });
        }
    });
    address
}

async fn request(stream: &mut TcpStream) -> std::io::Result<u8> {
    stream.write_u8(7).await?;
    timeout(TEST_TIMEOUT, stream.read_u8()).await.expect("no response")
}

#[tokio::test]
async fn a_client_that_shuts_down_its_side_still_receives_all_bytes() {
    let proxy = Proxy::with_round_trip(echo().await, Duration::from_millis(4)).await.unwrap();
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    stream.write_all(b"to the end").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut response = String::new();
    timeout(TEST_TIMEOUT, stream.read_to_string(&mut response)).await.expect("no end").unwrap();
    assert_eq!(response, "to the end");
}

#[tokio::test]
async fn a_reset_affects_open_connections_and_no_later_ones() {
    let proxy = Proxy::to(echo().await).await.unwrap();
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(request(&mut stream).await.unwrap(), 7);
    proxy.reset();
    let read = timeout(TEST_TIMEOUT, stream.read_u8()).await.expect("no reset arrived");
    assert_eq!(read.unwrap_err().kind(), ErrorKind::ConnectionReset);
    let mut another = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(request(&mut another).await.unwrap(), 7);
}

#[tokio::test]
async fn a_stall_affects_open_connections_and_no_later_ones_and_traffic_is_counted() {
    let proxy = Proxy::to(echo().await).await.unwrap();
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(request(&mut stream).await.unwrap(), 7);
    proxy.stall();
    stream.write_u8(8).await.unwrap();
    let mut another = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(request(&mut another).await.unwrap(), 7);
    let error = stream.try_read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    proxy.resume();
    assert_eq!(timeout(TEST_TIMEOUT, stream.read_u8()).await.expect("it stays stalled").unwrap(), 8);
    let traffic = proxy.traffic(Clone::clone);
    assert_eq!((traffic.connections, traffic.forwarded, traffic.held), (2, vec![7, 7], vec![8]));
    assert_eq!(traffic.received, 3);
}

#[tokio::test]
async fn an_unreachable_server_causes_a_reset() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let proxy = Proxy::to(nobody).await.unwrap();
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    let read = timeout(TEST_TIMEOUT, stream.read_u8()).await.expect("no reset arrived");
    assert_eq!(read.unwrap_err().kind(), ErrorKind::ConnectionReset);
}
