//! Files arrive in a bucket, in whatever order and however often, and become the catalog once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod stand;

use std::time::Duration;

use conformance::s3::{Fault, Proxy, Seen};
use conformance::small_dataset;
use http::Method;
use local::testing::Database;
use serde_json::{Value, json};
use stand::incoming::{
    Incoming, TIME, Teller, content, failed, files, manifest, message, undisturbed, with_broken_rows,
};
use stand::load_into;
use stand::s3::{BRISK, Over, PATIENT, assert_served, handle_all, is_for_rows, serving};

/// Whether the record of an event tells of this file.
fn is_of(file: &str, record: &Value) -> bool {
    record["s3"]["object"]["key"].as_str().unwrap().ends_with(file)
}

#[tokio::test]
async fn the_last_file_to_arrive_publishes_what_a_load_from_a_folder_would() {
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
async fn an_event_straight_from_s3_may_tell_of_all_files_at_once() {
    let incoming = Incoming::create().await;
    let records = incoming.put_folder("spring", &small_dataset()).await;
    assert_eq!(incoming.handle(&json!({ "Records": records }), TIME).await, json!({}));
    assert_eq!(incoming.published().await, 1);
}

#[tokio::test]
async fn events_that_come_twice_and_at_once_publish_once() {
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
        assert!(incoming.is_done(record).await, "and once more, much later");
    }
    assert_eq!(incoming.published().await, 1);
    assert_eq!(incoming.number("select count(*) from etl.load").await, 1);
}

#[tokio::test]
async fn files_that_arrive_in_any_order_make_the_same_catalog() {
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
        // cart.csv goes with the others only if it was there before the last of them.
        let is_cart = is_of("cart.csv", records.last().unwrap());
        let served = content(&incoming.database).await;
        assert!(is_cart || served == expected, "seed {seed}: {served}");
    }
}

#[tokio::test]
async fn a_dataset_that_was_published_is_loaded_again_when_all_six_files_came_anew() {
    let incoming = Incoming::create().await;
    for record in incoming.put_folder("spring", &small_dataset()).await {
        incoming.is_done(&record).await;
    }
    let mut again = incoming.put_folder("spring", &small_dataset()).await;
    again.retain(|record| !is_of("cart.csv", record));
    let last = again.pop().unwrap();
    for record in &again {
        assert!(incoming.is_done(record).await);
        assert_eq!(incoming.published().await, 1, "a mixture of old and new");
    }
    assert!(incoming.is_done(&last).await);
    assert_eq!(incoming.published().await, 2);
}

#[tokio::test]
async fn an_event_older_than_one_that_was_here_is_superseded() {
    let incoming = Incoming::create().await;
    let old = incoming.put("spring", "skus.csv", "id,styleId,size,quantity\n1,1,\"S\",1").await;
    let new = incoming.put("spring", "skus.csv", "id,styleId,size,quantity\n1,1,\"S\",2").await;
    assert!(incoming.is_done(&new).await);
    let version = || incoming.text("select version from etl.incoming_file");
    let recorded = version().await;
    assert!(incoming.is_done(&old).await, "its object is another by now");
    let mut lagging = new.clone();
    lagging["s3"]["object"]["sequencer"] = "0000".into();
    assert!(incoming.is_done(&lagging).await, "of this object, but told before");
    assert_eq!(version().await, recorded);
    assert_eq!(
        incoming.text("select sequencer from etl.incoming_file").await,
        new["s3"]["object"]["sequencer"]
    );
}

#[tokio::test]
async fn an_event_for_a_key_that_is_gone_is_nobody_s_fault() {
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
    assert_eq!(incoming.number("select count(*) from etl.load").await, 1, "it is not whole without");
    assert_eq!((incoming.published().await, incoming.alarms()), (1, 0));
    assert_served(&incoming, &served).await;
}

#[tokio::test]
async fn what_is_no_file_of_a_dataset_is_left_alone() {
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
async fn a_file_that_can_never_be_loaded_is_refused_with_the_reason_and_one_that_can_takes_its_place() {
    let incoming = Incoming::create().await;
    let records = incoming.put_folder("spring", &small_dataset()).await;
    let whole = std::fs::read(small_dataset().join("styles.csv")).unwrap();
    for record in &records {
        if !is_of("styles.csv", record) {
            assert!(incoming.is_done(record).await);
        }
    }
    for (content, reason) in [
        ("id;productId;name", "line 1 should be the header"),
        ("", "has no rows"),
        ("id,productId,name,sale_price,original_price,default_style\n", "has no rows"),
    ] {
        let record = incoming.put("spring", "styles.csv", content).await;
        assert!(incoming.is_done(&record).await, "it would not be better next time");
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
async fn a_load_that_fails_is_recorded_once_and_one_better_file_starts_it_again() {
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
    assert!(reason.contains("can't be loaded"), "{reason}");
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
async fn what_is_set_aside_is_written_beside_a_summary_of_it() {
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
async fn an_invocation_that_runs_out_of_time_hands_over_and_the_next_goes_on_at_its_commit() {
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
    // Each may do a little: to begin with, what there is time for is not even the first commit.
    let mut time = Duration::from_millis(1);
    while let [_] = failed(&incoming.handle(&message("1", &last), time).await)[..] {
        invocations += 1;
        time *= 2;
        assert_eq!(incoming.published().await, 0);
    }
    assert!(invocations > 3, "{invocations} invocations");
    assert_eq!(incoming.published().await, 1);
    assert_eq!(incoming.number("select count(*) from etl.load").await, 1, "one load, taken up");
    assert_eq!(content(&incoming.database).await, undisturbed(dir.path()).await);
}

#[tokio::test]
async fn a_database_that_is_away_makes_the_message_come_again() {
    let incoming = Incoming::of(Database::create().await.unwrap(), &[]).await;
    let record = incoming.put("spring", "skus.csv", "id,styleId,size,quantity\n1,1,\"S\",1").await;
    let mut away = vec![("DATABASE_URL", "postgres://nobody@127.0.0.1:1/nothing")];
    away.push(("REJECTS_URL", "s3://rejects/"));
    let lookup =
        |name: &str| away.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    let config = etl::function::Config::from_lookup(&lookup).unwrap();
    let server = format!("http://{}", incoming.bucket.server());
    let s3 = etl::s3::S3::of_server(&server, "x", "x").await;
    let function = etl::function::Function::new(&config, s3, |_| {});
    let reply = function.handle(&message("7", &record).to_string(), TIME).await.unwrap();
    assert_eq!(failed(&reply), ["7"]);
    let direct = json!({ "Records": [record] }).to_string();
    assert!(function.handle(&direct, TIME).await.is_err(), "Lambda calls it again");
}

#[tokio::test]
async fn a_manifest_says_which_files_complete_a_dataset() {
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
async fn a_file_of_another_size_than_the_manifest_says_is_waited_for_and_one_of_other_content_fails() {
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

/// Has a file arrive, and be told of, just before the function's first request that `is_time`. Answers with the function,
/// and with what becomes of that message.
async fn arriving(
    incoming: &Incoming,
    (file, content): (&'static str, Vec<u8>),
    is_time: impl Fn(&Seen) -> bool + Send + 'static,
) -> (Proxy, tokio::task::JoinHandle<bool>) {
    let (teller, telling) = Teller::new(incoming);
    let (inside, waiting) = (incoming.clone(), std::sync::Mutex::new(Some(content)));
    let proxy = Proxy::start(incoming.bucket.server(), async move |seen| {
        let due = if is_time(seen) { waiting.lock().unwrap().take() } else { None };
        if let Some(content) = due {
            teller.tell(inside.put("spring", file, content).await).await;
        }
        Fault::None
    });
    (proxy, telling)
}

/// Puts the hand-made dataset into the bucket and tells of all but one file, whose record is the answer.
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
async fn a_file_that_is_listed_and_arrives_while_its_dataset_is_looked_at_is_not_missed() {
    let incoming = Incoming::create().await;
    let listed = manifest(&files(&small_dataset()), |_, _| {});
    assert!(incoming.is_done(&incoming.put("spring", "manifest.json", listed).await).await);
    let last = all_but(&incoming, "styles.csv", &["cart.csv"]).await;
    let cart = std::fs::read(small_dataset().join("cart.csv")).unwrap();
    let (proxy, telling) =
        arriving(&incoming, ("cart.csv", cart), |seen| seen.key.ends_with("/manifest.json")).await;
    assert!(incoming.through(&proxy, PATIENT).await.is_done(&last).await && telling.await.unwrap());
    assert_eq!(incoming.number("select count(*) from etl.incoming where reason is not null").await, 0);
    assert_eq!(incoming.published().await, 1);
    assert_eq!(content(&incoming.database).await, undisturbed(&small_dataset()).await);
}

#[tokio::test]
async fn a_better_file_is_loaded_even_if_it_arrives_while_the_load_of_the_worse_one_fails() {
    let incoming = Incoming::create().await;
    let whole = std::fs::read(small_dataset().join("product.csv")).unwrap();
    all_but(&incoming, "product.csv", &[]).await;
    let broken = incoming.put("spring", "product.csv", with_broken_rows(&whole, 300)).await;
    let (proxy, telling) =
        arriving(&incoming, ("product.csv", whole), |seen| seen.method == Method::PUT).await;
    assert!(incoming.through(&proxy, PATIENT).await.is_done(&broken).await && telling.await.unwrap());
    assert_eq!((incoming.published().await, incoming.alarms()), (1, 1));
    assert_eq!(incoming.number("select count(*) from etl.load where step = 'failed'").await, 1);
}

#[tokio::test]
async fn a_cart_csv_that_arrives_too_late_is_told_of() {
    let incoming = Incoming::create().await;
    let last = all_but(&incoming, "styles.csv", &["cart.csv"]).await;
    let cart = std::fs::read(small_dataset().join("cart.csv")).unwrap();
    let (proxy, telling) =
        arriving(&incoming, ("cart.csv", cart), |seen| seen.key.ends_with("/manifest.json")).await;
    assert!(incoming.through(&proxy, PATIENT).await.is_done(&last).await && telling.await.unwrap());
    assert_eq!(incoming.published().await, 1);
    assert_eq!(incoming.number("select count(*) from catalog.cart").await, 0);
    let status = etl::status::status(&incoming.database.config()).await.unwrap().to_string();
    assert!(status.contains("incoming/spring/: cart.csv\n"), "{status}");
}

#[tokio::test]
async fn a_dataset_that_s3_does_not_give_up_holds_up_no_other() {
    let incoming = Incoming::create().await;
    let refused = incoming.put_folder("refused", &small_dataset()).await;
    let behind = incoming.put_folder("behind", &small_dataset()).await;
    let over = Over::default();
    let until = over.clone();
    let proxy = Proxy::start(incoming.bucket.server(), async move |seen| {
        let is_refused = is_for_rows(seen, "refused/skus.csv") && !until.is();
        if is_refused { Fault::ACCESS_DENIED } else { Fault::None }
    });
    let incoming = incoming.through(&proxy, BRISK).await;
    let error = handle_all(&incoming, &refused).await.unwrap_err();
    assert!(error.contains("refused/skus.csv") && error.contains("AccessDenied"), "{error}");
    let reason = incoming.text("select reason from etl.load where step = 'load'").await;
    assert_eq!(reason, error, "and status shows it");
    handle_all(&incoming, &behind).await.unwrap();
    assert_eq!(incoming.text("select dataset from etl.load where step = 'published'").await, "behind");
    assert!(!incoming.is_done(&refused[0]).await, "its message comes again");
    over.end();
    assert!(incoming.is_done(&refused[0]).await);
    assert_eq!((incoming.published().await, incoming.alarms()), (2, 0));
}

#[tokio::test]
async fn a_failure_is_recorded_only_when_what_was_set_aside_is_written() {
    let incoming = Incoming::create().await;
    let whole = std::fs::read(small_dataset().join("product.csv")).unwrap();
    all_but(&incoming, "product.csv", &[]).await;
    let broken = incoming.put("spring", "product.csv", with_broken_rows(&whole, 300)).await;
    let over = Over::default();
    let until = over.clone();
    let proxy = Proxy::start(incoming.bucket.server(), async move |seen| {
        if seen.method == Method::PUT && !until.is() { Fault::ACCESS_DENIED } else { Fault::None }
    });
    let through = incoming.through(&proxy, BRISK).await;
    assert!(!through.is_done(&broken).await, "it is to come again");
    let reason = incoming.text("select step || ': ' || reason from etl.load").await;
    assert!(reason.starts_with("load: cannot write the rows set aside to s3://"), "{reason}");
    assert_eq!(incoming.alarms(), 0);
    over.end();
    assert!(through.is_done(&broken).await);
    assert_eq!(incoming.number("select count(*) from etl.load where step = 'failed'").await, 1);
    assert_eq!(incoming.alarms(), 1);
    assert!(incoming.bucket.get("rejects/spring/1.csv").await.is_some());
}

#[tokio::test]
async fn a_manifest_larger_than_any_can_be_is_refused() {
    let incoming = Incoming::create().await;
    let record = incoming.put("spring", "manifest.json", vec![b' '; (1 << 20) + 1]).await;
    assert!(incoming.is_done(&record).await, "it would not be smaller next time");
    let refused = incoming.text("select refused from etl.incoming_file").await;
    assert!(refused.contains("has 1048577 bytes, and at most 1048576 were expected"), "{refused}");
    assert_eq!(incoming.alarms(), 1);
}
