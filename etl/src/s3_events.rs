//! Loads triggered by S3 events.
//!
//! Events arrive in any order, several times, hours apart. The loader registers each object. An event that completes a
//! dataset starts the processing of all pending datasets: the unfinished load first, then every complete dataset, one
//! after the other, under the loader lock. Invocations are interchangeable and idempotent, so a crash, a timeout or a
//! duplicate event is harmless: the next invocation does the rest.
//!
//! ```text
//! event ──register──> etl.incoming_file ──process_pending──> load ──> published or failed, files consumed
//! ```
//! A dataset is complete when its six required files have arrived, or all files that its manifest lists. A present
//! cart.csv is loaded too. A published dataset loads again when all six files are new, a failed one when any file is.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use shared::database::ConnectOptions;
use tokio_postgres::Client;

use crate::database;
use crate::ledger::{self, signed, unsigned};
use crate::load::{self, LoadError, LoadOptions, Summary};
use crate::locks;
use crate::s3::{Object, S3, S3Error, S3Url};
use crate::source::{Dataset, MANIFEST, SourceError, SourceFile, check_name};
use crate::table::{TABLES, Table};

/// The max wait for the connections of a load to close.
const UNLOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// An object of an S3 event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectCreated {
    /// Its URL.
    pub url: S3Url,
    /// Its ETag without quotes; none if the event lacks it.
    pub etag: Option<String>,
    /// The order of events of one key; empty if the event lacks it.
    pub sequencer: String,
}

/// The result of the registration of an object.
#[derive(Debug)]
pub enum Registration {
    /// It is not a file of a dataset; the reason.
    Ignored(String),
    /// It is deleted, replaced by a version with its own event, or a later event was registered first; the reason.
    Superseded(String),
    /// It is registered.
    Registered {
        /// The dataset's prefix.
        source: String,
        /// The reason why it can never be loaded, if there is one.
        refused: Option<String>,
    },
}

/// Returns the prefix of the dataset, its name, and the name of the file.
fn parse_key(url: &S3Url, incoming: &str) -> Result<(S3Url, String, &'static str), String> {
    let expected = || format!("expected {incoming}<dataset>/<file>, with a file of a dataset or {MANIFEST}");
    let (dataset, file) =
        url.key.strip_prefix(incoming).and_then(|rest| rest.split_once('/')).ok_or_else(expected)?;
    let names = TABLES.iter().map(|table| table.file).chain([MANIFEST]);
    let file = names.into_iter().find(|name| *name == file).ok_or_else(expected)?;
    check_name(dataset).map_err(|error| error.to_string())?;
    let prefix = S3Url { bucket: url.bucket.clone(), key: format!("{incoming}{dataset}/") };
    Ok((prefix, dataset.to_owned(), file))
}

/// Checks the object of an event and registers it.
///
/// # Errors
/// A failure of S3 or the database; a retry of the event may succeed.
pub async fn register(
    client: &mut Client,
    s3: &S3,
    incoming: &str,
    created: &ObjectCreated,
) -> Result<Registration, LoadError> {
    let (prefix, dataset, file) = match parse_key(&created.url, incoming) {
        Ok(parsed) => parsed,
        Err(reason) => return Ok(Registration::Ignored(reason)),
    };
    let superseded = |error: &dyn std::fmt::Display| Ok(Registration::Superseded(error.to_string()));
    let object = match s3.head(&created.url).await {
        Err(error @ S3Error::Gone(_)) => return superseded(&error),
        object => object?,
    };
    if created.etag.as_ref().is_some_and(|etag| object.etag.trim_matches('"') != etag) {
        return superseded(&S3Error::Replaced(created.url.clone()));
    }
    let opened = match TABLES.iter().find(|table| table.file == file) {
        Some(table) => SourceFile::from_object(s3, object.clone(), table).await.map(drop),
        None => Dataset::manifest_at(s3, &prefix).await.map(drop),
    };
    let refused = match opened {
        Ok(()) => None,
        Err(error) if error.is_stale_source() => return superseded(&error),
        Err(error) if error.is_permanent() => Some(error.to_string()),
        Err(error) => return Err(error.into()),
    };

    let source = prefix.to_string();
    let transaction = client.transaction().await?;
    // Locks the dataset: of two events that complete it together, the second sees the file of the first.
    transaction
        .execute(
            "insert into etl.incoming (source, dataset) values ($1, $2)
             on conflict (source) do update set arrivals = incoming.arrivals + 1, reason = null",
            &[&source, &dataset],
        )
        .await?;
    let known = transaction
        .query_opt(
            "select sequencer, version from etl.incoming_file where source = $1 and file = $2",
            &[&source, &file],
        )
        .await?;
    let known = known.map(|row| (row.get::<_, String>(0), row.get::<_, String>(1)));
    if let Some((sequencer, version)) = &known {
        if is_earlier(&created.sequencer, sequencer) {
            return Ok(Registration::Superseded("a later event was registered first".to_owned()));
        }
        if (sequencer, version) == (&created.sequencer, &object.etag) {
            return Ok(Registration::Registered { source, refused: None }); // a duplicate, already logged
        }
    }
    transaction
        .execute(
            "insert into etl.incoming_file (source, file, size_bytes, version, sequencer, refused)
             values ($1, $2, $3, $4, $5, $6)
             on conflict (source, file) do update
             set size_bytes = excluded.size_bytes, version = excluded.version, sequencer = excluded.sequencer,
                 refused = excluded.refused, arrived_at = clock_timestamp(), generation = null",
            &[&source, &file, &signed(object.size), &object.etag, &created.sequencer, &refused],
        )
        .await?;
    transaction.commit().await?;
    Ok(Registration::Registered { source, refused })
}

/// Returns whether one event of a key is earlier than another. Sequencers are hexadecimal; the shorter one is padded
/// with zeros on the right: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html>.
fn is_earlier(sequencer: &str, other: &str) -> bool {
    if sequencer.is_empty() || other.is_empty() {
        return false;
    }
    let digits = |text: &str| {
        let length = sequencer.len().max(other.len());
        format!("{text:0<length$}").to_ascii_uppercase()
    };
    digits(sequencer) < digits(other)
}

/// The complete datasets that are neither loaded nor failed: the one with an unfinished load first, the others in the
/// order in which they became complete. `$1` has the required files, `{unfinished}` is the condition for such a load.
const PENDING: &str = "
select incoming.source, incoming.dataset
from etl.incoming
join etl.incoming_file as arrived on arrived.source = incoming.source
left join etl.load as ended on ended.generation = arrived.generation
left join (select source, generation, held from etl.load where {unfinished}) as unfinished
    on unfinished.source = incoming.source
group by incoming.source
having count(*) filter (where arrived.file = any($1) and arrived.refused is null) = cardinality($1)
    and coalesce(not bool_or(ended.step = 'published') filter (where arrived.file = any($1)), true)
    and bool_or(arrived.generation is null)
    and bool_or(arrived.refused is not null) is false
    and coalesce(not bool_or(unfinished.held), true)
order by coalesce(bool_or(unfinished.generation is not null), false) desc, max(arrived.arrived_at), incoming.source";

struct Pending {
    source: S3Url,
    dataset: String,
}

async fn pending(client: &Client) -> Result<Vec<Pending>, LoadError> {
    let required: Vec<&str> = TABLES.iter().filter(|table| !table.optional).map(|table| table.file).collect();
    let rows = client.query(&PENDING.replace("{unfinished}", ledger::UNFINISHED), &[&required]).await?;
    let pending_of = |row: &tokio_postgres::Row| {
        let source: &str = row.get(0);
        let source = source.parse().map_err(|error| LoadError::Bug(format!("etl.incoming: {error}")))?;
        Ok(Pending { source, dataset: row.get(1) })
    };
    rows.iter().map(pending_of).collect()
}

/// Returns whether any of these datasets is ready to load. One that lacks files of its manifest is not.
///
/// # Errors
/// A failure of the database.
pub async fn is_any_pending(client: &Client, sources: &HashSet<String>) -> Result<bool, LoadError> {
    let not_ready = not_ready(client).await?;
    let pending = pending(client).await?;
    Ok(pending
        .iter()
        .map(|pending| pending.source.to_string())
        .any(|source| sources.contains(&source) && !not_ready.contains(&source)))
}

/// Returns the datasets with a recorded reason why they are not loaded.
async fn not_ready(client: &Client) -> Result<HashSet<String>, LoadError> {
    let rows = client.query("select source from etl.incoming where reason is not null", &[]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// The outcome of one dataset.
#[derive(Debug)]
pub enum DatasetOutcome {
    /// It is published.
    Published(Summary),
    /// It can never be loaded with these files; its prefix and the reason.
    Failed(String, String),
    /// It is not ready to load; its prefix and the reason.
    NotReady(String, String),
}

/// Loads every pending dataset until the deadline, and calls `report` with the outcome of each.
///
/// # Errors
/// A temporary failure, or the deadline. Reported outcomes stay.
pub async fn process_pending(
    database: &ConnectOptions,
    s3: &S3,
    options: &LoadOptions,
    report: &(dyn Fn(DatasetOutcome) + Sync),
) -> Result<(), LoadError> {
    let mut client = database::connect(database).await?;
    load::lock(&client, options).await?;
    let done = process_locked(&mut client, database, s3, options, report).await;
    let unlocked = locks::unlock_loader(&client, Instant::now() + UNLOCK_TIMEOUT).await;
    done?;
    Ok(unlocked?)
}

async fn process_locked(
    client: &mut Client,
    database: &ConnectOptions,
    s3: &S3,
    options: &LoadOptions,
    report: &(dyn Fn(DatasetOutcome) + Sync),
) -> Result<(), LoadError> {
    let mut skipped = not_ready(client).await?;
    // A dataset that S3 does not return must not block the next ones.
    let mut read_error = None;
    loop {
        let next =
            pending(client).await?.into_iter().find(|next| !skipped.contains(&next.source.to_string()));
        let Some(Pending { source: prefix, dataset }) = next else { return read_error.map_or(Ok(()), Err) };
        if options.deadline_reached() || !locks::wait_for_workers(client, options.stop_at).await? {
            return Err(LoadError::DeadlineReached);
        }
        let source = prefix.to_string();
        let (arrivals, files) = (arrivals(client, &source).await?, registered_files(client, &prefix).await?);
        let loaded = match open(&files, s3, &prefix, dataset).await {
            Ok(dataset) => load::load_locked(client, database, dataset, options).await,
            Err(error) => Err(error),
        };
        let loaded = match loaded {
            Err(error) if error.is_stale_source() => {
                options.progress.show(&error.to_string());
                match forget_replaced(client, s3, &prefix, &files, error).await {
                    Ok(()) => continue,
                    Err(error) => Err(error),
                }
            }
            loaded => loaded,
        };
        match loaded {
            Ok(summary) => report(DatasetOutcome::Published(summary)),
            Err(
                error @ LoadError::Source(SourceError::Missing { .. } | SourceError::ManifestSize { .. }),
            ) => {
                if record_reason(client, &source, arrivals, &error).await? {
                    skipped.insert(source.clone());
                    report(DatasetOutcome::NotReady(source, error.to_string()));
                }
            }
            Err(error) if error.is_permanent() => {
                // Without a load there is no record of the failure; then the dataset itself has the reason.
                if pending(client).await?.iter().any(|pending| pending.source == prefix)
                    && record_reason(client, &source, arrivals, &error).await?
                {
                    skipped.insert(source.clone());
                }
                report(DatasetOutcome::Failed(source, error.to_string()));
            }
            Err(error @ LoadError::Source(_)) => {
                options.progress.show(&error.to_string());
                skipped.insert(source);
                read_error.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Opens the dataset below a prefix from its registered files.
async fn open(
    files: &[(String, Object)],
    s3: &S3,
    prefix: &S3Url,
    name: String,
) -> Result<Dataset, LoadError> {
    let of_table = |table: &'static Table| {
        let (_, object) = files.iter().find(|(file, _)| file == table.file)?;
        Some((table, object.clone()))
    };
    let objects = TABLES.iter().filter_map(of_table).collect();
    let manifest = Dataset::manifest_at(s3, prefix).await?;
    Ok(Dataset::from_objects(s3, prefix, name, objects, manifest.as_ref()).await?)
}

/// Returns the registered files of a dataset.
async fn registered_files(client: &Client, prefix: &S3Url) -> Result<Vec<(String, Object)>, LoadError> {
    let rows = client
        .query(
            "select file, size_bytes, version from etl.incoming_file where source = $1",
            &[&prefix.to_string()],
        )
        .await?;
    let files = rows.iter().map(|row| {
        let file: String = row.get(0);
        let object = Object { url: prefix.join(&file), size: unsigned(row.get(1)), etag: row.get(2) };
        (file, object)
    });
    Ok(files.collect())
}

/// Removes registered files whose objects are deleted or replaced: the event of the new version completes the dataset
/// again. That event may have arrived already, after the load of these `files` began.
async fn forget_replaced(
    client: &Client,
    s3: &S3,
    prefix: &S3Url,
    files: &[(String, Object)],
    error: LoadError,
) -> Result<(), LoadError> {
    let current = registered_files(client, prefix).await?;
    let has_changed = files.iter().any(|file| !current.contains(file));
    let mut removed = 0;
    for (file, object) in current {
        let is_current = match s3.head(&object.url).await {
            Err(S3Error::Gone(_)) => false,
            version => version? == object,
        };
        if !is_current {
            // Only this version: an event may have registered a new one.
            removed += client
                .execute(
                    "delete from etl.incoming_file where source = $1 and file = $2 and version = $3",
                    &[&prefix.to_string(), &file, &object.etag],
                )
                .await?;
        }
    }
    // Otherwise S3 contradicts itself, and an immediate retry would get the same response.
    if has_changed || removed > 0 { Ok(()) } else { Err(error) }
}

/// Returns the number of registrations of a dataset's files.
async fn arrivals(client: &Client, source: &str) -> Result<i64, LoadError> {
    let row = client.query_one("select arrivals from etl.incoming where source = $1", &[&source]).await?;
    Ok(row.get(0))
}

/// Records why a complete dataset is not loaded; the next file of it clears the reason. Returns false, and records
/// nothing, if a file was registered since there were `arrivals`.
async fn record_reason(
    client: &Client,
    source: &str,
    arrivals: i64,
    reason: &LoadError,
) -> Result<bool, LoadError> {
    let updated = client
        .execute(
            "update etl.incoming set reason = $3 where source = $1 and arrivals = $2",
            &[&source, &arrivals, &reason.to_string()],
        )
        .await?;
    Ok(updated > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_names_the_dataset_of_a_file() {
        let at = |key: &str| {
            let url = S3Url { bucket: "b".to_owned(), key: key.to_owned() };
            parse_key(&url, "incoming/").map(|(prefix, dataset, file)| (prefix.to_string(), dataset, file))
        };
        let found = ("s3://b/incoming/spring/".to_owned(), "spring".to_owned(), "photos.csv");
        assert_eq!(at("incoming/spring/photos.csv").unwrap(), found);
        assert_eq!(at("incoming/spring/manifest.json").unwrap().2, "manifest.json");
        for other in [
            "incoming/photos.csv",
            "incoming/a/b/photos.csv",
            "incoming/spring/readme.txt",
            "spring/photos.csv",
        ] {
            assert!(at(other).unwrap_err().starts_with("expected incoming/<dataset>/<file>"), "{other}");
        }
        assert!(at("incoming/spring sale/photos.csv").unwrap_err().contains("invalid dataset name"));
    }

    #[test]
    fn sequencers_of_any_length_order_the_events_of_a_key() {
        assert!(is_earlier("0055AED6DCD90281E5", "0055AED6DCD90281E6"));
        assert!(!is_earlier("0055AED6DCD90281E5", "0055AED6DCD90281E5"));
        assert!(is_earlier("0055", "005501"));
        assert!(!is_earlier("0056", "0055FF"));
        assert!(!is_earlier("0055", "005500"));
        assert!(is_earlier("00aa", "00AB"));
        assert!(!is_earlier("", "0055") && !is_earlier("0055", ""));
    }
}
