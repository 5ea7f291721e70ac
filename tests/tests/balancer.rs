//! The load balancer in front of hosts: the suite through NGINX, and NGINX's own responses.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod support;

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use conformance::{Transport as _, send};
use http::{HeaderName, HeaderValue, Request, Version};
use local::{LoadBalancerSettings, RENDER, free_address, nginx, signal};
use rig::{Fault, HttpProxy, until};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use support::balancing::{assert_is_problem, balance, balance_with, with_variables};
use support::serving::{Socket, small_fleet};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

conformance::suite!(small_fleet);

/// Sends these bytes, which need not be HTTP, and reads until the connection is closed.
async fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    response
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

#[tokio::test]
async fn only_the_page_has_a_content_security_policy_and_it_has_one() {
    let fleet = small_fleet().await;
    for (path, status, policies) in [
        ("/docs", 200, 1),
        ("/docs/", 200, 1),
        ("/docs/initializer.js", 200, 0),
        ("/openapi.json", 200, 0),
        ("/products/1", 200, 0),
        ("/nothing", 404, 0),
        ("/healthz", 200, 0),
    ] {
        let response = fleet.call(Request::get(path).body(Bytes::new()).unwrap()).await;
        assert_eq!(response.status(), status, "{path}");
        for (name, expected) in [("content-security-policy", policies), ("x-content-type-options", 1)] {
            assert_eq!(response.headers().get_all(name).iter().count(), expected, "{path}: {name}");
        }
    }
}

/// Sends a request with secrets, and returns its line in the access log: the text and the JSON.
async fn logged(variables: &[(&'static str, &str)]) -> (String, serde_json::Value) {
    let host = HttpProxy::alone(Fault::Respond(200, "host"));
    let settings = LoadBalancerSettings { access_log: true, ..with_variables(variables) };
    let (balancer, service) = balance_with(&[host.address()], settings).await;
    let request = Request::post("/cart?secret=1")
        .header("x-request-id", "the-id")
        .header("authorization", "secret")
        .header("cookie", "atelier_session=secret");
    service.call(request.body(Bytes::from_static(b"secret")).unwrap()).await;
    let log = || std::fs::read_to_string(balancer.access_log()).unwrap_or_default();
    until("the line is written", async || log().ends_with('\n')).await;
    let text = log();
    let mut line: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(line["upstream"].take(), host.address().to_string());
    (text, line)
}

#[tokio::test]
async fn the_access_log_has_no_secrets_of_a_request() {
    let (text, line) = logged(&[]).await;
    assert!(!text.contains("secret"), "{text}");
    for (member, expected) in
        [("request_id", "the-id"), ("method", "POST"), ("path", "/cart"), ("upstream_status", "200")]
    {
        assert_eq!(line[member], expected, "{text}");
    }
    assert_eq!(line["status"], 200);
    assert!(line["bytes"].is_u64() && line["seconds"].is_f64(), "{text}");
}

#[tokio::test]
async fn the_access_log_has_the_client_s_network_its_address_or_neither() {
    let v4 = [(None, Some("127.0.0.0")), (Some("full"), Some("127.0.0.1")), (Some("off"), None)];
    for (setting, expected) in v4 {
        let variables: Vec<_> = setting.map(|setting| ("LOG_ADDRESSES", setting)).into_iter().collect();
        let (text, line) = logged(&variables).await;
        assert_eq!(line["client"].as_str(), expected, "{setting:?}: {text}");
        assert_eq!(text.contains("127.0.0.1\",\"method"), setting == Some("full"), "{text}");
    }
}

/// A machine has few addresses of its own, so this test puts addresses into the map of the configuration as an argument.
#[tokio::test]
async fn the_logged_network_has_24_bits_of_ipv4_and_48_of_ipv6() {
    let output = Command::new(RENDER).env("HOSTS", "10.0.1.10:3000").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (_, map) = text.split_once("map $remote_addr $logged_client {").unwrap();
    let (map, _) = map.split_once("\n    }\n").unwrap();
    let (directory, address) = (tempfile::tempdir().unwrap(), free_address().unwrap());
    let folder = directory.path().display();
    let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let paths = paths.map(|name| format!("{name}_temp_path {folder}/{name};")).concat();
    let server = format!("server {{ listen {address}; access_log off; return 200 $logged_client; }}");
    let configuration = format!(
        "daemon off; pid {folder}/pid; error_log stderr;\nevents {{}}\n\
         http {{ {paths} map $arg_client $logged_client {{ {map} }} {server} }}"
    );
    let file = directory.path().join("nginx.conf");
    std::fs::write(&file, configuration).unwrap();
    let mut server = Command::new(nginx().unwrap()).args(["-e", "stderr", "-c"]).arg(&file).spawn().unwrap();
    until("NGINX listens", async || TcpStream::connect(address).await.is_ok()).await;
    let expected = [
        ("203.0.113.77", "203.0.113.0"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1::"),
        ("2001:db8:1::6", "2001:db8:1::"),
        ("2001:db8:1::", "2001:db8:1::"),
        ("2001:db8::6", "2001:db8::"),
        ("2001::6", "2001::"),
        ("::1", "::"),
        ("::ffff:203.0.113.77", "::"),
        ("unix:", ""),
    ];
    let mut networks = Vec::new();
    for (client, _) in expected {
        let request = Request::get(format!("/?client={client}")).body(Bytes::new()).unwrap();
        networks.push((client, Socket(address).call(request).await.into_body()));
    }
    signal(server.id(), "QUIT").unwrap();
    server.wait().unwrap();
    assert_eq!(networks, expected.map(|(client, network)| (client, Bytes::from(network))));
}

/// Uses the rotation of a load balancer on EC2, with the folder, the process and the user of this NGINX.
#[tokio::test]
async fn a_log_of_100_mb_is_rotated_and_nginx_writes_to_the_new_one() {
    let host = HttpProxy::alone(Fault::Respond(200, "host"));
    let settings = LoadBalancerSettings { access_log: true, ..LoadBalancerSettings::default() };
    let (balancer, service) = balance_with(&[host.address()], settings).await;
    let log = balancer.access_log();
    let folder = log.parent().unwrap();
    // If root starts NGINX, its workers are of another user, and open the new log.
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    let rotation = std::fs::read_to_string(support::root().join("deploy/ec2/nginx.logrotate")).unwrap();
    let rotation = rotation.replace("/var/log/nginx", folder.to_str().unwrap());
    let rotation = rotation.replace("/run/nginx.pid", folder.join("nginx.pid").to_str().unwrap());
    let file = tempfile::NamedTempFile::new().unwrap(); // logrotate ignores a file that others may write
    std::fs::write(file.path(), rotation.replace(" www-data adm", "")).unwrap();
    let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap());
    let rotate = || {
        let mut command = Command::new("logrotate");
        command.arg("--state").arg(folder.join("state")).arg(file.path()).env("PATH", &path);
        assert!(command.status().expect("`scripts/install.sh logrotate` installs it").success());
        folder.join("access.log.1.gz").exists()
    };
    let write = async || {
        service.call(Request::get("/products/1").body(Bytes::new()).unwrap()).await;
        std::fs::metadata(&log).unwrap().len() > 0
    };
    until("a line is written", &write).await;
    assert!(!rotate(), "the log is small and of today");
    std::fs::File::options().append(true).open(&log).unwrap().set_len(101 << 20).unwrap();
    assert!(rotate(), "the log is too large");
    until("a line is written to the new log", &write).await;
    assert!(std::fs::metadata(&log).unwrap().len() < 1 << 20);
}

#[tokio::test]
async fn nginx_closes_a_connection_after_1000_requests() {
    let (_balancer, service) = balance(&[free_address().unwrap()]).await;
    let requests = "GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n".repeat(1000);
    let responses = exchange(service.0.0, requests.as_bytes()).await;
    for (header, expected) in
        [("HTTP/1.1 200 ", 1000), ("Connection: keep-alive", 999), ("Connection: close", 1)]
    {
        assert_eq!(responses.matches(header).count(), expected, "{header}");
    }
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
