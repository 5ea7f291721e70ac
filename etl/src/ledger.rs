//! The ledger of loads in the schema `etl`: the step of each load, the committed part of each file, rejected rows.
//! `migrations/V1__load_record.sql` describes the columns.

use std::ops::{Add, Range};

use tokio_postgres::{Client, GenericClient, Row, Transaction};

use crate::row::Order;
use crate::source::{Dataset, MANIFEST, SourceFile};

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
    /// The number of lines below the header.
    pub read: u64,
    /// The number of loaded rows that were repaired.
    pub repaired: u64,
    /// The number of rows in `etl.reject`, which are not in the catalog.
    pub rejected: u64,
    /// The number of rows in the catalog.
    pub loaded: u64,
    /// The duration of the load step in seconds, summed over the workers.
    pub seconds: f64,
}

impl Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            read: self.read + other.read,
            repaired: self.repaired + other.repaired,
            rejected: self.rejected + other.rejected,
            loaded: self.loaded + other.loaded,
            seconds: self.seconds + other.seconds,
        }
    }
}

/// A rejected row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// The offset of its first byte in the file.
    pub byte_offset: u64,
    /// The name of the faulty column in the header; none if the whole row is wrong.
    pub column: Option<&'static str>,
    /// The reason, the same text for every row with this fault.
    pub reason: String,
    /// Its length in bytes.
    pub length: u64,
    /// Its bytes, max 64 KiB.
    pub original: Vec<u8>,
}

/// Resumes the unfinished load of the same files, or begins a new one in an empty `catalog_next`.
///
/// `ranges` has the ranges of each file. If `held`, no S3 event resumes or publishes the load. The caller holds the
/// loader lock.
pub async fn begin_or_resume(
    client: &mut Client,
    dataset: &Dataset,
    ranges: &[Vec<Range<u64>>],
    held: bool,
) -> Result<LoadHandle> {
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
    transaction
        .batch_execute("drop schema if exists catalog_next cascade; create schema catalog_next")
        .await?;
    let generation: i32 = transaction
        .query_one(
            "insert into etl.load (dataset, source, held) values ($1, $2, $3) returning generation",
            &[&dataset.name, &dataset.source, &held],
        )
        .await?
        .get(0);
    for (file, ranges) in dataset.files.iter().zip(ranges) {
        transaction
            .execute(
                "insert into etl.load_file (generation, file, size_bytes, version) values ($1, $2, $3, $4)",
                &[&generation, &file.table.file, &signed(file.size), &file.version],
            )
            .await?;
        for range in ranges {
            transaction
                .execute(
                    "insert into etl.load_part (generation, file, first_offset, end_offset, byte_offset)
                     values ($1, $2, $3, $4, $3)",
                    &[&generation, &file.table.file, &signed(range.start), &signed(range.end)],
                )
                .await?;
        }
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
pub async fn record_failure(client: &mut Client, generation: i32, reason: &str) -> Result<()> {
    let transaction = client.transaction().await?;
    transaction
        .execute(
            "update etl.load set step = 'failed', reason = $2, ended_at = now() where generation = $1",
            &[&generation, &reason],
        )
        .await?;
    mark_consumed(&transaction, generation).await?;
    transaction.commit().await
}

/// Marks a load's source files as consumed: no event triggers them again until new versions arrive.
///
/// A manifest that was there when the load began is consumed too, and so are the files that it does not list. Runs in
/// the transaction that ends the load.
pub async fn mark_consumed(transaction: &Transaction<'_>, generation: i32) -> Result<()> {
    transaction
        .execute(
            "update etl.incoming_file set generation = load.generation
             from etl.load left join etl.load_file using (generation)
             where load.generation = $1 and incoming_file.source = load.source
                 and (incoming_file.file = load_file.file and incoming_file.version = load_file.version
                      or incoming_file.arrived_at < load.started_at
                      and exists (select from etl.incoming_file as manifest
                                  where manifest.source = load.source and manifest.file = $2)
                      and not exists (select from etl.load_file as own
                                      where own.generation = load.generation and own.file = incoming_file.file))",
            &[&generation, &MANIFEST],
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

/// A range of a file that one worker loads.
#[derive(Clone, Debug)]
pub struct Part {
    /// The file's name.
    pub file: String,
    /// The lower bound: rows that begin here or later belong to the range.
    pub first_offset: u64,
    /// The upper bound, exclusive.
    pub end_offset: u64,
    /// The offset up to which rows are committed.
    pub byte_offset: u64,
    /// Whether all rows are committed.
    pub complete: bool,
    /// The key order of the committed rows.
    pub order: Order,
}

/// The columns that [`part_of_row`] reads.
const PART: &str = "file, first_offset, end_offset, byte_offset, complete, first_key, last_key, keys_ascend";

fn part_of_row(row: &Row) -> Part {
    Part {
        file: row.get(0),
        first_offset: unsigned(row.get(1)),
        end_offset: unsigned(row.get(2)),
        byte_offset: unsigned(row.get(3)),
        complete: row.get(4),
        order: Order { first: row.get(5), last: row.get(6), ascends: row.get(7) },
    }
}

/// Returns the parts of a load's files.
pub async fn parts(client: &Client, generation: i32) -> Result<Vec<Part>> {
    let rows = client
        .query(
            &format!("select {PART} from etl.load_part where generation = $1 order by file, first_offset"),
            &[&generation],
        )
        .await?;
    Ok(rows.iter().map(part_of_row).collect())
}

/// Locks a part's row until the transaction ends, and returns the part's current state. The lock also waits for the
/// commit of a backend whose client was killed.
pub async fn lock_part(transaction: &Transaction<'_>, generation: i32, part: &Part) -> Result<Part> {
    let row = transaction
        .query_one(
            &format!(
                "select {PART} from etl.load_part
                 where generation = $1 and file = $2 and first_offset = $3 for update"
            ),
            &[&generation, &part.file, &signed(part.first_offset)],
        )
        .await?;
    Ok(part_of_row(&row))
}

/// Records the progress of a part and adds the counts of its new rows, in the transaction that writes these rows.
pub async fn record_progress(
    transaction: &Transaction<'_>,
    generation: i32,
    part: &Part,
    counts: &Counts,
) -> Result<()> {
    transaction
        .execute(
            "update etl.load_part
             set byte_offset = $4, complete = $5, first_key = $6, last_key = $7, keys_ascend = $8
             where generation = $1 and file = $2 and first_offset = $3",
            &[
                &generation,
                &part.file,
                &signed(part.first_offset),
                &signed(part.byte_offset),
                &part.complete,
                &part.order.first,
                &part.order.last,
                &part.order.ascends,
            ],
        )
        .await?;
    // Last, because the other parts of the file wait for the lock on this row.
    transaction
        .execute(
            "update etl.load_file
             set rows_read = rows_read + $3, rows_repaired = rows_repaired + $4,
                 rows_set_aside = rows_set_aside + $5, rows_loaded = rows_loaded + $6, seconds = seconds + $7,
                 commits = commits + 1
             where generation = $1 and file = $2",
            &[
                &generation,
                &part.file,
                &signed(counts.read),
                &signed(counts.repaired),
                &signed(counts.rejected),
                &signed(counts.loaded),
                &counts.seconds,
            ],
        )
        .await?;
    Ok(())
}

/// Records rejected rows of a file.
pub async fn reject(
    transaction: &Transaction<'_>,
    generation: i32,
    file: &str,
    rejects: &[Reject],
) -> Result<()> {
    let offsets: Vec<i64> = rejects.iter().map(|r| signed(r.byte_offset)).collect();
    let columns: Vec<_> = rejects.iter().map(|r| r.column).collect();
    let reasons: Vec<_> = rejects.iter().map(|r| r.reason.as_str()).collect();
    let lengths: Vec<i64> = rejects.iter().map(|r| signed(r.length)).collect();
    let originals: Vec<_> = rejects.iter().map(|r| r.original.as_slice()).collect();
    transaction
        .execute(
            "insert into etl.reject
                 (generation, file, byte_offset, column_name, reason, size_bytes, original)
             select $1::integer, $2::text, * from unnest($3::bigint[], $4::text[], $5::text[], $6::bigint[], $7::bytea[])",
            &[&generation, &file, &offsets, &columns, &reasons, &lengths, &originals],
        )
        .await?;
    Ok(())
}

/// Moves a number of rows from loaded to rejected, after the load step.
pub async fn reject_loaded(
    transaction: &Transaction<'_>,
    generation: i32,
    file: &str,
    rows: usize,
) -> Result<()> {
    transaction
        .execute(
            "update etl.load_file
             set rows_loaded = rows_loaded - $3, rows_set_aside = rows_set_aside + $3
             where generation = $1 and file = $2",
            &[&generation, &file, &signed(rows as u64)],
        )
        .await?;
    Ok(())
}

/// The ledger's record of one file.
#[derive(Clone, Copy, Debug)]
pub struct FileRecord {
    /// The row counts so far.
    pub counts: Counts,
    /// The number of transactions that wrote rows.
    pub commits: u32,
    /// Whether the file matches the SHA-256 in the manifest.
    pub verified: bool,
}

/// Returns the ledger's record of one file.
pub async fn file_counts(client: &impl GenericClient, generation: i32, file: &str) -> Result<FileRecord> {
    let row = client
        .query_one(
            "select rows_read, rows_repaired, rows_set_aside, rows_loaded, seconds, commits, verified
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
    let commits = u32::try_from(row.get::<_, i32>(5)).unwrap_or(0);
    Ok(FileRecord { counts, commits, verified: row.get(6) })
}

/// Returns whether the loaded rows of a file are in ascending order of the table's key.
pub async fn is_in_order(client: &Client, generation: i32, file: &str) -> Result<bool> {
    let row = client
        .query_one(
            "select coalesce(bool_and(keys_ascend and coalesce(first_key >= highest_before, true)), true)
             from (select keys_ascend, first_key,
                          max(last_key) over (order by first_offset
                                              rows between unbounded preceding and 1 preceding) as highest_before
                   from etl.load_part where generation = $1 and file = $2) as part",
            &[&generation, &file],
        )
        .await?;
    Ok(row.get(0))
}

/// Converts for Postgres, which has no unsigned integers. No value comes near the limit.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Converts a count from Postgres. The schema's checks forbid negative values.
pub(crate) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
