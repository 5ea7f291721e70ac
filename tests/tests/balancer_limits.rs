//! The load balancer's limits for each client address.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod support;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use conformance::Transport as _;
use http::{Request, Response};
use local::LoadBalancer;
use rig::{Fault, HttpProxy};
use support::balancing::{assert_is_problem, balance_with, with_variables};
use support::serving::Balanced;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

/// Sends at most 20 requests, one after another, and returns the first response that is not 200.
async fn first_rejection(service: &Balanced, target: &str) -> Response<Bytes> {
    for _ in 0..20 {
        let response = service.call(Request::get(target).body(Bytes::new()).unwrap()).await;
        if response.status() != 200 {
            return response;
        }
    }
    panic!("20 requests in a row exceed 1 per second");
}

#[tokio::test]
async fn requests_above_the_rate_limit_return_429_with_retry_after() {
    let host = HttpProxy::alone(Fault::Respond(200, "host"));
    let settings = with_variables(&[("RATE_LIMIT", "1")]);
    let (_balancer, service) = balance_with(&[host.address()], settings).await;
    let rejection = first_rejection(&service, "/products/1").await;
    assert_is_problem(&rejection, 429);
    assert_eq!(rejection.headers()["retry-after"], "1");
}

/// Returns a load balancer with a limit of 40 requests per second and client address, and of one large page.
async fn balance_with_one_large_page(host: &HttpProxy) -> (LoadBalancer, Balanced) {
    let settings = with_variables(&[("RATE_LIMIT", "40")]);
    balance_with(&[host.address()], settings).await
}

/// Sends `count` requests from a loopback address, one after another, and returns their statuses.
async fn statuses_from(source: Ipv4Addr, address: SocketAddr, request: &str, count: usize) -> Vec<String> {
    let head = format!("{request} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    let mut statuses = Vec::new();
    for _ in 0..count {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((source, 0).into()).expect("Linux has all addresses of 127.0.0.0/8");
        let mut stream = socket.connect(address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        statuses.push(response.split(' ').nth(1).unwrap_or_default().to_owned());
    }
    statuses
}

#[tokio::test]
async fn large_pages_above_their_rate_limit_return_429_and_other_requests_succeed() {
    let host = HttpProxy::alone(Fault::Respond(200, "host"));
    let (_balancer, service) = balance_with_one_large_page(&host).await;
    let rejection = first_rejection(&service, "/products?count=1000").await;
    assert_is_problem(&rejection, 429);
    assert_eq!(rejection.headers()["retry-after"], "1");
    for target in ["/products", "/products?count=50", "/products/1"] {
        let response = service.call(Request::get(target).body(Bytes::new()).unwrap()).await;
        assert_eq!(response.status(), 200, "{target}");
    }
    let other = Ipv4Addr::new(127, 0, 0, 2);
    assert_eq!(statuses_from(other, service.0.0, "GET /products?count=1000", 1).await, ["200"]);
}

#[tokio::test]
async fn no_spelling_of_a_large_page_evades_its_rate_limit() {
    let host = HttpProxy::alone(Fault::Respond(200, "host"));
    let (_balancer, service) = balance_with_one_large_page(&host).await;
    for (n, request) in (1..).zip([
        "GET /products?count=51",
        "GET /products?count=100",
        "GET /products?count=99999999999999999999",
        "GET /products/?count=1000",
        "HEAD /products?count=1000",
        "GET http://a/products?count=1000",
        "GET /products?page=7&count=1000",
        "GET /products?&&count=1000&",
        "GET /products?x=?&count=1000",
        "GET /products?COUNT=5&count=1000",
        "GET /products?+count=5&count=1000",
        "GET /products?count=1000&count=5",
        "GET /products?c%6Funt=1000",
        "GET /products?x=%20&c%6funt=1000&count=5",
        "GET /products?%63%6f%75%6e%74=%31%30%30%30",
        "GET /products?count=1%300",
        "GET /products?count=%35%31",
        "GET /products?count=0060",
        "GET /products?count=+60",
        "GET /products?count=1000#",
        "GET /products?category=Boots&count=1000",
        "GET /products?q=boots",
        "GET /products?page=1&q=boots",
        "GET /products?%71=boots",
        "GET /cards?count=25",
        "GET /cards/?page=2&count=100",
        "GET /cards?%69ds=1",
        "GET /cards?ids=1,2,3,4,5,6,7,8,9,1,2,3,4,5,6,7,8,9,1,2,3,4,5,6,7",
        "GET /cards?ids=1%2C2%2c3,4,5,6,7,8,9,1,2,3,4,5,6,7,8,9,1,2,3,4,5,6,7",
        "GET /cart/lines",
        "HEAD /cart/lines/",
    ]) {
        let statuses = statuses_from(Ipv4Addr::new(127, 0, 1, n), service.0.0, request, 20).await;
        assert!(statuses.contains(&"429".to_owned()), "{request}: {statuses:?}");
    }
}

#[tokio::test]
async fn small_pages_and_other_requests_do_not_count_as_large_pages() {
    let host = HttpProxy::alone(Fault::Respond(200, "host"));
    let (_balancer, service) = balance_with_one_large_page(&host).await;
    for (n, request) in (1..).zip([
        "GET /products",
        "GET /products/",
        "GET /products?",
        "GET /products?page=200000",
        "GET /products?count",
        "GET /products?count=&page=2",
        "GET /products?count=5",
        "GET /products?page=1&count=20",
        "GET /products?count=50&page=2",
        "GET /products?COUNT=1000",
        "GET /products?discount=1000&counts=1000",
        "GET /products?sort=newest&x=a%20b&_=1732579200000",
        "GET /products/1?count=1000",
        "GET /products/1/styles?count=1000",
        "GET /cart?count=1000",
        "OPTIONS /products?count=1000",
        "GET /products?category=Boots%20%26%20more",
        "GET /products?q=&count=5",
        "GET /products?faq=boots",
        "GET /cards",
        "GET /cards?ids=1000001,1000002,1000003,1000004,1000005,1000006,1000007,1000008,1000009,1000010,1000011,1000012",
        "GET /cards?page=3&count=24",
        "GET /categories",
        "GET /cart",
    ]) {
        let statuses = statuses_from(Ipv4Addr::new(127, 0, 2, n), service.0.0, request, 5).await;
        assert_eq!(statuses, ["200"; 5], "{request}");
    }
}

/// A well-formed session cookie.
const COOKIE: &str = "cookie: atelier_session=0123456789abcdef0123456789abcdef";

/// Returns a load balancer with a limit of one new anonymous cart per second and client address.
async fn balance_with_one_new_cart(host: &HttpProxy) -> (LoadBalancer, Balanced) {
    balance_with(&[host.address()], with_variables(&[("NEW_CART_LIMIT", "1")])).await
}

/// Returns how many of these statuses are 200; each other one must be 429.
fn accepted(statuses: &[String]) -> usize {
    let (accepted, rejected): (Vec<_>, Vec<_>) = statuses.iter().partition(|status| *status == "200");
    assert!(rejected.iter().all(|status| *status == "429"), "{statuses:?}");
    accepted.len()
}

#[tokio::test]
async fn a_flood_of_new_carts_is_limited_and_visitors_with_a_cart_at_its_address_are_not() {
    let host = HttpProxy::alone(Fault::Respond(200, "host"));
    let (_balancer, service) = balance_with_one_new_cart(&host).await;
    let flood = Ipv4Addr::new(127, 0, 3, 1);
    let statuses = statuses_from(flood, service.0.0, "POST /cart", 60).await;
    assert!((11..60).contains(&accepted(&statuses)), "a burst of 10, and one per second: {statuses:?}");
    let with_cookie = format!("POST /cart HTTP/1.1\r\n{COOKIE}\r\nx:");
    for other in [with_cookie.as_str(), "GET /cart", "DELETE /cart", "OPTIONS /cart", "GET /products/1"] {
        assert_eq!(statuses_from(flood, service.0.0, other, 5).await, ["200"; 5], "{other}");
    }
    let visitor = Ipv4Addr::new(127, 0, 3, 2);
    assert_eq!(statuses_from(visitor, service.0.0, "POST /cart", 5).await, ["200"; 5]);
}

#[tokio::test]
async fn no_spelling_of_a_new_anonymous_cart_evades_its_rate_limit() {
    let host = HttpProxy::alone(Fault::Respond(200, "host"));
    let (_balancer, service) = balance_with_one_new_cart(&host).await;
    let with = |header: &str| format!("POST /cart HTTP/1.1\r\n{header}\r\nx:");
    for (n, request) in (1..).zip([
        "POST /cart/".to_owned(),
        "POST /cart?x=1".to_owned(),
        "PUT /cart/1".to_owned(),
        "PUT /cart/1/?x=1".to_owned(),
        "POST /cart#x".to_owned(),
        "POST http://a/cart".to_owned(),
        with("authorization:"),
        with("cookie: theme=dark"),
        with("cookie: atelier_session=1"),
        with("cookie: other_atelier_session=0123456789abcdef0123456789abcdef"),
        with("cookie: atelier_session=0123456789ABCDEF0123456789ABCDEF"),
        with("cookie: atelier_session=0123456789abcdef0123456789abcdef0"),
    ]) {
        let statuses = statuses_from(Ipv4Addr::new(127, 0, 4, n), service.0.0, &request, 60).await;
        assert!(accepted(&statuses) < 60, "{request}: {statuses:?}");
    }
}

#[tokio::test]
async fn made_up_credentials_evade_only_the_limit_of_new_anonymous_carts() {
    let host = HttpProxy::alone(Fault::Respond(200, "host"));
    let (_balancer, service) = balance_with_one_new_cart(&host).await;
    for (n, header) in (1..).zip([
        "authorization: Bearer x".to_owned(),
        COOKIE.to_owned(),
        format!("{COOKIE}{}", "0".repeat(64)),
        format!("cookie: theme=dark\r\n{COOKIE}; x=1"),
    ]) {
        let request = format!("POST /cart HTTP/1.1\r\n{header}\r\nx:");
        let statuses = statuses_from(Ipv4Addr::new(127, 0, 5, n), service.0.0, &request, 200).await;
        assert!((41..200).contains(&accepted(&statuses)), "a burst of 40, and four per second: {statuses:?}");
    }
}

#[tokio::test]
async fn readiness_checks_above_the_limit_of_large_pages_return_429() {
    let host = HttpProxy::alone(Fault::Respond(200, "host"));
    let (_balancer, service) = balance_with_one_large_page(&host).await;
    assert_is_problem(&first_rejection(&service, "/readyz").await, 429);
    assert_eq!(service.call(Request::get("/healthz").body(Bytes::new()).unwrap()).await.status(), 200);
}

#[tokio::test]
async fn swagger_ui_above_the_limit_of_large_pages_returns_429() {
    let host = HttpProxy::alone(Fault::Respond(200, "host"));
    let (_balancer, service) = balance_with_one_large_page(&host).await;
    for (n, request) in (1..).zip(["GET /docs", "GET /docs/initializer.js", "GET /openapi.json"]) {
        let statuses = statuses_from(Ipv4Addr::new(127, 0, 6, n), service.0.0, request, 5).await;
        assert_eq!(statuses, ["200"; 5], "{request}");
    }
    let one = Ipv4Addr::new(127, 0, 6, 9);
    let of_one_view = ["GET /docs/swagger-ui.css", "GET /docs/swagger-ui-bundle.js"];
    for request in of_one_view {
        assert_eq!(statuses_from(one, service.0.0, request, 1).await, ["200"], "{request}");
    }
    assert_is_problem(&first_rejection(&service, "/docs/swagger-ui-bundle.js?x").await, 429);
}

/// An NGINX of one process, which ends with this value.
struct Nginx(Child);

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts NGINX with a limit of one request per second, which takes a client's address from the header `x-client`.
async fn limit_by_header(directory: &Path, host: SocketAddr) -> (Nginx, SocketAddr) {
    let address = local::free_address().unwrap();
    let rendered = Command::new(local::RENDER)
        .envs([("HOSTS", host.to_string()), ("LISTEN", address.to_string())])
        .envs([("RATE_LIMIT", "1"), ("STATUS_LISTEN", "off"), ("ACCESS_LOG", "off"), ("ERROR_LOG", "stderr")])
        .envs([("TEMPORARY", directory), ("PID_FILE", &directory.join("pid"))])
        .output()
        .unwrap();
    assert!(rendered.status.success());
    let from_header = "http {\nset_real_ip_from 127.0.0.1;\nreal_ip_header x-client;\n";
    let text = String::from_utf8(rendered.stdout).unwrap().replacen("http {\n", from_header, 1);
    let path = directory.join("nginx.conf");
    fs::write(&path, text).unwrap();
    let mut command = Command::new(local::nginx().unwrap());
    command.arg("-c").arg(path).args(["-g", "daemon off; master_process off;"]).stderr(Stdio::null());
    let mut nginx = Nginx(command.spawn().unwrap());
    while TcpStream::connect(address).await.is_err() {
        assert!(nginx.0.try_wait().unwrap().is_none(), "NGINX does not start");
    }
    (nginx, address)
}

#[tokio::test]
async fn clients_of_one_ipv6_network_share_a_limit_and_those_of_two_do_not() {
    let host = HttpProxy::alone(Fault::Respond(200, "host"));
    let directory = tempfile::tempdir().unwrap();
    let (_nginx, address) = limit_by_header(directory.path(), host.address()).await;
    let status = async |client: &str| {
        let request = format!("GET /products/1 HTTP/1.1\r\nx-client: {client}\r\nx:");
        statuses_from(Ipv4Addr::LOCALHOST, address, &request, 1).await.remove(0)
    };
    for (network, other) in [
        ("2001:db8::N:2:3:0", "2001:db8:0:1:1:2:3:0"),
        ("2001:db8:0:0:N::", "2001:db8:0:2:1::"),
        ("2001:db8:a:a0a::N", "2001:db8:a:a0b::1"),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2"),
        ("192.0.2.3", "192.0.2.4"),
    ] {
        let mut is_limited = false;
        for n in 1..=20 {
            is_limited |= status(&network.replace('N', &n.to_string())).await == "429";
        }
        assert!(is_limited, "one request of each address {network}");
        assert_eq!(status(other).await, "200", "{network} and {other}");
    }
}
