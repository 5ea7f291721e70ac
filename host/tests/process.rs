//! The program as an operator meets it: its variables, its signals, its log.

// In helpers too, which clippy does not take for tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod stand;

use std::net::SocketAddr;
use std::os::unix::net::SocketAddr as UnixAddress;
use std::process::{Output, Stdio};

use local::testing::Database;
use stand::{PATIENCE, ask, begin, rest};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixDatagram};
use tokio::process::{Child, ChildStdout, Command};

/// A host in a process of its own.
struct Host {
    process: Child,
    address: SocketAddr,
    log: BufReader<ChildStdout>,
}

impl Host {
    /// Starts it on a free port and waits until it serves.
    async fn start(database: &Database, variables: &[(&str, &str)]) -> Self {
        let url = database.host_url() + "&password=s3cret";
        let mut process = command(variables)
            .env("DATABASE_URL", url)
            .env("LISTEN", "127.0.0.1:0")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stdout.take().unwrap());
        loop {
            let mut line = String::new();
            assert!(log.read_line(&mut line).await.unwrap() > 0, "it ended before it served");
            if let Some((_, address)) = line.split_once(r#""message":"serving","address":""#) {
                let address = address.split('"').next().unwrap().parse().unwrap();
                return Self { process, address, log };
            }
        }
    }

    fn signal(&self, name: &str) {
        local::signal(self.process.id().unwrap(), name).unwrap();
    }

    /// What it has logged since it served, once it has ended well.
    async fn log(mut self) -> Vec<serde_json::Map<String, serde_json::Value>> {
        let mut log = String::new();
        tokio::time::timeout(PATIENCE, self.log.read_to_string(&mut log)).await.unwrap().unwrap();
        assert!(self.process.wait().await.unwrap().success());
        for secret in ["s3cret", "Bearer", "atelier_session", "0123456789abcdef"] {
            assert!(!log.contains(secret), "{log}");
        }
        log.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn command(variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_atelier-host"));
    command.env_clear().envs(variables.iter().copied()).kill_on_drop(true);
    command
}

async fn output(variables: &[(&str, &str)], arguments: &[&str]) -> Output {
    command(variables).args(arguments).output().await.unwrap()
}

#[tokio::test]
async fn a_wrong_variable_stops_it_with_one_clear_line() {
    let url = ("DATABASE_URL", "postgresql://reader:s3cret@localhost/atelier");
    for (variables, expected) in [
        (&[][..], "error: DATABASE_URL is not set: expected an address such as "),
        (
            &[url, ("LISTEN", "3000")],
            "error: LISTEN=3000: expected an address and a port such as 127.0.0.1:3000",
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
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success());
        assert!(said.starts_with(expected) && said.lines().count() == 1, "{said}");
        assert!(!said.contains("s3cret"), "{said}");
        assert!(output.stdout.is_empty());
    }
}

#[tokio::test]
async fn a_port_that_is_taken_stops_it_with_a_clear_line() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let output = output(&[("DATABASE_URL", "host=/nowhere user=nobody"), ("LISTEN", &listen)], &[]).await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(said.starts_with(&format!("error: cannot listen on LISTEN={listen}")), "{said}");
}

#[tokio::test]
async fn whoever_comes_before_it_has_a_database_is_refused_though_the_address_is_taken() {
    // Takes connections and says nothing.
    let database = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgresql://atelier_host@{}/atelier", database.local_addr().unwrap());
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let variables =
        [("DATABASE_URL", url.as_str()), ("DATABASE_CONNECT_TIMEOUT", "60s"), ("LISTEN", &free.to_string())];
    let host = command(&variables).stdout(Stdio::null()).spawn().unwrap();
    // It has its address by then.
    let connected = tokio::time::timeout(PATIENCE, database.accept()).await;
    let _silent = connected.expect("it connects").unwrap();
    assert!(TcpSocket::new_v4().unwrap().bind(free).is_err());
    let refused = TcpStream::connect(free).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    drop(host);
}

#[tokio::test]
async fn its_help_lists_every_variable() {
    let output = output(&[], &["--help"]).await;
    assert!(output.status.success());
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .contains(shared::variables::help(&shared::config::host_variables()).trim())
    );
}

#[tokio::test]
async fn a_request_under_way_is_finished_on_sigterm() {
    let database = Database::create().await.unwrap();
    let host = Host::start(&database, &[("SHUTDOWN_DELAY", "10ms")]).await;
    let head = "POST /cart HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n";
    let mut begun = begin(host.address, head).await;
    let mut go_on = [0; 25]; // the host asks for the body, so it has the request
    begun.read_exact(&mut go_on).await.unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");

    host.signal("TERM");
    while TcpStream::connect(host.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    begun.write_all(b"{}").await.unwrap();
    let answer = rest(begun).await;
    assert!(answer.starts_with("HTTP/1.1 415 "), "{answer}"); // it was handled: the body is of no type
    let log = host.log().await;
    assert_eq!(log.last().unwrap()["message"], "stopped");
}

#[tokio::test]
async fn a_request_that_outlasts_the_grace_period_is_cut_off_with_a_warning() {
    let database = Database::create().await.unwrap();
    let host = Host::start(&database, &[("SHUTDOWN_GRACE", "50ms"), ("REQUEST_TIMEOUT", "60s")]).await;
    let head = "POST /cart HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n";
    let mut begun = begin(host.address, head).await;
    begun.read_exact(&mut [0; 25]).await.unwrap();
    host.signal("INT");
    let log = host.log().await;
    let warning = log.iter().find(|line| line.get("level").is_some_and(|level| level == "WARN")).unwrap();
    assert_eq!(warning["message"], "the grace period ran out, connections were cut off");
    assert_eq!(warning["connections"], 1);
}

#[tokio::test]
async fn each_request_is_a_line_of_json_without_secrets() {
    let database = Database::create().await.unwrap();
    let host = Host::start(&database, &[]).await;
    let secrets = "authorization: Bearer abc\r\ncookie: atelier_session=0123456789abcdef0123456789abcdef";
    ask(
        host.address,
        &format!("GET /products/7/styles?token=s3cret HTTP/1.1\r\nx-request-id: one-1\r\n{secrets}"),
    )
    .await;
    ask(host.address, "DELETE /elsewhere HTTP/1.1\r\nx-request-id: two-2").await;
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
async fn a_request_that_cannot_be_read_is_a_line_of_the_log_too() {
    let database = Database::create().await.unwrap();
    let host = Host::start(&database, &[]).await;
    for (sent, status) in [
        ("DELETE /a b HTTP/1.1\r\nx-request-id: one\r\n\r\n".to_owned(), "400"),
        (format!("GET / HTTP/1.1\r\nx-request-id: two\r\nx: {}\r\n\r\n", "x".repeat(100_000)), "431"),
        ("GET /products/7/styles?\" HTTP/1.1\r\nhost: x\r\nx-request-id: three\r\nconnection: close\r\n\r\n".to_owned(), "503"),
    ] {
        let answer = rest(begin(host.address, &sent).await).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
    host.signal("TERM");
    let log = host.log().await;
    let lines: Vec<_> = log.iter().filter(|line| line.contains_key("request_id")).collect();
    let told: Vec<_> = lines
        .iter()
        .map(|line| [&line["request_id"], &line["method"], &line["status"], &line["route"]])
        .collect();
    let expected = serde_json::json!([
        ["one", "DELETE", 400, null],
        ["two", "GET", 431, null],
        ["three", "GET", 503, "/products/{product_id}/styles"]
    ]);
    assert_eq!(serde_json::json!(told), expected);
}

#[tokio::test]
async fn the_log_of_requests_can_be_turned_off() {
    let database = Database::create().await.unwrap();
    let host = Host::start(&database, &[("LOG_ACCESS", "off")]).await;
    ask(host.address, "GET /healthz HTTP/1.1").await;
    host.signal("TERM");
    let log = host.log().await;
    assert!(log.iter().all(|line| !line.contains_key("request_id")));
}

/// A service manager's socket, and what was said to it so far.
struct Manager {
    socket: UnixDatagram,
    said: Vec<String>,
}

impl Manager {
    fn listen(address: &UnixAddress) -> Self {
        let socket = std::os::unix::net::UnixDatagram::bind_addr(address).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { socket: UnixDatagram::from_std(socket).unwrap(), said: Vec::new() }
    }

    /// Waits until this was said, `times` times in all.
    async fn heard(&mut self, state: &str, times: usize) {
        while self.said.iter().filter(|said| *said == state).count() < times {
            let mut datagram = [0; 64];
            let length = tokio::time::timeout(PATIENCE, self.socket.recv(&mut datagram)).await;
            let length = length.unwrap_or_else(|_| panic!("{state} was not said: {:?}", self.said)).unwrap();
            self.said.push(String::from_utf8(datagram[..length].to_vec()).unwrap());
        }
    }
}

#[tokio::test]
async fn a_service_manager_hears_that_it_serves_that_it_lives_and_that_it_ends() {
    let database = Database::create().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let mut manager = Manager::listen(&UnixAddress::from_pathname(&path).unwrap());
    let variables = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "40000")];
    let host = Host::start(&database, &variables).await;
    manager.heard("READY=1", 1).await;
    assert_eq!(manager.said, ["READY=1"], "nothing comes before it");
    assert!(ask(host.address, "GET /healthz HTTP/1.1").await.starts_with("HTTP/1.1 200 "));
    manager.heard("WATCHDOG=1", 3).await;

    let head = "POST /cart HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n";
    let mut begun = begin(host.address, head).await;
    begun.read_exact(&mut [0; 25]).await.unwrap();
    host.signal("TERM");
    manager.heard("STOPPING=1", 1).await;
    let so_far = manager.said.iter().filter(|said| *said == "WATCHDOG=1").count();
    manager.heard("WATCHDOG=1", so_far + 2).await; // what drains is alive
    begun.write_all(b"{}").await.unwrap();
    rest(begun).await;
    host.log().await;
    assert_eq!(manager.said.iter().filter(|said| *said == "READY=1").count(), 1);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_service_manager_is_reached_at_an_abstract_name_and_only_its_own_process_is_watched() {
    use std::os::linux::net::SocketAddrExt;

    let database = Database::create().await.unwrap();
    let name = format!("atelier-{}", std::process::id());
    let mut manager = Manager::listen(&UnixAddress::from_abstract_name(&name).unwrap());
    let socket = format!("@{name}");
    let variables = [("NOTIFY_SOCKET", socket.as_str()), ("WATCHDOG_USEC", "1000"), ("WATCHDOG_PID", "1")];
    let host = Host::start(&database, &variables).await;
    manager.heard("READY=1", 1).await;
    host.signal("TERM");
    manager.heard("STOPPING=1", 1).await;
    host.log().await;
    assert_eq!(manager.said, ["READY=1", "STOPPING=1"]);
}

#[tokio::test]
async fn a_service_manager_that_is_not_there_is_warned_of_and_requests_are_answered() {
    let database = Database::create().await.unwrap();
    let host =
        Host::start(&database, &[("NOTIFY_SOCKET", "/nowhere/notify"), ("WATCHDOG_USEC", "1000")]).await;
    assert!(ask(host.address, "GET /healthz HTTP/1.1").await.starts_with("HTTP/1.1 200 "));
    host.signal("TERM");
    let log = host.log().await;
    let warnings: Vec<_> =
        log.iter().filter(|line| line.get("level").is_some_and(|level| level == "WARN")).collect();
    let [warning] = warnings[..] else { panic!("{log:?}") };
    assert_eq!(warning["message"], "cannot reach the service manager");
    assert_eq!(warning["socket"], r#""/nowhere/notify""#);
}
