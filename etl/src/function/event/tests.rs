use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const KEY: &str = "incoming/spring/skus.csv";
const TEST_EVENT: &str = r#"{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"b"}"#;

fn record(key: &str) -> Value {
    json!({
        "eventVersion": "2.1", "eventSource": "aws:s3", "eventName": "ObjectCreated:Put",
        "s3": { "bucket": { "name": "b" }, "object": { "key": key, "eTag": "e", "sequencer": "01" } },
    })
}

fn event_bridge(key: &str) -> Value {
    json!({
        "version": "0", "source": "aws.s3", "detail-type": "Object Created", "region": "eu-central-1",
        "detail": { "version": "0", "bucket": { "name": "b" }, "object": { "key": key, "size": 5, "etag": "e" } },
    })
}

/// Returns an event in each wrapping that a queue, a topic or both make of it.
fn wrapped(event: &Value) -> Vec<Value> {
    let sqs = |body: &Value| json!({ "Records": [{ "eventSource": "aws:sqs", "messageId": "1", "body": body.to_string() }] });
    let sns = json!({ "Records": [{ "EventSource": "aws:sns", "Sns": { "Message": event.to_string() } }] });
    let notification = json!({ "Type": "Notification", "MessageId": "x", "Message": event.to_string() });
    vec![event.clone(), sqs(event), sns, sqs(&notification)]
}

/// Returns the keys of all objects of an event.
fn keys(event: &Value) -> Result<Vec<String>, EventError> {
    let objects = match parse(&event.to_string())? {
        Event::Direct(objects) => objects,
        Event::Messages(mut messages) => {
            assert_eq!((messages.len(), messages[0].id.as_str()), (1, "1"));
            messages.remove(0).objects?
        }
        Event::Prune(options) => panic!("{options:?}"),
    };
    assert!(objects.iter().all(|object| object.bucket == "b"), "{objects:?}");
    Ok(objects.into_iter().map(|object| object.key).collect())
}

fn with(change: impl Fn(&mut Value)) -> Result<Vec<String>, EventError> {
    let mut one = record(KEY);
    change(&mut one);
    keys(&json!({ "Records": [one] }))
}

#[test]
fn every_form_of_an_event_names_its_objects_in_every_wrapping() {
    let mut minio = record(KEY);
    minio["eventSource"] = "minio:s3".into();
    minio["eventVersion"] = "2.0".into();
    minio["eventName"] = "s3:ObjectCreated:Put".into();
    let minio = json!({ "EventName": "s3:ObjectCreated:Put", "Key": "b/k", "Records": [minio] });
    for event in [json!({ "Records": [record(KEY)] }), minio, event_bridge(KEY)] {
        for event in wrapped(&event) {
            assert_eq!(keys(&event).unwrap(), [KEY], "{event}");
        }
    }
}

#[test]
fn keys_are_decoded_unless_they_are_from_event_bridge() {
    let records = [record("incoming/spring+sale+%28%C3%BCber%29/a%2Bb.csv"), record("100%25")];
    let decoded = keys(&json!({ "Records": records })).unwrap();
    assert_eq!(decoded, ["incoming/spring sale (über)/a+b.csv", "100%"]);
    assert_eq!(
        with(|record| record["s3"]["object"]["key"] = "%FF".into()),
        Err(EventError::Key("%FF".to_owned()))
    );
    assert_eq!(keys(&event_bridge("a+b%20c")).unwrap(), ["a+b%20c"]);
}

#[test]
fn any_minor_version_is_supported_and_no_other_major_version() {
    for version in ["2.0", "2.1", "2.2", "2.99"] {
        assert_eq!(with(|record| record["eventVersion"] = version.into()).unwrap().len(), 1);
    }
    for version in ["1.0", "3.0", "20.1", ""] {
        let error = with(|record| record["eventVersion"] = version.into()).unwrap_err();
        assert_eq!(error, EventError::Version(version.to_owned()));
    }
}

#[test]
fn only_created_objects_are_returned() {
    for name in ["ObjectCreated:Put", "ObjectCreated:CompleteMultipartUpload", "s3:ObjectCreated:Copy"] {
        assert_eq!(with(|record| record["eventName"] = name.into()).unwrap().len(), 1);
    }
    for name in ["ObjectRemoved:Delete", "ObjectRestore:Post", "ReducedRedundancyLostObject"] {
        assert!(with(|record| record["eventName"] = name.into()).unwrap().is_empty(), "{name}");
    }
    let mut deleted = event_bridge(KEY);
    deleted["detail-type"] = "Object Deleted".into();
    assert!(keys(&deleted).unwrap().is_empty());
}

#[test]
fn only_a_schedule_with_the_action_prune_prunes() {
    let schedule =
        |further: &str| parse(&format!(r#"{{"source":"aws.scheduler","action":"prune"{further}}}"#));
    let options = |days, used_once_days| PruneOptions { days, used_once_days, previous: false };
    assert_eq!(schedule(""), Ok(Event::Prune(options(90, None))));
    assert_eq!(schedule(r#","days":30,"used_once_days":1"#), Ok(Event::Prune(options(30, Some(1)))));
    assert!(matches!(schedule(r#","days":-1"#), Err(EventError::Json(_))));
    let other = r#"{"source":"aws.scheduler","action":"other"}"#;
    assert_eq!(parse(other), Ok(Event::Direct(Vec::new())));
}

#[test]
fn test_events_and_scheduled_events_have_no_objects() {
    let scheduled = json!({ "source": "aws.events", "detail-type": "Scheduled Event", "detail": {} });
    let warm_up = json!({ "source": "serverless-plugin-warmup" });
    let console = json!({ "key1": "value1", "key2": "value2", "key3": "value3" });
    let test: Value = serde_json::from_str(TEST_EVENT).unwrap();
    for event in [test, scheduled, warm_up, console, json!({}), json!({ "Records": [] })] {
        for event in wrapped(&event) {
            assert_eq!(keys(&event), Ok(Vec::new()), "{event}");
        }
    }
}

#[test]
fn an_invalid_message_does_not_affect_the_others() {
    let body = json!({ "Records": [record(KEY)] }).to_string();
    let bodies = [
        json!(body),
        json!("no json"),
        json!(r#"{"Records":[{"eventSource":"aws:x"}]}"#),
        json!(5),
        json!(r#"{"no":"records"}"#),
    ];
    let mut records: Vec<_> = bodies
        .iter()
        .map(|body| json!({ "eventSource": "aws:sqs", "messageId": "m", "body": body }))
        .collect();
    records.push(json!({ "eventSource": "aws:x" }));
    let Event::Messages(messages) = parse(&json!({ "Records": records }).to_string()).unwrap() else {
        panic!("messages");
    };
    assert_eq!(messages[0].objects.as_ref().unwrap()[0].key, KEY);
    for (nth, expected) in
        [(1, "expected ident"), (2, "aws:x"), (3, "without text"), (4, "neither Records"), (5, "aws:x")]
    {
        let error = messages[nth].objects.as_ref().unwrap_err().to_string();
        assert!(error.contains(expected), "{nth}: {error}");
    }
}

#[test]
fn anything_else_than_an_event_is_an_error() {
    for other in [
        "",
        "null",
        "[]",
        "5",
        r#"{"Records":null}"#,
        r#"{"Records":[null]}"#,
        r#"{"Records":[{"eventSource":"aws:s3"}]}"#,
        r#"{"Event":"x"}"#,
        r#"{"source":"aws.s3"}"#,
        r#"{"source":"aws.ec2"}"#,
        r#"{"Type":"Notification"}"#,
        r#"{"source":"aws.s3","detail-type":"Object Created","detail":{"bucket":{"name":"b"}}}"#,
        r#"{"source":"aws.s3","detail-type":"Object Created","detail":{"bucket":{"name":"/"},"object":{"key":"a"}}}"#,
    ] {
        assert!(parse(other).is_err(), "{other}");
    }
    for bucket in ["", "/", "b/", "b/c", "a b"] {
        let error = with(|record| record["s3"]["bucket"]["name"] = bucket.into()).unwrap_err();
        assert_eq!(error, EventError::Bucket(bucket.to_owned()));
    }
    let error =
        with(|record| drop(record["s3"]["object"].as_object_mut().unwrap().remove("key"))).unwrap_err();
    assert!(matches!(&error, EventError::Json(text) if text.contains("key")), "{error}");
}

/// Any JSON value of the words that events consist of.
fn any_event() -> impl Strategy<Value = Value> {
    let words = prop::sample::select(vec![
        "aws:s3",
        "aws:sqs",
        "aws:sns",
        "aws.s3",
        "2.1",
        "ObjectCreated:Put",
        "Object Created",
        "Notification",
        "%FF",
        "b",
        "",
        "{\"Records\":[{\"eventSource\":\"aws:sqs\"}]}",
        TEST_EVENT,
    ]);
    let names = prop::sample::select(vec![
        "Records",
        "eventSource",
        "EventSource",
        "body",
        "Sns",
        "Message",
        "Type",
        "source",
        "detail-type",
        "detail",
        "bucket",
        "object",
        "key",
        "name",
        "s3",
        "eventName",
        "eventVersion",
        "messageId",
        "Event",
        "key1",
    ]);
    let leaf =
        prop_oneof![Just(Value::Null), any::<i64>().prop_map(Value::from), words.prop_map(Value::from)];
    leaf.prop_recursive(5, 60, 6, move |inner| {
        let fields = prop::collection::vec((names.clone(), inner.clone()), 0..6);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            fields.prop_map(|fields| fields
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect()),
            inner.prop_map(|inner| inner.to_string().into()),
        ]
    })
}

proptest! {
    #[test]
    fn no_event_panics(event in any_event()) {
        let _ = parse(&event.to_string());
        for event in wrapped(&event) {
            let _ = parse(&event.to_string());
        }
    }

    #[test]
    fn no_part_of_a_real_event_panics(form in 0_usize..8, end in any::<prop::sample::Index>()) {
        let event = match form / 4 { 0 => json!({ "Records": [record(KEY)] }), _ => event_bridge(KEY) };
        let text = wrapped(&event)[form % 4].to_string();
        let _ = parse(&text[..end.index(text.len())]);
    }
}
