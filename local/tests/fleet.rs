//! `atelier-local fleet` as a person meets it, on the machine's own NGINX. It starts the workspace's other programs, so
//! they must have been built, as for `run`.

#![allow(clippy::unwrap_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod common;
mod verb;

use std::net::{TcpListener, TcpStream};
use std::path::Path;

use common::{is_alive, reachable_directory, server_of, signal, until};
use local::free_address;
use verb::{fails, get, ready, said, start, terminate};

/// The words before `, process <id>` in what it said, each with the id that comes after them.
fn processes(root: &Path) -> Vec<(String, String)> {
    let line = |line: &str| {
        let (what, rest) = line.trim().split_once(", process ")?;
        let id: String = rest.chars().take_while(char::is_ascii_digit).collect();
        Some((what.to_owned(), id))
    };
    said(root).lines().filter_map(line).collect()
}

#[tokio::test]
async fn a_fleet_outlives_its_hosts_and_stops_with_all_its_parts() {
    let parent = reachable_directory();
    let (root, listen) = (parent.path().join("data"), free_address().unwrap());
    let mut fleet = start("fleet", &root, listen);
    ready(&mut fleet, &root, listen).await;
    until("it says what there is", || processes(&root).len() == 4).await;
    let product = get(listen, "/products/1").unwrap();
    let parts = processes(&root);
    for (what, id) in &parts[1..] {
        assert!(what.starts_with("host "), "{what}");
        assert!(signal("KILL", id));
    }
    let back = || said(&root).matches("is started again").count();
    until("all hosts are started again", || back() == 3).await;
    until("they answer as before", || get(listen, "/products/1").as_ref() == Some(&product)).await;
    let (log, server) = (root.join("fleet/host-1.log"), server_of(&root));
    terminate(&mut fleet);
    assert!(TcpStream::connect(listen).is_err());
    assert!(!is_alive(&parts[0].1) && !is_alive(&server), "NGINX and Postgres have stopped too");
    assert!(std::fs::read_to_string(log).unwrap().contains("stopping on SIGTERM"));
}

#[tokio::test]
async fn a_fleet_whose_address_is_taken_says_how_to_choose_another() {
    let parent = reachable_directory();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let refusal = fails("fleet", &parent.path().join("data"), taken.local_addr().unwrap());
    assert!(refusal.contains("LISTEN=127.0.0.1:<port>") && refusal.lines().count() == 1, "{refusal}");
}

#[tokio::test]
async fn a_fleet_whose_owner_or_whose_nginx_is_killed_leaves_nothing_behind() {
    let parent = reachable_directory();
    let (root, listen) = (parent.path().join("data"), free_address().unwrap());
    for victim in ["owner", "NGINX"] {
        let mut fleet = start("fleet", &root, listen);
        ready(&mut fleet, &root, listen).await;
        until("it says what there is", || processes(&root).len() == 4).await;
        let parts = processes(&root);
        let server = server_of(&root);
        // A host that hangs is no obstacle.
        assert!(signal("STOP", &parts[1].1));
        let killed = if victim == "owner" { fleet.id().to_string() } else { parts[0].1.clone() };
        assert!(signal("KILL", &killed));
        let ended = fleet.wait().unwrap();
        if victim == "NGINX" {
            assert_eq!(ended.code(), Some(1));
            assert!(said(&root).contains("NGINX has ended by itself"), "{}", said(&root));
        }
        until("all its parts are gone", || {
            parts.iter().all(|(_, id)| !is_alive(id))
                && !is_alive(&server)
                && TcpStream::connect(listen).is_err()
        })
        .await;
    }
}
