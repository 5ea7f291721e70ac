//! The third step: merges the rows of each product into its finished responses, the documents.
//!
//! A worker takes products in batches by rank. It finds their rows through the (parent, position) indexes, so nothing
//! depends on the order of the files. Each worker has one batch in memory. The loader counts every row that reaches a
//! document, and the counts must match those in the ledger.

mod documents;
mod gzip;
mod reading;
mod rows;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::SinkExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_postgres::Client;

use self::documents::{Assembler, RowCounts};
use self::reading::{KeySet, RowSource};
use super::{Context, LoadError};
use crate::failpoint;
use crate::progress::Task;
use crate::row::{COPY_HEADER, COPY_TRAILER};
use crate::table::{DOCUMENTS_DDL, TABLES};

/// The number of products in a batch: about 15 MB of rows.
const BATCH: i32 = 4096;

/// The max number of chunks of documents that wait for the database.
const CHUNKS_AHEAD: usize = 4;

/// Creates and fills `catalog_next.documents`, from scratch.
pub(super) async fn run(context: &Arc<Context>) -> Result<(), LoadError> {
    let mut client = context.connect().await?;
    let first_ids = Arc::new(first_ids(&client).await?);
    let task = context.options.progress.steps("assembling", first_ids.len() as u64);

    let (sender, mut batches) = mpsc::channel(CHUNKS_AHEAD);
    let next = Arc::new(AtomicUsize::new(0));
    let mut workers = JoinSet::new();
    for _ in 0..context.options.workers {
        let worker = Worker {
            context: Arc::clone(context),
            first_ids: Arc::clone(&first_ids),
            next: Arc::clone(&next),
            documents: sender.clone(),
            task: task.clone(),
        };
        workers.spawn(worker.run());
    }
    drop(sender);

    let transaction = client.transaction().await?;
    let ddl = DOCUMENTS_DDL.replace("{generation}", &context.generation.to_string());
    transaction.batch_execute(&format!("drop table if exists catalog_next.documents; {ddl}")).await?;
    let mut sink = Box::pin(transaction.copy_in(COPY_DOCUMENTS).await?);
    sink.send(Bytes::from_static(COPY_HEADER)).await?;
    while let Some(documents) = batches.recv().await {
        sink.send(documents).await?;
    }
    let mut merged = RowCounts::default();
    while let Some(result) = workers.join_next().await {
        merged += result.map_err(|_| LoadError::Bug("a worker panicked".to_owned()))??;
    }
    sink.send(Bytes::from_static(COPY_TRAILER)).await?;
    let written = sink.as_mut().finish().await?;
    drop(sink);
    failpoint::hit(failpoint::ASSEMBLING);
    // In parallel with the rest of the step, which uses one processor.
    let analysis = tokio::spawn(analyze_tables(Arc::clone(context)));
    transaction.commit().await?;
    failpoint::hit(failpoint::ASSEMBLED);
    merged.check(context, &client, written).await?;
    client
        .batch_execute(
            "alter table catalog_next.documents add constraint documents_pkey primary key (product_id);
             analyze catalog_next.documents",
        )
        .await?;
    analysis.await.map_err(|_| LoadError::Bug("analyze panicked".to_owned()))??;
    task.finish();
    Ok(())
}

const COPY_DOCUMENTS: &str = "copy catalog_next.documents
     (product_id, product, styles, related, product_tag, styles_tag, related_tag)
     from stdin with (format binary, freeze)";

/// Returns the id of the first product of each batch.
async fn first_ids(client: &Client) -> Result<Vec<i32>, LoadError> {
    let rows = client
        .query(
            "select products.id
             from generate_series(1, (select max(rank) from catalog_next.products), $1::integer) as first (rank)
             join catalog_next.products using (rank) order by products.id",
            &[&BATCH],
        )
        .await?;
    if rows.is_empty() {
        return Err(LoadError::NoProducts);
    }
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Collects the planner's statistics. Requests read only by key, so a tenth of the default sample is enough and takes a
/// tenth of the time.
async fn analyze_tables(context: Arc<Context>) -> Result<(), LoadError> {
    let client = context.connect().await?;
    client.batch_execute("set default_statistics_target = 10").await?;
    for table in &TABLES {
        client.batch_execute(&format!("analyze catalog_next.{}", table.name)).await?;
    }
    Ok(())
}

/// A worker that assembles batches until there are no more.
struct Worker {
    context: Arc<Context>,
    first_ids: Arc<Vec<i32>>,
    next: Arc<AtomicUsize>,
    documents: mpsc::Sender<Bytes>,
    task: Task,
}

impl Worker {
    async fn run(self) -> Result<RowCounts, LoadError> {
        let done = self.assemble_all().await;
        if done.is_err() {
            // Stops the other workers: their work would be useless.
            self.next.store(self.first_ids.len(), Ordering::Relaxed);
        }
        done
    }

    async fn assemble_all(&self) -> Result<RowCounts, LoadError> {
        let client = self.context.connect().await?;
        // There are no statistics yet; without them the planner underestimates a scan and a sort.
        client
            .batch_execute("set enable_seqscan = off; set enable_sort = off; set enable_bitmapscan = off")
            .await?;
        let reading = RowSource { client: &client };
        let mut assembler = Assembler::new();
        loop {
            self.context.check_time()?;
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(&from) = self.first_ids.get(number) else { break };
            let to = self.first_ids.get(number + 1).map_or(i32::MAX, |next| next - 1);
            for documents in assembler.assemble(&reading, &KeySet::Range(from, to)).await? {
                if self.documents.send(documents).await.is_err() {
                    return Ok(assembler.merged); // the receiver failed and returns its error
                }
            }
            self.task.advance(1);
        }
        Ok(assembler.merged)
    }
}
