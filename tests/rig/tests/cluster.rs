//! Databases for tests, temporary clusters, and `with-postgres`, on the installed Postgres.

#![allow(clippy::unwrap_used, clippy::panic)] // in helpers too, which clippy does not take for tests

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use local::{Error, connect};
use rig::{CLUSTER_VARIABLE, Cluster, Database, Settings, is_alive, server_of, until};

#[tokio::test]
async fn databases_made_in_parallel_are_isolated_and_migrated() {
    let made = (0..8).map(|number| {
        tokio::spawn(async move {
            let database = Database::create().await.unwrap();
            let client = database.connect().await.unwrap();
            let dataset = format!("dataset-{number}");
            client.execute("insert into etl.load (dataset) values ($1)", &[&dataset]).await.unwrap();
            (database, client, dataset)
        })
    });
    for one in made.collect::<Vec<_>>() {
        let (_database, client, dataset) = one.await.unwrap();
        let rows = client.query("select dataset from etl.load", &[]).await.unwrap();
        let found: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(found, [dataset]);
    }
}

#[tokio::test]
async fn the_host_can_read_publications_and_cannot_load() {
    let database = Database::create().await.unwrap();
    let host: tokio_postgres::Config = database.host_url().parse().unwrap();
    let host = connect(&host).await.unwrap();
    host.query("select id from etl.publication", &[]).await.unwrap();
    host.query("select cart_id from cart.lines", &[]).await.unwrap();
    let refused = host.query("insert into etl.load (dataset) values ('no')", &[]).await.unwrap_err();
    assert_eq!(refused.code().unwrap(), &tokio_postgres::error::SqlState::INSUFFICIENT_PRIVILEGE);
}

#[tokio::test]
async fn a_loader_without_superuser_rights_can_create_schemas_in_a_copy_of_the_template() {
    let database = Database::create().await.unwrap();
    let client = database.connect().await.unwrap();
    let may = "select has_database_privilege('atelier_loader', current_database(), 'create')";
    let may: bool = client.query_one(may, &[]).await.unwrap().get(0);
    assert!(may, "a copy of a template lacks the rights on the database");
}

#[tokio::test]
async fn the_error_for_a_failed_start_contains_the_log() {
    let settings = Settings::disposable().and("shared_buffers", "much");
    let error = Cluster::start_temporary(&settings).await.unwrap_err().to_string();
    assert!(error.contains("invalid value for parameter \"shared_buffers\": \"much\""), "{error}");
}

#[tokio::test]
async fn a_killed_cluster_recovers_only_committed_data() {
    let mut cluster = Cluster::start_temporary(&Settings::durable()).await.unwrap();
    let root = cluster.directory("beside").unwrap().parent().unwrap().to_owned();
    let database = Database::create_in(&cluster).await.unwrap();
    let client = database.connect().await.unwrap();
    let select = "select number from t order by number";
    client.batch_execute("create table t (number int); checkpoint").await.unwrap();
    for killed in 1..=2 {
        let client = database.connect().await.unwrap();
        client.execute("insert into t values ($1)", &[&killed]).await.unwrap();
        client.batch_execute("begin; insert into t values (1000)").await.unwrap();
        let busy = database.connect().await.unwrap();
        let busy = tokio::spawn(async move {
            busy.batch_execute("select count(*) from generate_series(1, 1000000000000)").await
        });
        let server = server_of(&root);
        cluster.kill().await.unwrap();
        assert!(!is_alive(server));
        assert!(busy.await.unwrap().is_err());
        assert!(client.query(select, &[]).await.is_err());
        assert!(database.connect().await.is_err());

        cluster.start_again().await.unwrap();
        let log = std::fs::read_to_string(root.join("server.log")).unwrap();
        assert!(log.contains("not properly shut down; automatic recovery in progress"), "{log}");
        let rows = database.connect().await.unwrap().query(select, &[]).await.unwrap();
        let numbers: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(numbers, (1..=killed).collect::<Vec<_>>());
    }
    cluster.stop().await.unwrap();
    assert!(!root.exists(), "the new supervisor removes it");
}

#[tokio::test]
async fn a_cluster_restarts_after_a_shutdown_without_recovery() {
    let mut cluster = Cluster::start_temporary(&Settings::disposable()).await.unwrap();
    let root = cluster.directory("beside").unwrap().parent().unwrap().to_owned();
    let client = cluster.address().connect("postgres").await.unwrap();
    client.batch_execute("create table t (number int); insert into t values (7)").await.unwrap();
    cluster.shut_down().await.unwrap();
    assert!(client.is_closed() || client.batch_execute("select").await.is_err());
    assert!(matches!(cluster.shut_down().await, Err(Error::Signal { .. })));

    cluster.start_again().await.unwrap();
    let log = std::fs::read_to_string(root.join("server.log")).unwrap();
    assert!(!log.contains("automatic recovery"), "{log}");
    let client = cluster.address().connect("postgres").await.unwrap();
    assert_eq!(client.query_one("select number from t", &[]).await.unwrap().get::<_, i32>(0), 7);
    cluster.stop().await.unwrap();
    assert!(!root.exists(), "the new supervisor removes it");
}

#[tokio::test]
async fn a_killed_temporary_cluster_removes_its_files_when_dropped() {
    let mut cluster = Cluster::start_temporary(&Settings::disposable()).await.unwrap();
    let root = cluster.directory("beside").unwrap().parent().unwrap().to_owned();
    cluster.kill().await.unwrap();
    assert!(root.exists());
    drop(cluster);
    assert!(!root.exists());
}

#[tokio::test]
async fn start_again_fails_while_the_cluster_runs() {
    let mut cluster = Cluster::start_temporary(&Settings::disposable()).await.unwrap();
    let error = cluster.start_again().await.unwrap_err();
    assert!(matches!(error, Error::AlreadyRunning { .. }), "{error}");
    cluster.address().connect("postgres").await.unwrap();
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_full_small_disk_affects_only_the_tables_on_it() {
    use tokio_postgres::error::SqlState;
    let settings = Settings::disposable().and_disk("small", 8 << 20);
    let mut cluster = Cluster::start_temporary(&settings).await.unwrap();
    let database = Database::create_in(&cluster).await.unwrap();
    let elsewhere = Database::create_in(&cluster).await.unwrap();
    let small = cluster.directory("small").unwrap();
    database.keep_tables_in(&small).await.unwrap();
    let client = database.connect().await.unwrap();
    let fill = "insert into t select repeat('x', 1000) from generate_series(1, 16000)"; // twice the size of the disk
    client.batch_execute("create table t (text text)").await.unwrap();
    let full = client.batch_execute(fill).await.unwrap_err();
    assert_eq!(full.code(), Some(&SqlState::DISK_FULL), "{full:?}");

    client.query("select from etl.load", &[]).await.unwrap();
    let other = elsewhere.connect().await.unwrap();
    other.batch_execute("create table t (text text)").await.unwrap();
    other.batch_execute(fill).await.unwrap();
    client.batch_execute("drop table t").await.unwrap();
    client.batch_execute("checkpoint").await.unwrap(); // removes the files of the dropped table
    client.batch_execute("create table t as select 'there is space again'").await.unwrap();
    assert_eq!(small.read_dir().unwrap().count(), 0, "only the server sees the files");
    assert!(cluster.ended().unwrap().is_none());
    let root = small.parent().unwrap().to_owned();
    cluster.stop().await.unwrap();
    assert!(!root.exists());
}

/// Starts `with-postgres` with a shell that prints the cluster's directory and waits.
fn exec_and_wait() -> (Child, PathBuf) {
    use std::io::{BufRead, BufReader};
    let script = format!("echo \"${CLUSTER_VARIABLE}\"; read -r _");
    let mut owner = Command::new(env!("CARGO_BIN_EXE_with-postgres"))
        .args(["sh", "-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(owner.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (owner, PathBuf::from(line.trim()))
}

#[tokio::test]
async fn a_killed_owner_leaves_no_server_and_no_directory() {
    let (mut owner, directory) = exec_and_wait();
    let server = server_of(&directory);
    assert!(is_alive(server));
    owner.kill().unwrap(); // SIGKILL: the owner cannot clean up
    owner.wait().unwrap();
    until("the directory is removed", async || !directory.exists()).await;
    assert!(!is_alive(server));
}

#[tokio::test]
async fn with_postgres_returns_the_exit_code_of_the_command_and_removes_its_cluster() {
    let (mut owner, directory) = exec_and_wait();
    drop(owner.stdin.take()); // `read` exits with 1 at the end of its input
    assert_eq!(owner.wait().unwrap().code(), Some(1));
    assert!(!directory.exists());
}
