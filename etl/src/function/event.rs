//! The parser of events about new objects: from S3, MinIO or EventBridge, directly or wrapped by SNS, SQS or both.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::prune::{self, PruneOptions};
use crate::s3::S3Url;

/// The supported version of S3 events: any 2.x, because minor versions only add fields.
const MAJOR_VERSION: &str = "2.";

/// A parsed event.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The new objects of an event that no queue delivered.
    Direct(Vec<S3Url>),
    /// The messages of an SQS event; the function reports failures by message.
    Messages(Vec<Message>),
    /// A schedule's request to prune: `{"source": "aws.scheduler", "action": "prune"}`, and perhaps `days` and
    /// `used_once_days`.
    Prune(PruneOptions),
}

/// An SQS message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// Its id; empty if it has none.
    pub(super) id: String,
    /// The new objects of the event in it, or the error.
    pub(super) objects: Result<Vec<S3Url>, EventError>,
}

/// An invalid event. A retry does not help.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// It is not JSON, or has an unexpected form.
    #[error("invalid event: expected an event of S3 or EventBridge, also wrapped by SNS or SQS: {0}")]
    Json(String),
    /// It is from another service.
    #[error("invalid event source {0:?}: expected aws:s3, aws:sqs, aws:sns or aws.s3")]
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
struct Schedule {
    #[serde(default = "default_days")]
    days: u16,
    used_once_days: Option<u16>,
}

fn default_days() -> u16 {
    prune::DEFAULT_DAYS
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct S3Record {
    event_version: String,
    event_name: String,
    s3: Detail,
}

/// The part that S3 events and EventBridge events share. In S3's form, keys are URL-encoded.
#[derive(Deserialize)]
struct Detail {
    bucket: Bucket,
    object: S3Object,
}

#[derive(Deserialize)]
struct Bucket {
    name: String,
}

#[derive(Deserialize)]
struct S3Object {
    key: String,
}

/// Parses an event.
///
/// # Errors
/// An invalid event. An invalid message of several is an error of that message only.
pub(super) fn parse(json: &str) -> Result<Event, EventError> {
    let event: Value = from_json(json)?;
    if event["source"] == "aws.scheduler" && event["action"] == "prune" {
        let Schedule { days, used_once_days } = from_value(&event)?;
        return Ok(Event::Prune(PruneOptions { days, used_once_days, previous: false }));
    }
    match event["Records"].as_array() {
        Some(records) if records.iter().any(|record| source(record) == "aws:sqs") => {
            let messages = records.iter().map(|record| Message {
                id: record["messageId"].as_str().unwrap_or_default().to_owned(),
                objects: of_record(record),
            });
            Ok(Event::Messages(messages.collect()))
        }
        _ => objects(&event).map(Event::Direct),
    }
}

/// Returns the new objects of an event. Events without any, such as test events, are logged.
fn objects(event: &Value) -> Result<Vec<S3Url>, EventError> {
    let ignored = |reason: &str| {
        tracing::info!(reason, "event ignored");
        Ok(Vec::new())
    };
    let is = |name: &str, value: &str| event[name] == value;
    if let Some(records) = event.get("Records") {
        let records: Vec<Value> = from_value(records)?;
        let objects: Vec<_> = records.iter().map(of_record).collect::<Result<_, _>>()?;
        return Ok(objects.concat());
    }
    if is("Event", "s3:TestEvent") {
        return ignored("a test event, which S3 sends when notifications are turned on");
    }
    if is("Type", "Notification") {
        return unwrap(&event["Message"]);
    }
    match event["source"].as_str() {
        Some("aws.s3") if is("detail-type", "Object Created") => {
            let Detail { bucket, object } = from_value(&event["detail"])?;
            return Ok(vec![url(bucket.name, object.key)?]);
        }
        Some("aws.s3") if event["detail-type"].is_string() => return ignored("no object was created"),
        Some("aws.events" | "aws.scheduler" | "serverless-plugin-warmup" | "warmup") => {
            return ignored("a scheduled event");
        }
        Some(source) if source != "aws.s3" => return Err(EventError::Source(source.to_owned())),
        _ => {}
    }
    match event.as_object() {
        Some(fields) if fields.is_empty() || fields.contains_key("key1") => ignored("a console test event"),
        Some(fields) if ["warmer", "warmup"].iter().any(|name| fields.contains_key(*name)) => {
            ignored("a warm-up event")
        }
        _ => Err(EventError::Json("it has neither Records nor detail".to_owned())),
    }
}

fn of_record(record: &Value) -> Result<Vec<S3Url>, EventError> {
    match source(record) {
        "aws:sqs" => unwrap(&record["body"]),
        "aws:sns" => unwrap(&record["Sns"]["Message"]),
        source if source.ends_with(":s3") => created(record),
        source => Err(EventError::Source(source.to_owned())),
    }
}

/// Returns the new objects of an event that is a text of another one. The recursion ends, because the text gets shorter.
fn unwrap(text: &Value) -> Result<Vec<S3Url>, EventError> {
    let text = text.as_str().ok_or_else(|| EventError::Json("a message without text".to_owned()))?;
    if text.starts_with("Hello from S") {
        tracing::info!(reason = "a console test event", "event ignored"); // of the templates for SQS and SNS
        return Ok(Vec::new());
    }
    objects(&from_json(text)?)
}

fn source(record: &Value) -> &str {
    let source = record.get("eventSource").or_else(|| record.get("EventSource"));
    source.and_then(Value::as_str).unwrap_or_default()
}

/// Returns the created object of an S3 record; none for other records, such as a deletion.
fn created(record: &Value) -> Result<Vec<S3Url>, EventError> {
    let S3Record { event_version, event_name, s3: Detail { bucket, object } } = from_value(record)?;
    if !event_version.starts_with(MAJOR_VERSION) {
        return Err(EventError::Version(event_version));
    }
    // S3 writes ObjectCreated:Put, some S3-compatible servers s3:ObjectCreated:Put.
    if !event_name.trim_start_matches("s3:").starts_with("ObjectCreated:") {
        return Ok(Vec::new());
    }
    let spaced = object.key.replace('+', " ");
    match percent_encoding::percent_decode_str(&spaced).decode_utf8() {
        Ok(key) => Ok(vec![url(bucket.name, key.into_owned())?]),
        Err(_) => Err(EventError::Key(object.key)),
    }
}

fn url(bucket: String, key: String) -> Result<S3Url, EventError> {
    match format!("s3://{bucket}").parse() {
        Ok(S3Url { bucket: parsed, .. }) if parsed == bucket => Ok(S3Url { bucket, key }),
        _ => Err(EventError::Bucket(bucket)),
    }
}

fn from_json(text: &str) -> Result<Value, EventError> {
    serde_json::from_str(text).map_err(|error| EventError::Json(error.to_string()))
}

fn from_value<T: DeserializeOwned>(value: &Value) -> Result<T, EventError> {
    T::deserialize(value).map_err(|error| EventError::Json(error.to_string()))
}

#[cfg(test)]
mod tests;
