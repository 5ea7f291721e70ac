//! Events in every form, events without objects, and the log of the function.

use std::time::Duration;

use conformance::small_dataset;
use rig::Database;
use serde_json::{Value, json};

use crate::support::functions::{etl_variables, logging_function};
use crate::support::incoming::{Incoming, TIME, failed, message, with_broken_rows};
use crate::support::root;

/// Returns an event in `events/`.
fn event(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(root().join(format!("events/{name}.json"))).unwrap()).unwrap()
}

/// Sends an event, whose messages must complete.
async fn send(incoming: &Incoming, event: &Value) {
    let reply = incoming.handle(event, TIME).await;
    assert!(reply == json!({}) || failed(&reply).is_empty(), "{reply} to {event}");
}

#[tokio::test]
async fn an_event_of_any_form_publishes_the_dataset_it_names() {
    let incoming = Incoming::create().await;
    for (nth, name) in
        ["etl-s3", "etl-sqs", "etl-sns", "etl-sqs-sns", "etl-eventbridge", "etl-sqs-eventbridge", "etl-minio"]
            .into_iter()
            .enumerate()
    {
        let dataset = format!("set-{nth}");
        incoming.put_folder(&dataset, &small_dataset()).await;
        let text = event(name).to_string();
        let text = text.replace("atelier-datasets", incoming.bucket.name()).replace("spring", &dataset);
        send(&incoming, &serde_json::from_str(&text).unwrap()).await;
        assert_eq!(incoming.published().await, i64::try_from(nth).unwrap() + 1, "{name}");
    }
    assert_eq!((incoming.alarms(), incoming.ignored()), (0, 0));
}

#[tokio::test]
async fn events_without_objects_raise_no_alarm() {
    let incoming = Incoming::create().await;
    for name in ["etl-s3-test", "etl-sqs-test", "etl-sqs-sns-test", "etl-s3-removed", "etl-scheduled"] {
        send(&incoming, &event(name)).await;
    }
    let warm_up = json!({ "source": "serverless-plugin-warmup" });
    for event in [json!({}), json!({ "key1": "value1" }), warm_up] {
        send(&incoming, &event).await;
    }
    incoming.bucket.put("incoming/spring/", "").await;
    send(&incoming, &message("1", &incoming.record("incoming/spring/").await)).await;
    assert_eq!((incoming.alarms(), incoming.ignored()), (0, 0));
    for (name, alarms) in [("etl-hostile-not-json-body", 1), ("etl-hostile-other-source", 2)] {
        let _ = incoming.function.handle(&event(name).to_string(), TIME).await;
        assert_eq!(incoming.alarms(), alarms, "{name}");
    }
}

#[tokio::test]
async fn a_schedule_prunes() {
    let incoming = Incoming::create().await;
    let carts = "set cart.is_session = true; select cart.add(sha256('once'), 1, 1), cart.add(sha256('new'), 1, 1);
                 update cart.carts set created_at = now() - interval '2 days', touched_at = now() - interval '2 days'
                 where owner = sha256('once')";
    incoming.database.connect().await.unwrap().batch_execute(carts).await.unwrap();
    send(&incoming, &event("etl-prune")).await;
    assert_eq!(incoming.number("select count(*) from cart.carts").await, 1);
    assert_eq!((incoming.alarms(), incoming.ignored()), (0, 0));

    // Carts are pruned during a load, and the rest is left to the next day.
    let loader = incoming.database.connect().await.unwrap();
    etl::locks::lock_loader(&loader, None, || {}).await.unwrap();
    incoming.database.connect().await.unwrap().batch_execute(carts).await.unwrap();
    assert_eq!(incoming.handle(&event("etl-prune"), Duration::from_secs(1)).await, json!({}));
    assert_eq!(incoming.number("select count(*) from cart.carts").await, 1);
}

#[tokio::test]
async fn an_invalid_message_of_a_batch_does_not_affect_the_others() {
    let incoming = Incoming::create().await;
    let records = incoming.put_folder("spring", &small_dataset()).await;
    let invalid = json!({ "eventSource": "aws:sqs", "messageId": "0", "body": r#"{"no":"records"}"# });
    let valid = records.iter().enumerate().map(|(nth, record)| {
        let mut message = message(&format!("{nth}"), record)["Records"][0].take();
        message["messageId"] = format!("m-{nth}").into();
        message
    });
    let all: Vec<_> = std::iter::once(invalid).chain(valid).collect();
    assert_eq!(failed(&incoming.handle(&json!({ "Records": all }), TIME).await), [""; 0]);
    assert_eq!((incoming.published().await, incoming.alarms()), (1, 1));
}

#[tokio::test]
async fn each_log_line_has_unique_keys_and_each_load_has_one_line_with_its_rows() {
    let incoming = Incoming::of(Database::create().await.unwrap(), &[]).await;
    let records = incoming.put_folder("spring", &small_dataset()).await;
    incoming.put_folder("broken", &small_dataset()).await;
    let whole = std::fs::read(small_dataset().join("product.csv")).unwrap();
    let broken = incoming.put("broken", "product.csv", with_broken_rows(&whole, 300)).await;
    let late = incoming.put("late", "skus.csv", "1,1,\"S\",1").await;

    let variables = etl_variables(&incoming);
    let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut function = logging_function("etl", &incoming.database, &variables).await;
    let no_records =
        json!({ "Records": [{ "eventSource": "aws:sqs", "messageId": "m", "body": r#"{"no":"records"}"# }] });
    let messages = [&records[0], &records[1], &broken, &broken].map(|record| message("1", record));
    let invalid_events = [no_records, json!({ "Records": 5 })].into_iter();
    for event in invalid_events.chain(messages).chain([message("1", &late)]) {
        function.api().invoke(event.to_string(), TIME).await;
    }
    let mut lines: Vec<Value> = Vec::new();
    while lines
        .last()
        .is_none_or(|line| line["reason"].as_str().is_none_or(|reason| !reason.starts_with("waiting for")))
    {
        let line = function.next_line().await;
        let parsed: Value = serde_json::from_str(&line).unwrap();
        // Parsing keeps the last of several equal keys.
        assert_eq!(parsed.to_string().len(), line.len(), "a key occurs twice in {line}");
        lines.push(parsed);
    }
    let with = |text: &str| lines.iter().filter(|line| line["message"] == text).collect::<Vec<_>>();
    let invalid = with("invalid message, it will not be retried");
    assert!(
        invalid[0]["level"] == "ERROR" && invalid[0]["error"].as_str().unwrap().contains("neither Records")
    );
    assert!(with("event failed")[0]["error"].as_str().unwrap().contains("expected a sequence"));
    let [published] = with("dataset published")[..] else { panic!("{lines:?}") };
    let counts = |line: &Value| {
        ["rows_loaded", "rows_repaired", "rows_rejected"].map(|name| line[name].as_i64().unwrap())
    };
    let recorded = |generation: i64| {
        let select = "select sum(rows_loaded) || ' ' || sum(rows_repaired) || ' ' || sum(rows_rejected)
                      from etl.load_file where generation = ";
        format!("{select}{generation}")
    };
    for (line, dataset) in [(published, "spring"), (with("load failed")[0], "broken")] {
        assert_eq!(line["dataset"], dataset);
        let [loaded, repaired, rejected] = counts(line);
        let generation = line["generation"].as_i64().unwrap();
        assert_eq!(incoming.text(&recorded(generation)).await, format!("{loaded} {repaired} {rejected}"));
        assert!(loaded > 0 && rejected > 0);
    }
    assert!(published["rejects"].as_str().unwrap().contains("related.csv: no such product ("), "{published}");
    let [failed] = with("load failed")[..] else { panic!("{lines:?}") };
    assert!(
        failed["level"] == "ERROR"
            && failed["error"].as_str().unwrap().contains("would lose half of its rows or more")
    );
}
