//! `atelier-local run`. It starts other programs of the workspace, which must be built: `make test` builds them; run
//! `cargo build --workspace` before a bare `cargo test`.

#![allow(clippy::unwrap_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod verb;

use std::net::TcpStream;

use local::free_address;
use rig::{is_alive, reachable_directory, server_of, until};
use verb::{TURN, get, run_failing, start, terminate, wait_until_ready};

#[tokio::test]
async fn a_second_run_serves_the_data_of_the_first() {
    let _turn = TURN.lock().await;
    let parent = reachable_directory();
    let (root, listen) = (parent.path().join("data"), free_address().unwrap());
    let mut first = start("run", &root, listen);
    wait_until_ready(&mut first, &root, listen).await;
    let product = get(listen, "/products/1").unwrap();
    let server = server_of(&root);
    terminate(&mut first);
    assert!(!is_alive(server));
    assert!(TcpStream::connect(listen).is_err(), "the host has stopped too");

    let mut second = start("run", &root, listen);
    wait_until_ready(&mut second, &root, listen).await;
    assert_eq!(get(listen, "/products/1").unwrap(), product);
    assert!(!root.join("sample").exists(), "the generated files are removed after the load");
    terminate(&mut second);
}

#[tokio::test]
async fn a_second_run_fails_while_the_first_runs_and_starts_after_the_first_was_killed() {
    let _turn = TURN.lock().await;
    let parent = reachable_directory();
    let (root, listen) = (parent.path().join("data"), free_address().unwrap());
    let mut first = start("run", &root, listen);
    wait_until_ready(&mut first, &root, listen).await;
    let error = run_failing("run", &root, free_address().unwrap());
    assert!(error.contains("already running") && error.lines().count() == 1, "{error}");
    let error = run_failing("run", &parent.path().join("other"), listen);
    assert!(error.contains("LISTEN") && error.lines().count() == 1, "{error}");

    first.kill().unwrap(); // SIGKILL
    first.wait().unwrap();
    until("the host has ended", async || TcpStream::connect(listen).is_err()).await;
    let mut second = start("run", &root, listen);
    wait_until_ready(&mut second, &root, listen).await;
    let server = server_of(&root);
    terminate(&mut second);
    assert!(!is_alive(server));
}
