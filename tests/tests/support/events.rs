//! Valid and damaged events for the etl function.

use etl::function::FunctionError;
use fastrand::Rng;
use serde_json::{Value, json};

use super::incoming::{Incoming, TIME, failed};
use super::{mutation, root};

/// Returns the object key in an event record.
pub fn key(record: &Value) -> &str {
    record["s3"]["object"]["key"].as_str().unwrap()
}

/// A bucket with the objects that the events in `events/` name, and these events.
pub struct Arrived {
    incoming: Incoming,
    events: Vec<Value>,
}

impl Arrived {
    /// Uploads the objects.
    pub async fn create() -> Self {
        let incoming = Incoming::create().await;
        for file in ["product.csv", "features.csv", "skus.csv"] {
            incoming.bucket.put(&format!("incoming/spring/{file}"), "1,1,1,1").await;
        }
        let is_ours = |name: &str| name.starts_with("etl-");
        let mut events = Vec::new();
        for entry in root().join("events").read_dir().unwrap() {
            let path = entry.unwrap().path();
            if is_ours(path.file_name().unwrap().to_str().unwrap()) {
                let event = std::fs::read_to_string(path).unwrap();
                let event = event.replace("atelier-datasets", incoming.bucket.name());
                events.push(serde_json::from_str(&event).unwrap());
            }
        }
        events.sort_by_key(Value::to_string);
        assert!(events.len() > 8, "{}", events.len());
        Self { incoming, events }
    }
}

/// Sends damaged events, wrapped in an SQS message and plain. No wrapped message may be reported for a retry, and a
/// plain one that is no event must be an error. The function survives all of them.
pub async fn send_damaged(arrived: &Arrived, seed: u64, times: usize) {
    let mut random = Rng::with_seed(seed);
    for nth in 0..times {
        let mut event = random.choice(&arrived.events).unwrap().clone();
        if let Some(Value::String(body)) = event.pointer_mut("/Records/0/body")
            && let Ok(inner) = serde_json::from_str(body)
            && random.bool()
        {
            *body = mutation::mutate(&inner, &mut random).to_string();
        }
        let event = if random.u8(0..8) == 0 { Value::Null } else { event };
        let mut event = mutation::mutate(&event, &mut random).to_string();
        if random.u8(0..16) == 0 {
            event.truncate(event.floor_char_boundary(random.usize(0..=event.len())));
        }
        let place = format!("seed {seed}, the {nth}th: {event}");
        match arrived.incoming.function.handle(&event, TIME).await {
            Ok(reply) => {
                let is_batch = reply.get("batchItemFailures").is_some();
                assert!(reply == json!({}) || is_batch && failed(&reply).is_empty(), "{reply} to {place}");
            }
            Err(FunctionError::Event(_)) => (),
            Err(error) => panic!("{error} to {place}"),
        }
        let wrapped = json!({ "eventSource": "aws:sqs", "messageId": "1", "body": event });
        let batch = json!({ "Records": [wrapped] }).to_string();
        let reply = arrived.incoming.function.handle(&batch, TIME).await;
        let reply = reply.unwrap_or_else(|error| panic!("{error} to {place}"));
        assert!(failed(&reply).is_empty(), "{reply} to {place}");
    }
}
