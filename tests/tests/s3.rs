//! The local replacement for S3 behaves like S3 where the loader depends on it, and its proxy injects the requested
//! faults.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

use std::io::{BufRead, BufReader, ErrorKind};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use conformance::s3::refusal::{ACCESS_DENIED, INTERNAL_ERROR, SLOW_DOWN};
use conformance::s3::{Bucket, send};
use http::{Method, Request, Response, StatusCode};
use rig::{Fault, HttpProxy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const KEY: &str = "incoming/spring/product.csv";

/// Returns an object of several packets and buffers, whose bytes show their offset.
fn content() -> Bytes {
    (0..300_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>().into()
}

async fn bucket_with_object() -> Bucket {
    let bucket = Bucket::create().await;
    bucket.put(KEY, content()).await;
    bucket
}

fn get_request(bucket: &Bucket, headers: &[(&str, &str)]) -> Request<Bytes> {
    let mut request = Request::get(bucket.path(KEY));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Bytes::new()).unwrap()
}

async fn get_object(server: SocketAddr, bucket: &Bucket, headers: &[(&str, &str)]) -> Response<Bytes> {
    send(server, get_request(bucket, headers)).await.unwrap()
}

#[tokio::test]
async fn objects_are_put_listed_replaced_and_removed() {
    let bucket = Bucket::create().await;
    assert_eq!(bucket.get(KEY).await, None);
    let first = bucket.put(KEY, "first").await;
    assert_eq!(first, "\"8b04d5e3775d298e78455efc5ca404d5\"", "the MD5 of the content, in quotes");
    bucket.put("incoming/a b+c&<é>.csv", "odd").await;
    bucket.put("elsewhere", "").await;
    let listed = bucket.list("incoming/").await;
    let keys: Vec<_> = listed.iter().map(|object| (object.key.as_str(), object.size)).collect();
    assert_eq!(keys, [("incoming/a b+c&<é>.csv", 3), (KEY, 5)]);
    assert_eq!(listed[1].etag, first);
    assert_eq!(bucket.get("incoming/a b+c&<é>.csv").await.unwrap(), "odd");
    let second = bucket.put(KEY, "second").await;
    assert_ne!(second, first);
    assert_eq!(bucket.etag(KEY).await.unwrap(), second);
    assert_eq!(bucket.get(KEY).await.unwrap(), "second");
    bucket.delete(KEY).await;
    assert_eq!((bucket.get(KEY).await, bucket.etag(KEY).await), (None, None));
    assert!(Bucket::create().await.list("").await.is_empty(), "each test has a separate bucket");
}

#[tokio::test]
async fn a_folder_is_uploaded_with_its_file_names() {
    let bucket = Bucket::create().await;
    bucket.put_folder("incoming/small/", &conformance::small_dataset()).await;
    let keys: Vec<_> = bucket.list("incoming/").await.into_iter().map(|object| object.key).collect();
    assert_eq!(keys.len(), 7);
    assert_eq!(keys[0], "incoming/small/cart.csv");
    let file = std::fs::read(conformance::small_dataset().join("skus.csv")).unwrap();
    assert_eq!(bucket.get("incoming/small/skus.csv").await.unwrap(), file);
}

#[tokio::test]
async fn a_range_of_a_replaced_object_is_rejected() {
    let bucket = bucket_with_object().await;
    let etag = bucket.etag(KEY).await.unwrap();
    let part = get_object(bucket.server(), &bucket, &[("range", "bytes=4-11"), ("if-match", &etag)]).await;
    assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(part.headers()["content-range"], "bytes 4-11/1200000");
    assert_eq!(part.body(), &content()[4..12]);
    let beyond = get_object(bucket.server(), &bucket, &[("range", "bytes=1200000-")]).await;
    assert_eq!(beyond.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    bucket.put(KEY, "another").await;
    let replaced =
        get_object(bucket.server(), &bucket, &[("range", "bytes=4-11"), ("if-match", &etag)]).await;
    assert_eq!(replaced.status(), StatusCode::PRECONDITION_FAILED);
}

/// The variable for the process that a test kills: the process creates a bucket and then waits.
const HOLD: &str = "HOLD_A_BUCKET";

#[tokio::test]
async fn a_new_bucket_is_empty() {
    let bucket = Bucket::create().await;
    assert_eq!(bucket.list("").await, []);
    if std::env::var_os(HOLD).is_some() {
        println!("moto: {}", bucket.server());
        std::future::pending::<()>().await;
    }
}

#[tokio::test]
async fn moto_exits_with_its_process_even_after_a_kill() {
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_new_bucket_is_empty", "--nocapture"])
        .env(HOLD, "")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let address = lines.map_while(Result::ok).find_map(|line| Some(line.split_once("moto: ")?.1.to_owned()));
    let address: SocketAddr = address.expect("the process exited without a bucket").parse().unwrap();
    TcpStream::connect(address).await.unwrap();
    process.kill().unwrap(); // SIGKILL
    process.wait().unwrap();
    let since = Instant::now();
    while TcpStream::connect(address).await.is_ok() {
        assert!(since.elapsed() < Duration::from_secs(60), "moto is still running");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn the_proxy_forwards_and_records_every_request() {
    let bucket = bucket_with_object().await;
    let proxy = HttpProxy::start(bucket.server(), async |_| Fault::None);
    let etag = bucket.etag(KEY).await.unwrap();
    let range = [("range", "bytes=8-15"), ("if-match", &*etag)];
    let (direct, through) = (
        get_object(bucket.server(), &bucket, &range).await,
        get_object(proxy.address(), &bucket, &range).await,
    );
    assert_eq!((through.status(), through.body()), (direct.status(), direct.body()));
    for name in ["etag", "content-range", "content-length", "last-modified"] {
        assert_eq!(through.headers()[name], direct.headers()[name]);
    }
    let put = Request::put(bucket.path("rejects/a b.csv")).body(content()).unwrap();
    assert_eq!(send(proxy.address(), put).await.unwrap().status(), StatusCode::OK);
    assert_eq!(bucket.get("rejects/a b.csv").await.unwrap(), content());
    let list = format!("/{}?list-type=2&prefix=rejects", bucket.name());
    let list = send(proxy.address(), Request::get(list).body(Bytes::new()).unwrap()).await.unwrap();
    assert!(str::from_utf8(list.body()).unwrap().contains("a b.csv"));
    get_object(proxy.address(), &bucket, &[]).await;

    let seen = proxy.requests();
    let brief: Vec<_> = seen.iter().map(|seen| (seen.method.as_str(), seen.key.as_str(), seen.nth)).collect();
    assert_eq!(brief, [("GET", KEY, 1), ("PUT", "rejects/a b.csv", 1), ("GET", "", 1), ("GET", KEY, 2)]);
    assert_eq!(seen[0].header("range"), Some("bytes=8-15"));
    assert_eq!(seen[0].header("if-match"), Some(&*etag));
    assert_eq!((seen[3].header("range"), seen[3].header("if-match")), (None, None));
    assert!(seen[2].target.ends_with("?list-type=2&prefix=rejects"));
    assert!(seen.iter().all(|seen| seen.path().split('/').nth(1) == Some(bucket.name())));
    assert_eq!((proxy.count(&Method::GET, KEY), proxy.count(&Method::PUT, KEY)), (2, 0));
}

#[tokio::test]
async fn refusals_have_s3_s_codes_and_end_with_the_script() {
    let bucket = bucket_with_object().await;
    let proxy = HttpProxy::start(bucket.server(), async |seen| match seen.nth {
        1 | 2 => SLOW_DOWN,
        3 => INTERNAL_ERROR,
        4 => ACCESS_DENIED,
        _ => Fault::None,
    });
    for (status, code) in
        [(503, "SlowDown"), (503, "SlowDown"), (500, "InternalError"), (403, "AccessDenied")]
    {
        let response = get_object(proxy.address(), &bucket, &[]).await;
        assert_eq!(response.status(), status);
        assert!(str::from_utf8(response.body()).unwrap().contains(&format!("<Code>{code}</Code>")));
    }
    assert_eq!(get_object(proxy.address(), &bucket, &[]).await.body(), &content());
}

/// Reads the response to a GET until it ends. Returns the length of the body that was received, and how the connection
/// ended.
async fn read_raw(proxy: &HttpProxy, bucket: &Bucket) -> (usize, Result<(), ErrorKind>) {
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    let request = format!(
        "GET {} HTTP/1.1\r\nhost: s3\r\nauthorization: AWS x:x\r\nconnection: close\r\n\r\n",
        bucket.path(KEY)
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut read = Vec::new();
    let ended = loop {
        match stream.read_buf(&mut read).await {
            Ok(0) => break Ok(()),
            Ok(_) => (),
            Err(error) => break Err(error.kind()),
        }
    };
    let head = read.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("incomplete response head") + 4;
    assert!(read.starts_with(b"HTTP/1.1 200 OK\r\n"));
    assert!(content().starts_with(&read[head..]), "the body differs from the object");
    (read.len() - head, ended)
}

#[tokio::test]
async fn a_body_ends_at_the_scripted_byte_by_reset_or_close() {
    let bucket = bucket_with_object().await;
    for after in [0, 1, 65_536, 1_199_999] {
        let proxy = HttpProxy::start(bucket.server(), async move |_| Fault::Reset { after });
        assert_eq!(read_raw(&proxy, &bucket).await, (after, Err(ErrorKind::ConnectionReset)));
        let proxy = HttpProxy::start(bucket.server(), async move |_| Fault::Close { after });
        assert_eq!(read_raw(&proxy, &bucket).await, (after, Ok(())));
    }
    let proxy = HttpProxy::start(bucket.server(), async |_| Fault::Reset { after: 1_200_000 });
    assert_eq!(read_raw(&proxy, &bucket).await, (1_200_000, Ok(())), "a complete body is not cut off");
}

#[tokio::test]
async fn a_client_detects_an_incomplete_body_and_its_next_request_succeeds() {
    let bucket = bucket_with_object().await;
    let proxy = HttpProxy::start(bucket.server(), async |seen| match seen.nth {
        1 => Fault::Reset { after: 1000 },
        2 => Fault::Close { after: 1000 },
        _ => Fault::None,
    });
    for _ in 0..2 {
        send(proxy.address(), get_request(&bucket, &[])).await.unwrap_err();
    }
    assert_eq!(get_object(proxy.address(), &bucket, &[]).await.body(), &content());
}

#[tokio::test]
async fn a_trickle_is_slow_and_complete() {
    let bucket = Bucket::create().await;
    bucket.put(KEY, &b"0123456789"[..]).await;
    let every = Duration::from_millis(40);
    let proxy = HttpProxy::start(bucket.server(), async move |_| Fault::Trickle { bytes: 3, every });
    let since = Instant::now();
    assert_eq!(get_object(proxy.address(), &bucket, &[]).await.body(), "0123456789");
    assert!(since.elapsed() >= every * 3, "{:?}", since.elapsed()); // four pieces, and three pauses between them
}

#[tokio::test]
async fn a_hanging_request_blocks_no_other() {
    let bucket = bucket_with_object().await;
    let proxy =
        HttpProxy::start(bucket.server(), async |seen| if seen.nth == 1 { Fault::Hang } else { Fault::None });
    let silent =
        tokio::time::timeout(Duration::from_millis(500), get_object(proxy.address(), &bucket, &[])).await;
    assert!(silent.is_err(), "{silent:?}");
    assert_eq!(get_object(proxy.address(), &bucket, &[]).await.status(), StatusCode::OK);
    assert_eq!(proxy.requests().len(), 2);
}

#[tokio::test]
async fn an_object_can_be_replaced_between_two_ranges() {
    let bucket = bucket_with_object().await;
    let etag = bucket.etag(KEY).await.unwrap();
    let inside = bucket.clone();
    let replaced = Arc::new(AtomicBool::new(false));
    let output = Arc::clone(&replaced);
    let proxy = HttpProxy::start(bucket.server(), async move |seen| {
        if (seen.key.as_str(), seen.nth) == (KEY, 2) {
            inside.put(KEY, "another").await;
            output.store(true, Ordering::Relaxed);
        }
        Fault::None
    });
    let first = get_object(proxy.address(), &bucket, &[("range", "bytes=0-3"), ("if-match", &etag)]).await;
    assert_eq!(first.status(), StatusCode::PARTIAL_CONTENT);
    assert!(!replaced.load(Ordering::Relaxed));
    let second = get_object(proxy.address(), &bucket, &[("range", "bytes=4-7"), ("if-match", &etag)]).await;
    assert_eq!(second.status(), StatusCode::PRECONDITION_FAILED);
    assert_eq!(bucket.get(KEY).await.unwrap(), "another");
}

#[tokio::test]
async fn a_connection_serves_one_request_after_another() {
    let bucket = Bucket::create().await;
    bucket.put(KEY, "content").await;
    let proxy = HttpProxy::start(bucket.server(), async |_| Fault::None);
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    for nth in 1..=3 {
        let request =
            format!("GET {} HTTP/1.1\r\nhost: s3\r\nauthorization: AWS x:x\r\n\r\n", bucket.path(KEY));
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut read = Vec::new();
        while !read.ends_with(b"\r\n\r\ncontent") {
            assert!(stream.read_buf(&mut read).await.unwrap() > 0, "closed after {nth}");
        }
        assert_eq!(proxy.count(&Method::GET, KEY), nth);
    }
}

/// Tests of programs wait for a process without `await`.
#[tokio::test]
async fn the_proxy_runs_while_the_test_s_thread_is_blocked() {
    let bucket = Bucket::create().await;
    bucket.put(KEY, "content").await;
    let proxy = HttpProxy::start(bucket.server(), async |_| Fault::None);
    let path = bucket.path(KEY);
    let mut stream = std::net::TcpStream::connect(proxy.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: s3\r\nauthorization: AWS x:x\r\nconnection: close\r\n\r\n");
    std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
    let mut response = String::new();
    std::io::Read::read_to_string(&mut stream, &mut response).unwrap();
    assert!(response.ends_with("\r\n\r\ncontent"), "{response}");
}

#[tokio::test]
async fn a_dropped_proxy_stops() {
    let bucket = Bucket::create().await;
    let proxy = HttpProxy::start(bucket.server(), async |_| Fault::None);
    let address = proxy.address();
    TcpStream::connect(address).await.unwrap();
    drop(proxy);
    let since = Instant::now();
    while TcpStream::connect(address).await.is_ok() {
        assert!(since.elapsed() < Duration::from_secs(10), "the proxy is still running");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
