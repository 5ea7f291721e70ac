//! The record of loads in the schema `etl`: which load is at which step, how far each file is committed, and which
//! rows were set aside. `migrations/V1__load_record.sql` says what each column means.

use std::ops::{Add, Range};
use std::time::Instant;

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, GenericClient, Row, Transaction};

use crate::row::Order;
use crate::source::{Dataset, MANIFEST, SourceFile};

/// A load that has not ended: the names of every [`Step`].
pub(crate) const UNFINISHED: &str = "step in ('load', 'index', 'assemble', 'publish')";

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
    /// How long the load step took, in seconds; of a file that was read by several workers, all their time.
    pub seconds: f64,
}

impl Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            read: self.read + other.read,
            repaired: self.repaired + other.repaired,
            set_aside: self.set_aside + other.set_aside,
            loaded: self.loaded + other.loaded,
            seconds: self.seconds + other.seconds,
        }
    }
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
/// had it before. Calls `on_wait` once if another has it. Answers whether it got it by `until`.
pub async fn lock_loader(client: &Client, until: Option<Instant>, on_wait: impl FnOnce()) -> Result<bool> {
    Ok(lock(client, LOADER_LOCK, until, on_wait).await? && wait_for_work(client, until).await?)
}

/// Gives the loader's lock back: a process that is frozen would keep it. Until all connections on which this loader
/// worked are closed, the same holds for the lock that they share; but a statement that was given up may take its time,
/// so they are not waited for beyond `until`.
pub async fn unlock_loader(client: &Client, until: Instant) -> Result<()> {
    wait_for_work(client, Some(until)).await?;
    client.execute("select pg_advisory_unlock($1)", &[&LOADER_LOCK]).await?;
    Ok(())
}

/// Waits until nothing works for a loader: what a load has begun goes on for a while after an error has ended it.
/// Answers whether that came before `until`.
pub async fn wait_for_work(client: &Client, until: Option<Instant>) -> Result<bool> {
    let is_free = lock(client, WORK_LOCK, until, || {}).await?;
    if is_free {
        client.execute("select pg_advisory_unlock($1)", &[&WORK_LOCK]).await?;
    }
    Ok(is_free)
}

/// Marks a connection as one on which a load works, for as long as it lasts. Answers whether it may: not when another
/// loader waits for the end of this one's work. It then has the loader's lock, which went with the connection that had
/// it; to wait for that loader here would be to wait for each other.
pub async fn join_work(client: &Client) -> Result<bool> {
    Ok(client.query_one("select pg_try_advisory_lock_shared($1)", &[&WORK_LOCK]).await?.get(0))
}

/// Takes the lock for a swap for as long as `client` is connected; calls `on_wait` once if another has it.
pub async fn lock_swap(client: &Client, on_wait: impl FnOnce()) -> Result<()> {
    lock(client, SWAP_LOCK, None, on_wait).await.map(drop)
}

/// Gives the lock for a swap back.
pub async fn unlock_swap(client: &Client) -> Result<()> {
    client.execute("select pg_advisory_unlock($1)", &[&SWAP_LOCK]).await?;
    Ok(())
}

async fn lock(client: &Client, number: i64, until: Option<Instant>, on_wait: impl FnOnce()) -> Result<bool> {
    let free: bool = client.query_one("select pg_try_advisory_lock($1)", &[&number]).await?.get(0);
    if free {
        return Ok(true);
    }
    on_wait();
    let left = until.map(|until| until.saturating_duration_since(Instant::now()).as_millis().max(1));
    let timeout = left.unwrap_or(0);
    client.batch_execute(&format!("set lock_timeout = {timeout}")).await?;
    let locked = client.execute("select pg_advisory_lock($1)", &[&number]).await;
    client.batch_execute("set lock_timeout = 0").await?;
    match locked {
        Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => Ok(false),
        locked => locked.map(|_| true),
    }
}

/// Takes up the unfinished load of this very dataset, if there is one, else begins a new one in an empty
/// `catalog_next`, each file in the ranges at its place in `ranges`. `held` says that no event is to publish it, nor to
/// take it up. The caller holds the loader's lock.
pub async fn begin(
    client: &mut Client,
    dataset: &Dataset,
    ranges: &[Vec<Range<u64>>],
    held: bool,
) -> Result<Begun> {
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
        let (generation, is_named_so): (i32, bool) = (row.get(0), row.get(1));
        let is_same = is_named_so && same_files(&transaction, generation, dataset).await?;
        if let (true, Some(step)) = (is_same, Step::from_name(row.get(2))) {
            transaction
                .execute("update etl.load set held = $2 where generation = $1", &[&generation, &held])
                .await?;
            transaction.commit().await?;
            return Ok(Begun { generation, step, resumed: true, gave_up_another: false });
        }
    }
    give_up(&transaction, "another load began").await?;
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
    Ok(Begun { generation, step: Step::Load, resumed: false, gave_up_another: unfinished.is_some() })
}

/// Gives up what is unfinished, and answers whether anything was.
pub async fn give_up(client: &impl GenericClient, reason: &str) -> Result<bool> {
    let given_up =
        format!("update etl.load set step = 'abandoned', reason = $1, ended_at = now() where {UNFINISHED}");
    Ok(client.execute(&given_up, &[&reason]).await? > 0)
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

/// Notes that the load is at `step` now, and of whatever stopped it before that it does so no longer.
pub async fn enter(client: &Client, generation: i32, step: Step) -> Result<()> {
    client
        .execute(
            "update etl.load set step = $2, reason = null where generation = $1",
            &[&generation, &step.name()],
        )
        .await?;
    Ok(())
}

/// Notes why a load stopped that can be taken up again.
pub async fn stopped(client: &Client, generation: i32, why: &str) -> Result<()> {
    let stopped = format!("update etl.load set reason = $2 where generation = $1 and {UNFINISHED}");
    client.execute(&stopped, &[&generation, &why]).await?;
    Ok(())
}

/// Notes that the load can never succeed, and why.
pub async fn fail(client: &mut Client, generation: i32, why: &str) -> Result<()> {
    let transaction = client.transaction().await?;
    transaction
        .execute(
            "update etl.load set step = 'failed', reason = $2, ended_at = now() where generation = $1",
            &[&generation, &why],
        )
        .await?;
    use_up(&transaction, generation).await?;
    transaction.commit().await
}

/// Notes of the objects that a load was of that this has become of them: until others arrive, no event loads them again.
/// A manifest goes with them if it was there when the load began, and so does what it does not list. In the transaction
/// that ends the load.
pub async fn use_up(transaction: &Transaction<'_>, generation: i32) -> Result<()> {
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

/// Notes that the content of a file is what the manifest says.
pub async fn verified(client: &Client, generation: i32, file: &str) -> Result<()> {
    client
        .execute(
            "update etl.load_file set verified = true where generation = $1 and file = $2",
            &[&generation, &file],
        )
        .await?;
    Ok(())
}

/// A range of a file, the rows of which one worker loads.
#[derive(Clone, Debug)]
pub struct Part {
    /// The file's name.
    pub file: String,
    /// Its first row is the first that begins here or later.
    pub first_offset: u64,
    /// Its last row is the last that begins before this.
    pub end_offset: u64,
    /// The rows before this are committed.
    pub byte_offset: u64,
    /// Whether all of them are.
    pub complete: bool,
    /// The order of the rows that are committed.
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

/// The parts of a load's files.
pub async fn parts(client: &Client, generation: i32) -> Result<Vec<Part>> {
    let rows = client
        .query(
            &format!("select {PART} from etl.load_part where generation = $1 order by file, first_offset"),
            &[&generation],
        )
        .await?;
    Ok(rows.iter().map(part_of_row).collect())
}

/// Locks a part's row until the transaction ends, and answers with the part as it is now. A backend whose client was
/// killed may still be committing: this waits for it.
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

/// Records how far a part is, and what happened to the rows up to there since the last time, in the transaction that
/// holds these rows.
pub async fn progress(
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
    // Last, since the other parts of the file wait for this row.
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
                &signed(counts.set_aside),
                &signed(counts.loaded),
                &counts.seconds,
            ],
        )
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
#[derive(Clone, Copy, Debug)]
pub struct FileRecord {
    /// What happened to its rows so far.
    pub counts: Counts,
    /// How many transactions brought its rows.
    pub commits: u32,
    /// Whether its content was found to be what the manifest says.
    pub verified: bool,
}

/// What is recorded of one file.
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
        set_aside: unsigned(row.get(2)),
        loaded: unsigned(row.get(3)),
        seconds: row.get(4),
    };
    let commits = u32::try_from(row.get::<_, i32>(5)).unwrap_or(0);
    Ok(FileRecord { counts, commits, verified: row.get(6) })
}

/// Whether the loaded rows of a file are in ascending order of its table's key.
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

/// Postgres has no unsigned numbers; none of these comes near the limit.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A count read back; the schema's checks keep it from being negative.
pub(crate) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
