//! Kills of loaders and databases, and full disks: the current catalog keeps serving, and the load resumes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod support;

use std::os::unix::process::ExitStatusExt;

use conformance::lambda::Outcome;
use conformance::s3::Bucket;
use conformance::small_dataset;
use etl::failpoint;
use rig::{Cluster, Database, Settings};
use serde_json::Value;
use support::disk::{fill, make_room};
use support::functions::etl_function;
use support::incoming::{Incoming, TIME, content, failed, message, undisturbed, with_broken_rows};
use support::loader::{KILL, Loader, generated, number, served, serving, steps, until_blocked_by_a_lock};
use support::marked::write_marked;

/// Kills the loader once at every failpoint. The served catalog must stay unchanged until one load, resumed each time,
/// publishes the new one.
async fn survives_a_kill_at_every_failpoint(database: &Database, loader: Loader) {
    let old = content(database).await;
    for name in failpoint::ALL {
        loader.kill_at(name).await;
        if name != failpoint::AFTER_SWAP {
            assert!(content(database).await == old, "{name}");
        }
    }
    assert_eq!(steps(database).await, ["published", "published"], "one load, resumed each time");
    let new = undisturbed(&small_dataset()).await;
    assert!(content(database).await == new);
    loader.succeeds().await;
    assert!(content(database).await == new, "a second load has the same content");
}

#[tokio::test]
async fn a_load_from_a_folder_resumes_after_a_kill_at_every_failpoint() {
    let database = served().await;
    let loader = Loader::of_folder(&database, &small_dataset(), &[]);
    survives_a_kill_at_every_failpoint(&database, loader).await;
}

#[tokio::test]
async fn a_load_from_s3_resumes_after_a_kill_at_every_failpoint() {
    let (database, bucket) = (served().await, Bucket::create().await);
    bucket.put_folder("incoming/tested/", &small_dataset()).await;
    let loader = Loader::of_bucket(&database, &bucket, &["--workers", "3"]);
    survives_a_kill_at_every_failpoint(&database, loader).await;
}

/// Returns a database with a small catalog in this cluster.
async fn served_in(cluster: &Cluster) -> Database {
    serving(Database::create_in(cluster).await.unwrap()).await
}

#[tokio::test]
async fn a_load_resumes_after_a_kill_of_postgres_in_each_step() {
    // A lock in each step: the failpoint at which the loader is first killed, and the statement that then blocks the
    // resumed load there.
    let held_up = [
        ("load", failpoint::BEGUN, "select from etl.load_file where file = 'skus.csv' for update"),
        ("index", failpoint::BEFORE_INDEX, "lock table catalog_next.photos in access share mode"),
        ("assemble", failpoint::ASSEMBLING, "lock table catalog_next.photos"),
        ("publish", failpoint::BEFORE_SWAP, "lock table etl.publication in exclusive mode"),
    ];
    let mut cluster = Cluster::start_temporary(&Settings::durable()).await.unwrap();
    let database = served_in(&cluster).await;
    let old = content(&database).await;
    let loader = Loader::of_folder(&database, &small_dataset(), &[]);
    for (step, failpoint, lock) in held_up {
        loader.kill_at(failpoint).await;
        let mut client = database.connect().await.unwrap();
        let lock_until_killed = client.transaction().await.unwrap();
        lock_until_killed.batch_execute(lock).await.unwrap();
        let running = loader.start();
        until_blocked_by_a_lock(&database).await;
        assert_eq!(steps(&database).await, ["published", step]);
        cluster.kill().await.unwrap();
        let line = running.fails().await;
        assert!(line.contains("the database failed: "), "{step}: {line}");
        let line = loader.fails().await;
        assert!(line.contains("error connecting to server"), "{step}: {line}");
        cluster.start_again().await.unwrap();
        assert!(content(&database).await == old, "{step}");
        assert_eq!(steps(&database).await, ["published", step]);
    }
    loader.succeeds().await;
    assert!(content(&database).await == undisturbed(&small_dataset()).await);
    assert_eq!(steps(&database).await, ["published", "published"]);
}

#[tokio::test]
async fn a_kill_of_postgres_during_a_load_returns_the_message() {
    let mut cluster = Cluster::start_temporary(&Settings::durable()).await.unwrap();
    let database = served_in(&cluster).await;
    let old = content(&database).await;
    let incoming = Incoming::of(database.clone(), &[]).await;
    let records = incoming.put_folder("spring", &small_dataset()).await;
    let last = message("1", &records[0]);
    // The second connection belongs to the load: it copies rows and blocks where it records what it repaired.
    let mut client = database.connect().await.unwrap();
    let lock_until_killed = client.transaction().await.unwrap();
    lock_until_killed.batch_execute("lock table etl.note in exclusive mode").await.unwrap();
    let handling = {
        let (incoming, last) = (incoming.clone(), last.clone());
        tokio::spawn(async move { incoming.handle(&last, TIME).await })
    };
    until_blocked_by_a_lock(&database).await;
    cluster.kill().await.unwrap();
    assert_eq!(failed(&handling.await.unwrap()), ["1"]);
    assert_eq!(failed(&incoming.handle(&last, TIME).await), ["1"], "the database is unavailable");
    cluster.start_again().await.unwrap();
    assert!(content(&database).await == old);
    assert_eq!(failed(&incoming.handle(&last, TIME).await), [""; 0]);
    assert!(content(&database).await == undisturbed(&small_dataset()).await);
    assert_eq!(steps(&database).await, ["published", "published"]);
    assert_eq!(incoming.alarms(), 0);
}

#[tokio::test]
async fn a_full_disk_stops_a_load_in_any_step_and_it_resumes_once_there_is_space() {
    let mut cluster =
        Cluster::start_temporary(&Settings::disposable().and_disk("small", 24 << 20)).await.unwrap();
    let database = served_in(&cluster).await;
    let old = content(&database).await;
    database.keep_tables_in(&cluster.directory("small").unwrap()).await.unwrap();
    let dataset = generated(0.001, 5);
    let loader = Loader::of_folder(&database, dataset.path(), &[]).with_variable("DATABASE_DISK_BYTES", "0");
    for (step, failpoint) in
        [("load", "after-commit:4"), ("index", failpoint::BEFORE_INDEX), ("assemble", failpoint::ASSEMBLING)]
    {
        loader.kill_at(failpoint).await;
        fill(&database).await;
        for _ in 0..2 {
            let line = loader.fails().await;
            assert!(line.starts_with("the database failed: could not extend file"), "{step}: {line}");
            assert!(
                line.contains("No space left on device") && line.contains("[53100]; enlarge the disk"),
                "{step}: {line}"
            );
            let status = etl::status::status(&database.config()).await.unwrap().to_string();
            assert!(status.contains(&line), "{line} is not in {status}");
        }
        assert!(content(&database).await == old, "{step}");
        assert_eq!(steps(&database).await, ["published", step]);
        make_room(&database).await;
    }
    loader.succeeds().await;
    assert!(content(&database).await == undisturbed(dataset.path()).await);
    assert_eq!(steps(&database).await, ["published", "published"]);
    assert!(cluster.ended().unwrap().is_none());
}

#[tokio::test]
async fn a_full_disk_returns_the_message() {
    let cluster =
        Cluster::start_temporary(&Settings::disposable().and_disk("small", 16 << 20)).await.unwrap();
    let database = served_in(&cluster).await;
    let old = content(&database).await;
    database.keep_tables_in(&cluster.directory("small").unwrap()).await.unwrap();
    let incoming = Incoming::of(database.clone(), &[("DATABASE_DISK_BYTES", "0")]).await;
    fill(&database).await;
    let records = incoming.put_folder("spring", &small_dataset()).await;
    let last = records[0].clone();
    assert!(!incoming.is_done(&last).await && !incoming.is_done(&last).await);
    assert!(content(&database).await == old);
    assert_eq!(
        (steps(&database).await.as_slice(), incoming.alarms()),
        (&["published", "load"].map(str::to_owned)[..], 0)
    );
    make_room(&database).await;
    assert!(incoming.is_done(&last).await);
    assert!(content(&database).await == undisturbed(&small_dataset()).await);
}

#[tokio::test]
async fn a_load_stops_before_the_disk_of_the_setting_is_full() {
    // Other tests' databases would count too.
    let cluster = Cluster::start_temporary(&Settings::disposable()).await.unwrap();
    let database = served_in(&cluster).await;
    let old = content(&database).await;
    let with_disk = |bytes: i64| {
        let loader = Loader::of_folder(&database, &small_dataset(), &[]);
        loader.with_variable("DATABASE_DISK_BYTES", bytes.to_string())
    };
    let error = with_disk(1 << 20).fails().await;
    assert!(
        error.contains("are missing on the disk of the database's tables: the load needs about"),
        "{error}"
    );
    let used = "select sum(pg_database_size(oid))::bigint + pg_size_bytes(current_setting('max_wal_size')) from pg_database";
    let fits = with_disk(number(&database, used).await + (200 << 20));

    let mut client = database.connect().await.unwrap();
    let blocking = client.transaction().await.unwrap();
    blocking.batch_execute("lock table etl.note in exclusive mode").await.unwrap();
    let running = fits.start();
    until_blocked_by_a_lock(&database).await;
    let other = database.connect().await.unwrap();
    let fill =
        "create unlogged table public.other as select repeat('x', 1000) from generate_series(1, 170000)";
    other.batch_execute(fill).await.unwrap();
    let error = running.fails().await;
    assert!(error.contains("the disk of the database's tables is almost full"), "{error}");
    blocking.rollback().await.unwrap();
    assert!(content(&database).await == old);
    other.batch_execute("drop table public.other").await.unwrap();
    let printed = fits.succeeds().await;
    assert!(printed.contains("resuming load 2"), "{printed}");
}

#[tokio::test]
async fn a_function_frozen_after_its_reply_blocks_no_command() {
    let database = served().await;
    let incoming = Incoming::of(database.clone(), &[]).await;
    let records = incoming.put_folder("tested", &small_dataset()).await;
    let last = message("1", &records[0]).to_string();
    let function = etl_function(&incoming, &[]).await;
    assert_eq!(failed(&reply(&function.api().invoke(last, TIME).await)), [""; 0]);
    let stop = format!("kill -STOP {}", function.pid());
    assert!(tokio::process::Command::new("/bin/sh").args(["-c", &stop]).status().await.unwrap().success());
    let dir = tempfile::tempdir().unwrap();
    write_marked(dir.path(), 2);
    let printed = Loader::of_folder(&database, dir.path(), &[]).succeeds().await;
    assert!(!printed.contains("waiting"), "{printed}");
    assert_eq!(Loader::new(&database, &["rollback"]).succeeds().await, "serving generation 2 again\n");
    assert!(content(&database).await == undisturbed(&small_dataset()).await);
}

fn reply(outcome: &Outcome) -> Value {
    match outcome {
        Outcome::Reply(reply) => serde_json::from_slice(reply).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_message_is_redelivered_after_a_kill_and_may_be_processed_twice_concurrently() {
    let database = served().await;
    let old = content(&database).await;
    let incoming = Incoming::of(database.clone(), &[]).await;
    let records = incoming.put_folder("spring", &small_dataset()).await;
    let last = message("1", &records[0]).to_string();
    for name in failpoint::ALL.into_iter().filter(|name| *name != failpoint::AFTER_SWAP) {
        kill_function_at(name, &incoming, &last).await;
        assert!(content(&database).await == old, "{name}");
    }
    assert_eq!(steps(&database).await, ["published", "publish"]);
    let twins = (etl_function(&incoming, &[]).await, etl_function(&incoming, &[]).await);
    let (one, other) =
        tokio::join!(twins.0.api().invoke(last.clone(), TIME), twins.1.api().invoke(last.clone(), TIME));
    assert_eq!((failed(&reply(&one)), failed(&reply(&other))), (vec![], vec![]));
    assert_eq!(steps(&database).await, ["published", "published"]);
    assert!(content(&database).await == undisturbed(&small_dataset()).await);
}

/// Sends a function this message and kills it at this failpoint, which it must reach.
async fn kill_function_at(failpoint: &str, incoming: &Incoming, message: &str) {
    let mut function = etl_function(incoming, &[(failpoint::VARIABLE, failpoint)]).await;
    let ended = function.crashes_on(message.to_owned(), TIME).await;
    assert_eq!(ended.signal(), Some(KILL), "{failpoint}: {ended}");
}

#[tokio::test]
async fn a_message_redelivered_after_a_kill_past_the_publication_loads_nothing() {
    let database = served().await;
    let incoming = Incoming::of(database.clone(), &[]).await;
    let records = incoming.put_folder("spring", &small_dataset()).await;
    let last = message("1", &records[0]).to_string();
    kill_function_at(failpoint::AFTER_SWAP, &incoming, &last).await;
    let new = undisturbed(&small_dataset()).await;
    assert!(content(&database).await == new);
    assert_eq!(incoming.published().await, 2);
    let function = etl_function(&incoming, &[]).await;
    assert_eq!(failed(&reply(&function.api().invoke(last, TIME).await)), [""; 0]);
    assert_eq!(incoming.published().await, 2, "one publication before, and one by the killed function");
    assert_eq!(steps(&database).await, ["published", "published"], "the retry must load nothing");
    assert!(content(&database).await == new);
}

#[tokio::test]
async fn an_event_never_publishes_a_killed_load_with_no_publish() {
    let incoming = Incoming::of(served().await, &[]).await;
    let database = &incoming.database;
    let old = content(database).await;
    let records = incoming.put_folder("tested", &small_dataset()).await;
    let held = Loader::of_bucket(database, &incoming.bucket, &["--no-publish"]);
    for name in [failpoint::BEGUN, failpoint::AFTER_COMMIT, failpoint::ASSEMBLED, failpoint::BEFORE_REJECTS] {
        held.kill_at(name).await;
        for record in &records {
            assert!(incoming.is_done(record).await);
        }
        assert!(content(database).await == old, "{name}");
    }
    held.succeeds().await;
    for record in &records {
        assert!(incoming.is_done(record).await);
    }
    assert!(content(database).await == old);
    assert_eq!(steps(database).await, ["published", "publish"]);
    let printed = Loader::new(database, &["publish"]).succeeds().await;
    assert!(printed.ends_with("serving generation 2\n"), "{printed}");
    let new = content(database).await;
    assert!(new == undisturbed(&small_dataset()).await);
    for record in &records {
        assert!(incoming.is_done(record).await);
    }
    assert_eq!(steps(database).await, ["published", "published"], "published files are consumed");
    assert!(content(database).await == new);
}

#[tokio::test]
async fn prune_keeps_served_and_unfinished_datasets_and_restarts_no_failed_one() {
    let incoming = Incoming::of(Database::create().await.unwrap(), &[("MAX_REJECTS", "20")]).await;
    let database = &incoming.database;
    for dataset in ["older", "previous", "present"] {
        incoming.deliver(dataset, &small_dataset()).await;
    }
    let served = content(database).await;
    // One dataset fails, and one stays unfinished.
    let whole = std::fs::read(small_dataset().join("product.csv")).unwrap();
    incoming.put_folder("broken", &small_dataset()).await;
    let broken = incoming.put("broken", "product.csv", with_broken_rows(&whole, 30)).await;
    assert!(incoming.is_done(&broken).await);
    assert_eq!(steps(database).await, ["published", "published", "published", "failed"]);
    let waiting = incoming.put("waiting", "skus.csv", "1,1,\"S\",1").await;
    assert!(incoming.is_done(&waiting).await);
    let last = incoming.put_folder("unfinished", &small_dataset()).await.remove(0);
    kill_function_at(failpoint::AFTER_INDEX, &incoming, &message("1", &last).to_string()).await;

    Loader::new(database, &["prune", "--days", "0"]).succeeds().await;
    assert_eq!(
        steps(database).await,
        ["published", "published", "published", "failed", "index"],
        "prune keeps the latest load of each prefix"
    );
    assert_eq!(number(database, "select count(*) from etl.delivery").await, 0);
    assert!(content(database).await == served);
    let corrected = incoming.put("broken", "product.csv", whole).await;
    assert!(incoming.is_done(&last).await && incoming.is_done(&corrected).await);
    assert_eq!(
        steps(database).await,
        ["published", "published", "published", "failed", "published"],
        "the unfinished load resumes, and the failed one does not restart"
    );
    assert!(content(database).await == served);
    assert_eq!(Loader::new(database, &["rollback"]).succeeds().await, "serving generation 3 again\n");
    assert!(content(database).await == served);
}
