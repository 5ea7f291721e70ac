//! `atelier-local run` as a person meets it. It starts the workspace's other programs, so they must have been built:
//! `make test` does, and `cargo build --workspace` before a bare `cargo test`.

#![allow(clippy::unwrap_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use common::{is_alive, reachable_directory, server_of, signal, until};

fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// `run` with a tiny catalog, its data in `root`, started in a folder where it may write.
fn command(root: &Path, listen: SocketAddr) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_atelier-local"));
    command.args(["run", "--scale", "0.0001", "--listen", &listen.to_string(), "--dir"]).arg(root);
    command.current_dir(root.parent().unwrap()).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

fn start(root: &Path, listen: SocketAddr) -> Child {
    let said = std::fs::File::create(root.with_extension("stderr")).unwrap();
    command(root, listen).stderr(said).spawn().unwrap()
}

fn fails(root: &Path, listen: SocketAddr) -> String {
    let Output { status, stderr, .. } = command(root, listen).output().unwrap();
    assert_eq!(status.code(), Some(1));
    String::from_utf8(stderr).unwrap()
}

fn get(listen: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(listen).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {listen}\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let body = answer.strip_prefix("HTTP/1.1 200")?.split_once("\r\n\r\n")?.1;
    Some(body.to_owned())
}

async fn ready(run: &mut Child, root: &Path, listen: SocketAddr) {
    until("the host is ready", || {
        let said = || std::fs::read_to_string(root.with_extension("stderr")).unwrap();
        assert!(run.try_wait().unwrap().is_none(), "run has ended, saying: {}", said());
        get(listen, "/readyz").is_some()
    })
    .await;
}

fn terminate(run: &mut Child) {
    assert!(signal("TERM", &run.id().to_string()));
    assert!(run.wait().unwrap().success());
}

#[tokio::test]
async fn a_second_run_serves_the_data_of_the_first() {
    let parent = reachable_directory();
    let (root, listen) = (parent.path().join("data"), free_port());
    let mut first = start(&root, listen);
    ready(&mut first, &root, listen).await;
    let product = get(listen, "/products/1").unwrap();
    let server = server_of(&root);
    terminate(&mut first);
    assert!(!is_alive(&server));
    assert!(TcpStream::connect(listen).is_err(), "the host has stopped too");

    let mut second = start(&root, listen);
    ready(&mut second, &root, listen).await;
    assert_eq!(get(listen, "/products/1").unwrap(), product);
    assert!(!root.join("sample").exists(), "the generated files are gone once they are loaded");
    terminate(&mut second);
}

#[tokio::test]
async fn a_run_beside_a_run_is_refused_and_one_that_was_killed_is_no_obstacle() {
    let parent = reachable_directory();
    let (root, listen) = (parent.path().join("data"), free_port());
    let mut first = start(&root, listen);
    ready(&mut first, &root, listen).await;
    let refusal = fails(&root, free_port());
    assert!(refusal.contains("already running") && refusal.lines().count() == 1, "{refusal}");
    let refusal = fails(&parent.path().join("other"), listen);
    assert!(refusal.contains("LISTEN") && refusal.lines().count() == 1, "{refusal}");

    first.kill().unwrap(); // SIGKILL
    first.wait().unwrap();
    until("the host is gone", || TcpStream::connect(listen).is_err()).await;
    let mut second = start(&root, listen);
    ready(&mut second, &root, listen).await;
    let server = server_of(&root);
    terminate(&mut second);
    assert!(!is_alive(&server));
}
