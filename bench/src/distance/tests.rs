use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

use super::{Line, PIECE, Way, Weather, carry};

const DELAY: Duration = Duration::from_millis(40);

/// How long anything is waited for.
const LIMIT: Duration = Duration::from_secs(20);

fn way(open_at: Instant, weather: &watch::Sender<Weather>) -> Way {
    Way { number: 0, open_at, delay: DELAY, weather: weather.subscribe() }
}

/// One way, between two pipes that hold so many bytes.
struct Course {
    near: DuplexStream,
    far: DuplexStream,
    weather: watch::Sender<Weather>,
}

fn course(pipe: usize) -> Course {
    let (near, from) = duplex(pipe);
    let (to, far) = duplex(pipe);
    let weather = watch::Sender::default();
    tokio::spawn(carry(from, to, way(Instant::now(), &weather)));
    Course { near, far, weather }
}

async fn read_to_end(mut stream: DuplexStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    timeout(LIMIT, stream.read_to_end(&mut bytes)).await.expect("no end").unwrap();
    bytes
}

#[test]
fn each_piece_has_its_own_time_and_none_before_the_connection_is_open() {
    let (weather, begin) = (watch::Sender::default(), Instant::now());
    let way = way(begin + 2 * DELAY, &weather);
    assert_eq!(way.due(begin), begin + 3 * DELAY, "sent at once, it waits for the handshake");
    assert_eq!(way.due(begin + 2 * DELAY), begin + 3 * DELAY);
    let (one, other) = (begin + 5 * DELAY, begin + 5 * DELAY + DELAY / 10);
    assert_eq!(way.due(one), one + DELAY);
    assert_eq!(way.due(other), other + DELAY, "it does not wait for the one that is in flight");
}

#[tokio::test]
async fn nothing_arrives_before_the_delay_has_passed() {
    let Course { mut near, far, .. } = course(64);
    let begin = Instant::now();
    near.write_all(b"hello").await.unwrap();
    drop(near);
    assert_eq!(read_to_end(far).await, b"hello");
    assert!(begin.elapsed() >= DELAY, "after {:?}", begin.elapsed());
}

#[tokio::test]
async fn bytes_arrive_unchanged_and_in_order_and_then_the_end() {
    let Course { mut near, far, .. } = course(1_500);
    let sent: Vec<u8> = (0..=250).cycle().take(20 * PIECE).collect();
    let expected = sent.clone();
    tokio::spawn(async move {
        for piece in sent.chunks(1_000) {
            near.write_all(piece).await.unwrap();
        }
    });
    let arrived = read_to_end(far).await;
    assert_eq!(arrived.len(), expected.len());
    assert!(arrived == expected);
}

#[tokio::test]
async fn more_is_taken_while_nothing_is_delivered_and_a_silent_line_loses_none_of_it() {
    let Course { mut near, mut far, weather } = course(1_000);
    weather.send_modify(|weather| weather.silent_below = u64::MAX);
    let sent = vec![b'x'; 100_000];
    timeout(LIMIT, near.write_all(&sent)).await.expect("it waits for what is in flight").unwrap();
    drop(near);
    assert!(timeout(2 * DELAY, far.read_u8()).await.is_err(), "it is not silent");
    weather.send_modify(|weather| weather.silent_below = 0);
    assert_eq!(read_to_end(far).await, sent);
}

/// A server that sends back what it is sent.
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

async fn ask(stream: &mut TcpStream) -> std::io::Result<u8> {
    stream.write_u8(7).await?;
    timeout(LIMIT, stream.read_u8()).await.expect("no answer")
}

#[tokio::test]
async fn a_client_that_closes_its_side_still_gets_all_that_was_on_its_way() {
    let line = Line::to(echo().await, Duration::from_millis(4)).await.unwrap();
    let mut stream = TcpStream::connect(line.address()).await.unwrap();
    stream.write_all(b"to the end").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    timeout(LIMIT, stream.read_to_string(&mut answer)).await.expect("no end").unwrap();
    assert_eq!(answer, "to the end");
}

#[tokio::test]
async fn connections_are_reset_and_those_that_come_later_are_not() {
    let line = Line::to(echo().await, Duration::ZERO).await.unwrap();
    let mut stream = TcpStream::connect(line.address()).await.unwrap();
    assert_eq!(ask(&mut stream).await.unwrap(), 7);
    line.cut_off();
    let read = timeout(LIMIT, stream.read_u8()).await.expect("nothing was told of the reset");
    assert_eq!(read.unwrap_err().kind(), ErrorKind::ConnectionReset);
    let mut another = TcpStream::connect(line.address()).await.unwrap();
    assert_eq!(ask(&mut another).await.unwrap(), 7);
}

#[tokio::test]
async fn silence_holds_for_the_connections_that_there_are_and_others_are_answered_meanwhile() {
    let line = Line::to(echo().await, Duration::ZERO).await.unwrap();
    let mut stream = TcpStream::connect(line.address()).await.unwrap();
    assert_eq!(ask(&mut stream).await.unwrap(), 7);
    line.fall_silent();
    stream.write_u8(8).await.unwrap();
    let mut another = TcpStream::connect(line.address()).await.unwrap();
    assert_eq!(ask(&mut another).await.unwrap(), 7);
    let error = stream.try_read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    line.speak_again();
    assert_eq!(timeout(LIMIT, stream.read_u8()).await.expect("it stays silent").unwrap(), 8);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_as_a_reset() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let line = Line::to(nobody, Duration::ZERO).await.unwrap();
    let mut stream = TcpStream::connect(line.address()).await.unwrap();
    let read = timeout(LIMIT, stream.read_u8()).await.expect("nothing was told");
    assert_eq!(read.unwrap_err().kind(), ErrorKind::ConnectionReset);
}
