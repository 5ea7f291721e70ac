//! The first delivery below a prefix: it is published once when it is complete, whatever the order of its events.

use conformance::small_dataset;
use serde_json::{Value, json};

use crate::support::incoming::{Incoming, TIME, content, files, manifest, undisturbed};
use crate::support::s3::Set;

#[tokio::test]
async fn the_last_file_to_arrive_publishes_the_same_catalog_as_a_folder() {
    let incoming = Incoming::create().await;
    for (nth, (name, content)) in files(&small_dataset()).into_iter().enumerate() {
        assert_eq!(incoming.published().await, 0, "after {nth} files");
        let record = incoming.put("spring", &name, content).await;
        assert!(incoming.is_done(&record).await);
        if nth == 2 {
            let status = incoming.status().await;
            assert!(
                status.contains("waiting for product.csv, styles.csv, skus.csv, related.csv"),
                "{status}"
            );
        }
    }
    assert_eq!((incoming.published().await, incoming.alarms(), incoming.ignored()), (1, 0, 0));
    assert_eq!(content(&incoming.database).await, undisturbed(&small_dataset()).await);
    assert!(!incoming.status().await.contains("not loaded"));
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
    let with_carts = undisturbed(&small_dataset()).await;
    let mut six = files(&small_dataset());
    six.retain(|(name, _)| name != "cart.csv");
    let without_carts = Set::of(&six).await.expected;
    let incoming = Incoming::create().await;
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    for nth in 0..6 {
        let mut files = files(&small_dataset());
        random.shuffle(&mut files);
        for (name, content) in &files {
            let record = incoming.put(&format!("set-{nth}"), name, content.clone()).await;
            assert!(incoming.is_done(&record).await);
        }
        assert_eq!(incoming.published().await, nth + 1, "seed {seed}");
        let is_cart = files.last().unwrap().0 == "cart.csv";
        let expected = if is_cart { &without_carts } else { &with_carts };
        assert!(content(&incoming.database).await == *expected, "seed {seed}");
        assert_eq!(incoming.status().await.contains(&format!("set-{nth}/, since")), is_cart, "seed {seed}");
    }
    assert_eq!(incoming.alarms(), 0);
}

#[tokio::test]
async fn a_deleted_file_is_waited_for() {
    let incoming = Incoming::create().await;
    let records = incoming.put_folder("spring", &small_dataset()).await;
    incoming.bucket.delete("incoming/spring/skus.csv").await;
    for record in &records {
        assert!(incoming.is_done(record).await);
    }
    assert!(incoming.status().await.contains("waiting for skus.csv\n"));
    assert_eq!(incoming.number("select count(*) from etl.load").await, 0);
    incoming.bucket.put_file("incoming/spring/skus.csv", &small_dataset().join("skus.csv")).await;
    assert!(incoming.is_done(&records[0]).await);
    assert_eq!((incoming.published().await, incoming.alarms()), (1, 0));
}

#[tokio::test]
async fn objects_that_are_no_dataset_files_are_ignored() {
    let incoming = Incoming::create().await;
    for key in [
        "incoming/readme.txt",
        "incoming/spring/notes.txt",
        "incoming/spring/old/skus.csv",
        "incoming/spring/",
        "skus.csv",
    ] {
        incoming.bucket.put(key, "1,2,3").await;
        assert!(incoming.is_done(&incoming.record(key).await).await, "{key}");
    }
    assert_eq!(incoming.number("select count(*) from etl.delivery").await, 0);
    assert_eq!((incoming.alarms(), incoming.ignored()), (0, 0));
}

#[tokio::test]
async fn a_file_in_both_spellings_is_an_error_that_names_them() {
    let incoming = Incoming::create().await;
    let record = incoming.put("spring", "skus.csv.gz", "gzip").await;
    incoming.deliver("spring", &small_dataset()).await;
    let status = incoming.status().await;
    assert!(status.contains("has skus.csv and skus.csv.gz: delete one of them"), "{status}");
    assert_eq!(incoming.published().await, 0);
    let before = incoming.alarms();
    assert!(incoming.is_done(&record).await);
    assert_eq!(incoming.alarms(), before, "a duplicate event reports nothing again");
    incoming.bucket.delete("incoming/spring/skus.csv.gz").await;
    assert!(incoming.is_done(&record).await);
    assert_eq!(incoming.published().await, 1);
}

#[tokio::test]
async fn a_manifest_lists_the_files_of_a_complete_dataset() {
    let incoming = Incoming::create().await;
    let mut files = files(&small_dataset());
    let record = incoming.put("spring", "manifest.json", manifest(&files, |_, _| {})).await;
    assert!(incoming.is_done(&record).await);
    let cart = files.remove(0);
    for (name, content) in files {
        assert!(incoming.is_done(&incoming.put("spring", &name, content).await).await);
    }
    assert_eq!(incoming.published().await, 0, "the manifest lists cart.csv");
    let status = incoming.status().await;
    assert!(status.contains("cart.csv missing"), "{status}");
    assert!(incoming.is_done(&incoming.put("spring", &cart.0, cart.1).await).await);
    assert_eq!((incoming.published().await, incoming.alarms(), incoming.ignored()), (1, 0, 0));
}

#[tokio::test]
async fn a_wrong_size_delays_the_load_and_a_wrong_checksum_fails_it() {
    let incoming = Incoming::create().await;
    let files = files(&small_dataset());
    let with = |member: &'static str, value: Value| {
        manifest(&files, move |name, file| {
            if name == "skus.csv" {
                file[member] = value.clone();
            }
        })
    };
    for (member, reason) in [("size", "bytes: the manifest says 1"), ("etag", "ETag")] {
        let value = if member == "size" { 1.into() } else { "1".into() };
        incoming.put("spring", "manifest.json", with(member, value)).await;
        incoming.deliver("spring", &small_dataset()).await;
        assert_eq!((incoming.published().await, incoming.alarms()), (0, 0));
        let status = incoming.status().await;
        assert!(status.contains("skus.csv has ") && status.contains(reason), "{status}");
    }
    let other = incoming.put("spring", "manifest.json", with("sha256", "0".repeat(64).into())).await;
    assert!(incoming.is_done(&other).await && incoming.is_done(&other).await);
    let reason = incoming.text("select reason from etl.load where step = 'failed'").await;
    assert!(reason.contains("skus.csv has the SHA-256"), "{reason}");
    assert_eq!((incoming.published().await, incoming.alarms()), (0, 1));

    let right = incoming.put("spring", "manifest.json", manifest(&files, |_, _| {})).await;
    assert!(incoming.is_done(&right).await);
    assert_eq!(incoming.published().await, 1);
}

#[tokio::test]
async fn an_invalid_manifest_is_reported_once() {
    let incoming = Incoming::create().await;
    incoming.put_folder("spring", &small_dataset()).await;
    for (nth, (content, reason)) in [
        (vec![b' '; (1 << 20) + 1], "has 1048577 bytes: expected at most 1048576"),
        (b"{}".to_vec(), "expected {\"files\""),
    ]
    .into_iter()
    .enumerate()
    {
        let record = incoming.put("spring", "manifest.json", content).await;
        assert!(incoming.is_done(&record).await && incoming.is_done(&record).await);
        let status = incoming.status().await;
        assert!(status.contains(reason), "{status}");
        assert_eq!((incoming.published().await, incoming.alarms()), (0, nth as u64 + 1));
    }
}

#[tokio::test]
async fn a_file_replaced_before_the_delivery_is_complete_mixes_no_days() {
    let incoming = Incoming::create().await;
    let mut first_day = incoming.put_folder("spring", &small_dataset()).await;
    let skus = std::fs::read(small_dataset().join("skus.csv")).unwrap();
    incoming.bucket.delete("incoming/spring/related.csv").await;
    let related = first_day.pop().unwrap();
    assert!(incoming.is_done(&first_day[0]).await, "it waits for the last file");
    // The second day begins with the file that was missing.
    let changed = incoming.put("spring", "skus.csv", [&skus[..], b"\n"].concat()).await;
    assert!(incoming.is_done(&changed).await);
    incoming.put("spring", "related.csv", std::fs::read(small_dataset().join("related.csv")).unwrap()).await;
    assert!(incoming.is_done(&related).await);
    assert_eq!((incoming.published().await, incoming.ignored() > 0), (0, true));
    let status = incoming.status().await;
    assert!(status.contains("skus.csv was replaced before all files"), "{status}");
}
