//! Requests that are interrupted, rejected or slow: the loader retries, and reports failures that do not end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use conformance::s3::refusal::{ACCESS_DENIED, INTERNAL_ERROR, SLOW_DOWN};
use conformance::s3::variables;
use conformance::small_dataset;
use etl::s3::ReadPolicy;
use http::Method;
use rig::{Fault, HttpProxy, HttpRequest, until};
use tokio::sync::{Notify, Semaphore};

use crate::support::incoming::files;
use crate::support::s3::{
    FaultSwitch, LONG_TIMEOUT, SHORT_TIMEOUTS, assert_served, check_requests, error_message,
    fails_until_turned_off, generated, handle_all, is_for_rows, load_by_command, requested_range, rows,
    serving, summary,
};

/// Loads the generated dataset through a proxy with this script and with this read policy, while another catalog is
/// served. Compares the result with a load from a folder, and returns the proxy with its record of requests.
async fn load_disturbed(
    reading: ReadPolicy,
    script: impl AsyncFn(&HttpRequest) -> Fault + Send + 'static,
) -> HttpProxy {
    let set = generated().await;
    let (incoming, _) = serving().await;
    let records = incoming.put_folder("spring", set.folder.path()).await;
    let proxy = HttpProxy::start(incoming.bucket.server(), script);
    let incoming = incoming.through(&proxy, reading).await;
    handle_all(&incoming, &records).await.unwrap();
    assert_eq!((incoming.published().await, incoming.alarms()), (2, 0));
    assert_served(&incoming, &set.expected).await;
    check_requests(&proxy);
    proxy
}

/// Asserts that each interrupted range of rows was requested again from the interruption on, and returns the number of
/// interruptions.
fn check_resumed(proxy: &HttpProxy, file: &str, fault: impl Fn(&HttpRequest) -> Fault) -> usize {
    let seen = proxy.requests();
    let broken: Vec<_> = seen
        .iter()
        .filter(|seen| is_for_rows(seen, file))
        .filter_map(|seen| match fault(seen) {
            Fault::Reset { after } | Fault::Close { after } => {
                let (from, to) = requested_range(seen);
                (after as u64 <= to - from).then_some((from + after as u64, to))
            }
            _ => None,
        })
        .collect();
    for rest in &broken {
        assert!(
            seen.iter().any(|seen| is_for_rows(seen, file) && requested_range(seen) == *rest),
            "{rest:?}"
        );
    }
    broken.len()
}

#[tokio::test]
async fn an_interrupted_range_resumes_from_the_interruption() {
    // The first request is for the header.
    let fault = |seen: &HttpRequest| match (seen.key.rsplit('/').next(), seen.nth) {
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
    let proxy = load_disturbed(LONG_TIMEOUT, async move |seen| fault(seen)).await;
    assert!(check_resumed(&proxy, "photos.csv", fault) >= 5);
    assert_eq!(check_resumed(&proxy, "skus.csv", fault), 2);
}

#[tokio::test]
async fn a_repeatedly_interrupted_range_completes_while_it_makes_progress() {
    let (after, last) = (300, 3 * SHORT_TIMEOUTS.range);
    // Every range with this byte fails, wherever it starts.
    let is_meant = move |seen: &HttpRequest| {
        is_for_rows(seen, "photos.csv") && (requested_range(seen).0..=requested_range(seen).1).contains(&last)
    };
    let fault = move |seen: &HttpRequest| if is_meant(seen) { Fault::Reset { after } } else { Fault::None };
    let proxy = load_disturbed(LONG_TIMEOUT, async move |seen| fault(seen)).await;
    let times = check_resumed(&proxy, "photos.csv", fault);
    assert!(times > SHORT_TIMEOUTS.attempts as usize, "{times}");
}

#[tokio::test]
async fn temporary_errors_only_delay_a_load() {
    let proxy = load_disturbed(LONG_TIMEOUT, async |seen| {
        match (seen.key.rsplit('/').next(), &seen.method, seen.nth) {
            (Some("product.csv"), &Method::HEAD, 1) => SLOW_DOWN,
            (Some("features.csv"), &Method::GET, 1..=2) => INTERNAL_ERROR,
            (Some("photos.csv"), &Method::GET, 3..=9) => SLOW_DOWN,
            (Some("skus.csv"), &Method::GET, 3..=6) => INTERNAL_ERROR,
            (Some("styles.csv"), &Method::GET, 3) => ACCESS_DENIED, // as during a change of the policy
            _ => Fault::None,
        }
    })
    .await;
    let attempts = |file: &str| proxy.count(&Method::GET, &format!("incoming/spring/{file}"));
    // Rows are read twice: for the tables, and for the documents.
    let ranges = |size: u64| 2 * usize::try_from(size.div_ceil(SHORT_TIMEOUTS.range)).unwrap();
    for (file, refused) in [("photos.csv", 7), ("skus.csv", 4), ("styles.csv", 1), ("features.csv", 2)] {
        let wanted = ranges(generated().await.size(file));
        let requested = attempts(file);
        assert!(
            (wanted + refused..=wanted + refused + 3).contains(&requested),
            "{file}: {requested} of {wanted}"
        );
    }
}

#[tokio::test]
async fn a_slow_response_is_awaited_and_a_stalled_one_is_retried() {
    // Long enough that a busy machine does not exceed it.
    let silence = 4 * SHORT_TIMEOUTS.read_timeout;
    let reading = ReadPolicy { read_timeout: silence, ..SHORT_TIMEOUTS };
    let proxy = load_disturbed(reading, async move |seen| match (seen.key.rsplit('/').next(), seen.nth) {
        // In total the body takes longer than the timeout.
        (Some("photos.csv"), 2) => Fault::Trickle { bytes: 400, every: silence / 8 },
        (Some("photos.csv"), 3) => Fault::Hang,
        (Some("skus.csv"), 2) => Fault::Trickle { bytes: 1000, every: silence * 1000 },
        _ => Fault::None,
    })
    .await;
    let seen = proxy.requests();
    let of = |file: &str| -> Vec<_> {
        seen.iter().filter(|seen| is_for_rows(seen, file)).map(requested_range).collect()
    };
    let (photos, skus) = (of("photos.csv"), of("skus.csv"));
    // Rows are read a second time for the documents.
    assert_eq!(
        photos.iter().filter(|range| **range == photos[0]).count(),
        1 + 1,
        "a slow body is not requested again"
    );
    assert!(
        photos.iter().filter(|range| **range == photos[1]).count() > 1 + 1,
        "a silent request is sent again"
    );
    assert!(skus.contains(&(skus[0].0 + 1000, skus[0].1)), "1000 bytes had arrived: {skus:?}");
}

#[tokio::test]
async fn the_loader_reads_ahead_no_more_than_the_window() {
    let set = generated().await;
    let sizes = || files(set.folder.path()).into_iter().map(|(name, content)| (content.len(), name));
    let (largest, smallest) = (sizes().max().unwrap().1, sizes().min().unwrap().1);
    assert!(set.size(&largest) > 10 * SHORT_TIMEOUTS.range);
    let (last_started, all_requested) = (Notify::new(), Arc::new(Semaphore::new(0)));
    let (requested, counted) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&counted);
    load_disturbed(LONG_TIMEOUT, async move |seen| {
        if rows(seen) && seen.key.ends_with(&smallest) {
            last_started.notify_one();
        }
        if is_for_rows(seen, &largest) {
            // The loader starts with the largest file and ends with the smallest. Meanwhile it reads all others.
            if requested.fetch_add(1, Ordering::Relaxed) == 0 {
                last_started.notified().await;
                let window = until("the window is full", async || {
                    requested.load(Ordering::Relaxed) >= LONG_TIMEOUT.prefetch
                });
                window.await;
                tokio::time::sleep(Duration::from_millis(300)).await; // time for requests beyond the window
                count.store(requested.load(Ordering::Relaxed), Ordering::Relaxed);
                all_requested.close();
            }
            let _ = all_requested.acquire().await; // no request completes before, so the window stays full
        }
        Fault::None
    })
    .await;
    assert_eq!(counted.load(Ordering::Relaxed), LONG_TIMEOUT.prefetch);
}

fn any(_: &HttpRequest) -> bool {
    true
}

#[tokio::test]
async fn endless_slow_down_errors_return_the_message() {
    fails_until_turned_off(SHORT_TIMEOUTS, SLOW_DOWN, rows, &["S3 returned 503", "SlowDown"]).await;
}

#[tokio::test]
async fn rows_without_read_permission_return_the_message() {
    fails_until_turned_off(SHORT_TIMEOUTS, ACCESS_DENIED, rows, &["S3 returned 403", "AccessDenied"]).await;
}

#[tokio::test]
async fn an_object_without_permissions_returns_the_message() {
    fails_until_turned_off(SHORT_TIMEOUTS, ACCESS_DENIED, any, &["S3 returned 403"]).await;
}

#[tokio::test]
async fn the_command_reports_an_s3_that_fails_or_is_unavailable() {
    let (incoming, served) = serving().await;
    incoming.bucket.put_folder("incoming/spring/", &small_dataset()).await;
    let switch = FaultSwitch::default();
    for (fault, expected) in [
        (SLOW_DOWN, "S3 returned 503"),
        (INTERNAL_ERROR, "S3 returned 500"),
        (ACCESS_DENIED, "S3 returned 403"),
    ] {
        let (script_switch, url) = (switch.clone(), incoming.bucket.url("incoming/spring/"));
        let proxy = HttpProxy::start(incoming.bucket.server(), async move |seen| {
            if seen.key.ends_with("/styles.csv") && !script_switch.is_off() { fault } else { Fault::None }
        });
        let line = error_message(&load_by_command(&incoming.database, &variables(proxy.address()), &[&url]));
        assert!(line.contains(expected) && line.contains(&format!("{url}styles.csv")), "{line}");
        assert_served(&incoming, &served).await;
    }
    switch.turn_off();
    let url = incoming.bucket.url("incoming/spring/");
    let proxy = HttpProxy::start(incoming.bucket.server(), async |_| Fault::None);
    summary(&load_by_command(&incoming.database, &variables(proxy.address()), &[&url]));
    assert_eq!(incoming.published().await, 2);
    check_requests(&proxy);
    let nowhere =
        load_by_command(&incoming.database, &[("AWS_ENDPOINT_URL", "http://127.0.0.1:1".into())], &[&url]);
    assert!(error_message(&nowhere).starts_with(&url), "{nowhere:?}");
}
