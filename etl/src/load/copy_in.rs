//! The first step: streams every file, checks each row and sends it with COPY.
//!
//! A file is one part, or several ranges in parallel. A transaction commits the rows of a part, its rejects and its
//! progress together: the whole part, or a number of bytes at a time. It first locks the part's row in the ledger and
//! resumes at the offset there, so that no row is loaded twice, whenever a loader is killed.
//!
//! If a part is a whole file with one commit, its transaction also creates the table. Then COPY writes frozen rows, and
//! Postgres does not log them. The loader vacuums the other tables instead.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::SinkExt;
use tokio::sync::mpsc;
use tokio_postgres::{Client, CopyInSink, Transaction};

use super::{Context, LoadError, blocking, run_bounded};
use crate::csv::{Lines, MAX_KEPT};
use crate::failpoint;
use crate::ledger::{self, Counts, Part, Reject};
use crate::progress::Task;
use crate::row::{COPY_HEADER, COPY_TRAILER, Encoder};
use crate::source::{SourceError, SourceFile, USUAL_LINE};
use crate::table::{TABLES, Table};

/// The size of a chunk of rows in bytes.
const CHUNK: usize = 256 << 10;
/// The max number of chunks that wait for the database.
const CHUNKS_AHEAD: usize = 4;
/// The max size of buffered rejects in bytes.
const MAX_REJECTS: usize = 4 << 20;

/// Returns the ranges of a file, each of max `limit` bytes.
pub(super) fn ranges(file: &SourceFile, limit: u64) -> Vec<std::ops::Range<u64>> {
    // The rank of a product is its position in the whole file.
    let number = if file.table.is_ranked() { 1 } else { file.size.div_ceil(limit.max(1)).max(1) };
    let bound = |nth: u64| {
        u64::try_from(u128::from(file.size) * u128::from(nth) / u128::from(number)).unwrap_or(file.size)
    };
    (0..number).map(|nth| bound(nth)..bound(nth + 1)).collect()
}

/// Loads every incomplete part, the largest first, so that the last one does not run alone.
pub(super) async fn run(context: &Arc<Context>) -> Result<(), LoadError> {
    let client = context.connect().await?;
    check_hashes(context).await?;
    let parts = ledger::parts(&client, context.generation).await?;
    let mut loaders = Vec::new();
    for file in &context.files {
        let own: Vec<_> = parts.iter().filter(|part| part.file == file.table.file).collect();
        if own.len() > 1 {
            create_table_if_missing(&client, file.table, context.generation).await?;
        }
        let task = context.options.progress.bytes(file.table.file, file.size, own.len());
        task.advance(own.iter().map(|part| part.byte_offset - part.first_offset).sum());
        let is_alone = own.len() == 1;
        loaders.extend(own.into_iter().filter(|part| !part.complete).cloned().map(|part| FileLoader {
            file: file.clone(),
            part,
            is_alone,
            task: task.clone(),
        }));
    }
    loaders.sort_by_key(|loader| std::cmp::Reverse(loader.part.end_offset - loader.part.byte_offset));
    let loading = loaders.into_iter().map(|loader| loader.run(Arc::clone(context)));
    run_bounded(context.options.workers, loading).await?;
    context.check_rejects(&client).await?;
    for table in &TABLES {
        match context.file(table) {
            None => create_table_if_missing(&client, table, context.generation).await?,
            Some(_) if ledger::file_counts(&client, context.generation, table.file).await?.commits > 1 => {
                client.batch_execute(&format!("vacuum (freeze) catalog_next.{}", table.name)).await?;
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// Compares the files with the hashes in the manifest, before any row is loaded.
async fn check_hashes(context: &Arc<Context>) -> Result<(), LoadError> {
    let listed: Vec<_> = context.files.iter().filter(|file| file.sha256.is_some()).cloned().collect();
    let checks = listed.into_iter().map(|file| {
        let context = Arc::clone(context);
        async move {
            let client = context.connect().await?;
            let name = file.table.file;
            if !ledger::file_counts(&client, context.generation, name).await?.verified {
                let until = context.options.stop_at;
                blocking(&file, move |file| file.check_hash(until)).await?;
                ledger::mark_verified(&client, context.generation, name).await?;
            }
            Ok(())
        }
    });
    run_bounded(context.options.workers, checks).await
}

fn create_table(table: &Table, generation: i32) -> String {
    let ddl = table.ddl.replace("{generation}", &generation.to_string());
    format!("drop table if exists catalog_next.{}; {ddl}", table.name)
}

async fn create_table_if_missing(client: &Client, table: &Table, generation: i32) -> Result<(), LoadError> {
    if !super::exists(client, &format!("catalog_next.{}", table.name)).await? {
        client.batch_execute(&create_table(table, generation)).await?;
    }
    Ok(())
}

/// A loader of one part.
struct FileLoader {
    file: SourceFile,
    part: Part,
    /// Whether it is the whole file.
    is_alone: bool,
    task: Task,
}

impl FileLoader {
    async fn run(mut self, context: Arc<Context>) -> Result<(), LoadError> {
        // One connection per part: it is unusable after a failed COPY.
        let mut client = context.connect().await?;
        while !self.part.complete {
            context.check_time()?;
            self.load_some(&context, &mut client).await?;
        }
        self.task.finish();
        Ok(())
    }

    /// Loads the next rows of the part and commits them.
    async fn load_some(&mut self, context: &Arc<Context>, client: &mut Client) -> Result<(), LoadError> {
        let started = Instant::now();
        let (generation, table) = (context.generation, self.file.table);
        let transaction = client.transaction().await?;
        let recorded = ledger::lock_part(&transaction, generation, &self.part).await?;
        if (recorded.byte_offset, recorded.complete) != (self.part.byte_offset, self.part.complete) {
            return Err(LoadError::TakenOver(table.file));
        }
        let is_first = self.part.byte_offset == self.part.first_offset;
        let creates_table = self.is_alone && is_first;
        if creates_table {
            transaction.batch_execute(&create_table(table, generation)).await?;
        }
        let (sender, batches) = mpsc::channel(CHUNKS_AHEAD);
        let before = ledger::file_counts(&transaction, generation, table.file).await?.counts;
        let (part, options) = (self.part.clone(), context.options.clone());
        let reading = LineReader { part, is_alone: self.is_alone, before, options };
        let reading = blocking(&self.file, move |file| reading.read(file, &sender));
        let copying = copy_batches(&transaction, context, table, creates_table, batches, &self.task);
        let (read, copied) = tokio::join!(reading, copying);
        let (copied, read) = (copied?, read?);
        if copied != read.counts.loaded {
            return Err(LoadError::Bug(format!(
                "{}: {} rows were sent, but Postgres copied {copied}",
                table.file, read.counts.loaded
            )));
        }
        let mut counts = read.counts;
        counts.seconds = started.elapsed().as_secs_f64();
        ledger::record_progress(&transaction, generation, &read.part, &counts).await?;
        failpoint::hit(failpoint::BEFORE_COMMIT);
        transaction.commit().await?;
        failpoint::hit(failpoint::AFTER_COMMIT);
        self.part = read.part;
        if read.limit_exceeded {
            return Err(context.too_many_rejects(table.file, before + counts));
        }
        Ok(())
    }
}

/// A batch of rows and rejects from the reading thread.
struct Batch {
    rows: Bytes,
    rejects: Vec<Reject>,
    bytes_read: u64,
}

/// Sends batches with COPY and returns the number of copied rows. Records rejects between two COPYs of the same
/// transaction.
async fn copy_batches(
    transaction: &Transaction<'_>,
    context: &Context,
    table: &Table,
    freeze: bool,
    mut batches: mpsc::Receiver<Batch>,
    task: &Task,
) -> Result<u64, LoadError> {
    let mut copied = 0;
    let mut copy: Option<Copy> = None;
    while let Some(batch) = batches.recv().await {
        if !batch.rows.is_empty() {
            let mut running = match copy.take() {
                Some(running) => running,
                None => Copy::begin(transaction, table, freeze).await?,
            };
            running.sink.send(batch.rows).await?;
            copy = Some(running);
        }
        if !batch.rejects.is_empty() {
            if let Some(running) = copy.take() {
                copied += running.finish().await?;
            }
            ledger::reject(transaction, context.generation, table.file, &batch.rejects).await?;
        }
        task.advance(batch.bytes_read);
    }
    if let Some(running) = copy {
        copied += running.finish().await?;
    }
    Ok(copied)
}

struct Copy {
    sink: std::pin::Pin<Box<CopyInSink<Bytes>>>,
}

impl Copy {
    async fn begin(transaction: &Transaction<'_>, table: &Table, freeze: bool) -> Result<Self, LoadError> {
        let statement = format!(
            "copy catalog_next.{} ({}) from stdin with (format binary, freeze {freeze})",
            table.name,
            table.copy_columns()
        );
        let mut sink = Box::pin(transaction.copy_in(&statement).await?);
        sink.send(Bytes::from_static(COPY_HEADER)).await?;
        Ok(Self { sink })
    }

    async fn finish(mut self) -> Result<u64, LoadError> {
        self.sink.send(Bytes::from_static(COPY_TRAILER)).await?;
        Ok(self.sink.as_mut().finish().await?)
    }
}

/// A reader of some rows of a part, on its own thread.
struct LineReader {
    part: Part,
    /// Whether it is the whole file.
    is_alone: bool,
    /// The row counts of the file before.
    before: Counts,
    options: super::LoadOptions,
}

/// The state of a part after a read.
struct ReadResult {
    part: Part,
    /// The counts of the rows in this read.
    counts: Counts,
    /// Whether the file exceeded the limit of rejected rows.
    limit_exceeded: bool,
}

impl LineReader {
    /// Reads up to the next commit, the end of the part or the deadline. A closed receiver ends it early; then the caller
    /// does not use the result.
    fn read(self, file: &SourceFile, batches: &mpsc::Sender<Batch>) -> Result<ReadResult, SourceError> {
        let mut part = self.part;
        let from = part.byte_offset.max(file.body_offset);
        // A range can begin within a line, which belongs to the range before, unless the line begins there too.
        let skips_line = part.byte_offset == part.first_offset && part.first_offset > file.body_offset;
        let begin = if skips_line { from - 1 } else { from };
        let mut input = file.read_from(begin, part.end_offset + USUAL_LINE, self.options.stop_at)?;
        let mut lines = Lines::new(&mut input, begin);
        let mut encoder = Encoder::new(file.table, self.before.loaded, part.order);
        let mut pending = PendingBatch { rejects: Vec::new(), rejects_bytes: 0, reported: from };
        let mut counts = Counts::default();
        let mut limit_exceeded = false;
        let mut is_first = skips_line;
        part.byte_offset = from;
        loop {
            let line = match lines.next_line() {
                Ok(Some(line)) => line,
                Ok(None) => {
                    part.complete = true;
                    break;
                }
                Err(error) => match file.failed(error) {
                    // The rows so far are committed.
                    SourceError::DeadlineReached => break,
                    error => return Err(error),
                },
            };
            if std::mem::take(&mut is_first) {
                part.byte_offset = line.end;
                continue;
            }
            if line.offset >= part.end_offset {
                part.complete = true;
                break;
            }
            counts.read += 1;
            part.byte_offset = line.end;
            match encoder.push(&line) {
                Ok(repaired) => {
                    counts.loaded += 1;
                    counts.repaired += u64::from(repaired);
                }
                Err(fault) => {
                    counts.rejected += 1;
                    pending.reject(Reject {
                        byte_offset: line.offset,
                        column: fault.column,
                        reason: fault.reason.into_owned(),
                        length: line.length,
                        original: line.bytes[..line.bytes.len().min(MAX_KEPT)].to_vec(),
                    });
                    let total = self.before + counts;
                    // The progress of other ranges is unknown here.
                    let unread =
                        if self.is_alone { file.size.saturating_sub(part.byte_offset) } else { file.size };
                    limit_exceeded = self.options.limit.limit_exceeded(&total, unread);
                }
            }
            let is_enough = limit_exceeded || part.byte_offset - from >= self.options.commit_bytes;
            if is_enough || encoder.buffered() >= CHUNK || pending.rejects_bytes >= MAX_REJECTS {
                let is_enough = is_enough || self.options.deadline_reached();
                let batch = pending.batch(&mut encoder, part.byte_offset, is_enough);
                if batches.blocking_send(batch).is_err() || is_enough {
                    break;
                }
            }
        }
        let _ = batches.blocking_send(pending.batch(&mut encoder, part.byte_offset, true));
        // The last line belongs to the part in which it begins, and may end far after it.
        part.complete |= part.byte_offset >= part.end_offset;
        drop(lines);
        file.check_unchanged(&input)?;
        part.order = encoder.order();
        Ok(ReadResult { part, counts, limit_exceeded })
    }
}

/// The rejects and the progress that are not sent yet.
struct PendingBatch {
    rejects: Vec<Reject>,
    rejects_bytes: usize,
    /// The offset up to which progress is reported.
    reported: u64,
}

impl PendingBatch {
    fn reject(&mut self, reject: Reject) {
        self.rejects_bytes += reject.original.len() + size_of::<Reject>();
        self.rejects.push(reject);
    }

    /// Returns the next batch. Rejects interrupt the COPY, so they wait until there are many, or until the end.
    fn batch(&mut self, encoder: &mut Encoder, offset: u64, is_last: bool) -> Batch {
        let mut rejects = Vec::new();
        if is_last || self.rejects_bytes >= MAX_REJECTS {
            rejects = std::mem::take(&mut self.rejects);
            self.rejects_bytes = 0;
        }
        let bytes_read = offset - std::mem::replace(&mut self.reported, offset);
        Batch { rows: encoder.take().into(), rejects, bytes_read }
    }
}
