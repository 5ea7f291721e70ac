//! Files that cannot be loaded, and failures of S3 and the database.

use std::time::Duration;

use conformance::s3::refusal::ACCESS_DENIED;
use conformance::small_dataset;
use http::Method;
use rig::{Database, Fault, HttpProxy};
use serde_json::{Value, json};

use crate::support::incoming::{Incoming, TIME, content, failed, message, undisturbed, with_broken_rows};
use crate::support::load_into;
use crate::support::s3::{FaultSwitch, SHORT_TIMEOUTS, handle_all, is_for_rows};

/// Uploads the hand-made dataset with another product.csv, and returns the event record for that file.
async fn with_product(incoming: &Incoming, product: Vec<u8>) -> Value {
    incoming.put_folder("spring", &small_dataset()).await;
    incoming.put("spring", "product.csv", product).await
}

#[tokio::test]
async fn an_invalid_file_fails_the_load_once_with_the_reason() {
    for (content, reason) in [
        ("id;productId;name", "expected commas, as in the header"),
        ("", "is empty"),
        ("id,productId,name,sale_price,original_price\n", "no column default_style"),
    ] {
        let incoming = Incoming::create().await;
        incoming.put_folder("spring", &small_dataset()).await;
        let record = incoming.put("spring", "styles.csv", content).await;
        assert!(
            incoming.is_done(&record).await && incoming.is_done(&record).await,
            "a retry would fail again"
        );
        let recorded = incoming.text("select step || ': ' || reason from etl.load").await;
        assert!(recorded.starts_with("failed: ") && recorded.contains(reason), "{recorded}");
        let status = incoming.status().await;
        assert!(status.contains("styles.csv") && status.contains(reason), "{status}");
        assert_eq!((incoming.published().await, incoming.alarms()), (0, 1));
        // Below the same prefix, the files might be of two days.
        incoming.deliver("spring", &small_dataset()).await;
        assert_eq!((incoming.published().await, incoming.ignored()), (0, 1));
        incoming.deliver("spring-corrected", &small_dataset()).await;
        assert_eq!((incoming.published().await, incoming.alarms()), (1, 1));
    }
}

#[tokio::test]
async fn a_failed_load_is_recorded_once_and_its_rejects_are_written() {
    let incoming = Incoming::of(Database::create().await.unwrap(), &[("MAX_REJECTS", "20")]).await;
    let whole = std::fs::read(small_dataset().join("product.csv")).unwrap();
    let record = with_product(&incoming, with_broken_rows(&whole, 30)).await;
    assert!(incoming.is_done(&record).await && incoming.is_done(&record).await);
    assert_eq!(incoming.number("select count(*) from etl.load").await, 1);
    let reason = incoming.text("select reason from etl.load where step = 'failed'").await;
    assert!(reason.contains("would lose half of its rows or more"), "{reason}");
    let summary = incoming.bucket.get("rejects/spring/1.json").await.unwrap();
    let summary: Value = serde_json::from_slice(&summary).unwrap();
    assert_eq!((&summary["failure"], &summary["dataset"]), (&json!(reason), &json!("spring")));
    let csv = incoming.bucket.get("rejects/spring/1.csv").await.unwrap();
    assert!(String::from_utf8_lossy(&csv).contains("\"no,row\""), "{csv:?}");
    assert_eq!((incoming.published().await, incoming.alarms()), (0, 1));
}

#[tokio::test]
async fn rejected_rows_are_written_with_a_summary() {
    let incoming = Incoming::create().await;
    incoming.deliver("spring", &small_dataset()).await;
    let from_folder = load_into(Database::create().await.unwrap(), &small_dataset()).await;
    assert_eq!(incoming.bucket.get("rejects/spring/1.csv").await.unwrap(), from_folder.rejects);
    let summary = incoming.bucket.get("rejects/spring/1.json").await.unwrap();
    let summary: Value = serde_json::from_slice(&summary).unwrap();
    assert_eq!(summary["source"], incoming.bucket.url("incoming/spring/"));
    let rows: i64 =
        summary["rejected"].as_array().unwrap().iter().map(|reason| reason["rows"].as_i64().unwrap()).sum();
    assert_eq!(rows, incoming.number("select count(*) from etl.reject").await);
}

#[tokio::test]
async fn an_invocation_stops_at_its_deadline_and_the_next_resumes_from_its_commit() {
    let incoming = Incoming::create().await;
    let dir = tempfile::tempdir().unwrap();
    let options = sample_data::Options { scale: 0.002, seed: 3, legacy_format: false };
    sample_data::generate(&options, dir.path(), |_| {}).unwrap();
    let last = incoming.put_folder("spring", dir.path()).await.pop().unwrap();
    let mut invocations = 1;
    // Each invocation makes some progress. The first ones do not even have time for one file.
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
async fn a_dataset_that_s3_denies_delays_no_other() {
    let incoming = Incoming::create().await;
    let refused = incoming.put_folder("refused", &small_dataset()).await;
    let behind = incoming.put_folder("behind", &small_dataset()).await;
    let switch = FaultSwitch::default();
    let script_switch = switch.clone();
    let proxy = HttpProxy::start(incoming.bucket.server(), async move |seen| {
        let is_refused = is_for_rows(seen, "refused/skus.csv") && !script_switch.is_off();
        if is_refused { ACCESS_DENIED } else { Fault::None }
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
    let broken = with_product(&incoming, with_broken_rows(&whole, 300)).await;
    let switch = FaultSwitch::default();
    let script_switch = switch.clone();
    let proxy = HttpProxy::start(incoming.bucket.server(), async move |seen| {
        if seen.method == Method::PUT && !script_switch.is_off() { ACCESS_DENIED } else { Fault::None }
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
