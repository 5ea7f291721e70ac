//! The first step: streams every file, checks each row and sends it with COPY.
//!
//! One transaction creates a table, fills it from its file, and records the counts, the rejects and the end of the file.
//! So COPY can write frozen rows, which Postgres does not log, and a killed load resumes with the next file.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_postgres::Transaction;

use super::copy::{CHUNK, CHUNKS_AHEAD, Copy, create_table};
use super::{Context, LoadError, blocking, run_bounded};
use crate::csv::Lines;
use crate::failpoint;
use crate::ledger::{self, Counts, FileRead, Reject};
use crate::note::{Note, NoteCounts};
use crate::progress::Task;
use crate::row::{Encoder, FaultKind, NullWord};
use crate::source::{SourceError, SourceFile};
use crate::table::{TABLES, Table};

/// The max size of buffered rejects in bytes.
const MAX_REJECTS: usize = 4 << 20;

/// Loads every file that is not loaded, the largest first, so that the last one does not run alone.
pub(super) async fn run(context: &Arc<Context>) -> Result<(), LoadError> {
    let client = context.connect().await?;
    check_hashes(context).await?;
    let mut files = context.files.clone();
    files.sort_by_key(|file| std::cmp::Reverse(file.size));
    let loading = files.into_iter().map(|file| load_file(Arc::clone(context), file));
    run_bounded(context.options.workers, loading).await?;
    context.check_rejects(&client).await?;
    for table in TABLES.iter().filter(|table| context.file(table).is_none()) {
        create_table(&client, table.name, table.ddl, context.generation).await?;
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
            if !ledger::file_record(&client, context.generation, name).await?.verified {
                let until = context.options.stop_at;
                blocking(&file, move |file| file.check_hash(until)).await?;
                ledger::mark_verified(&client, context.generation, name).await?;
            }
            Ok(())
        }
    });
    run_bounded(context.options.workers, checks).await
}

/// Loads one file, unless it is loaded.
async fn load_file(context: Arc<Context>, file: SourceFile) -> Result<(), LoadError> {
    context.check_time()?;
    let (generation, table) = (context.generation, file.table);
    let task = context.options.progress.bytes(table.file, file.size);
    let started = Instant::now();
    // One connection for each file: it is unusable after a failed COPY.
    let mut client = context.connect().await?;
    for null_word in [NullWord::Null, NullWord::Text] {
        let transaction = client.transaction().await?;
        if ledger::begin_file(&transaction, generation, table.file).await? {
            break;
        }
        create_table(&transaction, table.name, table.ddl, generation).await?;
        let mut read = copy_file(&context, &file, &transaction, null_word, &task).await?;
        if read.has_both_nulls {
            transaction.rollback().await?;
            task.set(0, file.size);
            continue;
        }
        read.counts.seconds = started.elapsed().as_secs_f64();
        ledger::record_file(&transaction, generation, table.file, &read).await?;
        failpoint::hit(failpoint::BEFORE_COMMIT);
        transaction.commit().await?;
        failpoint::hit(failpoint::AFTER_COMMIT);
        if !read.complete {
            return Err(context.too_many_rejects(&client, table.file, read.counts).await?);
        }
        break;
    }
    task.finish();
    Ok(())
}

/// Reads a file and copies its rows and rejects to the database.
async fn copy_file(
    context: &Context,
    file: &SourceFile,
    transaction: &Transaction<'_>,
    null_word: NullWord,
    task: &Task,
) -> Result<FileRead, LoadError> {
    let (sender, batches) = mpsc::channel(CHUNKS_AHEAD);
    let reader = RowReader { options: context.options.clone(), null_word, batches: sender };
    let reading = blocking(file, move |file| reader.read(file));
    let copying = copy_batches(transaction, context, file.table, batches, task);
    let (read, copied) = tokio::join!(reading, copying);
    let (copied, read) = (copied?, read?);
    if copied != read.counts.loaded {
        return Err(LoadError::Bug(format!(
            "{}: {} rows were sent, but Postgres copied {copied}",
            file.table.file, read.counts.loaded
        )));
    }
    Ok(read)
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
    mut batches: mpsc::Receiver<Batch>,
    task: &Task,
) -> Result<u64, LoadError> {
    let mut copied = 0;
    let mut copy: Option<Copy> = None;
    while let Some(batch) = batches.recv().await {
        if !batch.rows.is_empty() {
            let mut running = match copy.take() {
                Some(running) => running,
                None => Copy::begin(transaction, table.name, &table.copy_columns()).await?,
            };
            running.send(batch.rows).await?;
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

/// A reader of a file's rows, on its own thread.
struct RowReader {
    options: super::LoadOptions,
    null_word: NullWord,
    batches: mpsc::Sender<Batch>,
}

impl RowReader {
    /// Reads a file to its end, or until too many rows are rejected. A closed receiver ends it early; then the caller does
    /// not use the result.
    fn read(self, file: &SourceFile) -> Result<FileRead, SourceError> {
        let mut lines = Lines::new(file.read_rows(self.options.stop_at)?, file.body_offset, file.body_line());
        let mut encoder = Encoder::new(file.table, self.null_word);
        let mut pending =
            PendingBatch { rejects: Vec::new(), rejects_bytes: 0, reported: lines.input().position() };
        let (mut counts, mut notes) = (Counts::default(), NoteCounts::default());
        let mut complete = true;
        while let Some(row) = encoder.next_row(&mut lines).map_err(|error| file.failed(error))? {
            let record = lines.record();
            counts.read += 1;
            match row {
                Ok(of_row) => {
                    let is_suspicious = encoder.looks_cut() || of_row.contains(Note::ClosingQuote);
                    file.check_end(&record, is_suspicious)?;
                    counts.loaded += 1;
                    counts.repaired += u64::from(of_row.has_repair());
                    notes.add(of_row, record.line);
                }
                Err(fault) => {
                    file.check_end(&record, fault.kind != FaultKind::Orphan)?;
                    counts.rejected += 1;
                    pending.reject(Reject::new(&record, fault.column, fault.reason.into_owned()));
                    let unread = file.max_text_size().saturating_sub(lines.next_offset());
                    complete = !self.options.limit.is_exceeded_before_the_end(&counts, unread);
                }
            }
            if encoder.has_both_nulls() {
                break;
            }
            if !complete || encoder.buffered() >= CHUNK || pending.rejects_bytes >= MAX_REJECTS {
                if self.options.deadline_reached() {
                    return Err(SourceError::DeadlineReached);
                }
                let batch = pending.batch(&mut encoder, lines.input().position(), !complete);
                if self.batches.blocking_send(batch).is_err() || !complete {
                    break;
                }
            }
        }
        let _ = self.batches.blocking_send(pending.batch(&mut encoder, lines.input().position(), true));
        file.check_unchanged(lines.input())?;
        let has_both_nulls = encoder.has_both_nulls();
        // Documents are assembled from a sorted file, which must be read in the same way then.
        let keys_ascend = encoder.keys_ascend() && self.null_word == NullWord::Null;
        Ok(FileRead { counts, notes, keys_ascend, complete, has_both_nulls })
    }
}

/// The rejects and the progress that are not sent yet.
struct PendingBatch {
    rejects: Vec<Reject>,
    rejects_bytes: usize,
    /// The stored bytes that are reported as progress.
    reported: u64,
}

impl PendingBatch {
    fn reject(&mut self, reject: Reject) {
        self.rejects_bytes += reject.original.len() + size_of::<Reject>();
        self.rejects.push(reject);
    }

    /// Returns the next batch. Rejects interrupt the COPY, so they wait until there are many, or until the end.
    fn batch(&mut self, encoder: &mut Encoder, position: u64, is_last: bool) -> Batch {
        let mut rejects = Vec::new();
        if is_last || self.rejects_bytes >= MAX_REJECTS {
            rejects = std::mem::take(&mut self.rejects);
            self.rejects_bytes = 0;
        }
        let bytes_read = position - std::mem::replace(&mut self.reported, position);
        Batch { rows: encoder.take().into(), rejects, bytes_read }
    }
}
