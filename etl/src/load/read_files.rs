//! The first step: every file is streamed, checked row by row, and sent by COPY.
//!
//! One transaction a file, on a connection of its own that is thrown away after it. The table is made in that
//! transaction, so its rows are written frozen, and what a crash costs is the seconds of one file.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::SinkExt;
use tokio::sync::mpsc;
use tokio_postgres::{CopyInSink, Transaction};

use super::rejects::RejectLimit;
use super::{Context, LoadError, at_a_time, blocking};
use crate::csv::{KEPT_OF_LINE, Lines};
use crate::progress::Task;
use crate::record::{self, Counts, Reject};
use crate::row::{COPY_HEADER, COPY_TRAILER, Encoder};
use crate::source::{SourceError, SourceFile};
use crate::table::{TABLES, Table};

/// How many bytes of rows are sent at a time.
const CHUNK: usize = 256 << 10;
/// How many chunks may wait for the database.
const CHUNKS_AHEAD: usize = 4;
/// How many bytes of rows that are set aside are held before they go to the database.
const REJECTS_HELD: usize = 4 << 20;

/// Loads every file that is not loaded yet, the largest first so that none is left over alone at the end.
pub(super) async fn run(context: &Arc<Context>) -> Result<(), LoadError> {
    let mut files = context.files.clone();
    files.sort_by_key(|file| std::cmp::Reverse(file.size));
    let tasks = files.into_iter().map(|file| load_file(Arc::clone(context), file));
    at_a_time(context.options.workers, tasks).await?;
    for table in TABLES.iter().filter(|table| context.file(table).is_none()) {
        let client = context.connect().await?;
        client.batch_execute(&create_table(table, context.generation)).await?;
    }
    Ok(())
}

fn create_table(table: &Table, generation: i32) -> String {
    let ddl = table.ddl.replace("{generation}", &generation.to_string());
    format!("drop table if exists catalog_next.{}; {ddl}", table.name)
}

async fn load_file(context: Arc<Context>, file: SourceFile) -> Result<(), LoadError> {
    let begun = Instant::now();
    let (generation, name) = (context.generation, file.table.file);
    let mut client = context.connect().await?;
    let transaction = client.transaction().await?;
    if record::lock_file(&transaction, generation, name).await? {
        return Ok(());
    }
    record::forget_rejects(&transaction, generation, name).await?;
    transaction.batch_execute(&create_table(file.table, generation)).await?;

    let task = context.options.progress.bytes(name, file.size);
    let (sender, batches) = mpsc::channel(CHUNKS_AHEAD);
    let limit = context.options.limit;
    let reading = blocking(&file, move |file| read_rows(file, limit, &sender));
    let copying = copy_batches(&transaction, &context, file.table, batches, &task);
    let (read, copied) = tokio::join!(reading, copying);
    let (copied, read) = (copied?, read?);
    if copied != read.counts.loaded {
        return Err(LoadError::Inconsistent(format!(
            "{name}: {} rows were sent and {copied} arrived",
            read.counts.loaded
        )));
    }
    let mut counts = read.counts;
    counts.seconds = begun.elapsed().as_secs_f64();
    let progress = record::Progress {
        byte_offset: read.byte_offset,
        complete: !read.gave_up,
        ids_ascend: read.ids_ascend,
        counts,
    };
    record::progress(&transaction, generation, name, &progress).await?;
    transaction.commit().await?;
    task.finish();
    if read.gave_up {
        return Err(context.too_many_rejects(name, counts));
    }
    Ok(())
}

/// What the reading thread hands over.
struct Batch {
    rows: Bytes,
    rejects: Vec<Reject>,
    bytes_read: u64,
}

/// Sends batches by COPY as they come; answers how many rows the database took. Rows set aside are recorded between
/// two COPYs of the same transaction.
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
                None => Copy::begin(transaction, table).await?,
            };
            running.sink.send(batch.rows).await?;
            copy = Some(running);
        }
        if !batch.rejects.is_empty() {
            if let Some(running) = copy.take() {
                copied += running.finish().await?;
            }
            record::reject(transaction, context.generation, table.file, &batch.rejects).await?;
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
    async fn begin(transaction: &Transaction<'_>, table: &Table) -> Result<Self, LoadError> {
        let statement = format!(
            "copy catalog_next.{} ({}) from stdin with (format binary, freeze)",
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

/// What there is to say of a file after it was read.
struct Read {
    counts: Counts,
    byte_offset: u64,
    ids_ascend: bool,
    /// Whether so much had to be set aside that reading on was pointless.
    gave_up: bool,
}

/// Reads a file from its first row, on a thread of its own. A receiver that went away ends it early; what it then
/// answers is not used.
fn read_rows(
    file: &SourceFile,
    limit: RejectLimit,
    batches: &mpsc::Sender<Batch>,
) -> Result<Read, SourceError> {
    let input = file.read_from(file.body_offset)?;
    let mut lines = Lines::new(&input, file.body_offset);
    let mut encoder = Encoder::new(file.table, 0);
    let mut rejects = Vec::new();
    let mut rejects_bytes = 0;
    let (mut counts, mut offset, mut sent_to) = (Counts::default(), file.body_offset, 0);
    let mut gave_up = false;
    while let Some(line) = lines.next_line().map_err(|cause| file.unreadable(cause))? {
        counts.read += 1;
        offset = line.end;
        match encoder.push(&line) {
            Ok(repaired) => {
                counts.loaded += 1;
                counts.repaired += u64::from(repaired);
            }
            Err(fault) => {
                counts.set_aside += 1;
                let original = line.bytes[..line.bytes.len().min(KEPT_OF_LINE)].to_vec();
                rejects_bytes += original.len() + size_of::<Reject>();
                rejects.push(Reject {
                    byte_offset: line.offset,
                    column: fault.column,
                    reason: fault.reason.into_owned(),
                    length: line.length,
                    original,
                });
                gave_up = limit.is_hopeless(&counts, file.size.saturating_sub(offset));
            }
        }
        let is_full = encoder.collected() >= CHUNK || rejects_bytes >= REJECTS_HELD;
        if is_full || gave_up {
            // Rejects interrupt the COPY, so they wait until there are many or the file ends.
            let with_rejects = rejects_bytes >= REJECTS_HELD || gave_up;
            let rejects = if with_rejects { std::mem::take(&mut rejects) } else { Vec::new() };
            if with_rejects {
                rejects_bytes = 0;
            }
            let batch = Batch { rows: encoder.take().into(), rejects, bytes_read: offset - sent_to };
            sent_to = offset;
            if batches.blocking_send(batch).is_err() || gave_up {
                break;
            }
        }
    }
    let _ =
        batches.blocking_send(Batch { rows: encoder.take().into(), rejects, bytes_read: offset - sent_to });
    file.check_unchanged(&input)?;
    let gave_up = gave_up || counts.set_aside > limit.allowed(counts.read);
    Ok(Read { counts, byte_offset: offset, ids_ascend: encoder.ids_ascend(), gave_up })
}
