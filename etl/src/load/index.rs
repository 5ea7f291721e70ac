//! The second step: primary keys, the indexes for lookups and for the assembly, and foreign keys.
//!
//! Rows that violate a key are rare, so the loader does not search for them first. It adds the key; only if the database
//! rejects it, the loader finds the rows, rejects them and adds the key again.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::{Context, LoadError, blocking, run_bounded};
use crate::csv::{Lines, Record};
use crate::failpoint;
use crate::ledger::{self, Reject, unsigned};
use crate::progress::Task;
use crate::row::{Encoder, NullWord};
use crate::source::{SourceError, SourceFile};
use crate::table::{Column, Reference, TABLES, Table};

/// Adds the missing keys and indexes, in stages: a foreign key needs the key that it references, and orphaned styles must
/// go before the foreign keys to styles, because even a declared, not validated key forbids deleting referenced rows.
pub(super) async fn run(context: &Arc<Context>) -> Result<(), LoadError> {
    let client = context.connect().await?;
    let of_tables = TABLES.iter().flat_map(|table| [Work::UniqueIndex(table), Work::ParentIndex(table)]);
    let stages = [stage(of_tables), stage(references_to("products")), stage(references_to("styles"))];
    let total = stages.iter().map(Vec::len).sum::<usize>() as u64;
    let task = context.options.progress.steps("indexing", total);
    for works in stages {
        // Declared first, validated later: declaring a key locks both tables, validating it leaves the parent unlocked.
        for work in &works {
            if let Work::ForeignKey(key) = work {
                key.declare(&client).await?;
            }
        }
        let works = works.into_iter().map(|work| work.run(Arc::clone(context), task.clone()));
        run_bounded(context.options.workers, works).await?;
        // After all builds: two indexes of a table can be built in parallel, but adding a key locks the table.
        for table in &TABLES {
            make_primary_key(&client, table).await?;
        }
    }
    task.finish();
    Ok(())
}

fn stage(works: impl Iterator<Item = Work>) -> Vec<Work> {
    let mut works: Vec<_> = works.filter(Work::is_needed).collect();
    // The longest first, so that the last one does not run alone.
    works.sort_by_key(|work| std::cmp::Reverse(work.weight()));
    works
}

/// A task that can run in parallel with others of its stage.
enum Work {
    UniqueIndex(&'static Table),
    ParentIndex(&'static Table),
    ForeignKey(ForeignKey),
}

impl Work {
    fn table(&self) -> &'static Table {
        match self {
            Work::UniqueIndex(table) | Work::ParentIndex(table) => table,
            Work::ForeignKey(key) => key.table,
        }
    }

    fn is_needed(&self) -> bool {
        !matches!(self, Work::ParentIndex(table) if table.parent.is_none())
    }

    /// Returns the relative size of its table.
    fn weight(&self) -> usize {
        let by_rows = ["cart", "products", "styles", "features", "related", "photos", "skus"];
        by_rows.iter().position(|name| *name == self.table().name).unwrap_or(0)
    }

    async fn run(self, context: Arc<Context>, task: Task) -> Result<(), LoadError> {
        context.check_time()?;
        let mut client = context.connect().await?;
        failpoint::hit(failpoint::BEFORE_INDEX);
        match self {
            Work::UniqueIndex(table) => add_unique_index(&context, &mut client, table).await?,
            Work::ParentIndex(table) => add_parent_index(&client, table).await?,
            Work::ForeignKey(key) => key.validate(&context, &mut client).await?,
        }
        failpoint::hit(failpoint::AFTER_INDEX);
        task.advance(1);
        Ok(())
    }
}

/// Adds the unique index for the primary key.
async fn add_unique_index(
    context: &Context,
    client: &mut Client,
    table: &'static Table,
) -> Result<(), LoadError> {
    let name = table.name;
    let statement = format!("create unique index if not exists {name}_pkey on catalog_next.{name} (id)");
    let result = client.batch_execute(&statement).await;
    if refused_by(&result, &SqlState::UNIQUE_VIOLATION) {
        let duplicates = format!(
            "select position from
                 (select position, row_number() over (partition by id order by position) as place
                  from catalog_next.{name}) as placed
             where place > 1 order by position limit $1"
        );
        reject_rows(context, client, table, &duplicates, "id", "an earlier row has this id").await?;
        client.batch_execute(&statement).await?;
    } else {
        result?;
    }
    if table.is_ranked() {
        if !ledger::file_record(client, context.generation, table.file).await?.keys_ascend {
            client.batch_execute(RERANK).await?;
            client.batch_execute("vacuum (freeze) catalog_next.products").await?;
        }
        client
            .batch_execute("create unique index if not exists products_rank on catalog_next.products (rank)")
            .await?;
    }
    Ok(())
}

async fn make_primary_key(client: &Client, table: &Table) -> Result<(), LoadError> {
    let key = format!("{}_pkey", table.name);
    if !constraint_exists(client, &key).await? {
        let name = table.name;
        client
            .batch_execute(&format!(
                "alter table catalog_next.{name} add constraint {key} primary key using index {key}"
            ))
            .await?;
    }
    Ok(())
}

/// Recomputes the ranks. The load step assigns them in file order, which is wrong for a file that is not sorted by id or
/// has duplicate ids.
const RERANK: &str = "update catalog_next.products set rank = ranked.rank
     from (select id, row_number() over (order by id) as rank from catalog_next.products) as ranked
     where products.id = ranked.id and products.rank <> ranked.rank";

async fn add_parent_index(client: &Client, table: &Table) -> Result<(), LoadError> {
    if let Some(parent) = table.parent {
        let name = table.name;
        let statement =
            format!("create index if not exists {name}_{parent} on catalog_next.{name} ({parent}, position)");
        client.batch_execute(&statement).await?;
    }
    Ok(())
}

/// A foreign key.
struct ForeignKey {
    table: &'static Table,
    column: &'static Column,
    to: &'static Reference,
}

/// Returns the foreign keys that reference `parent`.
fn references_to(parent: &'static str) -> impl Iterator<Item = Work> {
    let of_table = move |table: &'static Table| {
        let to_parent = table.references().filter(move |(_, to)| to.table == parent);
        to_parent.map(move |(column, to)| Work::ForeignKey(ForeignKey { table, column, to }))
    };
    TABLES.iter().flat_map(of_table)
}

impl ForeignKey {
    fn name(&self) -> String {
        format!("{}_{}_fkey", self.table.name, self.column.name)
    }

    async fn declare(&self, client: &Client) -> Result<(), LoadError> {
        if constraint_exists(client, &self.name()).await? {
            return Ok(());
        }
        let statement = format!(
            "alter table catalog_next.{} add constraint {} foreign key ({}) references catalog_next.{} not valid",
            self.table.name,
            self.name(),
            self.column.name,
            self.to.table
        );
        Ok(client.batch_execute(&statement).await?)
    }

    async fn validate(&self, context: &Context, client: &mut Client) -> Result<(), LoadError> {
        let table = self.table.name;
        // A merge join takes half the time of a hash join, and an index on the child's column saves its sort. The planner
        // has no statistics yet to choose them.
        let scans = if self.table.parent == Some(self.column.name) { "off" } else { "on" };
        // Has no effect on a valid key.
        let statement = format!(
            "set local enable_hashjoin = off; set local enable_nestloop = off; set local enable_seqscan = {scans};
             alter table catalog_next.{table} validate constraint {}",
            self.name()
        );
        let result = client.batch_execute(&statement).await;
        if !refused_by(&result, &SqlState::FOREIGN_KEY_VIOLATION) {
            return Ok(result?);
        }
        let orphans = format!(
            "select position from catalog_next.{table} as child
             where not exists (select from catalog_next.{} as parent where parent.id = child.{})
             order by position limit $1",
            self.to.table, self.column.name
        );
        reject_rows(context, client, self.table, &orphans, self.column.header, self.to.orphan).await?;
        Ok(client.batch_execute(&statement).await?)
    }
}

fn refused_by(result: &Result<(), tokio_postgres::Error>, state: &SqlState) -> bool {
    matches!(result, Err(error) if error.code() == Some(state))
}

async fn constraint_exists(client: &Client, name: &str) -> Result<bool, LoadError> {
    let row = client
        .query_one(
            "select exists (select from pg_constraint
                            where conname = $1 and connamespace = 'catalog_next'::regnamespace)",
            &[&name],
        )
        .await?;
    Ok(row.get(0))
}

/// Moves the rows whose positions `select` returns from the table to the rejects, until there are no more, or too many.
/// Its parameter is the max number of rows.
async fn reject_rows(
    context: &Context,
    client: &mut Client,
    table: &'static Table,
    select: &str,
    column: &'static str,
    reason: &str,
) -> Result<(), LoadError> {
    let missing = || LoadError::Bug(format!("{} has rows and no file", table.name));
    let file = context.file(table).ok_or_else(missing)?;
    // One task at a time: a row can be an orphan in two columns, but must be rejected once.
    let lock = format!("lock table catalog_next.{} in share row exclusive mode", table.name);
    let delete = format!(
        "delete from catalog_next.{0} using unnest($1::bigint[]) as gone (position)
         where {0}.position = gone.position",
        table.name
    );
    loop {
        let transaction = client.transaction().await?;
        transaction.batch_execute(&lock).await?;
        let rows = transaction.query(select, &[&MAX_REJECTED_AT_ONCE]).await?;
        if rows.is_empty() {
            return Ok(());
        }
        let positions: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
        transaction.execute(&delete, &[&positions]).await?;
        let (sender, mut chunks) = mpsc::channel(1);
        let (offsets, until) = (positions.iter().copied().map(unsigned).collect(), context.options.stop_at);
        let reason = reason.to_owned();
        let reading = blocking(file, move |file| {
            find_records(
                file,
                offsets,
                until,
                |record| Reject::new(record, Some(column), reason.clone()),
                &sender,
            )
        });
        let recording = async {
            while let Some(rejects) = chunks.recv().await {
                ledger::reject(&transaction, context.generation, table.file, &rejects).await?;
            }
            Ok(())
        };
        tokio::try_join!(reading, recording)?;
        ledger::reject_loaded(&transaction, context.generation, table.file, positions.len()).await?;
        let counts = ledger::file_record(&transaction, context.generation, table.file).await?.counts;
        failpoint::hit(failpoint::REJECTING);
        transaction.commit().await?;
        if context.options.limit.is_exceeded(&counts) {
            return Err(context.too_many_rejects(client, table.file, counts).await?);
        }
    }
}

/// Reads a file to the records at the ascending `offsets` and sends them in chunks. A closed receiver ends it early.
fn find_records(
    file: &SourceFile,
    offsets: Vec<u64>,
    until: Option<Instant>,
    reject: impl Fn(&Record<'_>) -> Reject,
    chunks: &mpsc::Sender<Vec<Reject>>,
) -> Result<(), SourceError> {
    let mut lines = Lines::new(file.read_rows(until)?, file.body_offset, file.body_line());
    let mut encoder = Encoder::new(file.table, NullWord::default());
    let mut found = Vec::new();
    for offset in offsets {
        loop {
            if encoder.next_row(&mut lines).map_err(|error| file.failed(error))?.is_none() {
                return Err(file.failed(io::ErrorKind::UnexpectedEof.into()));
            }
            encoder.clear();
            let record = lines.record();
            if record.offset == offset {
                found.push(reject(&record));
                break;
            }
        }
        if found.len() == MAX_ORIGINALS && chunks.blocking_send(std::mem::take(&mut found)).is_err() {
            return Ok(());
        }
    }
    file.check_unchanged(lines.input())?;
    let _ = chunks.blocking_send(found);
    Ok(())
}

/// The max number of rejected rows per transaction. Each search reads the whole table; a position takes eight bytes.
const MAX_REJECTED_AT_ONCE: i64 = 100_000;

/// The max number of original records in a chunk, each up to 64 KiB.
const MAX_ORIGINALS: usize = 256;
