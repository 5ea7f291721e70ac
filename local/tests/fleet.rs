//! `atelier-local fleet` with the installed NGINX. It starts other programs of the workspace, which must be built, as
//! for `run`.

#![allow(clippy::unwrap_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod verb;

use std::net::{TcpListener, TcpStream};
use std::path::Path;

use local::{free_address, signal};
use rig::{is_alive, reachable_directory, server_of, until};
use verb::{TURN, get, run_failing, start, stderr, terminate, wait_until_ready};

/// Returns the printed processes: `NGINX` first, then `host 1` and so on, each with its process id.
fn processes(root: &Path) -> Vec<(String, u32)> {
    let line = |line: &str| {
        let (name, rest) = line.trim().split_once(" (pid ").or_else(|| line.trim().split_once(", pid "))?;
        let id: String = rest.chars().take_while(char::is_ascii_digit).collect();
        Some((name.to_owned(), id.parse().ok()?))
    };
    stderr(root).lines().take_while(|line| !line.starts_with("Kill a host")).filter_map(line).collect()
}

#[tokio::test]
async fn a_fleet_restarts_its_killed_hosts_and_stops_with_all_its_processes() {
    let _turn = TURN.lock().await;
    let parent = reachable_directory();
    let (root, listen) = (parent.path().join("data"), free_address().unwrap());
    let mut fleet = start("fleet", &root, listen);
    wait_until_ready(&mut fleet, &root, listen).await;
    until("it prints its processes", async || processes(&root).len() == 4).await;
    let product = get(listen, "/products/1").unwrap();
    let processes = processes(&root);
    for (name, id) in &processes[1..] {
        assert!(name.starts_with("host "), "{name}");
        signal(*id, "KILL").unwrap();
    }
    let restarts = || stderr(&root).matches(" restarted on ").count();
    until("all hosts are restarted", async || restarts() == 3).await;
    until("they respond as before", async || get(listen, "/products/1").as_ref() == Some(&product)).await;
    // A host that does not serve yet may exit on SIGTERM without logging.
    let log = || std::fs::read_to_string(root.join("fleet/host-1.log")).unwrap();
    until("the first host serves again", async || log().matches(r#""message":"serving""#).count() == 2).await;
    let (server, log_before) = (server_of(&root), log());
    terminate(&mut fleet);
    assert!(TcpStream::connect(listen).is_err());
    assert!(!is_alive(processes[0].1) && !is_alive(server), "NGINX and Postgres have stopped too");
    assert!(log().strip_prefix(&log_before).unwrap().contains("stopping on SIGTERM"), "{}", log());
}

#[tokio::test]
async fn the_error_for_an_address_in_use_says_how_to_choose_another() {
    let _turn = TURN.lock().await;
    let parent = reachable_directory();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let error = run_failing("fleet", &parent.path().join("data"), taken.local_addr().unwrap());
    assert!(error.contains("LISTEN=127.0.0.1:<port>") && error.lines().count() == 1, "{error}");
}

#[tokio::test]
async fn a_fleet_leaves_no_process_behind_when_its_owner_or_nginx_is_killed() {
    let _turn = TURN.lock().await;
    let parent = reachable_directory();
    let (root, listen) = (parent.path().join("data"), free_address().unwrap());
    for victim in ["owner", "NGINX"] {
        let mut fleet = start("fleet", &root, listen);
        wait_until_ready(&mut fleet, &root, listen).await;
        until("it prints its processes", async || processes(&root).len() == 4).await;
        let processes = processes(&root);
        let server = server_of(&root);
        // A hanging host must end too.
        signal(processes[1].1, "STOP").unwrap();
        let killed = if victim == "owner" { fleet.id() } else { processes[0].1 };
        signal(killed, "KILL").unwrap();
        let ended = fleet.wait().unwrap();
        if victim == "NGINX" {
            assert_eq!(ended.code(), Some(1));
            assert!(stderr(&root).contains("NGINX ended unexpectedly"), "{}", stderr(&root));
        }
        until("all its processes have ended", async || {
            processes.iter().all(|(_, id)| !is_alive(*id))
                && !is_alive(server)
                && TcpStream::connect(listen).is_err()
        })
        .await;
    }
}
