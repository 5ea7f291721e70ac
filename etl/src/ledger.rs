//! The ledger of loads in the schema `etl`: the step of each load, the row counts of each file, rejected rows.
//! `migrations/V1__load_record.sql` describes the columns.

mod rejects;

use tokio_postgres::{Client, GenericClient, Row, Transaction};

use crate::note::{NoteCount, NoteCounts};
use crate::source::{Dataset, SourceFile};

pub use rejects::{Reject, RejectCount, reject, reject_counts, reject_loaded};

/// The SQL condition for a load that has not ended: the names of every [`Step`].
pub(crate) const UNFINISHED: &str = "step in ('load', 'index', 'assemble', 'publish')";

type Result<T> = std::result::Result<T, tokio_postgres::Error>;

/// The steps of a load, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Copies the rows of the files into tables.
    Load,
    /// Adds primary keys, parent indexes and foreign keys.
    Index,
    /// Builds the read model.
    Assemble,
    /// Replaces the catalog.
    Publish,
}

impl Step {
    /// Returns the name in the ledger.
    pub fn name(self) -> &'static str {
        match self {
            Step::Load => "load",
            Step::Index => "index",
            Step::Assemble => "assemble",
            Step::Publish => "publish",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Step::Load, Step::Index, Step::Assemble, Step::Publish].into_iter().find(|step| step.name() == name)
    }
}

/// A load that starts or resumes at `step`.
#[derive(Clone, Copy, Debug)]
pub struct LoadHandle {
    /// Its number, which is also the generation of its catalog.
    pub generation: i32,
    /// The next step.
    pub step: Step,
    /// Whether an earlier run of the same load did the steps before.
    pub resumed: bool,
    /// Whether an unfinished load of other files was abandoned.
    pub abandoned_another: bool,
}

/// The row counts of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    /// The number of records below the header.
    pub read: u64,
    /// The number of loaded rows that were repaired.
    pub repaired: u64,
    /// The number of rows in `etl.reject`, which are not in the catalog.
    pub rejected: u64,
    /// The number of rows in the catalog.
    pub loaded: u64,
    /// The duration of the load step in seconds.
    pub seconds: f64,
}

/// The result of the read of a file.
#[derive(Clone, Debug)]
pub struct FileRead {
    /// The number of its rows.
    pub counts: Counts,
    /// The repairs and spellings.
    pub notes: NoteCounts,
    /// Whether the rows are in ascending order of the table's key.
    /// A product's position is then its rank, and documents are assembled from the file.
    pub keys_ascend: bool,
    /// Whether the whole file was read. If not, too many rows were rejected.
    pub complete: bool,
    /// Whether it must be read again: see [`crate::row::Encoder::has_both_nulls`].
    pub has_both_nulls: bool,
}

/// Resumes the unfinished load of the same files, or begins a new one in an empty `catalog_next`.
///
/// If `held`, no S3 event resumes or publishes the load. The caller holds the loader lock.
pub async fn begin_or_resume(client: &mut Client, dataset: &Dataset, held: bool) -> Result<LoadHandle> {
    let transaction = client.transaction().await?;
    let unfinished = transaction
        .query_opt(
            &format!(
                "select generation, dataset = $1 and source = $2, step from etl.load
                 where {UNFINISHED} order by generation desc limit 1"
            ),
            &[&dataset.name, &dataset.source],
        )
        .await?;
    if let Some(row) = &unfinished {
        let (generation, is_same_source): (i32, bool) = (row.get(0), row.get(1));
        let is_same = is_same_source && same_files(&transaction, generation, dataset).await?;
        if let (true, Some(step)) = (is_same, Step::from_name(row.get(2))) {
            transaction
                .execute("update etl.load set held = $2 where generation = $1", &[&generation, &held])
                .await?;
            transaction.commit().await?;
            return Ok(LoadHandle { generation, step, resumed: true, abandoned_another: false });
        }
    }
    abandon(&transaction, "another load began").await?;
    transaction.batch_execute("drop schema if exists catalog_next cascade").await?;
    transaction.batch_execute("create schema catalog_next").await?;
    let generation: i32 = transaction
        .query_one(
            "insert into etl.load (dataset, source, held, manifest) values ($1, $2, $3, $4) returning generation",
            &[&dataset.name, &dataset.source, &held, &dataset.manifest],
        )
        .await?
        .get(0);
    for file in &dataset.files {
        transaction
            .execute(
                "insert into etl.load_file (generation, file, size_bytes, version) values ($1, $2, $3, $4)",
                &[&generation, &file.table.file, &signed(file.size), &file.version],
            )
            .await?;
    }
    transaction.commit().await?;
    Ok(LoadHandle { generation, step: Step::Load, resumed: false, abandoned_another: unfinished.is_some() })
}

/// Abandons the unfinished load and returns whether there was one.
pub async fn abandon(client: &impl GenericClient, reason: &str) -> Result<bool> {
    let abandon =
        format!("update etl.load set step = 'abandoned', reason = $1, ended_at = now() where {UNFINISHED}");
    Ok(client.execute(&abandon, &[&reason]).await? > 0)
}

/// Returns whether there is an interrupted load that can resume.
pub async fn has_unfinished(client: &Client) -> Result<bool> {
    let unfinished = format!("select exists (select from etl.load where {UNFINISHED})");
    Ok(client.query_one(&unfinished, &[]).await?.get(0))
}

/// Returns the generation of the catalog that is built and not published, if there is one.
pub async fn ready(client: &Client) -> Result<Option<i32>> {
    let row = client.query_opt("select generation from etl.load where step = 'publish'", &[]).await?;
    Ok(row.map(|row| row.get(0)))
}

async fn same_files(transaction: &Transaction<'_>, generation: i32, dataset: &Dataset) -> Result<bool> {
    let recorded = transaction
        .query("select file, size_bytes, version from etl.load_file where generation = $1", &[&generation])
        .await?;
    let is_recorded = |file: &SourceFile| {
        recorded.iter().any(|row| {
            let (name, size, version): (&str, i64, &str) = (row.get(0), row.get(1), row.get(2));
            name == file.table.file && size == signed(file.size) && version == file.version
        })
    };
    Ok(recorded.len() == dataset.files.len() && dataset.files.iter().all(is_recorded))
}

/// Records the start of a step, and clears the reason of an earlier interruption.
pub async fn start_step(client: &Client, generation: i32, step: Step) -> Result<()> {
    client
        .execute(
            "update etl.load set step = $2, reason = null where generation = $1",
            &[&generation, &step.name()],
        )
        .await?;
    Ok(())
}

/// Records why a load was interrupted. It can resume.
pub async fn record_interruption(client: &Client, generation: i32, reason: &str) -> Result<()> {
    let stopped = format!("update etl.load set reason = $2 where generation = $1 and {UNFINISHED}");
    client.execute(&stopped, &[&generation, &reason]).await?;
    Ok(())
}

/// Records that a load failed for good, and why.
pub async fn record_failure(client: &Client, generation: i32, reason: &str) -> Result<()> {
    client
        .execute(
            "update etl.load set step = 'failed', reason = $2, ended_at = now() where generation = $1",
            &[&generation, &reason],
        )
        .await?;
    Ok(())
}

/// Records that a file matches the SHA-256 in the manifest.
pub async fn mark_verified(client: &Client, generation: i32, file: &str) -> Result<()> {
    client
        .execute(
            "update etl.load_file set verified = true where generation = $1 and file = $2",
            &[&generation, &file],
        )
        .await?;
    Ok(())
}

/// Locks the record of a file until the transaction ends, and returns whether the file is loaded. The lock also waits for
/// the commit of a backend whose client was killed. If it is not loaded, rejects and notes of an earlier attempt are
/// deleted.
pub async fn begin_file(transaction: &Transaction<'_>, generation: i32, file: &str) -> Result<bool> {
    let row = transaction
        .query_one(
            "select complete from etl.load_file where generation = $1 and file = $2 for update",
            &[&generation, &file],
        )
        .await?;
    let complete: bool = row.get(0);
    if !complete {
        for table in ["etl.reject", "etl.note"] {
            let delete = format!("delete from {table} where generation = $1 and file = $2");
            transaction.execute(&delete, &[&generation, &file]).await?;
        }
    }
    Ok(complete)
}

/// Records the result of the read of a file. Its rejects are recorded already.
pub async fn record_file(
    transaction: &Transaction<'_>,
    generation: i32,
    file: &str,
    read: &FileRead,
) -> Result<()> {
    let counts = &read.counts;
    transaction
        .execute(
            "update etl.load_file
             set rows_read = $3, rows_repaired = $4, rows_rejected = $5, rows_loaded = $6, seconds = $7,
                 keys_ascend = $8, complete = $9
             where generation = $1 and file = $2",
            &[
                &generation,
                &file,
                &signed(counts.read),
                &signed(counts.repaired),
                &signed(counts.rejected),
                &signed(counts.loaded),
                &counts.seconds,
                &read.keys_ascend,
                &read.complete,
            ],
        )
        .await?;
    for (note, NoteCount { rows, lines }) in read.notes.iter() {
        let lines: Vec<i64> = lines.iter().copied().map(signed).collect();
        transaction
            .execute(
                "insert into etl.note (generation, file, note, is_repair, rows, lines)
                 values ($1, $2, $3, $4, $5, $6)",
                &[&generation, &file, &note.to_string(), &note.is_repair(), &signed(*rows), &lines],
            )
            .await?;
    }
    Ok(())
}

/// A note about the rows of a file.
#[derive(Clone, Debug)]
pub struct FileNote {
    /// The file's name.
    pub file: String,
    /// A spelling or a repair.
    pub note: String,
    /// Whether it is a repair.
    pub is_repair: bool,
    /// The number of its rows.
    pub rows: u64,
    /// The first lines of some of them.
    pub lines: Vec<u64>,
}

/// Returns the notes about a load's files.
pub async fn notes(client: &Client, generation: i32) -> Result<Vec<FileNote>> {
    let rows = client
        .query(
            "select file, note, is_repair, rows, lines from etl.note where generation = $1
             order by not is_repair, rows desc, file, note",
            &[&generation],
        )
        .await?;
    let note_of = |row: &Row| FileNote {
        file: row.get(0),
        note: row.get(1),
        is_repair: row.get(2),
        rows: unsigned(row.get(3)),
        lines: row.get::<_, Vec<i64>>(4).into_iter().map(unsigned).collect(),
    };
    Ok(rows.iter().map(note_of).collect())
}

/// The ledger's record of one file.
#[derive(Clone, Copy, Debug)]
pub struct FileRecord {
    /// The row counts so far.
    pub counts: Counts,
    /// Whether its rows are in ascending order of the table's key.
    pub keys_ascend: bool,
    /// Whether the file matches the SHA-256 in the manifest.
    pub verified: bool,
}

/// Returns the ledger's record of one file.
pub async fn file_record(client: &impl GenericClient, generation: i32, file: &str) -> Result<FileRecord> {
    let row = client
        .query_one(
            "select rows_read, rows_repaired, rows_rejected, rows_loaded, seconds, keys_ascend, verified
             from etl.load_file where generation = $1 and file = $2",
            &[&generation, &file],
        )
        .await?;
    let counts = Counts {
        read: unsigned(row.get(0)),
        repaired: unsigned(row.get(1)),
        rejected: unsigned(row.get(2)),
        loaded: unsigned(row.get(3)),
        seconds: row.get(4),
    };
    Ok(FileRecord { counts, keys_ascend: row.get(5), verified: row.get(6) })
}

/// Converts for Postgres, which has no unsigned integers. No value comes near the limit.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Converts a count from Postgres. The schema's checks forbid negative values.
pub(crate) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
