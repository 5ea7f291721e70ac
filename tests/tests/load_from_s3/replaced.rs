//! Objects that are replaced or deleted during a read.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use conformance::s3::{Fault, Proxy};
use http::Method;

use crate::support::incoming::EventSender;
use crate::support::s3::{
    LONG_TIMEOUT, assert_served, check_requests, error_message, generated, handle_all, is_for_rows,
    load_by_command, requested_range, serving, summary, with_other,
};

/// The change of photos.csv just before its second range of rows is read.
#[derive(Clone, Copy, PartialEq)]
enum Change {
    Replaced,
    /// The file is replaced, and its event arrives before the load notices.
    ReplacedWithEvent,
    Deleted,
}

/// The moment of the change.
#[derive(Clone, Copy, PartialEq)]
enum When {
    /// While the loader loads the rows.
    Loading,
    /// While the loader reads the rows again, for the documents.
    Assembling,
}

async fn changes_in_mid_read(change: Change, when: When) {
    let set = generated().await;
    let other = with_other(set, "photos.csv").await;
    let new = std::fs::read(other.folder.path().join("photos.csv")).unwrap();
    let (incoming, served) = serving().await;
    let records = incoming.put_folder("spring", set.folder.path()).await;

    let (event_sender, handled) = EventSender::new(&incoming);
    let event_sender = Arc::new(event_sender);
    let (inside, content_of_new) = (incoming.clone(), new.clone());
    let (requested, changed) = (std::sync::Mutex::new(HashSet::new()), AtomicBool::new(false));
    let proxy = Proxy::start(incoming.bucket.server(), async move |seen| {
        let is_time = is_for_rows(seen, "/photos.csv") && {
            let is_first = requested.lock().unwrap().insert(requested_range(seen).0);
            match when {
                When::Loading => seen.nth == 4,
                When::Assembling => !is_first && !changed.swap(true, Ordering::Relaxed),
            }
        };
        if is_time {
            let (inside, content, event_sender) =
                (inside.clone(), content_of_new.clone(), Arc::clone(&event_sender));
            let key = seen.key.clone();
            // Once another range request finds the change, the loader cancels this one. The change continues all the same.
            let changed = tokio::task::spawn_local(async move {
                match change {
                    Change::Deleted => inside.bucket.delete(&key).await,
                    _ => drop(inside.bucket.put(&key, content).await),
                }
                if change == Change::ReplacedWithEvent {
                    event_sender.send(inside.record(&key).await).await;
                }
            });
            changed.await.unwrap();
        }
        Fault::None
    });
    let disturbed = incoming.through(&proxy, LONG_TIMEOUT).await;
    let first = handle_all(&disturbed, &records).await;
    check_requests(&proxy);
    let (reason, step) = match change {
        Change::Deleted => ("does not exist", "abandoned"),
        _ => ("was replaced during the load", "abandoned"),
    };
    let recorded = incoming.text("select step || ': ' || reason from etl.load where generation = 2").await;
    assert!(recorded.starts_with(step) && recorded.contains(reason), "{recorded}");
    assert!(recorded.contains(&incoming.bucket.url("incoming/spring/photos.csv")), "{recorded}");
    if change == Change::ReplacedWithEvent {
        // Either call may complete first. The other finds nothing to do.
        assert!(handled.await.unwrap());
        assert!(handle_all(&disturbed, &records).await.is_ok(), "{first:?}");
    } else {
        first.unwrap();
        assert_eq!(incoming.published().await, 1);
        assert_served(&incoming, &served).await;
        let waiting = "select count(*) from etl.incoming_file where file = 'photos.csv'";
        assert_eq!(incoming.number(waiting).await, 0, "the dataset waits for the event of the new object");
        if change == Change::Deleted {
            assert!(disturbed.is_done(&incoming.put("spring", "photos.csv", new).await).await);
        } else {
            assert!(disturbed.is_done(&incoming.record("incoming/spring/photos.csv").await).await);
        }
    }
    assert_eq!((incoming.published().await, incoming.alarms()), (2, 0));
    assert_served(&incoming, &other.expected).await;
}

#[tokio::test]
async fn an_object_replaced_during_a_read_is_loaded_when_its_event_arrives() {
    changes_in_mid_read(Change::Replaced, When::Loading).await;
    changes_in_mid_read(Change::Replaced, When::Assembling).await;
}

#[tokio::test]
async fn an_object_replaced_during_a_read_is_loaded_if_its_event_arrives_before_the_detection() {
    changes_in_mid_read(Change::ReplacedWithEvent, When::Loading).await;
    changes_in_mid_read(Change::ReplacedWithEvent, When::Assembling).await;
}

#[tokio::test]
async fn a_load_waits_for_an_object_deleted_during_a_read() {
    changes_in_mid_read(Change::Deleted, When::Loading).await;
    changes_in_mid_read(Change::Deleted, When::Assembling).await;
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
        let proxy = Proxy::start(incoming.bucket.server(), async move |seen| {
            // The first GET is for the header.
            if seen.key == "incoming/spring/styles.csv" && (&seen.method, seen.nth) == (&Method::GET, 2) {
                match is_deleted {
                    true => inside.delete(&seen.key).await,
                    false => drop(inside.put(&seen.key, new.clone()).await),
                }
            }
            Fault::None
        });
        let line = error_message(&load_by_command(&incoming.database, &proxy.variables(), &[&url]));
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
