//! A running load that loses its lock or its connection, or whose files change, and the commands beside it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod support;

use std::sync::Arc;

use conformance::s3::{Bucket, variables};
use conformance::small_dataset;
use etl::s3::S3;
use http::Method;
use rig::{Fault, HttpProxy, until};
use serde_json::{Value, json};
use support::incoming::{TIME, content, failed, message, record, undisturbed};
use support::load_into;
use support::loader::{LOADER_LOCK, Loader, served, steps, until_waiting_for_the_loader_lock};
use support::marked::write_marked;
use tokio::sync::Semaphore;

const SKUS: &str = "incoming/tested/skus.csv";

/// The number of reads of a file's header, before its rows. The function reads it once more when the file arrives.
const HEADER: usize = 1;

/// Uploads the hand-made dataset, and returns a proxy that blocks reads of skus.csv after the first `reads`, until the
/// semaphore is closed.
async fn held_back(bucket: &Bucket, reads: usize) -> (HttpProxy, Arc<Semaphore>) {
    bucket.put_folder("incoming/tested/", &small_dataset()).await;
    let gate = Arc::new(Semaphore::new(0));
    let inside = Arc::clone(&gate);
    let proxy = HttpProxy::start(bucket.server(), async move |seen| {
        if seen.method == Method::GET && seen.key == SKUS && seen.nth > reads {
            let _ = inside.acquire().await;
        }
        Fault::None
    });
    (proxy, gate)
}

#[tokio::test]
async fn a_loader_that_loses_its_lock_leaves_the_load_to_the_waiting_one() {
    let (database, bucket) = (served().await, Bucket::create().await);
    let (proxy, gate) = held_back(&bucket, HEADER).await;
    let one_by_one = ["--workers", "1"];
    let first = Loader::of_bucket(&database, &bucket, &one_by_one).with_s3(variables(proxy.address()));
    let first = first.start();
    let client = database.connect().await.unwrap();
    until("the first loader reads rows", async || proxy.count(&Method::GET, SKUS) > HEADER).await;
    let loader = Loader::of_bucket(&database, &bucket, &[]);
    let mut second = loader.start();
    second.prints("another load is running").await;
    // The first connection with the lock is the loader's, the others are its workers'.
    let end = "select pg_terminate_backend(pid) from pg_stat_activity
               where pid = any (select pid from pg_locks where locktype = 'advisory' and granted
                                    and (classid::bigint << 32) + objid::bigint = $1)
                   and datname = current_database() order by backend_start limit 1";
    assert_eq!(client.query(end, &[&LOADER_LOCK]).await.unwrap().len(), 1);
    assert_eq!(
        steps(&database).await,
        ["published", "load"],
        "the second loader waits for the first one's workers"
    );
    gate.close();
    let line = first.fails().await;
    assert!(line.starts_with("the database failed: "), "{line}");
    second.succeeds().await;
    assert!(content(&database).await == undisturbed(&small_dataset()).await);
    assert_eq!(steps(&database).await, ["published", "published"], "the second loader resumes the same load");
}

#[tokio::test]
async fn a_load_that_loses_its_connection_reports_it_and_is_resumed() {
    let (database, bucket) = (served().await, Bucket::create().await);
    let old = content(&database).await;
    let (proxy, gate) = held_back(&bucket, HEADER).await;
    let loader = Loader::of_bucket(&database, &bucket, &[]).with_s3(variables(proxy.address()));
    let running = loader.start();
    until("the loader reads rows", async || proxy.count(&Method::GET, SKUS) > HEADER).await;
    let client = database.connect().await.unwrap();
    let end = "select pg_terminate_backend(pid) from pg_stat_activity
               where datname = current_database() and application_name = 'atelier-etl'";
    assert!(client.query(end, &[]).await.unwrap().len() > 1);
    gate.close();
    let line = running.fails().await;
    assert!(line.starts_with("the database failed: "), "{line}");
    assert!(content(&database).await == old);
    loader.succeeds().await;
    assert!(content(&database).await == undisturbed(&small_dataset()).await);
    assert_eq!(steps(&database).await, ["published", "published"]);
}

#[tokio::test]
async fn other_commands_wait_for_a_load_and_say_so_but_a_rollback_does_not_wait() {
    let (database, bucket) = (served().await, Bucket::create().await);
    let dir = tempfile::tempdir().unwrap();
    write_marked(dir.path(), 2);
    load_into(database.clone(), dir.path()).await;
    let (proxy, gate) = held_back(&bucket, HEADER).await;
    let first = Loader::of_bucket(&database, &bucket, &[]).with_s3(variables(proxy.address()));
    let first = first.start();
    until("the first loader reads rows", async || proxy.count(&Method::GET, SKUS) > HEADER).await;

    let others = [
        Loader::of_folder(&database, dir.path(), &[]),
        Loader::new(&database, &["prune", "--days", "0"]),
        Loader::new(&database, &["publish"]),
    ];
    let (mut second, mut prune, mut publish) = (others[0].start(), others[1].start(), others[2].start());
    second.prints("another load is running: waiting for it to end").await;
    prune.prints("a load is running: waiting for it to end").await;
    publish.prints("another load is running: waiting for it to end").await;
    let printed = Loader::new(&database, &["rollback"]).succeeds().await;
    assert_eq!(printed, "serving generation 1 again\n");
    assert!(second.is_running() && prune.is_running() && publish.is_running());

    gate.close();
    first.succeeds().await;
    second.succeeds().await;
    prune.succeeds().await;
    assert!(publish.fails().await.starts_with("nothing to publish: there is no unpublished catalog; "));
    assert_eq!(steps(&database).await, ["published"; 4]);
    assert!(content(&database).await == undisturbed(dir.path()).await);
    let printed = Loader::new(&database, &["rollback"]).succeeds().await;
    assert_eq!(printed, "serving generation 3 again\n");
    assert_eq!(
        content(&database).await,
        undisturbed(&small_dataset()).await,
        "prune deleted the rejects of the running load"
    );
}

#[tokio::test]
async fn a_rollback_does_not_wait_for_the_next_dataset() {
    let (database, bucket) = (served().await, Bucket::create().await);
    let (proxy, gate) = held_back(&bucket, 0).await;
    bucket.put_folder("incoming/before/", &small_dataset()).await;
    let server = format!("http://{}", proxy.address());
    let function = support::incoming::function(
        &database,
        &bucket,
        S3::with_endpoint(&server, "x", "x").await,
        &[],
        |_| {},
    )
    .await;
    let mut records = arrived(&bucket, "incoming/before/", 1).await;
    records.extend(arrived(&bucket, "incoming/tested/", 1).await);
    let event = json!({ "Records": records }).to_string();
    let handling = tokio::spawn(async move { function.handle(&event, TIME).await });
    until("the loader reads the second dataset", async || proxy.count(&Method::GET, SKUS) > 0).await;
    assert_eq!(steps(&database).await, ["published", "published"]);
    let printed = Loader::new(&database, &["rollback"]).succeeds().await;
    assert_eq!(printed, "serving generation 1 again\n");
    gate.close();
    assert_eq!(handling.await.unwrap().unwrap(), json!({}));
    assert_eq!(steps(&database).await, ["published"; 3]);
}

/// Returns event records for every object with this prefix, as of their `nth` version.
async fn arrived(bucket: &Bucket, prefix: &str, nth: u64) -> Vec<Value> {
    let objects = bucket.list(prefix).await;
    objects.iter().map(|object| record(bucket, &object.key, &object.etag, nth)).collect()
}

#[tokio::test]
async fn a_file_replaced_during_a_read_returns_no_message() {
    let (database, bucket) = (served().await, Bucket::create().await);
    let (proxy, gate) = held_back(&bucket, HEADER).await;
    let function = async |server| {
        let server = format!("http://{server}");
        support::incoming::function(
            &database,
            &bucket,
            S3::with_endpoint(&server, "x", "x").await,
            &[],
            |_| {},
        )
        .await
    };
    let (one, other) = (function(proxy.address()).await, function(bucket.server()).await);
    let event = json!({ "Records": arrived(&bucket, "incoming/tested/", 1).await }).to_string();
    let loading = tokio::spawn(async move { one.handle(&event, TIME).await });
    until("the function reads rows", async || proxy.count(&Method::GET, SKUS) > HEADER).await;
    assert_eq!(steps(&database).await, ["published", "load"]);

    // Another invocation handles the event of a newer version, and waits for the loader's lock.
    let longer = [&std::fs::read(small_dataset().join("skus.csv")).unwrap()[..], b"\n"].concat();
    let etag = bucket.put(SKUS, longer).await;
    let event = message("2", &record(&bucket, SKUS, &etag, 2)).to_string();
    let handled = tokio::spawn(async move { other.handle(&event, TIME).await });
    until_waiting_for_the_loader_lock(&database).await;
    gate.close();
    assert_eq!(loading.await.unwrap().unwrap(), json!({}), "only a manifest starts another load");
    assert_eq!(failed(&handled.await.unwrap().unwrap()), [""; 0]);
    assert_eq!(steps(&database).await, ["published", "abandoned"]);
}
