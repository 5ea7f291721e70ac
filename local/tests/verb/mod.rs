//! Starts `atelier-local run` and `fleet` as a user does, and sends requests to them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use local::signal;
use rig::until;
use tokio::sync::Mutex;

/// Held by each test that starts programs: they choose a usual port for metrics that is free, and two that look at the same
/// time would choose the same.
pub(crate) static TURN: Mutex<()> = Mutex::const_new(());

/// Returns the command with a tiny catalog and its data in `root`. It runs in a writable folder.
fn command(verb: &str, root: &Path, listen: SocketAddr) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_atelier-local"));
    command.args([verb, "--scale", "0.0001", "--listen", &listen.to_string(), "--dir"]).arg(root);
    command.current_dir(root.parent().unwrap()).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// Starts the command. Its standard error goes to a file beside `root`.
pub(crate) fn start(verb: &str, root: &Path, listen: SocketAddr) -> Child {
    let stderr = std::fs::File::create(root.with_extension("stderr")).unwrap();
    command(verb, root, listen).stderr(stderr).spawn().unwrap()
}

/// Returns its standard error so far.
pub(crate) fn stderr(root: &Path) -> String {
    std::fs::read_to_string(root.with_extension("stderr")).unwrap()
}

/// Runs the command, which must fail, and returns its standard error.
pub(crate) fn run_failing(verb: &str, root: &Path, listen: SocketAddr) -> String {
    let Output { status, stderr, .. } = command(verb, root, listen).output().unwrap();
    assert_eq!(status.code(), Some(1));
    String::from_utf8(stderr).unwrap()
}

/// Returns the body of the response if its status is 200.
pub(crate) fn get(listen: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(listen).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {listen}\r\nconnection: close\r\n\r\n").ok()?;
    let mut response = String::new();
    stream.read_to_string(&mut response).ok()?;
    let body = response.strip_prefix("HTTP/1.1 200")?.split_once("\r\n\r\n")?.1;
    Some(body.to_owned())
}

/// Waits until the command serves requests.
pub(crate) async fn wait_until_ready(running: &mut Child, root: &Path, listen: SocketAddr) {
    until("it is ready", async || {
        assert!(running.try_wait().unwrap().is_none(), "it ended: {}", stderr(root));
        get(listen, "/readyz").is_some()
    })
    .await;
}

/// Sends SIGTERM and waits for a successful exit.
pub(crate) fn terminate(running: &mut Child) {
    signal(running.id(), "TERM").unwrap();
    assert!(running.wait().unwrap().success());
}
