//! What arrives in S3, and the loads that come of it.
//!
//! Events say which objects there are; they come in any order, more than once, and hours apart. Each is recorded, and
//! whoever records one that makes a dataset whole works off what there is to do: an unfinished load first, then every
//! dataset that is whole, one after another, under the loader's lock. So it does not matter which invocation does what,
//! nor whether one was killed: the next finds what is left, or finds nothing.
//!
//! ```text
//! event ──arrive──> etl.incoming_file ──due──> load ──> published, or failed: its objects are used up
//! ```
//! A dataset is whole when its six files have arrived (cart.csv goes with them if it is there), or what its manifest
//! lists. One that was published is loaded again when all six have arrived anew; one that failed, when one has.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use shared::database::ConnectOptions;
use tokio_postgres::Client;

use crate::database;
use crate::load::{self, LoadError, LoadOptions, Summary};
use crate::record::{self, signed, unsigned};
use crate::s3::{Object, S3, S3Error, Url};
use crate::source::{Dataset, MANIFEST, SourceError, SourceFile, check_name};
use crate::table::{TABLES, Table};

/// How long the connections of a load may take to close after it.
const LEAVING: Duration = Duration::from_secs(10);

/// An object that an event tells of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Where it is.
    pub url: Url,
    /// Its ETag, without quotes; none if the event has none.
    pub etag: Option<String>,
    /// What orders the events of one key; empty if the event has none.
    pub sequencer: String,
}

/// What became of an arrival.
#[derive(Debug)]
pub enum Arrived {
    /// It is no file of a dataset; why not.
    Ignored(String),
    /// The object is gone, or another version by now, which has an event of its own; or a later event was here first.
    Superseded(String),
    /// It is recorded.
    Recorded {
        /// The dataset's prefix.
        source: String,
        /// Why it can never be loaded, if so.
        refused: Option<String>,
    },
}

/// The place of a file: its dataset's prefix, the dataset's name, and the file's.
fn place(url: &Url, incoming: &str) -> Result<(Url, String, &'static str), String> {
    let expected =
        || format!("expected {incoming}<dataset>/<file>, the file one of a dataset's or {MANIFEST}");
    let (dataset, file) =
        url.key.strip_prefix(incoming).and_then(|rest| rest.split_once('/')).ok_or_else(expected)?;
    let names = TABLES.iter().map(|table| table.file).chain([MANIFEST]);
    let file = names.into_iter().find(|name| *name == file).ok_or_else(expected)?;
    check_name(dataset).map_err(|error| error.to_string())?;
    let prefix = Url { bucket: url.bucket.clone(), key: format!("{incoming}{dataset}/") };
    Ok((prefix, dataset.to_owned(), file))
}

/// Looks at the object of an arrival and records it.
///
/// # Errors
/// S3 or the database failed; the same event may succeed later.
pub async fn arrive(
    client: &mut Client,
    s3: &S3,
    incoming: &str,
    arrival: &Arrival,
) -> Result<Arrived, LoadError> {
    let (prefix, dataset, file) = match place(&arrival.url, incoming) {
        Ok(place) => place,
        Err(why) => return Ok(Arrived::Ignored(format!("{}: {why}", arrival.url))),
    };
    let gone = |error: &dyn std::fmt::Display| Ok(Arrived::Superseded(error.to_string()));
    let object = match s3.look_at(&arrival.url).await {
        Err(error @ S3Error::Gone(_)) => return gone(&error),
        object => object?,
    };
    if arrival.etag.as_ref().is_some_and(|etag| object.etag.trim_matches('"') != etag) {
        return gone(&S3Error::Replaced(arrival.url.clone()));
    }
    let opened = match TABLES.iter().find(|table| table.file == file) {
        Some(table) => SourceFile::of_object(s3, object.clone(), table).await.map(drop),
        None => Dataset::manifest_at(s3, &prefix).await.map(drop),
    };
    let refused = match opened {
        Ok(()) => None,
        Err(error) if error.is_of_another_version() => return gone(&error),
        Err(error) if error.is_final() => Some(error.to_string()),
        Err(error) => return Err(error.into()),
    };

    let source = prefix.to_string();
    let transaction = client.transaction().await?;
    // Locks the dataset: of two whose files make it whole together, the second to get here sees what the first recorded.
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
        if is_earlier(&arrival.sequencer, sequencer) {
            return Ok(Arrived::Superseded(format!("{}: a later event was here first", arrival.url)));
        }
        if (sequencer, version) == (&arrival.sequencer, &object.etag) {
            return Ok(Arrived::Recorded { source, refused: None }); // once more, and told of already
        }
    }
    transaction
        .execute(
            "insert into etl.incoming_file (source, file, size_bytes, version, sequencer, refused)
             values ($1, $2, $3, $4, $5, $6)
             on conflict (source, file) do update
             set size_bytes = excluded.size_bytes, version = excluded.version, sequencer = excluded.sequencer,
                 refused = excluded.refused, arrived_at = clock_timestamp(), generation = null",
            &[&source, &file, &signed(object.size), &object.etag, &arrival.sequencer, &refused],
        )
        .await?;
    transaction.commit().await?;
    Ok(Arrived::Recorded { source, refused })
}

/// Whether one event of a key came before another. Sequencers are hexadecimal; the shorter is filled up with zeros on
/// the right: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html>.
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

/// The datasets that are whole and neither loaded nor failed: the one whose load is unfinished first, then in the
/// order in which they became whole. `$1` are the files that every dataset has, `{unfinished}` tells such a load.
const DUE: &str = "
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

struct Due {
    source: Url,
    dataset: String,
}

async fn due(client: &Client) -> Result<Vec<Due>, LoadError> {
    let required: Vec<&str> = TABLES.iter().filter(|table| !table.optional).map(|table| table.file).collect();
    let rows = client.query(&DUE.replace("{unfinished}", record::UNFINISHED), &[&required]).await?;
    let due_of = |row: &tokio_postgres::Row| {
        let source: &str = row.get(0);
        let source =
            source.parse().map_err(|error| LoadError::Inconsistent(format!("etl.incoming: {error}")))?;
        Ok(Due { source, dataset: row.get(1) })
    };
    rows.iter().map(due_of).collect()
}

/// Whether any of these datasets is whole, and neither loaded nor failed. One that waits for what its manifest lists
/// is not.
///
/// # Errors
/// The database failed.
pub async fn is_any_due(client: &Client, sources: &HashSet<String>) -> Result<bool, LoadError> {
    let waiting = waiting(client).await?;
    let due = due(client).await?;
    Ok(due
        .iter()
        .map(|due| due.source.to_string())
        .any(|due| sources.contains(&due) && !waiting.contains(&due)))
}

async fn waiting(client: &Client) -> Result<HashSet<String>, LoadError> {
    let rows = client.query("select source from etl.incoming where reason is not null", &[]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// What was worked off.
#[derive(Debug)]
pub enum WorkedOff {
    /// A dataset was published.
    Published(Summary),
    /// A dataset can never be loaded as it is; its prefix and why.
    Failed(String, String),
    /// A dataset is not loaded yet; its prefix and why.
    Waits(String, String),
}

/// Loads every dataset that is due, and tells of each; until it is time to stop.
///
/// # Errors
/// What may succeed later, the rest of the time that is up included. What was told of by then is done.
pub async fn work_off(
    address: &ConnectOptions,
    s3: &S3,
    options: &LoadOptions,
    tell: &(dyn Fn(WorkedOff) + Sync),
) -> Result<(), LoadError> {
    let mut client = database::connect(address).await?;
    load::lock(&client, options).await?;
    let done = work_off_locked(&mut client, address, s3, options, tell).await;
    let unlocked = record::unlock_loader(&client, Instant::now() + LEAVING).await;
    done?;
    Ok(unlocked?)
}

async fn work_off_locked(
    client: &mut Client,
    address: &ConnectOptions,
    s3: &S3,
    options: &LoadOptions,
    tell: &(dyn Fn(WorkedOff) + Sync),
) -> Result<(), LoadError> {
    let mut passed_over = waiting(client).await?;
    // A dataset that cannot be read does not hold up those behind it.
    let mut unread = None;
    loop {
        let next = due(client).await?.into_iter().find(|due| !passed_over.contains(&due.source.to_string()));
        let Some(Due { source: prefix, dataset }) = next else { return unread.map_or(Ok(()), Err) };
        if options.is_out_of_time() || !record::wait_for_work(client, options.stop_at).await? {
            return Err(LoadError::OutOfTime);
        }
        let source = prefix.to_string();
        let (arrivals, arrived) = (arrivals(client, &source).await?, arrived(client, &prefix).await?);
        let loaded = match open(&arrived, s3, &prefix, dataset).await {
            Ok(dataset) => load::load_locked(client, address, dataset, options).await,
            Err(error) => Err(error),
        };
        let loaded = match loaded {
            Err(error) if error.is_of_another_version() => {
                options.progress.say(&error.to_string());
                match forget_replaced(client, s3, &prefix, &arrived, error).await {
                    Ok(()) => continue,
                    Err(error) => Err(error),
                }
            }
            loaded => loaded,
        };
        match loaded {
            Ok(summary) => tell(WorkedOff::Published(summary)),
            Err(
                error @ LoadError::Source(SourceError::Missing { .. } | SourceError::ManifestSize { .. }),
            ) => {
                if wait(client, &source, arrivals, &error).await? {
                    passed_over.insert(source.clone());
                    tell(WorkedOff::Waits(source, error.to_string()));
                }
            }
            Err(error) if error.is_final() => {
                // A load of it has ended, or it did not come to one: then this is where its record is.
                if due(client).await?.iter().any(|due| due.source == prefix)
                    && wait(client, &source, arrivals, &error).await?
                {
                    passed_over.insert(source.clone());
                }
                tell(WorkedOff::Failed(source, error.to_string()));
            }
            Err(error @ LoadError::Source(_)) => {
                options.progress.say(&error.to_string());
                passed_over.insert(source);
                unread.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
}

/// The dataset under a prefix, of the objects that have arrived.
async fn open(
    arrived: &[(String, Object)],
    s3: &S3,
    prefix: &Url,
    name: String,
) -> Result<Dataset, LoadError> {
    let of_table = |table: &'static Table| {
        let (_, object) = arrived.iter().find(|(file, _)| file == table.file)?;
        Some((table, object.clone()))
    };
    let objects = TABLES.iter().filter_map(of_table).collect();
    let manifest = Dataset::manifest_at(s3, prefix).await?;
    Ok(Dataset::of_objects(s3, prefix, name, objects, manifest.as_ref()).await?)
}

async fn arrived(client: &Client, prefix: &Url) -> Result<Vec<(String, Object)>, LoadError> {
    let rows = client
        .query(
            "select file, size_bytes, version from etl.incoming_file where source = $1",
            &[&prefix.to_string()],
        )
        .await?;
    let arrived = rows.iter().map(|row| {
        let file: String = row.get(0);
        let object = Object { url: prefix.join(&file), size: unsigned(row.get(1)), etag: row.get(2) };
        (file, object)
    });
    Ok(arrived.collect())
}

/// Forgets the arrivals whose objects are gone or others by now: the event of the new one makes the dataset whole. It
/// may have done so already, since what was `loaded` was told of.
async fn forget_replaced(
    client: &Client,
    s3: &S3,
    prefix: &Url,
    loaded: &[(String, Object)],
    error: LoadError,
) -> Result<(), LoadError> {
    let now = arrived(client, prefix).await?;
    let is_told = loaded.iter().any(|file| !now.contains(file));
    let mut forgotten = 0;
    for (file, object) in now {
        let is_there = match s3.look_at(&object.url).await {
            Err(S3Error::Gone(_)) => false,
            now => now? == object,
        };
        if !is_there {
            // Only this version: the event of another may just have been recorded.
            forgotten += client
                .execute(
                    "delete from etl.incoming_file where source = $1 and file = $2 and version = $3",
                    &[&prefix.to_string(), &file, &object.etag],
                )
                .await?;
        }
    }
    // Else S3 contradicts itself, and asking again at once would only be told the same.
    if is_told || forgotten > 0 { Ok(()) } else { Err(error) }
}

/// How many arrivals of a dataset are recorded.
async fn arrivals(client: &Client, source: &str) -> Result<i64, LoadError> {
    let row = client.query_one("select arrivals from etl.incoming where source = $1", &[&source]).await?;
    Ok(row.get(0))
}

/// Notes why a dataset that seems whole is not loaded, until something else of it arrives; unless that has happened since
/// there were so many `arrivals`. Answers whether it is noted.
async fn wait(client: &Client, source: &str, arrivals: i64, reason: &LoadError) -> Result<bool, LoadError> {
    let noted = client
        .execute(
            "update etl.incoming set reason = $3 where source = $1 and arrivals = $2",
            &[&source, &arrivals, &reason.to_string()],
        )
        .await?;
    Ok(noted > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_belongs_to_the_dataset_that_its_key_names() {
        let at = |key: &str| {
            let url = Url { bucket: "b".to_owned(), key: key.to_owned() };
            place(&url, "incoming/").map(|(prefix, dataset, file)| (prefix.to_string(), dataset, file))
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
        assert!(at("incoming/spring sale/photos.csv").unwrap_err().contains("can't be a dataset's name"));
    }

    #[test]
    fn events_of_a_key_are_ordered_by_their_sequencers_whatever_their_length() {
        assert!(is_earlier("0055AED6DCD90281E5", "0055AED6DCD90281E6"));
        assert!(!is_earlier("0055AED6DCD90281E5", "0055AED6DCD90281E5"));
        assert!(is_earlier("0055", "005501"));
        assert!(!is_earlier("0056", "0055FF"));
        assert!(!is_earlier("0055", "005500"));
        assert!(is_earlier("00aa", "00AB"));
        assert!(!is_earlier("", "0055") && !is_earlier("0055", ""));
    }
}
