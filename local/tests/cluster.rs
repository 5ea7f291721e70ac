//! The cluster of `make run`, on the installed Postgres.

#![allow(clippy::unwrap_used)] // in helpers too, which clippy does not take for tests

use std::path::Path;

use local::{Account, Cluster, Error, SUPERUSER, Settings, connect};
use rig::{is_alive, reachable_directory, server_of};

/// Returns settings for a cluster that may lose its data.
fn settings() -> Settings {
    Settings::with(&[("fsync", "off".to_owned())])
}

#[tokio::test]
async fn data_is_kept_when_a_cluster_restarts() {
    let parent = reachable_directory();
    let root = parent.path().join("cluster");
    let first = Cluster::start(&root, &Settings::durable()).await.unwrap();
    first.address().connect("postgres").await.unwrap().batch_execute("create table kept ()").await.unwrap();
    let server = server_of(&root);
    first.stop().await.unwrap();
    assert!(!is_alive(server));
    let second = Cluster::start(&root, &Settings::durable()).await.unwrap();
    second.address().connect("postgres").await.unwrap().query("select from kept", &[]).await.unwrap();
    second.stop().await.unwrap();
}

#[tokio::test]
async fn a_second_owner_fails_while_the_first_runs() {
    let parent = reachable_directory();
    let root = parent.path().join("cluster");
    let first = Cluster::start(&root, &Settings::durable()).await.unwrap();
    let error = Cluster::start(&root, &Settings::durable()).await.unwrap_err();
    assert!(matches!(error, Error::AlreadyRunning { .. }), "{error}");
    first.stop().await.unwrap();
}

#[tokio::test]
async fn a_cluster_starts_despite_the_lock_file_of_a_dead_server() {
    let parent = reachable_directory();
    let root = parent.path().join("cluster");
    let cluster = Cluster::start(&root, &settings()).await.unwrap();
    let lock = std::fs::read(root.join("data/postmaster.pid")).unwrap();
    cluster.stop().await.unwrap();
    std::fs::write(root.join("data/postmaster.pid"), lock).unwrap();
    make_unprivileged(&root.join("data/postmaster.pid"));
    Cluster::start(&root, &settings()).await.unwrap().stop().await.unwrap();
}

fn make_unprivileged(path: &Path) {
    use std::os::unix::fs::{MetadataExt, chown};
    if Account::unprivileged().unwrap().switched() {
        let owner = std::fs::metadata(path.parent().unwrap()).unwrap();
        chown(path, Some(owner.uid()), Some(owner.gid())).unwrap();
    }
}

#[tokio::test]
async fn a_long_path_gets_a_short_socket_path() {
    let parent = reachable_directory();
    let root = parent.path().join("a-rather-long-name-for-a-directory".repeat(4));
    let cluster = Cluster::start(&root, &settings()).await.unwrap();
    let url: tokio_postgres::Config = cluster.address().url(SUPERUSER, "postgres").parse().unwrap();
    connect(&url).await.unwrap();
    let sockets = cluster.address().sockets().to_owned();
    cluster.stop().await.unwrap();
    std::fs::remove_dir_all(sockets).unwrap();
}
