//! Events that S3 sends, directly or by way of SQS, as far as they matter here.

use serde::Deserialize;

use crate::incoming::Arrival;
use crate::s3::Url;

/// The attribute of an event's version that is understood: any 2.x, since a minor version only adds to it.
const MAJOR_VERSION: &str = "2.";

/// What a function is called with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// What S3 tells, without anything between.
    Direct(Vec<Arrival>),
    /// What SQS hands on, each to be reported by itself.
    Messages(Vec<Message>),
}

/// A message of SQS.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// Its id, by which it is reported.
    pub(super) id: String,
    /// What S3 told in it, or what is wrong with that.
    pub(super) arrivals: Result<Vec<Arrival>, EventError>,
}

/// Why an event says nothing. It will say no more if it comes again.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// It is no JSON, or none of this form.
    #[error("expected an event of S3, or of SQS with such events: {0}")]
    Json(String),
    /// It comes from somewhere else.
    #[error("an event of {0:?}: expected aws:s3, or aws:sqs")]
    Source(String),
    /// It is of a version that may mean something else.
    #[error("an event of version {0:?}: expected 2.x")]
    Version(String),
    /// The key of an object in it cannot be decoded.
    #[error("the key {0:?} is not UTF-8 when it is decoded")]
    Key(String),
    /// The bucket's name in it is none.
    #[error("{0:?} is no bucket's name")]
    Bucket(String),
}

#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "Records")]
    records: Option<Vec<serde_json::Value>>,
    /// `s3:TestEvent`, when notifications are turned on.
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

/// Reads an event.
///
/// # Errors
/// That it is none. What is wrong with one message of several is told of that message alone.
pub(super) fn parse(json: &str) -> Result<Event, EventError> {
    let Some(records) = records(json)? else { return Ok(Event::Direct(Vec::new())) };
    let is_sqs = |record: &serde_json::Value| source(record) == "aws:sqs";
    if !records.is_empty() && records.iter().all(is_sqs) {
        let messages = records.into_iter().map(|record| {
            let record: SqsRecord = from_value(record)?;
            let arrivals = match self::records(&record.body) {
                Ok(records) => records.unwrap_or_default().into_iter().map(arrival).collect(),
                Err(error) => Err(error),
            };
            let arrivals = arrivals.map(|all: Vec<_>| all.into_iter().flatten().collect());
            Ok(Message { id: record.message_id, arrivals })
        });
        return Ok(Event::Messages(messages.collect::<Result<_, _>>()?));
    }
    let arrivals = records.into_iter().map(arrival).collect::<Result<Vec<_>, _>>()?;
    Ok(Event::Direct(arrivals.into_iter().flatten().collect()))
}

/// The records of an event; none of a test event.
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

/// The object of a record; none if the record tells of something else, such as a removal.
fn arrival(record: serde_json::Value) -> Result<Option<Arrival>, EventError> {
    if source(&record) != "aws:s3" {
        return Err(EventError::Source(source(&record).to_owned()));
    }
    let record: S3Record = from_value(record)?;
    if !record.event_version.starts_with(MAJOR_VERSION) {
        return Err(EventError::Version(record.event_version));
    }
    // S3 writes ObjectCreated:Put, some of those who imitate it s3:ObjectCreated:Put.
    if !record.event_name.trim_start_matches("s3:").starts_with("ObjectCreated:") {
        return Ok(None);
    }
    let S3Object { key, e_tag, sequencer } = record.s3.object;
    let spaced = key.replace('+', " ");
    let Ok(decoded) = percent_encoding::percent_decode_str(&spaced).decode_utf8() else {
        return Err(EventError::Key(key));
    };
    let bucket = record.s3.bucket.name;
    if format!("s3://{bucket}/").parse::<Url>().is_err() {
        return Err(EventError::Bucket(bucket));
    }
    let etag = e_tag.map(|etag| etag.trim_matches('"').to_owned()).filter(|etag| !etag.is_empty());
    // One that is no number orders nothing, and need not be a text that a database takes.
    let is_number = sequencer.bytes().all(|digit| digit.is_ascii_hexdigit());
    let sequencer = if is_number { sequencer } else { String::new() };
    Ok(Some(Arrival { url: Url { bucket, key: decoded.into_owned() }, etag, sequencer }))
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

    fn direct(records: &[Value]) -> Result<Vec<Arrival>, EventError> {
        match parse(&json!({ "Records": records }).to_string())? {
            Event::Direct(arrivals) => Ok(arrivals),
            Event::Messages(_) => panic!("no messages"),
        }
    }

    fn with(change: impl Fn(&mut Value)) -> Result<Vec<Arrival>, EventError> {
        let mut one = record("incoming/spring/skus.csv");
        change(&mut one);
        direct(&[one])
    }

    #[test]
    fn keys_are_decoded() {
        let arrivals =
            direct(&[record("incoming/spring+sale+%28%C3%BCber%29/a%2Bb.csv"), record("100%25")]).unwrap();
        let keys: Vec<_> = arrivals.iter().map(|arrival| arrival.url.key.as_str()).collect();
        assert_eq!(keys, ["incoming/spring sale (über)/a+b.csv", "100%"]);
        assert_eq!(direct(&[record("%FF")]).unwrap_err(), EventError::Key("%FF".to_owned()));
    }

    #[test]
    fn any_minor_version_is_understood_and_no_other_major_one() {
        for version in ["2.0", "2.1", "2.2", "2.99"] {
            assert_eq!(with(|record| record["eventVersion"] = version.into()).unwrap().len(), 1);
        }
        for version in ["1.0", "3.0", "20.1", ""] {
            let error = with(|record| record["eventVersion"] = version.into()).unwrap_err();
            assert_eq!(error, EventError::Version(version.to_owned()));
        }
    }

    #[test]
    fn only_what_was_created_arrives() {
        for name in ["ObjectCreated:Put", "ObjectCreated:CompleteMultipartUpload", "s3:ObjectCreated:Copy"] {
            assert_eq!(with(|record| record["eventName"] = name.into()).unwrap().len(), 1);
        }
        for name in ["ObjectRemoved:Delete", "ObjectRestore:Post", "ReducedRedundancyLostObject"] {
            assert!(with(|record| record["eventName"] = name.into()).unwrap().is_empty(), "{name}");
        }
    }

    #[test]
    fn what_an_event_may_lack_is_lacking() {
        let arrivals = with(|record| {
            let object = record["s3"]["object"].as_object_mut().unwrap();
            object.remove("eTag");
            object.remove("sequencer");
        });
        let arrival = &arrivals.unwrap()[0];
        assert_eq!((arrival.etag.as_deref(), arrival.sequencer.as_str()), (None, ""));
        let error = with(|record| drop(record["s3"]["object"].as_object_mut().unwrap().remove("key")));
        assert!(matches!(error, Err(EventError::Json(text)) if text.contains("key")));
    }

    #[test]
    fn a_sequencer_that_is_no_number_is_none() {
        for sequencer in ["\0", "-1", "0x1F", "1F ", "\u{1f9e5}"] {
            let arrivals = with(|record| record["s3"]["object"]["sequencer"] = sequencer.into()).unwrap();
            assert_eq!(arrivals[0].sequencer, "", "{sequencer:?}");
        }
    }

    #[test]
    fn a_test_event_tells_of_nothing() {
        let test = r#"{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"b"}"#;
        assert_eq!(parse(test).unwrap(), Event::Direct(Vec::new()));
        let wrapped = json!({ "Records": [{ "eventSource": "aws:sqs", "messageId": "1", "body": test }] });
        let message = Message { id: "1".to_owned(), arrivals: Ok(Vec::new()) };
        assert_eq!(parse(&wrapped.to_string()).unwrap(), Event::Messages(vec![message]));
    }

    #[test]
    fn a_message_that_says_nothing_leaves_the_others_be() {
        let body = json!({ "Records": [record("incoming/spring/skus.csv")] }).to_string();
        let messages =
            [("1", body.as_str()), ("2", "no json"), ("3", r#"{"Records":[{"eventSource":"aws:sns"}]}"#)];
        let records =
            messages.map(|(id, body)| json!({ "eventSource": "aws:sqs", "messageId": id, "body": body }));
        let Event::Messages(messages) = parse(&json!({ "Records": records }).to_string()).unwrap() else {
            panic!("messages");
        };
        assert_eq!(messages[0].arrivals.as_ref().unwrap()[0].url.key, "incoming/spring/skus.csv");
        assert!(matches!(&messages[1].arrivals, Err(EventError::Json(_))));
        assert_eq!(messages[2].arrivals, Err(EventError::Source("aws:sns".to_owned())));
    }

    #[test]
    fn what_is_no_event_is_an_error() {
        for other in
            ["", "null", "[]", "{}", r#"{"Records":null}"#, r#"{"Records":[null]}"#, r#"{"Event":"x"}"#]
        {
            assert!(parse(other).is_err(), "{other}");
        }
    }
}
