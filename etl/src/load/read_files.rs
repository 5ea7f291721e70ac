//! The first step: every file is streamed, checked row by row, and sent by COPY.
//!
//! A file is read as one part, or in several ranges side by side. The rows of a part, what is set aside of them and how
//! far they go are committed together: all at once, or so many bytes at a time. A transaction first locks its part's
//! row and goes on only from the offset that is recorded there, so that no row comes twice, whoever was killed when.
//!
//! A part that is a whole file and is committed at once has its table made in that transaction: its rows are written
//! frozen, and Postgres need not log them. Other tables are vacuumed for that.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::SinkExt;
use tokio::sync::mpsc;
use tokio_postgres::{Client, CopyInSink, Transaction};

use super::{Context, LoadError, at_a_time, blocking};
use crate::csv::{KEPT_OF_LINE, Lines};
use crate::failpoint;
use crate::progress::Task;
use crate::record::{self, Counts, Part, Reject};
use crate::row::{COPY_HEADER, COPY_TRAILER, Encoder};
use crate::source::{SourceError, SourceFile, USUAL_LINE};
use crate::table::{TABLES, Table};

/// How many bytes of rows are sent at a time.
const CHUNK: usize = 256 << 10;
/// How many chunks may wait for the database.
const CHUNKS_AHEAD: usize = 4;
/// How many bytes of rows that are set aside are held before they go to the database.
const REJECTS_HELD: usize = 4 << 20;

/// The ranges a file is to be read in, none of more than `limit` bytes.
pub(super) fn ranges(file: &SourceFile, limit: u64) -> Vec<std::ops::Range<u64>> {
    // A product's rank is its place among all of its file.
    let number = if file.table.is_ranked() { 1 } else { file.size.div_ceil(limit.max(1)).max(1) };
    let bound = |nth: u64| {
        u64::try_from(u128::from(file.size) * u128::from(nth) / u128::from(number)).unwrap_or(file.size)
    };
    (0..number).map(|nth| bound(nth)..bound(nth + 1)).collect()
}

/// Loads every part that is not loaded yet, the largest first so that none is left over alone at the end.
pub(super) async fn run(context: &Arc<Context>) -> Result<(), LoadError> {
    let client = context.connect().await?;
    check_hashes(context).await?;
    let parts = record::parts(&client, context.generation).await?;
    let mut jobs = Vec::new();
    for file in &context.files {
        let own: Vec<_> = parts.iter().filter(|part| part.file == file.table.file).collect();
        if own.len() > 1 {
            create_table_if_missing(&client, file.table, context.generation).await?;
        }
        let task = context.options.progress.bytes(file.table.file, file.size, own.len());
        task.advance(own.iter().map(|part| part.byte_offset - part.first_offset).sum());
        let is_alone = own.len() == 1;
        jobs.extend(own.into_iter().filter(|part| !part.complete).cloned().map(|part| Job {
            file: file.clone(),
            part,
            is_alone,
            task: task.clone(),
        }));
    }
    jobs.sort_by_key(|job| std::cmp::Reverse(job.part.end_offset - job.part.byte_offset));
    let loading = jobs.into_iter().map(|job| job.run(Arc::clone(context)));
    at_a_time(context.options.workers, loading).await?;
    context.check_rejects(&client).await?;
    for table in &TABLES {
        match context.file(table) {
            None => create_table_if_missing(&client, table, context.generation).await?,
            Some(_) if record::file_counts(&client, context.generation, table.file).await?.commits > 1 => {
                client.batch_execute(&format!("vacuum (freeze) catalog_next.{}", table.name)).await?;
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// Compares the files with the hashes that a manifest lists, before a row of any is loaded.
async fn check_hashes(context: &Arc<Context>) -> Result<(), LoadError> {
    let listed: Vec<_> = context.files.iter().filter(|file| file.sha256.is_some()).cloned().collect();
    let checks = listed.into_iter().map(|file| {
        let context = Arc::clone(context);
        async move {
            let client = context.connect().await?;
            let name = file.table.file;
            if !record::file_counts(&client, context.generation, name).await?.verified {
                let until = context.options.stop_at;
                blocking(&file, move |file| file.check_hash(until)).await?;
                record::verified(&client, context.generation, name).await?;
            }
            Ok(())
        }
    });
    at_a_time(context.options.workers, checks).await
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

/// A part that is to be loaded.
struct Job {
    file: SourceFile,
    part: Part,
    /// Whether it is the whole file.
    is_alone: bool,
    task: Task,
}

impl Job {
    async fn run(mut self, context: Arc<Context>) -> Result<(), LoadError> {
        // Thrown away after an error: a COPY that was refused leaves it in no state to go on with.
        let mut client = context.connect().await?;
        while !self.part.complete {
            context.check_time()?;
            self.load_some(&context, &mut client).await?;
        }
        self.task.finish();
        Ok(())
    }

    /// Loads and commits the next rows of the part.
    async fn load_some(&mut self, context: &Arc<Context>, client: &mut Client) -> Result<(), LoadError> {
        let begun = Instant::now();
        let (generation, table) = (context.generation, self.file.table);
        let transaction = client.transaction().await?;
        let recorded = record::lock_part(&transaction, generation, &self.part).await?;
        if (recorded.byte_offset, recorded.complete) != (self.part.byte_offset, self.part.complete) {
            return Err(LoadError::GoneOnElsewhere(table.file));
        }
        let is_first = self.part.byte_offset == self.part.first_offset;
        let creates_table = self.is_alone && is_first;
        if creates_table {
            transaction.batch_execute(&create_table(table, generation)).await?;
        }
        let (sender, batches) = mpsc::channel(CHUNKS_AHEAD);
        let before = record::file_counts(&transaction, generation, table.file).await?.counts;
        let (part, options) = (self.part.clone(), context.options.clone());
        let reading = RowReader { part, is_alone: self.is_alone, before, options };
        let reading = blocking(&self.file, move |file| reading.read(file, &sender));
        let copying = copy_batches(&transaction, context, table, creates_table, batches, &self.task);
        let (read, copied) = tokio::join!(reading, copying);
        let (copied, read) = (copied?, read?);
        if copied != read.counts.loaded {
            return Err(LoadError::Inconsistent(format!(
                "{}: {} rows were sent and {copied} arrived",
                table.file, read.counts.loaded
            )));
        }
        let mut counts = read.counts;
        counts.seconds = begun.elapsed().as_secs_f64();
        record::progress(&transaction, generation, &read.part, &counts).await?;
        failpoint::reach(failpoint::BEFORE_COMMIT);
        transaction.commit().await?;
        failpoint::reach(failpoint::AFTER_COMMIT);
        self.part = read.part;
        if read.gave_up {
            return Err(context.too_many_rejects(table.file, before + counts));
        }
        Ok(())
    }
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

/// Reads some of a part, on a thread of its own.
struct RowReader {
    part: Part,
    /// Whether it is the whole file.
    is_alone: bool,
    /// What happened to the file's rows until now.
    before: Counts,
    options: super::LoadOptions,
}

/// What there is to say of a part after some of it was read.
struct Read {
    part: Part,
    /// What happened to the rows that were read.
    counts: Counts,
    /// Whether so much of the file had to be set aside that reading on was pointless.
    gave_up: bool,
}

impl RowReader {
    /// Reads until there is enough to be committed, the part ends, or time is up. A receiver that went away ends it
    /// early; what it then answers is not used.
    fn read(self, file: &SourceFile, batches: &mpsc::Sender<Batch>) -> Result<Read, SourceError> {
        let mut part = self.part;
        let from = part.byte_offset.max(file.body_offset);
        // A range begins anywhere: the line it begins in is the range's before it, unless it begins there too.
        let skips_line = part.byte_offset == part.first_offset && part.first_offset > file.body_offset;
        let begin = if skips_line { from - 1 } else { from };
        let mut input = file.read_from(begin, part.end_offset + USUAL_LINE, self.options.stop_at)?;
        let mut lines = Lines::new(&mut input, begin);
        let mut encoder = Encoder::new(file.table, self.before.loaded, part.order);
        let mut waiting = Waiting { rejects: Vec::new(), rejects_bytes: 0, told: from };
        let mut counts = Counts::default();
        let mut gave_up = false;
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
                    // What came until now is committed.
                    SourceError::OutOfTime => break,
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
                    counts.set_aside += 1;
                    waiting.set_aside(Reject {
                        byte_offset: line.offset,
                        column: fault.column,
                        reason: fault.reason.into_owned(),
                        length: line.length,
                        original: line.bytes[..line.bytes.len().min(KEPT_OF_LINE)].to_vec(),
                    });
                    let total = self.before + counts;
                    // How much others have read meanwhile is not known here.
                    let unread =
                        if self.is_alone { file.size.saturating_sub(part.byte_offset) } else { file.size };
                    gave_up = self.options.limit.is_hopeless(&total, unread);
                }
            }
            let is_enough = gave_up || part.byte_offset - from >= self.options.commit_bytes;
            if is_enough || encoder.collected() >= CHUNK || waiting.rejects_bytes >= REJECTS_HELD {
                let is_enough = is_enough || self.options.is_out_of_time();
                let batch = waiting.batch(&mut encoder, part.byte_offset, is_enough);
                if batches.blocking_send(batch).is_err() || is_enough {
                    break;
                }
            }
        }
        let _ = batches.blocking_send(waiting.batch(&mut encoder, part.byte_offset, true));
        // Its last line, which is of the part that it begins in, may end far beyond it.
        part.complete |= part.byte_offset >= part.end_offset;
        drop(lines);
        file.check_unchanged(&input)?;
        part.order = encoder.order();
        Ok(Read { part, counts, gave_up })
    }
}

/// What was read and not handed over yet, beside the rows.
struct Waiting {
    rejects: Vec<Reject>,
    rejects_bytes: usize,
    /// How far the progress is told, in bytes.
    told: u64,
}

impl Waiting {
    fn set_aside(&mut self, reject: Reject) {
        self.rejects_bytes += reject.original.len() + size_of::<Reject>();
        self.rejects.push(reject);
    }

    /// What was collected. Rejects interrupt the COPY, so they wait until there are many, or until nothing follows.
    fn batch(&mut self, encoder: &mut Encoder, offset: u64, is_last: bool) -> Batch {
        let mut rejects = Vec::new();
        if is_last || self.rejects_bytes >= REJECTS_HELD {
            rejects = std::mem::take(&mut self.rejects);
            self.rejects_bytes = 0;
        }
        let bytes_read = offset - std::mem::replace(&mut self.told, offset);
        Batch { rows: encoder.take().into(), rejects, bytes_read }
    }
}
