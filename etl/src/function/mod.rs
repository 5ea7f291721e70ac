//! The loader as a function: what an event of S3 makes it do. How Lambda calls it is the binary's, `src/lambda.rs`.

mod config;
mod event;
mod metrics;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use shared::database::ConnectOptions;
use tokio_postgres::Client;

pub use config::{Config, INCOMING_PREFIX, OWN_VARIABLES, variables};
pub use event::EventError;
pub use metrics::Metric;

use crate::database;
use crate::incoming::{self, Arrival, Arrived, WorkedOff};
use crate::load::{self, LoadError, LoadOptions};
use crate::s3::S3;

use event::{Event, Message};

/// How long before its deadline an invocation stops, at most: a statement that makes an index takes seconds, and can't be
/// stopped half-way.
const LONGEST_MARGIN: Duration = Duration::from_secs(60);

/// The loader at work for events.
pub struct Function {
    address: ConnectOptions,
    s3: S3,
    options: LoadOptions,
    incoming: String,
    count: Box<dyn Fn(Metric) + Send + Sync>,
}

/// Why an event is to come again.
#[derive(Debug, thiserror::Error)]
pub enum FunctionError {
    /// It is none. It comes again as it is, and then to where it is looked at.
    #[error(transparent)]
    Event(#[from] EventError),
    /// What may succeed later did not.
    #[error(transparent)]
    Load(#[from] LoadError),
}

impl Function {
    /// `count` is told of what is counted, once for each.
    pub fn new(config: &Config, s3: S3, count: impl Fn(Metric) + Send + Sync + 'static) -> Self {
        Self {
            address: config.database.clone(),
            options: config.load_options(&s3),
            s3,
            incoming: config.incoming.clone(),
            count: Box::new(count),
        }
    }

    /// Does what there is to do for an event, for `time` at most. Answers with the messages that are to come again, in
    /// the form of a partial batch response.
    ///
    /// # Errors
    /// That the event says nothing, or came from S3 directly and is to come again.
    pub async fn handle(&self, event: &str, time: Duration) -> Result<Value, FunctionError> {
        let stop_at = Instant::now() + time.saturating_sub(LONGEST_MARGIN.min(time / 5));
        match event::parse(event).inspect_err(|_| (self.count)(Metric::Failed))? {
            Event::Direct(arrivals) => {
                let mut again = self.handle_all(&[arrivals], stop_at).await;
                again.pop().flatten().map_or_else(|| Ok(json!({})), |error| Err(error.into()))
            }
            Event::Messages(messages) => {
                let (ids, arrivals): (Vec<_>, Vec<_>) =
                    messages.into_iter().map(|message| self.arrivals(message)).unzip();
                let again = self.handle_all(&arrivals, stop_at).await;
                let failures = ids.into_iter().zip(again).filter_map(|(id, error)| {
                    let error = error?;
                    tracing::warn!(message = id, "to come again: {error}");
                    Some(json!({ "itemIdentifier": id }))
                });
                Ok(json!({ "batchItemFailures": failures.collect::<Vec<_>>() }))
            }
        }
    }

    /// What a message tells of. One that says nothing never will: it is told of and not asked for again.
    fn arrivals(&self, message: Message) -> (String, Vec<Arrival>) {
        let arrivals = message.arrivals.unwrap_or_else(|error| {
            tracing::error!(message = message.id, "{error}");
            (self.count)(Metric::Failed);
            Vec::new()
        });
        (message.id, arrivals)
    }

    /// Records what each message tells of, then works off what there is to do. Answers for each why it is to come again,
    /// if so.
    async fn handle_all(&self, messages: &[Vec<Arrival>], stop_at: Instant) -> Vec<Option<LoadError>> {
        let mut again: Vec<_> = messages.iter().map(|_| None).collect();
        if messages.iter().all(Vec::is_empty) {
            return again;
        }
        let (mut sources, mut client) = (Vec::new(), None);
        for (arrivals, again) in messages.iter().zip(&mut again) {
            let (recorded, failed) = match self.record_all(&mut client, arrivals).await {
                Ok(recorded) => (recorded, None),
                Err(error) => (HashSet::new(), Some(error)),
            };
            sources.push(recorded);
            *again = failed;
        }
        drop(client);
        let all: HashSet<_> = sources.iter().flatten().cloned().collect();
        if let Err(error) = self.work_off(&all, stop_at).await {
            let mut error = Some(error);
            for (sources, again) in sources.iter().zip(&mut again) {
                // A message whose dataset is still due brings the next invocation, which goes on.
                if !sources.is_empty() && again.is_none() && self.is_due(sources).await {
                    *again = Some(error.take().unwrap_or(LoadError::OutOfTime));
                }
            }
            if let Some(error) = error {
                tracing::warn!("left to others: {error}");
            }
        }
        again
    }

    /// Records arrivals, and answers with the datasets they belong to.
    async fn record_all(
        &self,
        client: &mut Option<Client>,
        arrivals: &[Arrival],
    ) -> Result<HashSet<String>, LoadError> {
        let mut sources = HashSet::new();
        for arrival in arrivals {
            let client = match client {
                Some(client) => client,
                None => {
                    load::migrate_if_pending(&self.address).await?;
                    client.insert(database::connect(&self.address).await?)
                }
            };
            match incoming::arrive(client, &self.s3, &self.incoming, arrival).await? {
                Arrived::Ignored(why) => tracing::info!("ignored: {why}"),
                Arrived::Superseded(why) => tracing::info!("superseded: {why}"),
                Arrived::Recorded { source, refused } => {
                    tracing::info!("arrived: {}", arrival.url);
                    if let Some(why) = refused {
                        tracing::error!("refused: {why}");
                        (self.count)(Metric::Failed);
                    }
                    sources.insert(source);
                }
            }
        }
        Ok(sources)
    }

    async fn work_off(&self, sources: &HashSet<String>, stop_at: Instant) -> Result<(), LoadError> {
        if sources.is_empty() {
            return Ok(());
        }
        let client = database::connect(&self.address).await?;
        if !incoming::is_any_due(&client, sources).await? {
            return Ok(());
        }
        drop(client);
        let options = LoadOptions { stop_at: Some(stop_at), ..self.options.clone() };
        let tell = |done| match done {
            WorkedOff::Published(summary) => {
                let (dataset, generation) = (&summary.dataset, summary.generation);
                tracing::info!(dataset, generation, "published");
                (self.count)(Metric::Published);
            }
            WorkedOff::Failed(source, why) => {
                tracing::error!(source, "failed, and will not be tried again as it is: {why}");
                (self.count)(Metric::Failed);
            }
            WorkedOff::Waits(source, why) => tracing::warn!(source, "waits: {why}"),
        };
        incoming::work_off(&self.address, &self.s3, &options, &tell).await
    }

    /// Whether any of these datasets is still to be loaded; if that can't be told, yes.
    async fn is_due(&self, sources: &HashSet<String>) -> bool {
        match database::connect(&self.address).await {
            Ok(client) => incoming::is_any_due(&client, sources).await.unwrap_or(true),
            Err(_) => true,
        }
    }
}
