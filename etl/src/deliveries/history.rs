//! The loads of an S3 prefix in the ledger, and the notes about deliveries that are not loaded.

use tokio_postgres::Client;

use super::Prefix;
use crate::ledger::{self, RejectCount, UNFINISHED, signed, unsigned};
use crate::s3::Object;
use crate::table::Table;

/// The max number of reasons in a log line.
const MAX_REASONS: usize = 20;

type Result<T> = std::result::Result<T, tokio_postgres::Error>;

/// The latest load of a prefix.
#[derive(Clone, Debug)]
pub(super) struct Latest {
    /// Its number, which is also the generation of its catalog.
    pub(super) generation: i32,
    /// The current step, or `published`, `failed`, `abandoned`.
    pub(super) step: String,
    /// Whether no event publishes it.
    pub(super) held: bool,
    /// The version of its manifest.
    pub(super) manifest: Option<String>,
    /// Its files.
    pub(super) files: Vec<LoadedFile>,
}

/// A file of a load.
#[derive(Clone, Debug)]
pub(super) struct LoadedFile {
    /// The name of its table's file.
    pub(super) name: String,
    /// Its size in bytes.
    pub(super) size: u64,
    /// Its ETag.
    pub(super) etag: String,
}

impl Latest {
    /// Returns the file of this name.
    pub(super) fn file(&self, name: &str) -> Option<&LoadedFile> {
        self.files.iter().find(|file| file.name == name)
    }

    /// Returns whether its catalog is or was served.
    pub(super) fn is_published(&self) -> bool {
        self.step == "published"
    }

    /// Returns whether an event can resume it.
    pub(super) fn can_resume(&self) -> bool {
        !self.held && !["published", "failed", "abandoned"].contains(&self.step.as_str())
    }
}

/// Returns the latest load of a prefix, whether an event or a command began it.
pub(super) async fn latest(client: &Client, source: &str) -> Result<Option<Latest>> {
    let row = client
        .query_opt(
            "select generation, step, held, manifest from etl.load
             where source = $1 order by generation desc limit 1",
            &[&source],
        )
        .await?;
    let Some(row) = row else { return Ok(None) };
    let generation = row.get(0);
    let files = client
        .query("select file, size_bytes, version from etl.load_file where generation = $1", &[&generation])
        .await?;
    let file = |row: &tokio_postgres::Row| LoadedFile {
        name: row.get(0),
        size: unsigned(row.get(1)),
        etag: row.get(2),
    };
    let files = files.iter().map(file).collect();
    Ok(Some(Latest { generation, step: row.get(1), held: row.get(2), manifest: row.get(3), files }))
}

/// Returns the source and the dataset of the unfinished load that an event can resume.
pub(super) async fn unfinished(client: &Client) -> Result<Option<(String, String)>> {
    let select = format!(
        "select source, dataset from etl.load where {UNFINISHED} and not held order by generation desc limit 1"
    );
    Ok(client.query_opt(&select, &[]).await?.map(|row| (row.get(0), row.get(1))))
}

/// Records a load that failed before it could begin, because a file is invalid.
pub(super) async fn record_refused(
    client: &Client,
    prefix: &Prefix,
    manifest: Option<String>,
    files: &[(&'static Table, Object)],
    reason: &str,
) -> Result<()> {
    let names: Vec<_> = files.iter().map(|(table, _)| table.file).collect();
    let sizes: Vec<_> = files.iter().map(|(_, object)| signed(object.size)).collect();
    let etags: Vec<_> = files.iter().map(|(_, object)| object.etag.as_str()).collect();
    client
        .execute(
            "with refused as (
                 insert into etl.load (dataset, source, manifest, step, reason, ended_at)
                 values ($1, $2, $3, 'failed', $4, now()) returning generation
             )
             insert into etl.load_file (generation, file, size_bytes, version)
             select generation, file.* from refused, unnest($5::text[], $6::bigint[], $7::text[]) as file",
            &[&prefix.dataset, &prefix.source, &manifest, &reason, &names, &sizes, &etags],
        )
        .await?;
    Ok(())
}

/// Returns the numbers of loaded, repaired and rejected rows of a load.
pub(super) async fn row_counts(client: &Client, generation: i32) -> Result<(i64, i64, i64)> {
    let row = client
        .query_one(
            "select coalesce(sum(rows_loaded), 0)::bigint, coalesce(sum(rows_repaired), 0)::bigint,
                    coalesce(sum(rows_rejected), 0)::bigint
             from etl.load_file where generation = $1",
            &[&generation],
        )
        .await?;
    Ok((row.get(0), row.get(1), row.get(2)))
}

/// Returns the most frequent reasons of a load's rejected rows, with their numbers; empty if there are none.
pub(super) async fn reasons(client: &Client, generation: i32) -> Result<String> {
    let counts = ledger::reject_counts(client, generation).await?;
    let shown = counts.iter().take(MAX_REASONS);
    let shown = shown.map(|RejectCount { file, reason, rows }| format!("{file}: {reason} ({rows})"));
    Ok(shown.collect::<Vec<_>>().join("; "))
}

/// Notes why a delivery is not loaded, unless a load newer than `generation` has begun. Returns whether the note is new
/// for these versions of the files.
pub(super) async fn note(
    client: &Client,
    prefix: &Prefix,
    generation: i32,
    note: &str,
    files: &str,
) -> Result<bool> {
    let noted = client
        .execute(
            "insert into etl.delivery (source, dataset, note, files)
             select $1, $2, $3, $4
             where not exists (select from etl.load where source = $1 and generation > $5)
             on conflict (source) do update
             set note = excluded.note, files = excluded.files, noted_at = excluded.noted_at
             where (delivery.note, delivery.files) is distinct from (excluded.note, excluded.files)",
            &[&prefix.source, &prefix.dataset, &note, &files, &generation],
        )
        .await?;
    Ok(noted > 0)
}

/// Returns the versions of the files of a delivery that a note is about.
pub(super) async fn noted_files(client: &Client, prefix: &Prefix) -> Result<Option<String>> {
    let row = client.query_opt("select files from etl.delivery where source = $1", &[&prefix.source]).await?;
    Ok(row.map(|row| row.get(0)))
}

/// Deletes the note about a delivery.
pub(super) async fn clear_note(client: &Client, prefix: &Prefix) -> Result<()> {
    client.execute("delete from etl.delivery where source = $1", &[&prefix.source]).await?;
    Ok(())
}
