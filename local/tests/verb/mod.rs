//! `atelier-local run` and `fleet`, started as a person would, and asked.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use crate::common::{signal, until};

/// The verb with a tiny catalog, its data in `root`, started in a folder where it may write.
fn command(verb: &str, root: &Path, listen: SocketAddr) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_atelier-local"));
    command.args([verb, "--scale", "0.0001", "--listen", &listen.to_string(), "--dir"]).arg(root);
    command.current_dir(root.parent().unwrap()).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// Starts it, with what it says in a file beside `root`.
pub(crate) fn start(verb: &str, root: &Path, listen: SocketAddr) -> Child {
    let said = std::fs::File::create(root.with_extension("stderr")).unwrap();
    command(verb, root, listen).stderr(said).spawn().unwrap()
}

/// What it has said so far.
pub(crate) fn said(root: &Path) -> String {
    std::fs::read_to_string(root.with_extension("stderr")).unwrap()
}

/// What it says when it fails.
pub(crate) fn fails(verb: &str, root: &Path, listen: SocketAddr) -> String {
    let Output { status, stderr, .. } = command(verb, root, listen).output().unwrap();
    assert_eq!(status.code(), Some(1));
    String::from_utf8(stderr).unwrap()
}

/// The body of an answer, if its status is 200.
pub(crate) fn get(listen: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(listen).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {listen}\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let body = answer.strip_prefix("HTTP/1.1 200")?.split_once("\r\n\r\n")?.1;
    Some(body.to_owned())
}

/// Waits until it serves.
pub(crate) async fn ready(running: &mut Child, root: &Path, listen: SocketAddr) {
    until("it is ready", || {
        assert!(running.try_wait().unwrap().is_none(), "it has ended, saying: {}", said(root));
        get(listen, "/readyz").is_some()
    })
    .await;
}

/// Stops it in good order.
pub(crate) fn terminate(running: &mut Child) {
    assert!(signal("TERM", &running.id().to_string()));
    assert!(running.wait().unwrap().success());
}
