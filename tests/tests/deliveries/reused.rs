//! Deliveries into a prefix that was loaded before: files of two days never mix.

use rig::{Fault, HttpProxy};
use std::path::Path;

use conformance::small_dataset;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::incoming::{Incoming, content, files, manifest, undisturbed, with_broken_rows};
use crate::support::marked::write_marked;
use crate::support::s3::{LONG_TIMEOUT, is_for_rows};

/// Writes the files of a day. Every file differs from that of another day, and has the same size.
fn day(day: u32) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_marked(folder.path(), day);
    folder
}

/// Uploads the manifest of a folder and sends its event. An entry has a size, and a SHA-256 or an `ETag`.
async fn deliver_manifest(incoming: &Incoming, dataset: &str, folder: &Path, has_etags: bool) {
    let mut listed = Vec::new();
    for (name, content) in files(folder) {
        let etag = incoming.bucket.put(&format!("elsewhere/{name}"), content.clone()).await;
        listed.push((name, content, etag));
    }
    let plain: Vec<_> = listed.iter().map(|(name, content, _)| (name.clone(), content.clone())).collect();
    let json = manifest(&plain, |name, file| {
        if has_etags {
            let etag = listed.iter().find(|(listed, _, _)| listed == name).unwrap().2.clone();
            *file = serde_json::json!({ "name": name, "size": file["size"], "etag": etag });
        }
    });
    let record = incoming.put(dataset, "manifest.json", json).await;
    assert!(incoming.is_done(&record).await);
}

/// Asserts that the served catalog is that of a whole day.
async fn assert_day(incoming: &Incoming, folder: &TempDir) {
    assert!(content(&incoming.database).await == undisturbed(folder.path()).await);
}

#[tokio::test]
async fn a_second_day_below_a_new_prefix_is_published() {
    let (incoming, first, second) = (Incoming::create().await, day(1), day(2));
    let old = incoming.deliver("shop-1", first.path()).await;
    incoming.deliver("shop-2", second.path()).await;
    assert_eq!((incoming.published().await, incoming.alarms(), incoming.ignored()), (2, 0, 0));
    assert!(incoming.is_done(&old[0]).await);
    assert_day(&incoming, &second).await;
}

#[tokio::test]
async fn a_second_day_below_the_same_prefix_is_published_if_a_manifest_describes_it() {
    for (manifest_is_first, has_etags) in [(true, true), (true, false), (false, true), (false, false)] {
        let (incoming, first, second) = (Incoming::create().await, day(1), day(2));
        incoming.deliver("shop", first.path()).await;
        if manifest_is_first {
            deliver_manifest(&incoming, "shop", second.path(), has_etags).await;
        }
        for (name, content) in files(second.path()) {
            assert!(incoming.is_done(&incoming.put("shop", &name, content).await).await);
        }
        if !manifest_is_first {
            assert_day(&incoming, &first).await;
            deliver_manifest(&incoming, "shop", second.path(), has_etags).await;
        }
        assert_eq!(incoming.published().await, 2, "{manifest_is_first} {has_etags}");
        assert_day(&incoming, &second).await;
        assert!(!incoming.status().await.contains("not loaded"));
        // All sizes are equal, so only the SHA-256 shows that a file is still to come.
        assert_eq!((incoming.alarms(), incoming.ignored()), (0, if manifest_is_first { 0 } else { 6 }));
    }
}

#[tokio::test]
async fn a_second_day_below_the_same_prefix_is_ignored_without_a_manifest() {
    let (incoming, first, second) = (Incoming::create().await, day(1), day(2));
    incoming.deliver("shop", first.path()).await;
    let records = incoming.deliver("shop", second.path()).await;
    assert_eq!((incoming.published().await, incoming.alarms(), incoming.ignored()), (1, 0, 1));
    let status = incoming.status().await;
    assert!(status.contains("upload all files to a new prefix, or a new manifest.json"), "{status}");
    assert!(incoming.is_done(&records[0]).await);
    assert_eq!(incoming.ignored(), 1, "a duplicate event counts once");
    assert_day(&incoming, &first).await;
    incoming.deliver("shop", first.path()).await;
    assert!(!incoming.status().await.contains("not loaded"), "the loaded files are back");
    assert_eq!(incoming.published().await, 1);
}

#[tokio::test]
async fn a_file_that_replaces_one_of_a_failed_load_starts_no_other() {
    let (incoming, first) = (Incoming::create().await, day(1));
    let whole = std::fs::read(first.path().join("product.csv")).unwrap();
    std::fs::write(first.path().join("product.csv"), with_broken_rows(&whole, 300)).unwrap();
    incoming.deliver("shop", first.path()).await;
    assert_eq!((incoming.published().await, incoming.alarms()), (0, 1));
    let record = incoming.put("shop", "product.csv", whole.clone()).await;
    assert!(incoming.is_done(&record).await);
    assert_eq!((incoming.published().await, incoming.alarms(), incoming.ignored()), (0, 1, 1));
    assert_eq!(incoming.number("select count(*) from etl.load").await, 1);
    std::fs::write(first.path().join("product.csv"), whole).unwrap();
    deliver_manifest(&incoming, "shop", first.path(), true).await;
    assert_eq!(incoming.published().await, 1);
    assert_day(&incoming, &first).await;
}

#[tokio::test]
async fn a_cart_csv_that_arrives_after_the_load_began_is_reported() {
    for is_during_the_load in [true, false] {
        let incoming = Incoming::create().await;
        let cart = std::fs::read(small_dataset().join("cart.csv")).unwrap();
        let records = incoming.put_folder("shop", &small_dataset()).await;
        incoming.bucket.delete("incoming/shop/cart.csv").await;
        let inside = incoming.bucket.clone();
        let proxy = HttpProxy::start(incoming.bucket.server(), async move |seen| {
            if is_during_the_load && is_for_rows(seen, "/styles.csv") {
                inside.put("incoming/shop/cart.csv", cart.clone()).await;
            }
            Fault::None
        });
        assert!(incoming.through(&proxy, LONG_TIMEOUT).await.is_done(&records[1]).await);
        if !is_during_the_load {
            incoming.bucket.put_file("incoming/shop/cart.csv", &small_dataset().join("cart.csv")).await;
        }
        for record in &records {
            assert!(incoming.is_done(record).await);
        }
        assert_eq!(incoming.number("select count(*) from catalog.cart").await, 0);
        assert_eq!((incoming.published().await, incoming.alarms(), incoming.ignored()), (1, 0, 1));
        let status = incoming.status().await;
        assert!(status.contains("cart.csv arrived after the load of s3://"), "{status}");
        deliver_manifest(&incoming, "shop", &small_dataset(), true).await;
        assert_eq!(incoming.published().await, 2);
        assert_eq!(content(&incoming.database).await, undisturbed(&small_dataset()).await);
    }
}

#[tokio::test]
async fn five_days_in_one_prefix_are_never_mixed() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let days: Vec<_> = (1..=5).map(day).collect();
    let mut whole = Vec::new();
    for day in &days {
        whole.push(undisturbed(day.path()).await);
    }
    for has_manifests in [false, true] {
        let incoming = Incoming::create().await;
        let mut past: Vec<Value> = Vec::new();
        for (nth, day) in days.iter().enumerate() {
            if has_manifests {
                deliver_manifest(&incoming, "shop", day.path(), true).await;
            }
            let mut today = files(day.path());
            random.shuffle(&mut today);
            for (name, content_of_file) in today {
                let record = incoming.put("shop", &name, content_of_file).await;
                past.push(record.clone());
                assert!(incoming.is_done(&record).await, "seed {seed}");
                if random.bool() {
                    let duplicate = random.choice(&past).unwrap();
                    assert!(incoming.is_done(duplicate).await, "seed {seed}");
                }
                if incoming.published().await > 0 {
                    let served = content(&incoming.database).await;
                    assert!(whole.contains(&served), "seed {seed}, day {nth}: a mixture");
                }
            }
            // A file of another day.
            let stray = files(days[(nth + 2) % 5].path()).swap_remove(random.usize(0..6));
            let record = incoming.put("shop", &stray.0, stray.1).await;
            assert!(incoming.is_done(&record).await, "seed {seed}");
            let expected = if has_manifests { nth } else { 0 };
            assert!(content(&incoming.database).await == whole[expected], "seed {seed}, day {nth}");
        }
        let published = if has_manifests { 5 } else { 1 };
        assert_eq!((incoming.published().await, incoming.alarms()), (published, 0), "seed {seed}");
        assert!(incoming.ignored() >= 5, "seed {seed}");
    }
}

#[tokio::test]
async fn a_load_by_command_counts_as_a_load_of_its_prefix() {
    let (incoming, first, second) = (Incoming::create().await, day(1), day(2));
    let records = incoming.put_folder("tested", first.path()).await;
    crate::support::loader::Loader::of_bucket(&incoming.database, &incoming.bucket, &[]).succeeds().await;
    assert!(incoming.is_done(&records[0]).await);
    incoming.deliver("tested", second.path()).await;
    assert_eq!((incoming.published().await, incoming.ignored()), (1, 1));
    assert_day(&incoming, &first).await;
}
