//! Loads triggered by S3 events.
//!
//! Events arrive in any order, several times, hours apart. So an event only names a prefix, and the loader looks at the
//! objects themselves: their versions and the latest load of the prefix say what to do (`plan`). Invocations are
//! interchangeable and idempotent: after a crash, a timeout or a duplicate event, the next invocation does the rest.
//!
//! ```text
//! event ──prefix──> look at the objects ──> load, wait, ignore or nothing
//!                   (again under the loader lock)
//! ```

mod history;
mod plan;

use std::time::{Duration, Instant};

use shared::database::ConnectOptions;
use tokio_postgres::Client;

use crate::database;
use crate::ledger;
use crate::load::{self, LoadError, LoadOptions};
use crate::locks;
use crate::metrics::Metric;
use crate::s3::{Object, S3, S3Error, S3Url};
use crate::source::{Dataset, MANIFEST, SourceError, check_name, present_objects};
use crate::table::Table;

use history::Latest;
use plan::{Plan, plan};

/// The max wait for the connections of a load to close.
const UNLOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// The max number of attempts to load files that are replaced meanwhile.
const MAX_ATTEMPTS: u32 = 3;

/// The prefix of a dataset in S3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// Its URL, `s3://bucket/incoming/<dataset>/`.
    pub source: String,
    url: S3Url,
    dataset: String,
}

impl Prefix {
    /// Returns the prefix of an object's dataset. `incoming` is the prefix of all datasets, with a slash at its end.
    ///
    /// # Errors
    /// The reason why the object is not a file of a dataset.
    pub fn of_object(object: &S3Url, incoming: &str) -> Result<Self, String> {
        let (prefix, file) = object.key.rsplit_once('/').unwrap_or_default();
        let dataset = prefix.strip_prefix(incoming).filter(|dataset| !dataset.contains('/'));
        match dataset {
            Some(dataset) if file == MANIFEST || Table::of_file(file).is_some() => {
                check_name(dataset).map_err(|error| error.to_string())?;
                let url = S3Url { bucket: object.bucket.clone(), key: format!("{prefix}/") };
                Ok(Self { source: url.to_string(), dataset: dataset.to_owned(), url })
            }
            _ => Err(format!(
                "expected {incoming}<dataset>/<file>, with a file of a dataset (perhaps .gz) or {MANIFEST}"
            )),
        }
    }
}

/// The present files of a prefix.
struct Delivery {
    prefix: Prefix,
    files: Vec<(&'static Table, Object)>,
}

impl Delivery {
    /// Looks at every possible file of a dataset.
    async fn look(s3: &S3, prefix: &Prefix) -> Result<Self, S3Error> {
        Ok(Self { prefix: prefix.clone(), files: present_objects(s3, &prefix.url).await? })
    }

    /// Returns the object of a table's file.
    fn file(&self, name: &str) -> Option<&Object> {
        self.files.iter().find(|(table, _)| table.file == name).map(|(_, object)| object)
    }

    /// Returns the versions of the files.
    fn versions(&self) -> String {
        let versions = self.files.iter().map(|(table, object)| format!("{} {}", table.file, object.etag));
        versions.collect::<Vec<_>>().join("\n")
    }

    /// Returns a file that has another version than in `versions`.
    fn replaced_since(&self, versions: &str) -> Option<&'static str> {
        let is_replaced = |(table, object): &&(&'static Table, Object)| {
            let noted = versions.lines().find_map(|line| line.strip_prefix(table.file)?.strip_prefix(' '));
            noted.is_some_and(|etag| etag != object.etag)
        };
        self.files.iter().find(is_replaced).map(|(table, _)| table.file)
    }
}

/// The loader of deliveries.
pub struct Deliveries<'a> {
    /// The database to load into.
    pub database: &'a ConnectOptions,
    /// The client that reads the files.
    pub s3: &'a S3,
    /// The prefix of the keys of all datasets, with a slash at its end.
    pub incoming: &'a str,
    /// The options of each load.
    pub options: LoadOptions,
    /// Counts an event.
    pub count: &'a (dyn Fn(Metric) + Send + Sync),
}

impl Deliveries<'_> {
    /// Loads the files below a prefix, if they are a delivery that was not loaded before. Before a load, an unfinished
    /// load of another delivery is resumed, because there can be only one. Failures that a retry cannot help are logged
    /// and recorded.
    ///
    /// # Errors
    /// A temporary failure, or the deadline. A later call resumes.
    pub async fn process(&self, prefix: &Prefix) -> Result<(), LoadError> {
        load::migrate_if_pending(self.database).await?;
        let mut client = database::connect(self.database).await?;
        let (delivery, latest, plan) = self.look(&client, prefix).await?;
        let is_unfinished = latest.as_ref().is_some_and(Latest::can_resume);
        if !matches!(plan, Plan::Load { .. }) && !is_unfinished {
            return self.report(&client, &delivery, latest.as_ref(), plan).await;
        }
        load::lock(&client, &self.options).await?;
        let done = self.process_locked(&mut client, prefix).await;
        let unlocked = locks::unlock_loader(&client, Instant::now() + UNLOCK_TIMEOUT).await;
        done?;
        Ok(unlocked?)
    }

    async fn process_locked(&self, client: &mut Client, prefix: &Prefix) -> Result<(), LoadError> {
        if let Some((source, dataset)) = history::unfinished(client).await?
            && let Ok(manifest) = format!("{source}{MANIFEST}").parse()
            && let Ok(other) = Prefix::of_object(&manifest, self.incoming)
            && other != *prefix
            && other.dataset == dataset
        {
            match self.load(client, &other).await {
                // A delivery that S3 does not return must not block the others.
                Err(error @ LoadError::Source(_)) => {
                    tracing::warn!(source, %error, "cannot resume the load of another delivery");
                }
                done => done?,
            }
        }
        self.load(client, prefix).await
    }

    /// Looks at a delivery and at the latest load of its prefix.
    async fn look(
        &self,
        client: &Client,
        prefix: &Prefix,
    ) -> Result<(Delivery, Option<Latest>, Plan), LoadError> {
        let latest = history::latest(client, &prefix.source).await?;
        let manifest = async {
            match Dataset::manifest_at(self.s3, &prefix.url).await {
                Err(error) if !error.is_permanent() => Err(error),
                manifest => Ok(manifest.transpose()),
            }
        };
        let delivery = async { Ok(Delivery::look(self.s3, prefix).await?) };
        let (delivery, manifest) = tokio::try_join!(delivery, manifest)?;
        let noted = match latest {
            Some(_) => None, // the files of that load count
            None => history::noted_files(client, prefix).await?,
        };
        let replaced = noted.as_deref().and_then(|noted| delivery.replaced_since(noted));
        let plan = plan(&delivery, manifest, latest.as_ref(), replaced);
        Ok((delivery, latest, plan))
    }

    /// Loads a delivery, under the loader lock, or reports why not.
    async fn load(&self, client: &mut Client, prefix: &Prefix) -> Result<(), LoadError> {
        let mut stale = None;
        for _ in 0..MAX_ATTEMPTS {
            if self.options.deadline_reached()
                || !locks::wait_for_workers(client, self.options.stop_at).await?
            {
                return Err(LoadError::DeadlineReached);
            }
            let (delivery, latest, plan) = self.look(client, prefix).await?;
            let Plan::Load { manifest, without_cart } = plan else {
                if latest.as_ref().is_some_and(Latest::can_resume) {
                    ledger::abandon(client, "its files or its manifest were replaced").await?;
                }
                return self.report(client, &delivery, latest.as_ref(), plan).await;
            };
            let is_reused = latest.is_some();
            let files = delivery.files.iter().filter(|(table, _)| !(without_cart && table.optional));
            let files: Vec<_> = files.cloned().collect();
            history::clear_note(client, prefix).await?;
            let dataset = Dataset::from_objects(
                self.s3,
                &prefix.url,
                prefix.dataset.clone(),
                files.clone(),
                manifest.as_ref(),
            );
            let loaded = match dataset.await {
                Ok(dataset) => load::load_locked(client, self.database, dataset, &self.options).await,
                Err(error) => {
                    if error.is_permanent() {
                        let version = manifest.and_then(|manifest| manifest.version);
                        history::record_refused(client, prefix, version, &files, &error.to_string()).await?;
                    }
                    Err(error.into())
                }
            };
            match loaded {
                Ok(_) => {
                    stale = None;
                    self.report_load(client, prefix, is_reused, None).await?;
                    if !without_cart {
                        return Ok(());
                    } // the next attempt reports the cart
                }
                Err(error) if error.is_stale_source() => {
                    tracing::warn!(source = prefix.source, %error, "files were replaced during the load");
                    if latest.is_none() && history::latest(client, &prefix.source).await?.is_none() {
                        // Otherwise the next look would find a first delivery, of old and new files perhaps.
                        let reason = "a file was replaced when the load began";
                        history::record_refused(client, prefix, None, &files, reason).await?;
                    }
                    stale = Some(error);
                }
                Err(error) if error.is_permanent() => {
                    return self.report_load(client, prefix, is_reused, Some(&error)).await;
                }
                Err(error) => return Err(error),
            }
        }
        stale.map_or(Ok(()), Err)
    }

    /// Logs the end of the latest load of a prefix, with its row counts. `is_reused` says whether it is not the first.
    async fn report_load(
        &self,
        client: &Client,
        prefix: &Prefix,
        is_reused: bool,
        error: Option<&LoadError>,
    ) -> Result<(), LoadError> {
        let source = &prefix.source;
        let Some(load) = history::latest(client, source).await? else { return Ok(()) };
        let (dataset, generation) = (&prefix.dataset, load.generation);
        let (rows_loaded, rows_repaired, rows_rejected) = history::row_counts(client, generation).await?;
        let rejects = history::reasons(client, generation).await?;
        match error {
            None => {
                tracing::info!(
                    dataset,
                    source,
                    generation,
                    rows_loaded,
                    rows_repaired,
                    rows_rejected,
                    rejects,
                    "dataset published"
                );
                (self.count)(Metric::Published);
            }
            // Perhaps the other files of the manifest are still to come.
            Some(error @ LoadError::Source(SourceError::ManifestHash { .. })) if is_reused => {
                tracing::warn!(dataset, source, generation, %error, "delivery does not match its manifest");
            }
            Some(error) => {
                tracing::error!(
                    dataset, source, generation, rows_loaded, rows_repaired, rows_rejected, rejects, %error, "load failed"
                );
                (self.count)(Metric::Failed);
            }
        }
        Ok(())
    }

    /// Logs why a delivery is not loaded, and notes it for `atelier-etl status`. Counts and warns once for each reason
    /// and version of the files.
    async fn report(
        &self,
        client: &Client,
        delivery: &Delivery,
        latest: Option<&Latest>,
        plan: Plan,
    ) -> Result<(), LoadError> {
        let source = &delivery.prefix.source;
        let reason = match &plan {
            Plan::Load { .. } => return Ok(()),
            Plan::Nothing(reason) => {
                tracing::info!(source, reason, "nothing to load");
                return Ok(history::clear_note(client, &delivery.prefix).await?);
            }
            Plan::Refuse(reason) => {
                history::record_refused(client, &delivery.prefix, None, &delivery.files, reason).await?;
                tracing::warn!(source, reason, "delivery ignored");
                (self.count)(Metric::Ignored);
                return Ok(history::clear_note(client, &delivery.prefix).await?);
            }
            Plan::Wait(reason) | Plan::Mismatch(reason) | Plan::Ignore(reason) | Plan::Invalid(reason) => {
                reason
            }
        };
        let generation = latest.map_or(0, |latest| latest.generation);
        let is_new =
            history::note(client, &delivery.prefix, generation, reason, &delivery.versions()).await?;
        match plan {
            Plan::Mismatch(_) if is_new => {
                tracing::warn!(source, reason, "delivery does not match its manifest");
            }
            Plan::Ignore(_) if is_new => {
                tracing::warn!(source, reason, "delivery ignored");
                (self.count)(Metric::Ignored);
            }
            Plan::Invalid(_) if is_new => {
                tracing::error!(source, error = reason, "delivery is invalid");
                (self.count)(Metric::Failed);
            }
            _ => tracing::info!(source, reason, "delivery waits"),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_names_the_dataset_of_a_file() {
        let at = |key: &str| {
            let url = S3Url { bucket: "b".to_owned(), key: key.to_owned() };
            Prefix::of_object(&url, "incoming/").map(|prefix| (prefix.source, prefix.dataset))
        };
        let found = ("s3://b/incoming/spring/".to_owned(), "spring".to_owned());
        for file in ["photos.csv", "photos.csv.gz", "manifest.json"] {
            assert_eq!(at(&format!("incoming/spring/{file}")).unwrap(), found);
        }
        for other in [
            "incoming/photos.csv",
            "incoming/a/b/photos.csv",
            "incoming/spring/readme.txt",
            "incoming/spring/manifest.json.gz",
            "incoming/spring/",
            "incoming/",
            "spring/photos.csv",
            "photos.csv",
        ] {
            assert!(at(other).unwrap_err().starts_with("expected incoming/<dataset>/<file>"), "{other}");
        }
        assert!(at("incoming/spring sale/photos.csv").unwrap_err().contains("invalid dataset name"));
    }
}
