//! Requests that break off, are refused or come slowly: what ends is waited for, and what does not end is told of.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use conformance::s3::{Fault, Proxy, Seen};
use conformance::small_dataset;
use etl::s3::Reading;
use http::Method;
use tokio::sync::{Notify, Semaphore};

use crate::stand::incoming::files;
use crate::stand::loader::until;
use crate::stand::s3::{
    BRISK, Over, PATIENT, asked_for, assert_served, check_requests, complaint, fails_until_it_is_over,
    generated, handle_all, is_for_rows, load_by_command, rows, serving, summary,
};

/// Loads the generated dataset through a proxy with this script while another catalog is served, read so, and holds what
/// comes of it against a load from a folder. Answers with the proxy, which knows what was asked for.
async fn load_disturbed(reading: Reading, script: impl AsyncFn(&Seen) -> Fault + Send + 'static) -> Proxy {
    let set = generated().await;
    let (incoming, _) = serving().await;
    let records = incoming.put_folder("spring", set.folder.path()).await;
    let proxy = Proxy::start(incoming.bucket.server(), script);
    let incoming = incoming.through(&proxy, reading).await;
    handle_all(&incoming, &records).await.unwrap();
    assert_eq!((incoming.published().await, incoming.alarms()), (2, 0));
    assert_served(&incoming, &set.expected).await;
    check_requests(&proxy);
    proxy
}

/// Holds that each range of rows that broke off was asked for again from there on, and answers how many there were.
fn check_taken_up(proxy: &Proxy, file: &str, fault: impl Fn(&Seen) -> Fault) -> usize {
    let seen = proxy.seen();
    let broken: Vec<_> = seen
        .iter()
        .filter(|seen| is_for_rows(seen, file))
        .filter_map(|seen| match fault(seen) {
            Fault::Reset { after } | Fault::Close { after } => {
                let (from, to) = asked_for(seen);
                (after as u64 <= to - from).then_some((from + after as u64, to))
            }
            _ => None,
        })
        .collect();
    for rest in &broken {
        assert!(seen.iter().any(|seen| is_for_rows(seen, file) && asked_for(seen) == *rest), "{rest:?}");
    }
    broken.len()
}

#[tokio::test]
async fn a_range_that_breaks_off_anywhere_is_asked_for_again_from_there() {
    // The first two are for the header: once when the file arrives, once when the load begins.
    let fault = |seen: &Seen| match (seen.key.rsplit('/').next(), seen.nth) {
        (Some("photos.csv"), 3) => Fault::Reset { after: 1500 },
        (Some("photos.csv"), 4) => Fault::Close { after: 1500 },
        (Some("photos.csv"), 5) => Fault::Reset { after: 0 },
        (Some("photos.csv"), 6) => Fault::Close { after: 0 },
        (Some("photos.csv"), 7) => Fault::Reset { after: 1 },
        (Some("photos.csv"), 8) => Fault::Close { after: 2047 },
        (Some("skus.csv"), 3) => Fault::Close { after: 3000 },
        (Some("skus.csv"), 5) => Fault::Reset { after: 4095 },
        _ => Fault::None,
    };
    let proxy = load_disturbed(PATIENT, async move |seen| fault(seen)).await;
    assert!(check_taken_up(&proxy, "photos.csv", fault) >= 5);
    assert_eq!(check_taken_up(&proxy, "skus.csv", fault), 2);
}

#[tokio::test]
async fn a_range_that_breaks_off_again_and_again_ends_as_long_as_something_comes() {
    let (after, last) = (300, 3 * BRISK.range);
    // Of the range with this byte in it, whatever is asked for.
    let is_meant = move |seen: &Seen| {
        is_for_rows(seen, "photos.csv") && (asked_for(seen).0..=asked_for(seen).1).contains(&last)
    };
    let fault = move |seen: &Seen| if is_meant(seen) { Fault::Reset { after } } else { Fault::None };
    let proxy = load_disturbed(PATIENT, async move |seen| fault(seen)).await;
    let times = check_taken_up(&proxy, "photos.csv", fault);
    assert!(times > BRISK.attempts as usize, "{times}");
}

#[tokio::test]
async fn refusals_that_end_cost_nothing_but_time() {
    let proxy =
        load_disturbed(PATIENT, async |seen| match (seen.key.rsplit('/').next(), &seen.method, seen.nth) {
            (Some("product.csv"), &Method::HEAD, 1) => Fault::SLOW_DOWN,
            (Some("features.csv"), &Method::GET, 1..=2) => Fault::INTERNAL_ERROR,
            (Some("photos.csv"), &Method::GET, 3..=9) => Fault::SLOW_DOWN,
            (Some("skus.csv"), &Method::GET, 3..=6) => Fault::INTERNAL_ERROR,
            (Some("styles.csv"), &Method::GET, 3) => Fault::ACCESS_DENIED, // as while a policy is being changed
            _ => Fault::None,
        })
        .await;
    let attempts = |file: &str| proxy.count(&Method::GET, &format!("incoming/spring/{file}"));
    // Rows are read twice: to be loaded, and for their documents.
    let ranges = |size: u64| 2 * usize::try_from(size.div_ceil(BRISK.range)).unwrap();
    for (file, refused) in [("photos.csv", 7), ("skus.csv", 4), ("styles.csv", 1), ("features.csv", 2)] {
        let wanted = ranges(generated().await.size(file));
        let asked = attempts(file);
        assert!((wanted + refused..=wanted + refused + 3).contains(&asked), "{file}: {asked} of {wanted}");
    }
}

#[tokio::test]
async fn what_comes_slowly_is_waited_for_and_what_comes_no_more_is_asked_for_again() {
    // So long that a busy machine alone is not taken for it.
    let silence = 4 * BRISK.silence;
    let reading = Reading { silence, ..BRISK };
    let proxy = load_disturbed(reading, async move |seen| match (seen.key.rsplit('/').next(), seen.nth) {
        // In all longer than silence may last.
        (Some("photos.csv"), 3) => Fault::Trickle { bytes: 400, every: silence / 8 },
        (Some("photos.csv"), 4) => Fault::Silence,
        (Some("skus.csv"), 3) => Fault::Trickle { bytes: 1000, every: silence * 1000 },
        _ => Fault::None,
    })
    .await;
    let seen = proxy.seen();
    let of = |file: &str| -> Vec<_> {
        seen.iter().filter(|seen| is_for_rows(seen, file)).map(asked_for).collect()
    };
    let (photos, skus) = (of("photos.csv"), of("skus.csv"));
    // Once more each, for the documents.
    assert_eq!(photos.iter().filter(|range| **range == photos[0]).count(), 1 + 1, "it came");
    assert!(photos.iter().filter(|range| **range == photos[1]).count() > 1 + 1, "nothing had come");
    assert!(skus.contains(&(skus[0].0 + 1000, skus[0].1)), "1000 bytes had come: {skus:?}");
}

#[tokio::test]
async fn no_more_is_asked_for_ahead_than_the_window() {
    let set = generated().await;
    let sizes = || files(set.folder.path()).into_iter().map(|(name, content)| (content.len(), name));
    let (largest, smallest) = (sizes().max().unwrap().1, sizes().min().unwrap().1);
    assert!(set.size(&largest) > 10 * BRISK.range);
    let (last_begun, all_asked_for) = (Notify::new(), Arc::new(Semaphore::new(0)));
    let (asked, counted) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&counted);
    load_disturbed(PATIENT, async move |seen| {
        if rows(seen) && seen.key.ends_with(&smallest) {
            last_begun.notify_one();
        }
        if is_for_rows(seen, &largest) {
            // The largest file is the first to be begun, the smallest the last: meanwhile all others are read.
            if asked.fetch_add(1, Ordering::Relaxed) == 0 {
                last_begun.notified().await;
                let window = until("the window is full", async || {
                    asked.load(Ordering::Relaxed) >= PATIENT.ranges_ahead
                });
                window.await;
                tokio::time::sleep(Duration::from_millis(300)).await; // for what is more than that
                count.store(asked.load(Ordering::Relaxed), Ordering::Relaxed);
                all_asked_for.close();
            }
            let _ = all_asked_for.acquire().await; // none is answered before, so nothing makes room for another
        }
        Fault::None
    })
    .await;
    assert_eq!(counted.load(Ordering::Relaxed), PATIENT.ranges_ahead);
}

fn any(_: &Seen) -> bool {
    true
}

#[tokio::test]
async fn an_s3_that_asks_to_slow_down_without_end_makes_the_message_come_again() {
    fails_until_it_is_over(BRISK, Fault::SLOW_DOWN, rows, &["S3 answers 503", "SlowDown"]).await;
}

#[tokio::test]
async fn rows_that_may_not_be_read_make_the_message_come_again() {
    fails_until_it_is_over(BRISK, Fault::ACCESS_DENIED, rows, &["S3 answers 403", "AccessDenied"]).await;
}

#[tokio::test]
async fn an_object_that_may_not_be_looked_at_makes_the_message_come_again() {
    fails_until_it_is_over(BRISK, Fault::ACCESS_DENIED, any, &["S3 answers 403"]).await;
}

#[tokio::test]
async fn an_s3_that_does_not_listen_is_told_of_by_the_command() {
    let (incoming, served) = serving().await;
    incoming.bucket.put_folder("incoming/spring/", &small_dataset()).await;
    let over = Over::default();
    for (fault, expected) in [
        (Fault::SLOW_DOWN, "S3 answers 503"),
        (Fault::INTERNAL_ERROR, "S3 answers 500"),
        (Fault::ACCESS_DENIED, "S3 answers 403"),
    ] {
        let (until, url) = (over.clone(), incoming.bucket.url("incoming/spring/"));
        let proxy = Proxy::start(incoming.bucket.server(), async move |seen| {
            if seen.key.ends_with("/styles.csv") && !until.is() { fault } else { Fault::None }
        });
        let line = complaint(&load_by_command(&incoming.database, &proxy.variables(), &[&url]));
        assert!(line.contains(expected) && line.contains(&format!("{url}styles.csv")), "{line}");
        assert_served(&incoming, &served).await;
    }
    over.end();
    let url = incoming.bucket.url("incoming/spring/");
    let proxy = Proxy::start(incoming.bucket.server(), async |_| Fault::None);
    summary(&load_by_command(&incoming.database, &proxy.variables(), &[&url]));
    assert_eq!(incoming.published().await, 2);
    check_requests(&proxy);
    let nowhere =
        load_by_command(&incoming.database, &[("AWS_ENDPOINT_URL", "http://127.0.0.1:1".into())], &[&url]);
    assert!(complaint(&nowhere).starts_with(&url), "{nowhere:?}");
}
