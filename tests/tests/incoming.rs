//! Events about uploaded files, in any order and any number, publish each dataset once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod support;

use std::time::Duration;

use conformance::s3::{Fault, Proxy, S3Request};
use conformance::small_dataset;
use http::Method;
use local::testing::Database;
use serde_json::{Value, json};
use support::incoming::{
    EventSender, Incoming, TIME, content, failed, files, manifest, message, undisturbed, with_broken_rows,
};
use support::load_into;
use support::s3::{
    FaultSwitch, LONG_TIMEOUT, SHORT_TIMEOUTS, assert_served, handle_all, is_for_rows, serving,
};

/// Returns whether an event record is about this file.
fn is_of(file: &str, record: &Value) -> bool {
    record["s3"]["object"]["key"].as_str().unwrap().ends_with(file)
}

#[tokio::test]
async fn the_last_file_to_arrive_publishes_the_same_catalog_as_a_folder() {
    let incoming = Incoming::create().await;
    let records = incoming.put_folder("spring", &small_dataset()).await;
    for (nth, record) in records.iter().enumerate() {
        assert_eq!(incoming.published().await, 0, "after {nth} files");
        assert!(incoming.is_done(record).await);
    }
    assert_eq!(incoming.published().await, 1);
    assert_eq!(content(&incoming.database).await, undisturbed(&small_dataset()).await);
}

#[tokio::test]
async fn an_event_directly_from_s3_may_have_all_files() {
    let incoming = Incoming::create().await;
    let records = incoming.put_folder("spring", &small_dataset()).await;
    assert_eq!(incoming.handle(&json!({ "Records": records }), TIME).await, json!({}));
    assert_eq!(incoming.published().await, 1);
}

#[tokio::test]
async fn duplicate_and_concurrent_events_publish_once() {
    let incoming = Incoming::create().await;
    let records = incoming.put_folder("spring", &small_dataset()).await;
    let handling = records.iter().chain(&records).cloned().map(|record| {
        let incoming = incoming.clone();
        tokio::spawn(async move { incoming.is_done(&record).await })
    });
    for handled in handling.collect::<Vec<_>>() {
        assert!(handled.await.unwrap());
    }
    for record in &records {
        assert!(incoming.is_done(record).await, "a late duplicate");
    }
    assert_eq!(incoming.published().await, 1);
    assert_eq!(incoming.number("select count(*) from etl.load").await, 1);
}

#[tokio::test]
async fn files_in_any_order_publish_the_same_catalog() {
    let expected = undisturbed(&small_dataset()).await;
    let incoming = Incoming::create().await;
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    for nth in 0..6 {
        let mut records = incoming.put_folder(&format!("set-{nth}"), &small_dataset()).await;
        random.shuffle(&mut records);
        for record in &records {
            assert!(incoming.is_done(record).await);
        }
        assert_eq!(incoming.published().await, nth + 1, "seed {seed}");
        // The catalog has cart.csv only if it arrived before the last of the six.
        let is_cart = is_of("cart.csv", records.last().unwrap());
        let served = content(&incoming.database).await;
        assert!(is_cart || served == expected, "seed {seed}: {served}");
    }
}

#[tokio::test]
async fn a_published_dataset_is_loaded_again_once_all_six_files_have_arrived_again() {
    let incoming = Incoming::create().await;
    for record in incoming.put_folder("spring", &small_dataset()).await {
        incoming.is_done(&record).await;
    }
    let mut again = incoming.put_folder("spring", &small_dataset()).await;
    again.retain(|record| !is_of("cart.csv", record));
    let last = again.pop().unwrap();
    for record in &again {
        assert!(incoming.is_done(record).await);
        assert_eq!(incoming.published().await, 1, "published a mixture of old and new files");
    }
    assert!(incoming.is_done(&last).await);
    assert_eq!(incoming.published().await, 2);
}

#[tokio::test]
async fn an_event_older_than_the_recorded_one_is_ignored() {
    let incoming = Incoming::create().await;
    let old = incoming.put("spring", "skus.csv", "id,styleId,size,quantity\n1,1,\"S\",1").await;
    let new = incoming.put("spring", "skus.csv", "id,styleId,size,quantity\n1,1,\"S\",2").await;
    assert!(incoming.is_done(&new).await);
    let version = || incoming.text("select version from etl.incoming_file");
    let recorded = version().await;
    assert!(incoming.is_done(&old).await, "its object was replaced");
    let mut lagging = new.clone();
    lagging["s3"]["object"]["sequencer"] = "0000".into();
    assert!(incoming.is_done(&lagging).await, "an earlier sequencer for the current object");
    assert_eq!(version().await, recorded);
    assert_eq!(
        incoming.text("select sequencer from etl.incoming_file").await,
        new["s3"]["object"]["sequencer"]
    );
}

#[tokio::test]
async fn an_event_for_a_deleted_object_is_ignored() {
    let (incoming, served) = serving().await;
    let records = incoming.put_folder("spring", &small_dataset()).await;
    incoming.bucket.delete("incoming/spring/skus.csv").await;
    for record in &records {
        assert!(incoming.is_done(record).await);
    }
    let arrived = "select string_agg(file, ' ' order by file) from etl.incoming_file";
    assert_eq!(
        incoming.text(arrived).await,
        "cart.csv features.csv photos.csv product.csv related.csv styles.csv"
    );
    assert_eq!(
        incoming.number("select count(*) from etl.load").await,
        1,
        "started a load of an incomplete dataset"
    );
    assert_eq!((incoming.published().await, incoming.alarms()), (1, 0));
    assert_served(&incoming, &served).await;
}

#[tokio::test]
async fn objects_that_are_no_dataset_files_are_ignored() {
    let incoming = Incoming::create().await;
    for key in
        ["incoming/readme.txt", "incoming/spring/notes.txt", "incoming/spring/old/skus.csv", "skus.csv"]
    {
        incoming.bucket.put(key, "1,2,3").await;
        assert!(incoming.is_done(&incoming.record(key).await).await, "{key}");
    }
    assert_eq!(incoming.number("select count(*) from etl.incoming").await, 0);
}

#[tokio::test]
async fn an_invalid_file_is_refused_with_the_reason_until_a_valid_one_replaces_it() {
    let incoming = Incoming::create().await;
    let records = incoming.put_folder("spring", &small_dataset()).await;
    let whole = std::fs::read(small_dataset().join("styles.csv")).unwrap();
    for record in &records {
        if !is_of("styles.csv", record) {
            assert!(incoming.is_done(record).await);
        }
    }
    for (content, reason) in [
        ("id;productId;name", "expected commas, as in the header"),
        ("", "is empty"),
        ("id,productId,name,sale_price,original_price\n", "no column default_style"),
    ] {
        let record = incoming.put("spring", "styles.csv", content).await;
        assert!(incoming.is_done(&record).await, "a retry would fail again");
        let refused = incoming.text("select refused from etl.incoming_file where file = 'styles.csv'").await;
        assert!(refused.contains(reason), "{refused}");
        let status = etl::status::status(&incoming.database.config()).await.unwrap().to_string();
        assert!(status.contains("styles.csv is refused") && status.contains(reason), "{status}");
    }
    assert_eq!((incoming.published().await, incoming.alarms()), (0, 3));
    let record = incoming.put("spring", "styles.csv", whole).await;
    assert!(incoming.is_done(&record).await);
    assert_eq!(incoming.published().await, 1);
}

#[tokio::test]
async fn a_failed_load_is_recorded_once_and_a_corrected_file_starts_another() {
    let incoming = Incoming::of(Database::create().await.unwrap(), &[("MAX_REJECTS", "20")]).await;
    let whole = std::fs::read(small_dataset().join("product.csv")).unwrap();
    for record in incoming.put_folder("spring", &small_dataset()).await {
        if !is_of("product.csv", &record) {
            assert!(incoming.is_done(&record).await);
        }
    }
    let record = incoming.put("spring", "product.csv", with_broken_rows(&whole, 30)).await;
    assert!(incoming.is_done(&record).await && incoming.is_done(&record).await);
    assert_eq!(incoming.number("select count(*) from etl.load").await, 1);
    let reason = incoming.text("select reason from etl.load where step = 'failed'").await;
    assert!(reason.contains("rows rejected: the limit is "), "{reason}");
    let summary = incoming.bucket.get("rejects/spring/1.json").await.unwrap();
    let summary: Value = serde_json::from_slice(&summary).unwrap();
    assert_eq!((&summary["failure"], &summary["dataset"]), (&json!(reason), &json!("spring")));
    let csv = incoming.bucket.get("rejects/spring/1.csv").await.unwrap();
    assert!(String::from_utf8_lossy(&csv).contains("\"no,row\""), "{csv:?}");
    assert_eq!((incoming.published().await, incoming.alarms()), (0, 1));

    let record = incoming.put("spring", "product.csv", whole).await;
    assert!(incoming.is_done(&record).await);
    assert_eq!(incoming.published().await, 1);
}

#[tokio::test]
async fn rejected_rows_are_written_with_a_summary() {
    let incoming = Incoming::create().await;
    for record in incoming.put_folder("spring", &small_dataset()).await {
        incoming.is_done(&record).await;
    }
    let from_folder = load_into(Database::create().await.unwrap(), &small_dataset()).await;
    assert_eq!(incoming.bucket.get("rejects/spring/1.csv").await.unwrap(), from_folder.rejects);
    let summary = incoming.bucket.get("rejects/spring/1.json").await.unwrap();
    let summary: Value = serde_json::from_slice(&summary).unwrap();
    assert_eq!(summary["source"], incoming.bucket.url("incoming/spring/"));
    let rows: i64 =
        summary["set_aside"].as_array().unwrap().iter().map(|reason| reason["rows"].as_i64().unwrap()).sum();
    assert_eq!(rows, incoming.number("select count(*) from etl.reject").await);
}

#[tokio::test]
async fn an_invocation_stops_at_its_deadline_and_the_next_resumes_from_its_commit() {
    let few = [("COMMIT_BYTES", "20000")];
    let incoming = Incoming::of(Database::create().await.unwrap(), &few).await;
    let dir = tempfile::tempdir().unwrap();
    let options = etl::generate::Options { scale: 0.002, seed: 3, legacy_format: false };
    etl::generate::generate(&options, dir.path(), |_| {}).unwrap();
    let mut records = incoming.put_folder("spring", dir.path()).await;
    let last = records.pop().unwrap();
    for record in &records {
        assert!(incoming.is_done(record).await);
    }
    let mut invocations = 1;
    // Each invocation makes some progress. The first ones do not even have time for one commit.
    let mut time = Duration::from_millis(1);
    while let [_] = failed(&incoming.handle(&message("1", &last), time).await)[..] {
        invocations += 1;
        time *= 2;
        assert_eq!(incoming.published().await, 0);
    }
    assert!(invocations > 3, "{invocations} invocations");
    assert_eq!(incoming.published().await, 1);
    assert_eq!(incoming.number("select count(*) from etl.load").await, 1, "one load, resumed");
    assert_eq!(content(&incoming.database).await, undisturbed(dir.path()).await);
}

#[tokio::test]
async fn an_unavailable_database_returns_the_message() {
    let incoming = Incoming::of(Database::create().await.unwrap(), &[]).await;
    let record = incoming.put("spring", "skus.csv", "id,styleId,size,quantity\n1,1,\"S\",1").await;
    let mut away = vec![("DATABASE_URL", "postgres://nobody@127.0.0.1:1/nothing")];
    away.push(("REJECTS_URL", "s3://rejects/"));
    let lookup =
        |name: &str| away.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    let config = etl::function::Config::from_lookup(&lookup).unwrap();
    let server = format!("http://{}", incoming.bucket.server());
    let s3 = etl::s3::S3::with_endpoint(&server, "x", "x").await;
    let function = etl::function::Function::new(&config, s3, |_| {});
    let reply = function.handle(&message("7", &record).to_string(), TIME).await.unwrap();
    assert_eq!(failed(&reply), ["7"]);
    let direct = json!({ "Records": [record] }).to_string();
    assert!(function.handle(&direct, TIME).await.is_err(), "Lambda retries it");
}

#[tokio::test]
async fn a_manifest_lists_the_files_of_a_complete_dataset() {
    let incoming = Incoming::create().await;
    let files = files(&small_dataset());
    let record = incoming.put("spring", "manifest.json", manifest(&files, |_, _| {})).await;
    assert!(incoming.is_done(&record).await);
    let mut records = incoming.put_folder("spring", &small_dataset()).await;
    let at = records.iter().position(|record| is_of("cart.csv", record));
    let cart = records.remove(at.unwrap());
    incoming.bucket.delete("incoming/spring/cart.csv").await;
    for record in &records {
        assert!(incoming.is_done(record).await);
    }
    assert_eq!(incoming.published().await, 0, "the manifest lists cart.csv");
    let reason = incoming.text("select reason from etl.incoming").await;
    assert!(reason.contains("cart.csv missing"), "{reason}");
    incoming
        .bucket
        .put("incoming/spring/cart.csv", std::fs::read(small_dataset().join("cart.csv")).unwrap())
        .await;
    assert!(incoming.is_done(&cart).await);
    assert_eq!(incoming.published().await, 1);
}

#[tokio::test]
async fn a_wrong_size_delays_the_load_and_a_wrong_checksum_fails_it() {
    let incoming = Incoming::create().await;
    let files = files(&small_dataset());
    for record in incoming.put_folder("spring", &small_dataset()).await {
        if is_of("cart.csv", &record) {
            continue;
        }
        if is_of("styles.csv", &record) {
            let longer = manifest(&files, |name, file| {
                if name == "skus.csv" {
                    file["size"] = 1.into();
                }
            });
            incoming.is_done(&incoming.put("spring", "manifest.json", longer).await).await;
        }
        assert!(incoming.is_done(&record).await);
    }
    let cart = incoming.record("incoming/spring/cart.csv").await;
    assert!(incoming.is_done(&cart).await);
    assert_eq!(incoming.published().await, 0);
    let reason = incoming.text("select reason from etl.incoming").await;
    assert!(reason.contains("skus.csv has") && reason.contains("the manifest says 1"), "{reason}");

    let other = manifest(&files, |name, file| {
        if name == "skus.csv" {
            file["sha256"] = "0".repeat(64).into();
        }
    });
    assert!(incoming.is_done(&incoming.put("spring", "manifest.json", other).await).await);
    let reason = incoming.text("select reason from etl.load where step = 'failed'").await;
    assert!(reason.contains("skus.csv has the SHA-256"), "{reason}");
    assert_eq!(incoming.published().await, 0);

    let right = incoming.put("spring", "manifest.json", manifest(&files, |_, _| {})).await;
    assert!(incoming.is_done(&right).await);
    assert_eq!(incoming.published().await, 1);
}

/// Uploads a file and sends its event just before the function's first request for which `is_time` is true. Returns the
/// function, and whether it completed that message.
async fn arriving(
    incoming: &Incoming,
    (file, content): (&'static str, Vec<u8>),
    is_time: impl Fn(&S3Request) -> bool + Send + 'static,
) -> (Proxy, tokio::task::JoinHandle<bool>) {
    let (event_sender, handled) = EventSender::new(incoming);
    let (inside, waiting) = (incoming.clone(), std::sync::Mutex::new(Some(content)));
    let proxy = Proxy::start(incoming.bucket.server(), async move |seen| {
        let due = if is_time(seen) { waiting.lock().unwrap().take() } else { None };
        if let Some(content) = due {
            event_sender.send(inside.put("spring", file, content).await).await;
        }
        Fault::None
    });
    (proxy, handled)
}

/// Uploads the hand-made dataset and sends the events of all but one file. Returns the record of that file.
async fn all_but(incoming: &Incoming, file: &str, left_out: &[&str]) -> Value {
    let mut last = None;
    for record in incoming.put_folder("spring", &small_dataset()).await {
        if is_of(file, &record) {
            last = Some(record);
        } else if !left_out.iter().any(|file| is_of(file, &record)) {
            assert!(incoming.is_done(&record).await);
        }
    }
    last.unwrap()
}

#[tokio::test]
async fn a_listed_file_that_arrives_during_the_check_of_its_dataset_is_not_missed() {
    let incoming = Incoming::create().await;
    let listed = manifest(&files(&small_dataset()), |_, _| {});
    assert!(incoming.is_done(&incoming.put("spring", "manifest.json", listed).await).await);
    let last = all_but(&incoming, "styles.csv", &["cart.csv"]).await;
    let cart = std::fs::read(small_dataset().join("cart.csv")).unwrap();
    let (proxy, handled) =
        arriving(&incoming, ("cart.csv", cart), |seen| seen.key.ends_with("/manifest.json")).await;
    assert!(incoming.through(&proxy, LONG_TIMEOUT).await.is_done(&last).await && handled.await.unwrap());
    assert_eq!(incoming.number("select count(*) from etl.incoming where reason is not null").await, 0);
    assert_eq!(incoming.published().await, 1);
    assert_eq!(content(&incoming.database).await, undisturbed(&small_dataset()).await);
}

#[tokio::test]
async fn a_corrected_file_is_loaded_even_if_it_arrives_while_the_load_fails() {
    let incoming = Incoming::create().await;
    let whole = std::fs::read(small_dataset().join("product.csv")).unwrap();
    all_but(&incoming, "product.csv", &[]).await;
    let broken = incoming.put("spring", "product.csv", with_broken_rows(&whole, 300)).await;
    let (proxy, handled) =
        arriving(&incoming, ("product.csv", whole), |seen| seen.method == Method::PUT).await;
    assert!(incoming.through(&proxy, LONG_TIMEOUT).await.is_done(&broken).await && handled.await.unwrap());
    assert_eq!((incoming.published().await, incoming.alarms()), (1, 1));
    assert_eq!(incoming.number("select count(*) from etl.load where step = 'failed'").await, 1);
}

#[tokio::test]
async fn a_late_cart_csv_is_reported() {
    let incoming = Incoming::create().await;
    let last = all_but(&incoming, "styles.csv", &["cart.csv"]).await;
    let cart = std::fs::read(small_dataset().join("cart.csv")).unwrap();
    let (proxy, handled) =
        arriving(&incoming, ("cart.csv", cart), |seen| seen.key.ends_with("/manifest.json")).await;
    assert!(incoming.through(&proxy, LONG_TIMEOUT).await.is_done(&last).await && handled.await.unwrap());
    assert_eq!(incoming.published().await, 1);
    assert_eq!(incoming.number("select count(*) from catalog.cart").await, 0);
    let status = etl::status::status(&incoming.database.config()).await.unwrap().to_string();
    assert!(status.contains("incoming/spring/: cart.csv\n"), "{status}");
}

#[tokio::test]
async fn a_dataset_that_s3_denies_delays_no_other() {
    let incoming = Incoming::create().await;
    let refused = incoming.put_folder("refused", &small_dataset()).await;
    let behind = incoming.put_folder("behind", &small_dataset()).await;
    let switch = FaultSwitch::default();
    let script_switch = switch.clone();
    let proxy = Proxy::start(incoming.bucket.server(), async move |seen| {
        let is_refused = is_for_rows(seen, "refused/skus.csv") && !script_switch.is_off();
        if is_refused { Fault::ACCESS_DENIED } else { Fault::None }
    });
    let incoming = incoming.through(&proxy, SHORT_TIMEOUTS).await;
    let error = handle_all(&incoming, &refused).await.unwrap_err();
    assert!(error.contains("refused/skus.csv") && error.contains("AccessDenied"), "{error}");
    let reason = incoming.text("select reason from etl.load where step = 'load'").await;
    assert_eq!(reason, error, "the reason that `status` shows");
    handle_all(&incoming, &behind).await.unwrap();
    assert_eq!(incoming.text("select dataset from etl.load where step = 'published'").await, "behind");
    assert!(!incoming.is_done(&refused[0]).await, "its message must be delivered again");
    switch.turn_off();
    assert!(incoming.is_done(&refused[0]).await);
    assert_eq!((incoming.published().await, incoming.alarms()), (2, 0));
}

#[tokio::test]
async fn a_failure_is_recorded_only_after_its_rejected_rows_are_written() {
    let incoming = Incoming::create().await;
    let whole = std::fs::read(small_dataset().join("product.csv")).unwrap();
    all_but(&incoming, "product.csv", &[]).await;
    let broken = incoming.put("spring", "product.csv", with_broken_rows(&whole, 300)).await;
    let switch = FaultSwitch::default();
    let script_switch = switch.clone();
    let proxy = Proxy::start(incoming.bucket.server(), async move |seen| {
        if seen.method == Method::PUT && !script_switch.is_off() { Fault::ACCESS_DENIED } else { Fault::None }
    });
    let through = incoming.through(&proxy, SHORT_TIMEOUTS).await;
    assert!(!through.is_done(&broken).await, "the message must be delivered again");
    let reason = incoming.text("select step || ': ' || reason from etl.load").await;
    assert!(reason.starts_with("load: cannot write the rejected rows to s3://"), "{reason}");
    assert_eq!(incoming.alarms(), 0);
    switch.turn_off();
    assert!(through.is_done(&broken).await);
    assert_eq!(incoming.number("select count(*) from etl.load where step = 'failed'").await, 1);
    assert_eq!(incoming.alarms(), 1);
    assert!(incoming.bucket.get("rejects/spring/1.csv").await.is_some());
}

#[tokio::test]
async fn a_manifest_above_the_size_limit_is_refused() {
    let incoming = Incoming::create().await;
    let record = incoming.put("spring", "manifest.json", vec![b' '; (1 << 20) + 1]).await;
    assert!(incoming.is_done(&record).await, "a retry would fail again");
    let refused = incoming.text("select refused from etl.incoming_file").await;
    assert!(refused.contains("has 1048577 bytes: expected at most 1048576"), "{refused}");
    assert_eq!(incoming.alarms(), 1);
}
