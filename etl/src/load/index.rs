//! The second step: primary keys, the indexes that lookups and the assembly read by, and foreign keys.
//!
//! Rows that would break a key are rare, so nobody looks for them first: the key is added, and only if the database
//! refuses it are the rows found, set aside, and the key added again.

use std::sync::Arc;

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::{Context, LoadError, at_a_time, blocking};
use crate::failpoint;
use crate::progress::Task;
use crate::record::{self, Reject, unsigned};
use crate::table::{Column, Reference, TABLES, Table};

/// Adds what is not there yet, a stage after the other: no foreign key without the key it refers to, and none to the
/// styles before styles without a product are gone. A key that is only declared already forbids taking away what is
/// referred to.
pub(super) async fn run(context: &Arc<Context>) -> Result<(), LoadError> {
    let client = context.connect().await?;
    let of_tables = TABLES.iter().flat_map(|table| [Work::UniqueIndex(table), Work::ParentIndex(table)]);
    let stages = [stage(of_tables), stage(references_to("products")), stage(references_to("styles"))];
    let total = stages.iter().map(Vec::len).sum::<usize>() as u64;
    let task = context.options.progress.steps("indexing", total);
    for works in stages {
        // Declared first and validated after: declaring locks both tables against one another's keys, validating
        // leaves the parent to others.
        for work in &works {
            if let Work::ForeignKey(key) = work {
                key.declare(&client).await?;
            }
        }
        let works = works.into_iter().map(|work| work.run(Arc::clone(context), task.clone()));
        at_a_time(context.options.workers, works).await?;
        // When nobody builds any more: two indexes of one table can be built at a time, but a key locks it.
        for table in &TABLES {
            make_primary_key(&client, table).await?;
        }
    }
    task.finish();
    Ok(())
}

fn stage(works: impl Iterator<Item = Work>) -> Vec<Work> {
    let mut works: Vec<_> = works.filter(Work::is_needed).collect();
    // The longest first, so that none is left over alone at the end.
    works.sort_by_key(|work| std::cmp::Reverse(work.weight()));
    works
}

/// Something that can be done beside others of its stage.
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

    /// The place of its table in the order of rows at full size.
    fn weight(&self) -> usize {
        let by_rows = ["cart", "products", "styles", "features", "related", "photos", "skus"];
        by_rows.iter().position(|name| *name == self.table().name).unwrap_or(0)
    }

    async fn run(self, context: Arc<Context>, task: Task) -> Result<(), LoadError> {
        context.check_time()?;
        let mut client = context.connect().await?;
        failpoint::reach(failpoint::BEFORE_INDEX);
        match self {
            Work::UniqueIndex(table) => add_unique_index(&context, &mut client, table).await?,
            Work::ParentIndex(table) => add_parent_index(&client, table).await?,
            Work::ForeignKey(key) => key.validate(&context, &mut client).await?,
        }
        failpoint::reach(failpoint::AFTER_INDEX);
        task.advance(1);
        Ok(())
    }
}

/// The index that the primary key is made of.
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
        set_aside(context, client, table, &duplicates, "id", "an earlier row has this id").await?;
        client.batch_execute(&statement).await?;
    } else {
        result?;
    }
    if table.is_ranked() {
        if !record::is_in_order(client, context.generation, table.file).await? {
            client.batch_execute(RANK_ANEW).await?;
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

/// Ranks follow the file while rows come in; this is for a file that is not in order of its ids (one that has
/// an id twice is not).
const RANK_ANEW: &str = "update catalog_next.products set rank = ranked.rank
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

/// A column that refers to a row of another table.
struct ForeignKey {
    table: &'static Table,
    column: &'static Column,
    to: &'static Reference,
}

/// The foreign keys that refer to rows of `parent`.
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
        // Merging the two sides in order of the key takes half the time of hashing one. Where the child has an index in
        // that order it need not be sorted; the planner has no statistics yet to see either by.
        let scans = if self.table.parent == Some(self.column.name) { "off" } else { "on" };
        // Does nothing where it is valid already.
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
        set_aside(context, client, self.table, &orphans, self.column.header, self.to.orphan).await?;
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

/// Moves the rows whose positions `select` finds from the table to the rejects, until it finds no more or too many.
/// Its parameter is how many it may find at a time.
async fn set_aside(
    context: &Context,
    client: &mut Client,
    table: &'static Table,
    select: &str,
    column: &'static str,
    reason: &str,
) -> Result<(), LoadError> {
    let missing = || LoadError::Inconsistent(format!("{} has rows and no file", table.name));
    let file = context.file(table).ok_or_else(missing)?;
    // One task at a time: a row can be an orphan in two columns, and is set aside once.
    let lock = format!("lock table catalog_next.{} in share row exclusive mode", table.name);
    let delete = format!(
        "delete from catalog_next.{0} using unnest($1::bigint[]) as gone (position)
         where {0}.position = gone.position",
        table.name
    );
    loop {
        let transaction = client.transaction().await?;
        transaction.batch_execute(&lock).await?;
        let rows = transaction.query(select, &[&SET_ASIDE_AT_A_TIME]).await?;
        if rows.is_empty() {
            return Ok(());
        }
        let positions: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
        transaction.execute(&delete, &[&positions]).await?;
        for some in positions.chunks(ORIGINALS_AT_A_TIME) {
            let offsets: Vec<u64> = some.iter().copied().map(unsigned).collect();
            let until = context.options.stop_at;
            let (offsets, originals) = blocking(file, move |file| {
                file.lines_at(&offsets, until).map(|originals| (offsets, originals))
            })
            .await?;
            let rejects = offsets.into_iter().zip(originals).map(|(byte_offset, (original, length))| {
                Reject { byte_offset, column: Some(column), reason: reason.to_owned(), length, original }
            });
            let rejects: Vec<_> = rejects.collect();
            record::reject(&transaction, context.generation, table.file, &rejects).await?;
        }
        record::set_aside_later(&transaction, context.generation, table.file, positions.len()).await?;
        let counts = record::file_counts(&transaction, context.generation, table.file).await?.counts;
        failpoint::reach(failpoint::SETTING_ASIDE);
        transaction.commit().await?;
        if counts.set_aside > context.options.limit.allowed(counts.read) {
            return Err(context.too_many_rejects(table.file, counts));
        }
    }
}

/// Finding them reads the whole table; a position is eight bytes.
const SET_ASIDE_AT_A_TIME: i64 = 100_000;

/// Of a row up to 64 KiB are kept.
const ORIGINALS_AT_A_TIME: usize = 256;
