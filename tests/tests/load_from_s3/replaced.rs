//! Objects that are replaced or deleted during a read.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use conformance::s3::variables;
use http::Method;
use rig::{Fault, HttpProxy};

use crate::support::incoming::{files, manifest};
use crate::support::s3::{
    LONG_TIMEOUT, assert_served, check_requests, error_message, generated, handle_all, is_for_rows,
    load_by_command, requested_range, serving, summary, with_other,
};

/// The moment of the change.
#[derive(Clone, Copy, PartialEq)]
enum When {
    /// While the loader loads the rows.
    Loading,
    /// While the loader reads the rows again, for the documents.
    Assembling,
}

/// Replaces or deletes photos.csv just before its second range of rows is read, or read again. The files of the prefix
/// may then be of two days, so only a manifest starts another load.
async fn changes_in_mid_read(is_deleted: bool, when: When) {
    let set = generated().await;
    let other = with_other(set, "photos.csv").await;
    let new = std::fs::read(other.folder.path().join("photos.csv")).unwrap();
    let (incoming, served) = serving().await;
    let records = incoming.put_folder("spring", set.folder.path()).await;

    let (inside, content_of_new) = (incoming.bucket.clone(), new.clone());
    let (requested, changed) = (std::sync::Mutex::new(HashSet::new()), AtomicBool::new(false));
    let proxy = HttpProxy::start(incoming.bucket.server(), async move |seen| {
        let is_time = is_for_rows(seen, "/photos.csv") && {
            let is_first = requested.lock().unwrap().insert(requested_range(seen).0);
            match when {
                When::Loading => seen.nth == 3,
                When::Assembling => !is_first && !changed.swap(true, Ordering::Relaxed),
            }
        };
        if is_time {
            let (inside, content, key) = (inside.clone(), content_of_new.clone(), seen.key.clone());
            // Once another range request finds the change, the loader cancels this one. The change continues all the same.
            let changed = tokio::task::spawn_local(async move {
                match is_deleted {
                    true => inside.delete(&key).await,
                    false => drop(inside.put(&key, content).await),
                }
            });
            changed.await.unwrap();
        }
        Fault::None
    });
    let disturbed = incoming.through(&proxy, LONG_TIMEOUT).await;
    handle_all(&disturbed, &records).await.unwrap();
    check_requests(&proxy);
    let reason = if is_deleted { "does not exist" } else { "was replaced during the load" };
    let recorded = incoming.text("select step || ': ' || reason from etl.load where generation = 2").await;
    assert!(recorded.starts_with("abandoned: ") && recorded.contains(reason), "{recorded}");
    assert!(recorded.contains(&incoming.bucket.url("incoming/spring/photos.csv")), "{recorded}");
    assert_eq!((incoming.published().await, incoming.alarms()), (1, 0));
    assert_served(&incoming, &served).await;

    let photos = incoming.put("spring", "photos.csv", new).await;
    assert!(disturbed.is_done(&photos).await);
    assert_eq!((incoming.published().await, incoming.ignored()), (1, 1));
    let listed = manifest(&files(other.folder.path()), |_, _| {});
    assert!(disturbed.is_done(&incoming.put("spring", "manifest.json", listed).await).await);
    assert_eq!((incoming.published().await, incoming.alarms()), (2, 0));
    assert_served(&incoming, &other.expected).await;
}

#[tokio::test]
async fn a_load_of_an_object_replaced_during_a_read_is_abandoned_until_a_manifest_arrives() {
    changes_in_mid_read(false, When::Loading).await;
    changes_in_mid_read(false, When::Assembling).await;
}

#[tokio::test]
async fn a_load_of_an_object_deleted_during_a_read_is_abandoned_until_a_manifest_arrives() {
    changes_in_mid_read(true, When::Loading).await;
    changes_in_mid_read(true, When::Assembling).await;
}

#[tokio::test]
async fn the_command_abandons_a_load_when_an_object_is_replaced_or_deleted_during_a_read() {
    let set = generated().await;
    let other = with_other(set, "styles.csv").await;
    let new = std::fs::read(other.folder.path().join("styles.csv")).unwrap();
    let (incoming, served) = serving().await;
    let url = incoming.bucket.url("incoming/spring/");
    for (is_deleted, reason) in [(true, "does not exist"), (false, "was replaced during the load")] {
        incoming.bucket.put_folder("incoming/spring/", set.folder.path()).await;
        let (inside, new) = (incoming.bucket.clone(), new.clone());
        let proxy = HttpProxy::start(incoming.bucket.server(), async move |seen| {
            // The first GET is for the header.
            if seen.key == "incoming/spring/styles.csv" && (&seen.method, seen.nth) == (&Method::GET, 2) {
                match is_deleted {
                    true => inside.delete(&seen.key).await,
                    false => drop(inside.put(&seen.key, new.clone()).await),
                }
            }
            Fault::None
        });
        let line = error_message(&load_by_command(&incoming.database, &variables(proxy.address()), &[&url]));
        assert!(line.contains(&format!("{url}styles.csv {reason}")), "{line}");
        let recorded = incoming
            .text("select step || ': ' || reason from etl.load order by generation desc limit 1")
            .await;
        assert!(recorded.starts_with("abandoned: ") && recorded.contains(reason), "{recorded}");
        assert_served(&incoming, &served).await;
    }
    summary(&load_by_command(&incoming.database, &incoming.bucket.variables(), &[&url]));
    assert_served(&incoming, &other.expected).await;
}
