//! The loader as a function: what it does for an S3 event. The Lambda side is the binary's, `src/lambda.rs`.

mod config;
mod event;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use shared::database::ConnectOptions;

pub use config::{Config, FORMER_VARIABLES, INCOMING_PREFIX, OWN_VARIABLES, variables};
pub use event::EventError;

use crate::deliveries::{Deliveries, Prefix};
use crate::load::{LoadError, LoadOptions};
pub use crate::metrics::Metric;
use crate::progress::Progress;
use crate::prune::{self, PruneError, Pruned};
use crate::s3::{S3, S3Url};

use event::{Event, Message};

/// The max time between the end of an invocation's work and its deadline: a statement that builds an index takes
/// seconds, and the loader cannot interrupt it.
const MAX_DEADLINE_MARGIN: Duration = Duration::from_secs(60);

/// Returns the new objects of an event; none of an invalid one. Only `fuzz/` uses this.
#[doc(hidden)]
pub fn new_objects(event: &str) -> Vec<S3Url> {
    match event::parse(event) {
        Ok(Event::Direct(objects)) => objects,
        Ok(Event::Messages(messages)) => {
            messages.into_iter().filter_map(|message| message.objects.ok()).flatten().collect()
        }
        Ok(Event::Prune(_)) | Err(_) => Vec::new(),
    }
}

/// The loader, driven by events.
pub struct Function {
    database: ConnectOptions,
    s3: S3,
    options: LoadOptions,
    incoming: String,
    count: Box<dyn Fn(Metric) + Send + Sync>,
}

/// An error that makes S3 or SQS deliver an event again.
#[derive(Debug, thiserror::Error)]
pub enum FunctionError {
    /// The event is invalid. After its retries it goes to the dead-letter queue.
    #[error(transparent)]
    Event(#[from] EventError),
    /// A temporary failure.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A scheduled prune did not end. The next one continues.
    #[error(transparent)]
    Prune(#[from] PruneError),
}

impl Function {
    /// Returns a function that calls `count` once for each counted event.
    pub fn new(config: &Config, s3: S3, count: impl Fn(Metric) + Send + Sync + 'static) -> Self {
        Self {
            database: config.database.clone(),
            options: config.load_options(&s3),
            s3,
            incoming: config.incoming.clone(),
            count: Box::new(count),
        }
    }

    /// Handles an event within `time`. Returns the messages that SQS must deliver again, as a partial batch response.
    ///
    /// # Errors
    /// An invalid event, or a temporary failure of an event that S3 sent directly.
    pub async fn handle(&self, event: &str, time: Duration) -> Result<Value, FunctionError> {
        let stop_at = Instant::now() + time.saturating_sub(MAX_DEADLINE_MARGIN.min(time / 5));
        match event::parse(event).inspect_err(|_| (self.count)(Metric::Failed))? {
            Event::Direct(objects) => {
                let unfinished = self.process(&self.prefixes(&objects), stop_at).await;
                unfinished.into_iter().next().map_or_else(|| Ok(json!({})), |(_, error)| Err(error.into()))
            }
            Event::Messages(messages) => {
                let messages: Vec<_> = messages.into_iter().map(|message| self.message(message)).collect();
                let prefixes: Vec<_> = messages.iter().flat_map(|(_, prefixes)| prefixes.clone()).collect();
                let unfinished = self.process(&prefixes, stop_at).await;
                let failures = messages.iter().filter_map(|(message_id, prefixes)| {
                    let (_, error) = unfinished.iter().find(|(prefix, _)| prefixes.contains(prefix))?;
                    tracing::warn!(message_id, %error, "message will be retried");
                    Some(json!({ "itemIdentifier": message_id }))
                });
                Ok(json!({ "batchItemFailures": failures.collect::<Vec<_>>() }))
            }
            Event::Prune(options) => {
                match prune::prune(&self.database, options, Some(stop_at), &Progress::Log).await {
                    Ok(Pruned { carts, loads, rejects, .. }) => {
                        tracing::info!(carts, loads, rejects, "pruned");
                    }
                    // The next prune does the rest.
                    Err(error @ PruneError::DeadlineReached) => tracing::warn!(%error, "prune stopped"),
                    Err(error) => return Err(error.into()),
                }
                Ok(json!({}))
            }
        }
    }

    /// Returns the prefixes of objects. Other objects are logged.
    fn prefixes(&self, objects: &[S3Url]) -> Vec<Prefix> {
        let prefix = |object| match Prefix::of_object(object, &self.incoming) {
            Ok(prefix) => Some(prefix),
            Err(reason) => {
                tracing::info!(url = %object, reason, "object ignored");
                None
            }
        };
        objects.iter().filter_map(prefix).collect()
    }

    /// Returns the id and the prefixes of a message. An invalid message is logged and not retried, because it stays
    /// invalid.
    fn message(&self, message: Message) -> (String, Vec<Prefix>) {
        let objects = message.objects.unwrap_or_else(|error| {
            tracing::error!(message_id = message.id, %error, "invalid message, it will not be retried");
            (self.count)(Metric::Failed);
            Vec::new()
        });
        (message.id, self.prefixes(&objects))
    }

    /// Processes each delivery once, in the order of their last events. Returns those that did not finish, with the
    /// error.
    async fn process(&self, prefixes: &[Prefix], stop_at: Instant) -> Vec<(Prefix, LoadError)> {
        let mut unfinished = Vec::new();
        let deliveries = Deliveries {
            database: &self.database,
            s3: &self.s3,
            incoming: &self.incoming,
            options: LoadOptions { stop_at: Some(stop_at), ..self.options.clone() },
            count: &self.count,
        };
        for (nth, prefix) in prefixes.iter().enumerate() {
            if prefixes[nth + 1..].contains(prefix) {
                continue;
            }
            // Boxed, because the compiler limits the depth of nested futures.
            match Box::pin(deliveries.process(prefix)).await {
                Ok(()) => {}
                // Retries would fail in the same way until the operator acts, and this reports the error at once.
                Err(error) if error.needs_operator() => {
                    let source = &prefix.source;
                    tracing::error!(source, %error, "load failed, it will not be retried");
                    (self.count)(Metric::Failed);
                }
                Err(error) => unfinished.push((prefix.clone(), error)),
            }
        }
        unfinished
    }
}
