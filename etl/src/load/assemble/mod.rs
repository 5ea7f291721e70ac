//! The third step: merges the rows of each product into its finished responses, the documents.
//!
//! A worker takes products in batches by rank. It reads their rows from the files if they are sorted, otherwise from the
//! tables through the (parent, position) indexes. Each worker has one batch in memory. The loader counts every
//! row that reaches a document, and the counts must match those in the ledger.
//!
//! The posting lists of categories and words come from the same rows.

mod documents;
mod gzip;
mod postings;
mod reading;
mod rows;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_postgres::Client;

use self::documents::Assembler;
use self::postings::Part;
use self::reading::Rows;
use super::copy::{CHUNKS_AHEAD, Copy, create_table};
use super::{Context, LoadError};
use crate::failpoint;
use crate::ledger;
use crate::progress::Task;
use crate::table::{DOCUMENTS_DDL, TABLES, Table};

/// The number of products in a batch: about 15 MB of rows.
const BATCH: i32 = 4096;

/// The number of rows of each table that reached a document.
type RowCounts = [(&'static Table, u64); 6];

/// Creates and fills the tables of the read model, from scratch.
pub(super) async fn run(context: &Arc<Context>) -> Result<(), LoadError> {
    let mut client = context.connect().await?;
    let mut second_client = context.connect().await?;
    let batches = Arc::new(batches(&client).await?);
    let sorted = Arc::new(reading::sorted_files(context, &client).await?);
    let task = context.options.progress.steps("assembling", batches.len() as u64);

    let (sender, documents) = mpsc::channel(CHUNKS_AHEAD);
    let (parts_sender, parts) = mpsc::channel(1);
    let next = Arc::new(AtomicUsize::new(0));
    let mut workers = JoinSet::new();
    for _ in 0..context.options.workers {
        let worker = Worker {
            context: Arc::clone(context),
            batches: Arc::clone(&batches),
            next: Arc::clone(&next),
            sorted: Arc::clone(&sorted),
            documents: sender.clone(),
            parts: parts_sender.clone(),
            task: task.clone(),
        };
        workers.spawn(worker.run());
    }
    drop((sender, parts_sender));

    let ((merged, copied), listed) = tokio::try_join!(
        write_documents(&mut client, context.generation, documents, workers),
        write_posting_lists(&mut second_client, context.generation, parts)
    )?;
    check_counts(context, &client, &merged, copied, listed).await?;
    task.finish();
    Ok(())
}

/// Creates and fills `catalog_next.documents`. Returns the rows that the workers merged, and the number of documents.
async fn write_documents(
    client: &mut Client,
    generation: i32,
    mut documents: mpsc::Receiver<Bytes>,
    mut workers: JoinSet<Result<RowCounts, LoadError>>,
) -> Result<(Vec<RowCounts>, u64), LoadError> {
    let transaction = client.transaction().await?;
    create_table(&transaction, "documents", DOCUMENTS_DDL, generation).await?;
    let mut copy = Copy::begin(&transaction, "documents", DOCUMENT_COLUMNS).await?;
    while let Some(chunk) = documents.recv().await {
        copy.send(chunk).await?;
    }
    let mut merged = Vec::new();
    while let Some(result) = workers.join_next().await {
        merged.push(result.map_err(|_| LoadError::Bug("a worker panicked".to_owned()))??);
    }
    let copied = copy.finish().await?;
    failpoint::hit(failpoint::ASSEMBLING);
    transaction.commit().await?;
    failpoint::hit(failpoint::ASSEMBLED);
    let add_key = "alter table catalog_next.documents add constraint documents_pkey primary key (product_id)";
    client.batch_execute(add_key).await?;
    client.batch_execute("analyze catalog_next.documents").await?;
    Ok((merged, copied))
}

const DOCUMENT_COLUMNS: &str = "product_id, product, styles, related, product_tag, styles_tag, related_tag";

/// Creates and fills the tables of the posting lists, and returns the number of products in them. Then collects the
/// planner's statistics of all tables but the documents, in parallel with their key. Requests read only by key, so a tenth
/// of the default sample is enough and takes a tenth of the time.
async fn write_posting_lists(
    client: &mut Client,
    generation: i32,
    parts: mpsc::Receiver<Part>,
) -> Result<u64, LoadError> {
    let transaction = client.transaction().await?;
    let listed = postings::fill(&transaction, generation, parts).await?;
    transaction.commit().await?;
    client.batch_execute("set default_statistics_target = 10").await?;
    postings::index(client).await?;
    for table in &TABLES {
        client.batch_execute(&format!("analyze catalog_next.{}", table.name)).await?;
    }
    Ok(listed)
}

/// The first and the last product id of each batch. Ranks have no gaps.
const BATCHES: &str =
    "select id, coalesce(lead(id) over (order by id) - 1, (select max(id) from catalog_next.products))
     from generate_series(1, (select max(rank) from catalog_next.products), $1::integer) as first (rank)
     join catalog_next.products using (rank) order by id";

async fn batches(client: &Client) -> Result<Vec<(i32, i32)>, LoadError> {
    let rows = client.query(BATCHES, &[&BATCH]).await?;
    if rows.is_empty() {
        return Err(LoadError::NoProducts);
    }
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Checks the rows that the workers merged, the documents that Postgres copied and the products in the posting lists against
/// the ledger.
async fn check_counts(
    context: &Context,
    client: &Client,
    merged: &[RowCounts],
    copied: u64,
    listed: u64,
) -> Result<(), LoadError> {
    for table in &TABLES {
        let of_table = |(counted, rows): &(&Table, u64)| (*counted == table).then_some(*rows);
        let Some(rows) = merged.iter().flatten().filter_map(of_table).reduce(|a, b| a + b) else { continue };
        let loaded = ledger::file_record(client, context.generation, table.file).await?.counts.loaded;
        if rows != loaded {
            let what = format!("{loaded} {} were loaded, but {rows} are in documents", table.name);
            return Err(LoadError::Bug(what));
        }
        if table.is_ranked() && (rows, rows) != (copied, listed) {
            let what = format!(
                "{rows} documents were sent, but Postgres copied {copied}, and {listed} are in posting lists"
            );
            return Err(LoadError::Bug(what));
        }
    }
    Ok(())
}

/// A worker that assembles batches until there are no more.
struct Worker {
    context: Arc<Context>,
    batches: Arc<Vec<(i32, i32)>>,
    next: Arc<AtomicUsize>,
    /// The tables whose files are sorted.
    sorted: Arc<Vec<&'static Table>>,
    documents: mpsc::Sender<Bytes>,
    parts: mpsc::Sender<Part>,
    task: Task,
}

impl Worker {
    async fn run(self) -> Result<RowCounts, LoadError> {
        let done = self.assemble_all().await;
        if done.is_err() {
            // Stops the other workers: their work would be useless.
            self.next.store(self.batches.len(), Ordering::Relaxed);
        }
        done
    }

    async fn assemble_all(&self) -> Result<RowCounts, LoadError> {
        let client = self.context.connect().await?;
        // There are no statistics yet; without them the planner underestimates a scan and a sort.
        client
            .batch_execute("set enable_seqscan = off; set enable_sort = off; set enable_bitmapscan = off")
            .await?;
        let rows = Rows { context: &self.context, client: &client, sorted: &self.sorted };
        let mut assembler = Assembler::new();
        loop {
            let batch = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(&ids) = self.batches.get(batch) else { return Ok(assembler.merged()) };
            // A batch with very long lists is divided until the rows of a part fit into memory.
            let mut parts = vec![ids];
            while let Some((from, to)) = parts.pop() {
                self.context.check_time()?;
                if assembler.read(&rows, from, to).await? {
                    assembler.send(&self.documents).await?;
                    let part = Part { batch, products: assembler.take_names(), ends_batch: parts.is_empty() };
                    let _ = self.parts.send(part).await; // the receiver failed and returns its error
                } else {
                    let middle = from + (to - from) / 2;
                    parts.extend([(middle + 1, to), (from, middle)]);
                }
            }
            self.task.advance(1);
        }
    }
}
