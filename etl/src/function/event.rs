//! The parser of S3 events, sent directly or through SQS.

use serde::Deserialize;

use crate::s3::S3Url;
use crate::s3_events::ObjectCreated;

/// The supported event version: any 2.x, because minor versions only add fields.
const MAJOR_VERSION: &str = "2.";

/// A parsed event.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The objects of an event that S3 sent directly.
    Direct(Vec<ObjectCreated>),
    /// The messages of an SQS event; the function reports failures by message.
    Messages(Vec<Message>),
}

/// An SQS message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// Its id.
    pub(super) id: String,
    /// The objects of the S3 event in it, or the error.
    pub(super) objects: Result<Vec<ObjectCreated>, EventError>,
}

/// An invalid event. A retry does not help.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// It is not JSON, or has an unexpected form.
    #[error("invalid event: expected an S3 event, or an SQS event with S3 events: {0}")]
    Json(String),
    /// It is from another service.
    #[error("invalid event source {0:?}: expected aws:s3 or aws:sqs")]
    Source(String),
    /// It has another major version.
    #[error("unsupported event version {0:?}: expected 2.x")]
    Version(String),
    /// It has an undecodable key.
    #[error("invalid key {0:?}: it does not decode to UTF-8")]
    Key(String),
    /// It has an invalid bucket name.
    #[error("invalid bucket name {0:?}")]
    Bucket(String),
}

#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "Records")]
    records: Option<Vec<serde_json::Value>>,
    /// `s3:TestEvent`, which S3 sends when notifications are turned on.
    #[serde(rename = "Event")]
    event: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SqsRecord {
    message_id: String,
    body: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct S3Record {
    event_version: String,
    event_name: String,
    s3: S3Entity,
}

#[derive(Deserialize)]
struct S3Entity {
    bucket: Bucket,
    object: S3Object,
}

#[derive(Deserialize)]
struct Bucket {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct S3Object {
    key: String,
    e_tag: Option<String>,
    #[serde(default)]
    sequencer: String,
}

/// Parses an event.
///
/// # Errors
/// An invalid event. An invalid message of several is an error of that message only.
pub(super) fn parse(json: &str) -> Result<Event, EventError> {
    let Some(records) = records(json)? else { return Ok(Event::Direct(Vec::new())) };
    let is_sqs = |record: &serde_json::Value| source(record) == "aws:sqs";
    if !records.is_empty() && records.iter().all(is_sqs) {
        let messages = records.into_iter().map(|record| {
            let record: SqsRecord = from_value(record)?;
            let objects = match self::records(&record.body) {
                Ok(records) => records.unwrap_or_default().into_iter().map(created).collect(),
                Err(error) => Err(error),
            };
            let objects = objects.map(|all: Vec<_>| all.into_iter().flatten().collect());
            Ok(Message { id: record.message_id, objects })
        });
        return Ok(Event::Messages(messages.collect::<Result<_, _>>()?));
    }
    let objects = records.into_iter().map(created).collect::<Result<Vec<_>, _>>()?;
    Ok(Event::Direct(objects.into_iter().flatten().collect()))
}

/// Returns the records of an event; none for a test event.
fn records(json: &str) -> Result<Option<Vec<serde_json::Value>>, EventError> {
    let envelope: Envelope =
        serde_json::from_str(json).map_err(|error| EventError::Json(error.to_string()))?;
    match (envelope.records, envelope.event) {
        (None, Some(event)) if event == "s3:TestEvent" => Ok(None),
        (None, _) => Err(EventError::Json("it has no Records".to_owned())),
        (records, _) => Ok(records),
    }
}

fn source(record: &serde_json::Value) -> &str {
    record.get("eventSource").and_then(serde_json::Value::as_str).unwrap_or_default()
}

/// Returns the created object of a record; none for other records, such as a deletion.
fn created(record: serde_json::Value) -> Result<Option<ObjectCreated>, EventError> {
    if source(&record) != "aws:s3" {
        return Err(EventError::Source(source(&record).to_owned()));
    }
    let record: S3Record = from_value(record)?;
    if !record.event_version.starts_with(MAJOR_VERSION) {
        return Err(EventError::Version(record.event_version));
    }
    // S3 writes ObjectCreated:Put, some S3-compatible servers s3:ObjectCreated:Put.
    if !record.event_name.trim_start_matches("s3:").starts_with("ObjectCreated:") {
        return Ok(None);
    }
    let S3Object { key, e_tag, sequencer } = record.s3.object;
    let spaced = key.replace('+', " ");
    let Ok(decoded) = percent_encoding::percent_decode_str(&spaced).decode_utf8() else {
        return Err(EventError::Key(key));
    };
    let bucket = record.s3.bucket.name;
    if format!("s3://{bucket}/").parse::<S3Url>().is_err() {
        return Err(EventError::Bucket(bucket));
    }
    let etag = e_tag.map(|etag| etag.trim_matches('"').to_owned()).filter(|etag| !etag.is_empty());
    // Anything else than a number has no order, and may be text that Postgres rejects.
    let is_number = sequencer.bytes().all(|digit| digit.is_ascii_hexdigit());
    let sequencer = if is_number { sequencer } else { String::new() };
    Ok(Some(ObjectCreated { url: S3Url { bucket, key: decoded.into_owned() }, etag, sequencer }))
}

fn from_value<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> Result<T, EventError> {
    serde_json::from_value(value).map_err(|error| EventError::Json(error.to_string()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn record(key: &str) -> Value {
        json!({
            "eventVersion": "2.1", "eventSource": "aws:s3", "eventName": "ObjectCreated:Put",
            "s3": { "bucket": { "name": "b" }, "object": { "key": key, "eTag": "e", "sequencer": "01" } },
        })
    }

    fn direct(records: &[Value]) -> Result<Vec<ObjectCreated>, EventError> {
        match parse(&json!({ "Records": records }).to_string())? {
            Event::Direct(objects) => Ok(objects),
            Event::Messages(_) => panic!("no messages"),
        }
    }

    fn with(change: impl Fn(&mut Value)) -> Result<Vec<ObjectCreated>, EventError> {
        let mut one = record("incoming/spring/skus.csv");
        change(&mut one);
        direct(&[one])
    }

    #[test]
    fn keys_are_decoded() {
        let objects =
            direct(&[record("incoming/spring+sale+%28%C3%BCber%29/a%2Bb.csv"), record("100%25")]).unwrap();
        let keys: Vec<_> = objects.iter().map(|object| object.url.key.as_str()).collect();
        assert_eq!(keys, ["incoming/spring sale (über)/a+b.csv", "100%"]);
        assert_eq!(direct(&[record("%FF")]).unwrap_err(), EventError::Key("%FF".to_owned()));
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
    fn only_created_objects_are_registered() {
        for name in ["ObjectCreated:Put", "ObjectCreated:CompleteMultipartUpload", "s3:ObjectCreated:Copy"] {
            assert_eq!(with(|record| record["eventName"] = name.into()).unwrap().len(), 1);
        }
        for name in ["ObjectRemoved:Delete", "ObjectRestore:Post", "ReducedRedundancyLostObject"] {
            assert!(with(|record| record["eventName"] = name.into()).unwrap().is_empty(), "{name}");
        }
    }

    #[test]
    fn the_etag_and_the_sequencer_are_optional() {
        let objects = with(|record| {
            let object = record["s3"]["object"].as_object_mut().unwrap();
            object.remove("eTag");
            object.remove("sequencer");
        });
        let object = &objects.unwrap()[0];
        assert_eq!((object.etag.as_deref(), object.sequencer.as_str()), (None, ""));
        let error = with(|record| drop(record["s3"]["object"].as_object_mut().unwrap().remove("key")));
        assert!(matches!(error, Err(EventError::Json(text)) if text.contains("key")));
    }

    #[test]
    fn a_sequencer_that_is_not_a_number_is_dropped() {
        for sequencer in ["\0", "-1", "0x1F", "1F ", "\u{1f9e5}"] {
            let objects = with(|record| record["s3"]["object"]["sequencer"] = sequencer.into()).unwrap();
            assert_eq!(objects[0].sequencer, "", "{sequencer:?}");
        }
    }

    #[test]
    fn a_test_event_has_no_objects() {
        let test = r#"{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"b"}"#;
        assert_eq!(parse(test).unwrap(), Event::Direct(Vec::new()));
        let wrapped = json!({ "Records": [{ "eventSource": "aws:sqs", "messageId": "1", "body": test }] });
        let message = Message { id: "1".to_owned(), objects: Ok(Vec::new()) };
        assert_eq!(parse(&wrapped.to_string()).unwrap(), Event::Messages(vec![message]));
    }

    #[test]
    fn an_invalid_message_does_not_affect_the_others() {
        let body = json!({ "Records": [record("incoming/spring/skus.csv")] }).to_string();
        let messages =
            [("1", body.as_str()), ("2", "no json"), ("3", r#"{"Records":[{"eventSource":"aws:sns"}]}"#)];
        let records =
            messages.map(|(id, body)| json!({ "eventSource": "aws:sqs", "messageId": id, "body": body }));
        let Event::Messages(messages) = parse(&json!({ "Records": records }).to_string()).unwrap() else {
            panic!("messages");
        };
        assert_eq!(messages[0].objects.as_ref().unwrap()[0].url.key, "incoming/spring/skus.csv");
        assert!(matches!(&messages[1].objects, Err(EventError::Json(_))));
        assert_eq!(messages[2].objects, Err(EventError::Source("aws:sns".to_owned())));
    }

    #[test]
    fn anything_else_than_an_event_is_an_error() {
        for other in
            ["", "null", "[]", "{}", r#"{"Records":null}"#, r#"{"Records":[null]}"#, r#"{"Event":"x"}"#]
        {
            assert!(parse(other).is_err(), "{other}");
        }
    }
}
