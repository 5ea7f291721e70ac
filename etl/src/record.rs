//! The record of loads in the schema `etl`: which load is at which step, how far each file is committed, and which
//! rows were set aside. `shared/migrations/V1__load_record.sql` says what each column means.

use tokio_postgres::{Client, GenericClient, Transaction};

use crate::source::{Dataset, SourceFile};

/// A load that has not ended: the names of every [`Step`].
const UNFINISHED: &str = "step in ('load', 'index', 'assemble', 'publish')";

type Result<T> = std::result::Result<T, tokio_postgres::Error>;

/// Held for as long as a load runs: there is one `catalog_next`.
const LOADER_LOCK: i64 = 0x6174_656c_6965_7202;

/// Held while one catalog takes the place of another: by a load for its last step, by a rollback.
const SWAP_LOCK: i64 = 0x6174_656c_6965_7204;

/// Shared by every connection on which a load works. Of a loader that was killed, some may be at it still.
const WORK_LOCK: i64 = 0x6174_656c_6965_7205;

/// The steps of a load, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Rows of the files into tables.
    Load,
    /// Primary keys, parent indexes, foreign keys.
    Index,
    /// The read model.
    Assemble,
    /// The swap.
    Publish,
}

impl Step {
    /// As the record has it.
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

/// A load that may go on, from `step`.
#[derive(Clone, Copy, Debug)]
pub struct Begun {
    /// Its number, and the generation of its catalog.
    pub generation: i32,
    /// The step it is at.
    pub step: Step,
    /// Whether an earlier run of the same load got here.
    pub resumed: bool,
    /// Whether an unfinished load, of other files, was given up for it.
    pub gave_up_another: bool,
}

/// What happened to the rows of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    /// Lines below the header.
    pub read: u64,
    /// Of those that were loaded, how many had to be mended.
    pub repaired: u64,
    /// How many are in `etl.reject` and not in the catalog.
    pub set_aside: u64,
    /// How many are in the catalog.
    pub loaded: u64,
    /// How long the load step took, in seconds.
    pub seconds: f64,
}

/// A row that is set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// Where it begins in its file, in bytes.
    pub byte_offset: u64,
    /// The column at fault, as the header names it.
    pub column: Option<&'static str>,
    /// What is wrong.
    pub reason: String,
    /// Its length in bytes.
    pub length: u64,
    /// Its bytes, the first 64 KiB at most.
    pub original: Vec<u8>,
}

/// Takes the loader's lock for as long as `client` is connected, and waits until nothing works for a loader that
/// had it before. Calls `on_wait` once if another has it.
pub async fn lock_loader(client: &Client, on_wait: impl FnOnce()) -> Result<()> {
    lock(client, LOADER_LOCK, on_wait).await?;
    client.execute("select pg_advisory_lock($1), pg_advisory_unlock($1)", &[&WORK_LOCK]).await?;
    Ok(())
}

/// Marks a connection as one on which a load works, for as long as it lasts.
pub async fn join_work(client: &Client) -> Result<()> {
    client.execute("select pg_advisory_lock_shared($1)", &[&WORK_LOCK]).await?;
    Ok(())
}

/// Takes the lock for a swap for as long as `client` is connected; calls `on_wait` once if another has it.
pub async fn lock_swap(client: &Client, on_wait: impl FnOnce()) -> Result<()> {
    lock(client, SWAP_LOCK, on_wait).await
}

async fn lock(client: &Client, number: i64, on_wait: impl FnOnce()) -> Result<()> {
    let free: bool = client.query_one("select pg_try_advisory_lock($1)", &[&number]).await?.get(0);
    if !free {
        on_wait();
        client.execute("select pg_advisory_lock($1)", &[&number]).await?;
    }
    Ok(())
}

/// Takes up the unfinished load of this very dataset, if there is one, else begins a new one in an empty
/// `catalog_next`. The caller holds the loader's lock.
pub async fn begin(client: &mut Client, dataset: &Dataset) -> Result<Begun> {
    let transaction = client.transaction().await?;
    let unfinished = transaction
        .query_opt(
            &format!(
                "select generation, dataset, step from etl.load
                 where {UNFINISHED} order by generation desc limit 1"
            ),
            &[],
        )
        .await?;
    if let Some(row) = &unfinished {
        let (generation, name): (i32, &str) = (row.get(0), row.get(1));
        let is_same = name == dataset.name && same_files(&transaction, generation, dataset).await?;
        if let (true, Some(step)) = (is_same, Step::from_name(row.get(2))) {
            transaction.commit().await?;
            return Ok(Begun { generation, step, resumed: true, gave_up_another: false });
        }
    }
    transaction
        .execute(&format!("update etl.load set step = 'abandoned', ended_at = now() where {UNFINISHED}"), &[])
        .await?;
    transaction
        .batch_execute("drop schema if exists catalog_next cascade; create schema catalog_next")
        .await?;
    let generation: i32 = transaction
        .query_one("insert into etl.load (dataset) values ($1) returning generation", &[&dataset.name])
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
    Ok(Begun { generation, step: Step::Load, resumed: false, gave_up_another: unfinished.is_some() })
}

/// Whether there is a load that was stopped and can be taken up again.
pub async fn has_unfinished(client: &Client) -> Result<bool> {
    let unfinished = format!("select exists (select from etl.load where {UNFINISHED})");
    Ok(client.query_one(&unfinished, &[]).await?.get(0))
}

/// The generation of the load whose catalog is built and waits to be published, if there is one.
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

/// Notes that the load is at `step` now.
pub async fn enter(client: &Client, generation: i32, step: Step) -> Result<()> {
    client
        .execute("update etl.load set step = $2 where generation = $1", &[&generation, &step.name()])
        .await?;
    Ok(())
}

/// Notes that the load can never succeed, and why.
pub async fn fail(client: &Client, generation: i32, why: &str) -> Result<()> {
    client
        .execute(
            "update etl.load set step = 'failed', failure = $2, ended_at = now() where generation = $1",
            &[&generation, &why],
        )
        .await?;
    Ok(())
}

/// Locks a file's row until the transaction ends, and answers whether the file is loaded already. A backend whose
/// client was killed may still be committing: this waits for it.
pub async fn lock_file(transaction: &Transaction<'_>, generation: i32, file: &str) -> Result<bool> {
    let row = transaction
        .query_one(
            "select complete from etl.load_file where generation = $1 and file = $2 for update",
            &[&generation, &file],
        )
        .await?;
    Ok(row.get(0))
}

/// What a file's transaction says of it when it commits.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// How far the file is read, in bytes.
    pub byte_offset: u64,
    /// Whether that is all of it.
    pub complete: bool,
    /// Whether each id was higher than the one before it.
    pub ids_ascend: bool,
    /// What happened to its rows.
    pub counts: Counts,
}

/// Records a file's progress in the transaction that holds its rows.
pub async fn progress(
    transaction: &Transaction<'_>,
    generation: i32,
    file: &str,
    progress: &Progress,
) -> Result<()> {
    let Counts { read, repaired, set_aside, loaded, seconds } = progress.counts;
    transaction
        .execute(
            "update etl.load_file
             set byte_offset = $3, complete = $4, ids_ascend = $5, rows_read = $6, rows_repaired = $7,
                 rows_set_aside = $8, rows_loaded = $9, seconds = $10
             where generation = $1 and file = $2",
            &[
                &generation,
                &file,
                &signed(progress.byte_offset),
                &progress.complete,
                &progress.ids_ascend,
                &signed(read),
                &signed(repaired),
                &signed(set_aside),
                &signed(loaded),
                &seconds,
            ],
        )
        .await?;
    Ok(())
}

/// Forgets what a run that was stopped recorded of a file that is loaded from its beginning again.
pub async fn forget_rejects(transaction: &Transaction<'_>, generation: i32, file: &str) -> Result<()> {
    transaction
        .execute("delete from etl.reject where generation = $1 and file = $2", &[&generation, &file])
        .await?;
    Ok(())
}

/// Records rows of a file that are set aside.
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

/// Moves `rows` of a file from loaded to set aside, after the load step.
pub async fn set_aside_later(
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

/// What is recorded of one file.
pub async fn file_counts(client: &impl GenericClient, generation: i32, file: &str) -> Result<Progress> {
    let row = client
        .query_one(
            "select byte_offset, complete, ids_ascend, rows_read, rows_repaired, rows_set_aside, rows_loaded,
                    seconds
             from etl.load_file where generation = $1 and file = $2",
            &[&generation, &file],
        )
        .await?;
    let counts = Counts {
        read: unsigned(row.get(3)),
        repaired: unsigned(row.get(4)),
        set_aside: unsigned(row.get(5)),
        loaded: unsigned(row.get(6)),
        seconds: row.get(7),
    };
    Ok(Progress { byte_offset: unsigned(row.get(0)), complete: row.get(1), ids_ascend: row.get(2), counts })
}

/// Postgres has no unsigned numbers; none of these comes near the limit.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A count read back; the schema's checks keep it from being negative.
pub(crate) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
