//! `atelier-local run` as a person meets it. It starts the workspace's other programs, so they must have been built:
//! `make test` does, and `cargo build --workspace` before a bare `cargo test`.

#![allow(clippy::unwrap_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod common;
mod verb;

use std::net::TcpStream;

use common::{is_alive, reachable_directory, server_of, until};
use local::free_address;
use verb::{fails, get, ready, start, terminate};

#[tokio::test]
async fn a_second_run_serves_the_data_of_the_first() {
    let parent = reachable_directory();
    let (root, listen) = (parent.path().join("data"), free_address().unwrap());
    let mut first = start("run", &root, listen);
    ready(&mut first, &root, listen).await;
    let product = get(listen, "/products/1").unwrap();
    let server = server_of(&root);
    terminate(&mut first);
    assert!(!is_alive(&server));
    assert!(TcpStream::connect(listen).is_err(), "the host has stopped too");

    let mut second = start("run", &root, listen);
    ready(&mut second, &root, listen).await;
    assert_eq!(get(listen, "/products/1").unwrap(), product);
    assert!(!root.join("sample").exists(), "the generated files are gone once they are loaded");
    terminate(&mut second);
}

#[tokio::test]
async fn a_run_beside_a_run_is_refused_and_one_that_was_killed_is_no_obstacle() {
    let parent = reachable_directory();
    let (root, listen) = (parent.path().join("data"), free_address().unwrap());
    let mut first = start("run", &root, listen);
    ready(&mut first, &root, listen).await;
    let refusal = fails("run", &root, free_address().unwrap());
    assert!(refusal.contains("already running") && refusal.lines().count() == 1, "{refusal}");
    let refusal = fails("run", &parent.path().join("other"), listen);
    assert!(refusal.contains("LISTEN") && refusal.lines().count() == 1, "{refusal}");

    first.kill().unwrap(); // SIGKILL
    first.wait().unwrap();
    until("the host is gone", || TcpStream::connect(listen).is_err()).await;
    let mut second = start("run", &root, listen);
    ready(&mut second, &root, listen).await;
    let server = server_of(&root);
    terminate(&mut second);
    assert!(!is_alive(&server));
}
