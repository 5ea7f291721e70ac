//! The loader as a function: what it does for an S3 event. The Lambda side is the binary's, `src/lambda.rs`.

mod config;
mod event;
mod metrics;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use shared::database::ConnectOptions;
use tokio_postgres::Client;

pub use config::{Config, FORMER_VARIABLES, INCOMING_PREFIX, OWN_VARIABLES, variables};
pub use event::EventError;
pub use metrics::Metric;

use crate::database;
use crate::load::{self, LoadError, LoadOptions};
use crate::s3::S3;
use crate::s3_events::{self, DatasetOutcome, ObjectCreated, Registration};

use event::{Event, Message};

/// The max time between the end of an invocation's work and its deadline: a statement that builds an index takes
/// seconds, and the loader cannot interrupt it.
const MAX_DEADLINE_MARGIN: Duration = Duration::from_secs(60);

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
                let mut errors = self.handle_all(&[objects], stop_at).await;
                errors.pop().flatten().map_or_else(|| Ok(json!({})), |error| Err(error.into()))
            }
            Event::Messages(messages) => {
                let (ids, objects): (Vec<_>, Vec<_>) =
                    messages.into_iter().map(|message| self.objects(message)).unzip();
                let errors = self.handle_all(&objects, stop_at).await;
                let failures = ids.into_iter().zip(errors).filter_map(|(message_id, error)| {
                    let error = error?;
                    tracing::warn!(message_id, %error, "message will be retried");
                    Some(json!({ "itemIdentifier": message_id }))
                });
                Ok(json!({ "batchItemFailures": failures.collect::<Vec<_>>() }))
            }
        }
    }

    /// Returns the id and the objects of a message. An invalid message is logged and not retried, because it stays
    /// invalid.
    fn objects(&self, message: Message) -> (String, Vec<ObjectCreated>) {
        let objects = message.objects.unwrap_or_else(|error| {
            tracing::error!(message_id = message.id, %error, "invalid message, it will not be retried");
            (self.count)(Metric::Failed);
            Vec::new()
        });
        (message.id, objects)
    }

    /// Registers the objects of each message, then processes pending datasets. Returns for each message the error that
    /// makes SQS deliver it again, if there is one.
    async fn handle_all(&self, messages: &[Vec<ObjectCreated>], stop_at: Instant) -> Vec<Option<LoadError>> {
        let mut errors: Vec<_> = messages.iter().map(|_| None).collect();
        if messages.iter().all(Vec::is_empty) {
            return errors;
        }
        let (mut sources, mut client) = (Vec::new(), None);
        for (objects, failure) in messages.iter().zip(&mut errors) {
            let (registered, failed) = match self.register_all(&mut client, objects).await {
                Ok(registered) => (registered, None),
                Err(error) => (HashSet::new(), Some(error)),
            };
            sources.push(registered);
            *failure = failed;
        }
        drop(client);
        let all: HashSet<_> = sources.iter().flatten().cloned().collect();
        if let Err(error) = self.process_pending(&all, stop_at).await {
            let mut error = Some(error);
            for (sources, failure) in sources.iter().zip(&mut errors) {
                // A message whose dataset is still pending triggers the next invocation, which resumes.
                if !sources.is_empty() && failure.is_none() && self.is_pending(sources).await {
                    *failure = Some(error.take().unwrap_or(LoadError::DeadlineReached));
                }
            }
            if let Some(error) = error {
                tracing::warn!(%error, "processing stopped; other invocations process the pending datasets");
            }
        }
        errors
    }

    /// Registers objects and returns the datasets they belong to.
    async fn register_all(
        &self,
        client: &mut Option<Client>,
        objects: &[ObjectCreated],
    ) -> Result<HashSet<String>, LoadError> {
        let mut sources = HashSet::new();
        for object in objects {
            let client = match client {
                Some(client) => client,
                None => {
                    load::migrate_if_pending(&self.database).await?;
                    client.insert(database::connect(&self.database).await?)
                }
            };
            let url = &object.url;
            match s3_events::register(client, &self.s3, &self.incoming, object).await? {
                Registration::Ignored(reason) => tracing::info!(%url, reason, "object ignored"),
                Registration::Superseded(reason) => tracing::info!(%url, reason, "event superseded"),
                Registration::Registered { source, refused } => {
                    tracing::info!(%url, source, "object registered");
                    if let Some(reason) = refused {
                        tracing::error!(%url, source, reason, "file refused");
                        (self.count)(Metric::Failed);
                    }
                    sources.insert(source);
                }
            }
        }
        Ok(sources)
    }

    async fn process_pending(&self, sources: &HashSet<String>, stop_at: Instant) -> Result<(), LoadError> {
        if sources.is_empty() {
            return Ok(());
        }
        let client = database::connect(&self.database).await?;
        if !s3_events::is_any_pending(&client, sources).await? {
            return Ok(());
        }
        drop(client);
        let options = LoadOptions { stop_at: Some(stop_at), ..self.options.clone() };
        let report = |outcome| match outcome {
            DatasetOutcome::Published(summary) => {
                let (dataset, generation) = (&summary.dataset, summary.generation);
                tracing::info!(dataset, generation, "dataset published");
                (self.count)(Metric::Published);
            }
            DatasetOutcome::Failed(source, reason) => {
                tracing::error!(source, reason, "load failed; only new files start another load");
                (self.count)(Metric::Failed);
            }
            DatasetOutcome::NotReady(source, reason) => {
                tracing::warn!(source, reason, "dataset not ready");
            }
        };
        s3_events::process_pending(&self.database, &self.s3, &options, &report).await
    }

    /// Returns whether any of these datasets is still pending; true if the database does not respond.
    async fn is_pending(&self, sources: &HashSet<String>) -> bool {
        match database::connect(&self.database).await {
            Ok(client) => s3_events::is_any_pending(&client, sources).await.unwrap_or(true),
            Err(_) => true,
        }
    }
}
