//! The load balancer in front of hosts: the suite through NGINX, and NGINX's own responses.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use conformance::{Transport as _, send};
use http::{HeaderName, HeaderValue, Request, Response, Version};
use local::{LoadBalancer, LoadBalancerSettings, free_address, signal};
use rig::{Fault, HttpProxy, start_load_balancer, until};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use support::serving::{Balanced, Socket, small_fleet};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

conformance::suite!(small_fleet);

async fn balance(hosts: &[SocketAddr]) -> (LoadBalancer, Balanced) {
    balance_with(hosts, LoadBalancerSettings::default()).await
}

async fn balance_with(hosts: &[SocketAddr], settings: LoadBalancerSettings) -> (LoadBalancer, Balanced) {
    let balancer = start_load_balancer(hosts, settings).await.unwrap();
    let service = Balanced(Socket(balancer.address()));
    (balancer, service)
}

/// Returns settings with these variables for the configuration.
fn with_variables(variables: &[(&'static str, &str)]) -> LoadBalancerSettings {
    let variables = variables.iter().map(|&(name, value)| (name, value.to_owned())).collect();
    LoadBalancerSettings { variables, ..LoadBalancerSettings::default() }
}

/// Sends these bytes, which need not be HTTP, and reads until the connection is closed.
async fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    response
}

/// Asserts that NGINX's response is a problem in the same form as the hosts' problems.
fn assert_is_problem(response: &Response<Bytes>, status: u16) {
    assert_eq!(response.status(), status);
    let header = |name| response.headers().get(name).map_or("", |value| value.to_str().unwrap());
    assert_eq!(header("content-type"), "application/problem+json");
    assert_eq!(header("access-control-allow-origin"), "*");
    assert_eq!(header("cache-control"), "no-store");
    let problem: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
    assert_eq!(problem["status"], status);
    assert_eq!(problem["request_id"], header("x-request-id"));
    assert_eq!(problem.as_object().unwrap().len(), 5, "{problem}");
}

#[tokio::test]
async fn without_a_working_host_nginx_returns_a_problem_with_retry_after() {
    let (_balancer, service) = balance(&[free_address().unwrap(), free_address().unwrap()]).await;
    for method in ["GET", "POST"] {
        let request = Request::builder().method(method).uri("/cart").header("x-request-id", "mine");
        let response = service.call(request.body(Bytes::new()).unwrap()).await;
        assert_is_problem(&response, 502);
        assert_eq!(response.headers()["retry-after"], "1");
        assert_eq!(response.headers()["x-request-id"], "mine");
    }
    assert_eq!(exchange_status(service.0.0, "/healthz").await, "200", "the load balancer itself is alive");
}

async fn exchange_status(address: SocketAddr, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    let response = exchange(address, request.as_bytes()).await;
    response.split(' ').nth(1).unwrap_or_default().to_owned()
}

#[tokio::test]
async fn nginx_rejects_invalid_requests_with_a_problem() {
    let host = HttpProxy::alone(Fault::Respond(200, "host"));
    let (_balancer, service) = balance(&[host.address()]).await;
    let long = "a".repeat(9000);
    let with = |name: &'static str, value: &str| {
        let value = HeaderValue::from_str(value).unwrap();
        Request::get("/cart").header(HeaderName::from_static(name), value).body(Bytes::new()).unwrap()
    };
    let to = |method: &str, path: &str, body: &str| {
        Request::builder().method(method).uri(path).body(Bytes::from(body.to_owned())).unwrap()
    };
    for (request, status) in [
        (to("GET", "/problem", ""), 404),
        (to("get", "/cart", ""), 400),
        (to("TRACE", "/cart", ""), 405),
        (to("POST", "/cart", &long), 413),
        (to("GET", &format!("/{long}"), ""), 414),
        (with("cookie", &long), 431),
    ] {
        let response = send(&service, request).await;
        assert_eq!(response.status, status);
        assert_eq!(response.headers.contains_key("allow"), status == 405);
        assert_eq!(response.header("x-content-type-options"), "nosniff");
    }
    let response = exchange(service.0.0, b"what is this?\r\n\r\n").await;
    assert!(
        response.starts_with("HTTP/1.1 400 ") && response.contains("application/problem+json"),
        "{response}"
    );
    assert_eq!(host.requests(), [], "none of them reached the host");
}

#[tokio::test]
async fn nginx_overwrites_forwarding_headers_and_malformed_request_ids() {
    let host = HttpProxy::alone(Fault::Respond(200, "host"));
    let (_balancer, service) = balance(&[host.address()]).await;
    for id in ["a well-formed one it is not", "well-formed_1.2", &"a".repeat(65)] {
        let request = Request::get("/cart?a=%2F&b=/../")
            .header("x-request-id", id)
            .header("x-forwarded-for", "10.9.8.7")
            .header("x-forwarded-proto", "https")
            .header("forwarded", "for=10.9.8.7")
            .header("connection", "x-hop")
            .header("host", "Shop.Example");
        service.call(request.body(Bytes::new()).unwrap()).await;
    }
    let requests = host.requests();
    for request in &requests {
        let start = (request.method.as_str(), request.target.as_str(), request.version);
        assert_eq!(start, ("GET", "/cart?a=%2F&b=/../", Version::HTTP_11));
        assert_eq!(request.header("x-forwarded-for"), Some("127.0.0.1"));
        assert_eq!(request.header("x-forwarded-proto"), Some("http"));
        assert_eq!(request.header("host"), Some("shop.example"));
        assert_eq!(request.header("forwarded"), None);
        assert_eq!(request.header("connection"), None);
    }
    let ids: Vec<&str> = requests.iter().map(|request| request.header("x-request-id").unwrap()).collect();
    assert_eq!(ids[1], "well-formed_1.2");
    for made in [ids[0], ids[2]] {
        assert!(made.len() == 32 && made.bytes().all(|byte| byte.is_ascii_hexdigit()), "{made}");
    }
}

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
    ]) {
        let statuses = statuses_from(Ipv4Addr::new(127, 0, 2, n), service.0.0, request, 5).await;
        assert_eq!(statuses, ["200"; 5], "{request}");
    }
}

#[tokio::test]
async fn the_access_log_has_no_secrets_of_a_request() {
    let host = HttpProxy::alone(Fault::Respond(200, "host"));
    let settings = LoadBalancerSettings { access_log: true, ..LoadBalancerSettings::default() };
    let (balancer, service) = balance_with(&[host.address()], settings).await;
    let request = Request::post("/cart?secret=1")
        .header("x-request-id", "the-id")
        .header("authorization", "secret")
        .header("cookie", "atelier_session=secret");
    service.call(request.body(Bytes::from_static(b"secret")).unwrap()).await;
    let log = || std::fs::read_to_string(balancer.access_log()).unwrap_or_default();
    until("the line is written", async || log().ends_with('\n')).await;
    let text = log();
    assert!(!text.contains("secret"), "{text}");
    let line: serde_json::Value = serde_json::from_str(&text).unwrap();
    for (member, expected) in [
        ("request_id", "the-id"),
        ("method", "POST"),
        ("path", "/cart"),
        ("upstream", &host.address().to_string()),
        ("upstream_status", "200"),
    ] {
        assert_eq!(line[member], expected, "{text}");
    }
    assert_eq!(line["status"], 200);
    assert!(line["bytes"].is_u64() && line["seconds"].is_f64(), "{text}");
}

#[tokio::test]
async fn a_reload_fails_no_request() {
    let host = HttpProxy::alone(Fault::Respond(200, "host"));
    let (balancer, service) = balance(&[host.address()]).await;
    for _ in 0..5 {
        signal(balancer.pid(), "HUP").unwrap();
        for _ in 0..40 {
            let response = service.call(Request::get("/products/1").body(Bytes::new()).unwrap()).await;
            assert_eq!(response.status(), 200);
        }
    }
}

fn client_of(authority: rustls::pki_types::CertificateDer<'static>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(authority).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    client.with_root_certificates(roots).with_no_client_auth()
}

#[tokio::test]
async fn with_a_certificate_the_load_balancer_accepts_only_tls_and_offers_http_2() {
    let made = rcgen::generate_simple_self_signed(["shop.example".to_owned()]).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: String| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (certificate, key) =
        (file("certificate.pem", made.cert.pem()), file("key.pem", made.signing_key.serialize_pem()));
    let host = HttpProxy::alone(Fault::Respond(200, "host"));
    let settings = with_variables(&[("TLS_CERTIFICATE", &certificate), ("TLS_KEY", &key)]);
    let (balancer, _service) = balance_with(&[host.address()], settings).await;

    let mut client = client_of(made.cert.der().clone());
    for protocol in ["http/1.1", "h2"] {
        client.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let stream = TcpStream::connect(balancer.address()).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(client.clone()));
        let mut stream =
            connector.connect(ServerName::try_from("shop.example").unwrap(), stream).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(protocol.as_bytes()));
        if protocol == "http/1.1" {
            let request = b"GET /cart HTTP/1.1\r\nhost: shop.example\r\nconnection: close\r\n\r\n";
            stream.write_all(request).await.unwrap();
            let mut response = String::new();
            stream.read_to_string(&mut response).await.unwrap();
            assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
            assert!(response.contains("\r\nStrict-Transport-Security: max-age="), "{response}");
        }
    }
    assert_eq!(host.requests()[0].header("x-forwarded-proto"), Some("https"));
    let plain = exchange(balancer.address(), b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(plain.starts_with("HTTP/1.1 400 ") && plain.contains("application/problem+json"), "{plain}");
}
