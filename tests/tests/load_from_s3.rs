//! What is read from S3 is what would be read from a folder, whatever becomes of the requests and whatever the files
//! hold; what cannot be read changes nothing that is served.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod stand;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use conformance::s3::{Fault, Proxy, Seen};
use conformance::small_dataset;
use etl::generate::Options;
use etl::load::{LoadOptions, RejectsPlace, Summary};
use etl::progress::Progress;
use etl::s3::{Reading, S3};
use etl::source::{Dataset, Location};
use http::Method;
use local::testing::Database;
use serde_json::{Value, json};
use stand::events::{self, Arrived};
use stand::incoming::{Incoming, Teller, content, failed, files, manifest, message, undisturbed};
use stand::loader::until;
use stand::s3::{
    BRISK, Over, PATIENT, Set, asked_for, assert_same, assert_served, check_requests, complaint,
    fails_until_it_is_over, folder, generated, handle_all, is_for_rows, load_by_command, rows, serving,
    summary, with_other,
};
use tokio::sync::{Notify, Semaphore};

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

/// What becomes of photos.csv just before its second range of rows is read.
#[derive(Clone, Copy, PartialEq)]
enum Change {
    Replaced,
    /// And the event that tells of it comes before the load notices.
    ReplacedAndTold,
    Deleted,
}

/// When a file changes.
#[derive(Clone, Copy, PartialEq)]
enum When {
    /// While its rows are loaded.
    Loading,
    /// While they are read once more, for the documents.
    Assembling,
}

async fn changes_in_mid_read(change: Change, when: When) {
    let set = generated().await;
    let other = with_other(set, "photos.csv").await;
    let new = std::fs::read(other.folder.path().join("photos.csv")).unwrap();
    let (incoming, served) = serving().await;
    let records = incoming.put_folder("spring", set.folder.path()).await;

    let (teller, telling) = Teller::new(&incoming);
    let (inside, content_of_new) = (incoming.clone(), new.clone());
    let (asked, changed) = (std::sync::Mutex::new(HashSet::new()), AtomicBool::new(false));
    let proxy = Proxy::start(incoming.bucket.server(), async move |seen| {
        let is_time = is_for_rows(seen, "/photos.csv") && {
            let is_first = asked.lock().unwrap().insert(asked_for(seen).0);
            match when {
                When::Loading => seen.nth == 4,
                When::Assembling => !is_first && !changed.swap(true, Ordering::Relaxed),
            }
        };
        if is_time {
            match change {
                Change::Deleted => inside.bucket.delete(&seen.key).await,
                _ => drop(inside.bucket.put(&seen.key, content_of_new.clone()).await),
            }
            if change == Change::ReplacedAndTold {
                teller.tell(inside.record(&seen.key).await).await;
            }
        }
        Fault::None
    });
    let disturbed = incoming.through(&proxy, PATIENT).await;
    let first = handle_all(&disturbed, &records).await;
    check_requests(&proxy);
    let (reason, step) = match change {
        Change::Deleted => ("does not exist", "abandoned"),
        _ => ("was replaced while it was read", "abandoned"),
    };
    let recorded = incoming.text("select step || ': ' || reason from etl.load where generation = 2").await;
    assert!(recorded.starts_with(step) && recorded.contains(reason), "{recorded}");
    assert!(recorded.contains(&incoming.bucket.url("incoming/spring/photos.csv")), "{recorded}");
    if change == Change::ReplacedAndTold {
        // Whoever of the two is done first: the other, called again, finds nothing to do.
        assert!(telling.await.unwrap());
        assert!(handle_all(&disturbed, &records).await.is_ok(), "{first:?}");
    } else {
        first.unwrap();
        assert_eq!(incoming.published().await, 1);
        assert_served(&incoming, &served).await;
        let waiting = "select count(*) from etl.incoming_file where file = 'photos.csv'";
        assert_eq!(incoming.number(waiting).await, 0, "it waits for the event of the new one");
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
async fn an_object_that_is_replaced_while_it_is_read_is_loaded_when_its_event_comes() {
    changes_in_mid_read(Change::Replaced, When::Loading).await;
    changes_in_mid_read(Change::Replaced, When::Assembling).await;
}

#[tokio::test]
async fn an_object_that_is_replaced_while_it_is_read_is_loaded_if_its_event_came_before_that_was_noticed() {
    changes_in_mid_read(Change::ReplacedAndTold, When::Loading).await;
    changes_in_mid_read(Change::ReplacedAndTold, When::Assembling).await;
}

#[tokio::test]
async fn an_object_that_is_deleted_while_it_is_read_is_waited_for() {
    changes_in_mid_read(Change::Deleted, When::Loading).await;
    changes_in_mid_read(Change::Deleted, When::Assembling).await;
}

#[tokio::test]
async fn the_command_gives_up_an_object_that_is_replaced_or_deleted_while_it_is_read() {
    let set = generated().await;
    let other = with_other(set, "styles.csv").await;
    let new = std::fs::read(other.folder.path().join("styles.csv")).unwrap();
    let (incoming, served) = serving().await;
    let url = incoming.bucket.url("incoming/spring/");
    for (is_deleted, reason) in [(true, "does not exist"), (false, "was replaced while it was read")] {
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
        let line = complaint(&load_by_command(&incoming.database, &proxy.variables(), &[&url]));
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

/// The hand-made dataset, changed.
fn changed(change: impl Fn(&str, Vec<u8>) -> Vec<u8>) -> Vec<(String, Vec<u8>)> {
    let changed = files(&small_dataset()).into_iter().map(|(name, content)| {
        let content = change(&name, content);
        (name, content)
    });
    changed.collect()
}

fn replaced(content: &[u8], from: &str, to: &[u8]) -> Vec<u8> {
    let mut replaced = Vec::new();
    let mut rest = content;
    while let Some(at) = rest.windows(from.len()).position(|window| window == from.as_bytes()) {
        replaced.extend_from_slice(&rest[..at]);
        replaced.extend_from_slice(to);
        rest = &rest[at + from.len()..];
    }
    replaced.extend_from_slice(rest);
    replaced
}

/// Loads files from S3, by the function and by the command, and holds both against a load from a folder; answers with
/// the database of the first, for what else there is to say of it.
async fn same_from_s3(files: &[(String, Vec<u8>)]) -> (Incoming, String) {
    let set = Set::of(files).await;
    let incoming = Incoming::create().await;
    let records = incoming.put_folder("spring", set.folder.path()).await;
    handle_all(&incoming, &records).await.unwrap();
    assert_eq!(incoming.published().await, 1);
    assert_served(&incoming, &set.expected).await;
    let by_command = Database::create().await.unwrap();
    let url = incoming.bucket.url("incoming/spring/");
    summary(&load_by_command(&by_command, &incoming.bucket.variables(), &[&url]));
    assert_same(&content(&by_command).await, &set.expected, "by the command");
    (incoming, set.expected)
}

#[tokio::test]
async fn line_endings_and_a_byte_order_mark_change_nothing() {
    let bare = |content: &[u8]| content.strip_suffix(b"\n").unwrap_or(content).to_vec();
    let lf = same_from_s3(&changed(|_, content| bare(&content))).await.1;
    for (crlf, bom, end) in [(true, true, ""), (false, false, "\r\n")] {
        let loaded = same_from_s3(&changed(|_, content| {
            let text = bare(&content);
            let text = if crlf { replaced(&text, "\n", b"\r\n") } else { text };
            let mark = if bom { "\u{feff}" } else { "" };
            [mark.as_bytes(), &text, end.as_bytes()].concat()
        }))
        .await
        .1;
        // Only where a row begins in its file is otherwise.
        let what = format!("{crlf} {bom} {end:?}");
        assert_same(&without_places(&loaded), &without_places(&lf), &what);
    }
}

/// Content, but for where rows begin.
fn without_places(content: &str) -> String {
    let is_place = |part: &&str| !part.contains("\"position\":") && !part.contains("\"byte_offset\":");
    let lines = content.lines().map(|line| {
        let line = line.trim_matches(['{', '}']);
        let mut parts: Vec<_> = line.split(", ").filter(is_place).collect();
        parts.sort_unstable();
        parts.join(", ")
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn lines_that_are_blank_hold_nul_or_no_utf_8_are_set_aside_alike() {
    let (incoming, _) = same_from_s3(&changed(|name, content| match name {
        "product.csv" => replaced(&content, "Pay on the", b"Pay on \0 the"),
        "features.csv" => replaced(&content, "\n", b"\n\n\r\n"),
        "skus.csv" => replaced(&content, "\"XL\"", b"\"X\xff\xfe\""),
        _ => content,
    }))
    .await;
    let reasons =
        incoming.text("select string_agg(distinct reason, '|' order by reason) from etl.reject").await;
    for reason in ["NUL byte", "blank line", "not UTF-8"] {
        assert!(reasons.contains(reason), "{reasons}");
    }
}

#[tokio::test]
async fn older_copies_of_the_files_are_loaded_alike() {
    let folder = folder();
    let options = Options { scale: 0.000_1, seed: 11, older_copy: true };
    etl::generate::generate(&options, folder.path(), |_| {}).unwrap();
    same_from_s3(&files(folder.path())).await;
}

#[tokio::test]
async fn no_row_is_lost_where_every_third_closing_quote_is_missing() {
    let set = generated().await;
    let mut unclosed = 0;
    let files: Vec<_> = files(set.folder.path())
        .into_iter()
        .map(|(name, content)| {
            if name != "photos.csv" {
                return (name, content);
            }
            let mut text = String::new();
            for (nth, line) in str::from_utf8(&content).unwrap().lines().enumerate() {
                let without = line.strip_suffix('"').filter(|_| nth > 0 && nth % 3 == 0);
                unclosed += i64::from(without.is_some());
                text += without.unwrap_or(line);
                text.push('\n');
            }
            (name, text.into_bytes())
        })
        .collect();
    assert!(unclosed > 100, "{unclosed}");
    let (incoming, repaired) = same_from_s3(&files).await;
    // Nor is one mended to another than it was.
    assert_same(&without_places(&repaired), &without_places(&set.expected), "what was mended");
    let counts = "from etl.load_file where file = 'photos.csv'";
    let lines = files.iter().find(|(name, _)| name == "photos.csv").unwrap();
    let lines = i64::try_from(lines.1.iter().filter(|byte| **byte == b'\n').count()).unwrap() - 1;
    assert_eq!(incoming.number(&format!("select rows_read {counts}")).await, lines);
    assert_eq!(incoming.number(&format!("select rows_loaded {counts}")).await, lines);
    assert!(incoming.number(&format!("select rows_repaired {counts}")).await >= unclosed);
}

#[tokio::test]
async fn a_file_without_rows_is_refused_from_s3_as_from_a_folder() {
    let (incoming, served) = serving().await;
    let url = incoming.bucket.url("incoming/spring/");
    for (content_of_styles, reason) in [
        (&b""[..], "styles.csv has no rows"),
        (b"id,productId,name,sale_price,original_price,default_style\r\n", "styles.csv has no rows"),
        (b"\xef\xbb\xbfid,productId,name,sale_price,original_price,default_style", "styles.csv has no rows"),
        (b"\xff\xfei\0d\0", "styles.csv: line 1 should be the header"),
        (b"\n1,1,\"Slate\",null,185,1\n", "styles.csv: line 1 should be the header"),
    ] {
        let files = changed(|name, content| match name {
            "styles.csv" => content_of_styles.to_vec(),
            _ => content,
        });
        let folder = folder();
        for (name, content) in &files {
            std::fs::write(folder.path().join(name), content).unwrap();
        }
        let records = incoming.put_folder("spring", folder.path()).await;
        handle_all(&incoming, &records).await.unwrap();
        let refused = incoming.text("select refused from etl.incoming_file where file = 'styles.csv'").await;
        let from_s3 = complaint(&load_by_command(&incoming.database, &incoming.bucket.variables(), &[&url]));
        assert_eq!(from_s3, refused);
        let place = folder.path().to_str().unwrap();
        let from_folder = complaint(&load_by_command(&incoming.database, &[], &[place]));
        assert_eq!(from_folder.replace(&format!("{place}/"), &url), from_s3);
        assert!(from_s3.contains(reason), "{from_s3}");
    }
    assert_eq!((incoming.published().await, incoming.alarms()), (1, 5));
    assert_served(&incoming, &served).await;
}

#[tokio::test]
async fn carts_without_a_row_are_no_reason_to_refuse() {
    let header = b"id,user_session,product_id,active";
    same_from_s3(&changed(|name, content| if name == "cart.csv" { header.to_vec() } else { content })).await;
}

/// Loads what is under a prefix, read so and in such pieces.
async fn load_in_pieces(
    incoming: &Incoming,
    database: &Database,
    reading: Reading,
    range_bytes: u64,
    commit_bytes: u64,
) -> (String, Summary) {
    let s3 = S3::of_server(&format!("http://{}", incoming.bucket.server()), "x", "x").await.with(reading);
    let place = Location::S3(s3, incoming.bucket.url("incoming/spring/").parse().unwrap());
    let rejects = tempfile::tempdir().unwrap();
    let options = LoadOptions {
        range_bytes,
        commit_bytes,
        ..LoadOptions::new(RejectsPlace::File(rejects.path().join("rejects.csv")), Progress::Silent)
    };
    let dataset = Dataset::open(&place, None).await.unwrap();
    let summary = etl::load::load(&database.config(), dataset, options).await.unwrap();
    (content(database).await, summary)
}

#[tokio::test]
async fn pieces_of_any_size_come_to_what_one_piece_does() {
    let incoming = Incoming::create().await;
    incoming.put_folder("spring", &small_dataset()).await;
    let expected = undisturbed(&small_dataset()).await;
    for (range_bytes, read_bytes) in [(97, 10_000), (300, 64)] {
        let reading = Reading { range: read_bytes, ..BRISK };
        let (loaded, _) = load_in_pieces(&incoming, &incoming.database, reading, range_bytes, 1).await;
        assert_same(&loaded, &expected, &format!("in ranges of {range_bytes}, read by {read_bytes}"));
    }
}

#[tokio::test]
async fn a_line_longer_than_many_ranges_is_one_line() {
    let long = format!("\n1,1,\"{}\",\"x\"\n", "long ".repeat(600_000));
    let files = changed(|name, content| match name {
        "features.csv" => [&content[..150], long.as_bytes(), &content[150..]].concat(),
        _ => content,
    });
    let set = Set::of(&files).await;
    let incoming = Incoming::create().await;
    incoming.put_folder("spring", set.folder.path()).await;
    let reading = Reading { range: 1 << 20, ..BRISK };
    for range_bytes in [200_000, 777_777, 3_000_100] {
        let (loaded, summary) =
            load_in_pieces(&incoming, &incoming.database, reading, range_bytes, 100_000).await;
        assert_same(&loaded, &set.expected, &format!("in ranges of {range_bytes}"));
        assert!(summary.reasons.iter().any(|(_, reason, _)| reason.contains("longer than")), "{summary:?}");
    }
}

#[tokio::test]
async fn two_datasets_whose_files_arrive_by_turns_are_published_in_the_order_in_which_they_became_whole() {
    let (incoming, _) = serving().await;
    let set = generated().await;
    let six = |records: Vec<Value>| {
        records.into_iter().filter(|record| !events::key(record).ends_with("cart.csv")).collect::<Vec<_>>()
    };
    let spring = six(incoming.put_folder("spring", &small_dataset()).await);
    let autumn = six(incoming.put_folder("autumn", set.folder.path()).await);
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut all = [spring, autumn].concat();
    random.shuffle(&mut all);
    // One event with all of them: no one is published before the last has arrived.
    handle_all(&incoming, &all).await.unwrap();
    let whole_at = |name: &str| all.iter().rposition(|record| events::key(record).contains(name)).unwrap();
    let expected = if whole_at("spring") < whole_at("autumn") { "spring autumn" } else { "autumn spring" };
    let order = "select string_agg(dataset, ' ' order by publication.id) from etl.publication
                 join etl.load using (generation) where generation > 1";
    assert_eq!(incoming.text(order).await, expected, "seed {seed}");
}

#[tokio::test]
async fn two_invocations_at_once_with_little_time_are_done_in_the_end() {
    let (incoming, served) = serving().await;
    let set = generated().await;
    let mut records = incoming.put_folder("spring", set.folder.path()).await;
    let last = records.pop().unwrap();
    for record in &records {
        assert!(incoming.is_done(record).await);
    }
    let mut time = Duration::from_millis(1);
    loop {
        let invocation = |id: &'static str| {
            let (incoming, event) = (incoming.clone(), message(id, &last));
            tokio::spawn(async move { failed(&incoming.handle(&event, time).await).is_empty() })
        };
        let (one, two) = (invocation("1"), invocation("2"));
        if one.await.unwrap() && two.await.unwrap() {
            break;
        }
        if incoming.published().await == 1 {
            assert_served(&incoming, &served).await;
        }
        time *= 2;
    }
    assert!(time > Duration::from_millis(2), "there was time for all at once");
    assert_served(&incoming, &set.expected).await;
    assert_eq!(incoming.number("select count(*) from etl.load").await, 2);
}

#[tokio::test]
async fn the_command_writes_what_it_sets_aside_to_s3_as_to_a_file() {
    let incoming = Incoming::create().await;
    incoming.bucket.put_folder("incoming/spring/", &small_dataset()).await;
    let (url, rejects) = (incoming.bucket.url("incoming/spring/"), incoming.bucket.url("rejects"));
    let variables = incoming.bucket.variables();
    let told = summary(&load_by_command(
        &incoming.database,
        &variables,
        &[&url, "--rejects", &rejects, "--dataset", "named"],
    ));
    assert!(told.contains(&format!("set aside, in {rejects}/named/1.csv:")), "{told}");
    let from_folder = stand::load_into(Database::create().await.unwrap(), &small_dataset()).await;
    assert_eq!(incoming.bucket.get("rejects/named/1.csv").await.unwrap(), from_folder.rejects);
    let json: Value =
        serde_json::from_slice(&incoming.bucket.get("rejects/named/1.json").await.unwrap()).unwrap();
    assert_eq!((&json["dataset"], &json["source"]), (&json!("named"), &json!(url)));
    assert_eq!((&json["generation"], &json["failure"]), (&json!(1), &Value::Null));
    for file in json["files"].as_array().unwrap() {
        let number = |name: &str| file[name].as_u64().unwrap();
        assert_eq!(number("read"), number("loaded") + number("set_aside"), "{file}");
        let key = format!("incoming/spring/{}", file["file"].as_str().unwrap());
        assert_eq!(file["version"], incoming.bucket.etag(&key).await.unwrap());
    }
    let keys: Vec<_> = incoming.bucket.list("rejects").await.into_iter().map(|object| object.key).collect();
    assert_eq!(keys, ["rejects/named/1.csv", "rejects/named/1.json"]);
}

#[tokio::test]
async fn nothing_is_published_while_what_was_set_aside_cannot_be_written() {
    let (incoming, served) = serving().await;
    let expected = undisturbed(generated().await.folder.path()).await;
    let records = incoming.put_folder("spring", generated().await.folder.path()).await;
    let url = incoming.bucket.url("incoming/spring/");
    let over = Over::default();
    let until = over.clone();
    let proxy = Proxy::start(incoming.bucket.server(), async move |seen| {
        if seen.method == Method::PUT && !until.is() { Fault::ACCESS_DENIED } else { Fault::None }
    });
    let refused = incoming.through(&proxy, BRISK).await;
    let error = handle_all(&refused, &records).await.unwrap_err();
    let place = incoming.bucket.url("rejects/spring/2.csv");
    assert!(error.contains(&place) && error.contains("S3 answers 403, AccessDenied"), "{error}");
    let rejects = incoming.bucket.url("rejects");
    let line =
        complaint(&load_by_command(&incoming.database, &proxy.variables(), &[&url, "--rejects", &rejects]));
    assert!(line.contains(&place) && line.contains("S3 answers 403, AccessDenied"), "{line}");
    assert_eq!(incoming.published().await, 1);
    assert_served(&incoming, &served).await;
    let recorded = "select step || ': ' || reason from etl.load where generation = 2";
    assert_eq!(incoming.text(recorded).await, format!("assemble: {line}"));
    over.end();
    assert!(refused.is_done(&records[0]).await);
    assert_served(&incoming, &expected).await;
    assert_eq!(
        incoming.number("select max(generation)::bigint from etl.load").await,
        2,
        "the same load went on"
    );
    assert!(incoming.bucket.get("rejects/spring/2.json").await.is_some());
}

#[tokio::test]
async fn the_command_holds_a_dataset_to_its_manifest_in_s3_as_in_a_folder() {
    let (incoming, served) = serving().await;
    let folder = folder();
    for (name, content) in files(&small_dataset()) {
        std::fs::write(folder.path().join(name), content).unwrap();
    }
    let prefix = incoming.bucket.url("incoming/spring/");
    incoming.bucket.put_folder("incoming/spring/", folder.path()).await;
    let listed = files(folder.path());
    let of = |wanted: &'static str, member: &'static str, value: Value| {
        manifest(&listed, move |name, file| {
            if name == wanted {
                file[member] = value.clone();
            }
        })
    };
    let zeros = "0".repeat(64);
    let wrong = [
        (of("skus.csv", "size", 1.into()), "skus.csv has 245 bytes, and the manifest says 1"),
        (of("skus.csv", "sha256", zeros.into()), "skus.csv has the SHA-256"),
        (of("skus.csv", "sha256", "0".into()), "expected 64 hexadecimal digits"),
        (of("skus.csv", "name", "sku.csv".into()), "lists \"sku.csv\""),
        ("{}".to_owned(), "expected {\"files\""),
    ];
    let right = manifest(&listed, |_, _| {});
    let mut places = HashMap::from([("s3", prefix.clone())]);
    places.insert("folder", folder.path().to_str().unwrap().to_owned());
    for (nth, (manifest, reason)) in wrong.into_iter().enumerate() {
        std::fs::write(folder.path().join("manifest.json"), &manifest).unwrap();
        incoming.bucket.put("incoming/spring/manifest.json", manifest).await;
        for (kind, place) in &places {
            let output = load_by_command(&incoming.database, &incoming.bucket.variables(), &[place]);
            let line = complaint(&output);
            assert!(line.contains(reason), "{kind} {nth}: {line}");
        }
    }
    assert_eq!(incoming.published().await, 1);
    assert_served(&incoming, &served).await;
    let failed = "select count(*) from etl.load where step = 'failed' and reason like '%SHA-256%'";
    assert_eq!(incoming.number(failed).await, 2, "what can be seen at once begins no load");
    std::fs::write(folder.path().join("manifest.json"), &right).unwrap();
    incoming.bucket.put("incoming/spring/manifest.json", right).await;
    for place in places.values() {
        summary(&load_by_command(&incoming.database, &incoming.bucket.variables(), &[place]));
    }
    assert_eq!(incoming.published().await, 3);
    let verified = "select count(*) from etl.load_file join etl.publication using (generation)
                    where verified and generation > 1";
    assert_eq!(incoming.number(verified).await, 14);
    incoming.bucket.delete("incoming/spring/cart.csv").await;
    let line = complaint(&load_by_command(&incoming.database, &incoming.bucket.variables(), &[&prefix]));
    assert_eq!(line, format!("{prefix} is not a whole dataset: cart.csv missing"));
}

#[tokio::test]
async fn no_event_is_more_than_the_function_can_take() {
    let arrived = Arrived::create().await;
    events::damaged(&arrived, fastrand::u64(..), 150).await;
}

#[tokio::test]
async fn a_sequencer_that_is_none_is_no_reason_to_ask_again() {
    let incoming = Incoming::create().await;
    let mut record = incoming.put("spring", "skus.csv", "1,1,\"S\",1").await;
    for sequencer in ["\0", "not hexadecimal", "\u{1f9e5}", &"0".repeat(100_000)] {
        record["s3"]["object"]["sequencer"] = sequencer.into();
        assert!(incoming.is_done(&record).await, "{sequencer:?}");
    }
}
