//! The rows of a batch from one table, in order: read from its file where that is in order, else through the table's
//! index.
//!
//! A file is several times cheaper to read than a table. The record says whether its rows came in ascending order of
//! their key; then those of a batch are all that was loaded of the lines between two positions, which the index tells.
//! They are checked and encoded as they were when they were loaded, but for those that were set aside.

use std::fmt;
use std::time::Instant;

use tokio_postgres::Client;

use super::super::copy_out::{CopyOut, Row};
use super::super::{Context, LoadError, blocking};
use crate::csv::Lines;
use crate::record::{self, unsigned};
use crate::row::{Encoder, Order, fields_of_file};
use crate::source::{SourceFile, USUAL_LINE};
use crate::table::{TABLES, Table};

/// What the rows of a batch from one table are gathered in. It is used again for the next batch.
pub(super) trait Gather: Send + 'static {
    /// Whose rows they are.
    const TABLE: &'static Table;

    /// Forgets the rows of the batch before.
    fn clear(&mut self);

    /// Adds a row, with the columns that the file has. One that is out of order is refused: it would be taken for a row of
    /// another parent.
    fn push(&mut self, row: Row<'_>) -> Result<(), LoadError>;
}

/// The keys of a batch's rows in one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Keys {
    /// All from one to another.
    Range(i32, i32),
    /// Each of these.
    Each(Vec<i32>),
}

/// As a condition on the column before it.
impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Keys::Range(first, last) => write!(f, "between {first} and {last}"),
            Keys::Each(keys) => {
                let keys: Vec<_> = keys.iter().map(i32::to_string).collect();
                write!(f, "= any ('{{{}}}')", keys.join(","))
            }
        }
    }
}

/// Which files are in order of their table's key.
#[derive(Clone, Debug, Default)]
pub(super) struct InOrder(Vec<&'static str>);

impl InOrder {
    /// As the record has it.
    pub(super) async fn of_record(context: &Context, client: &Client) -> Result<Self, LoadError> {
        let mut files = Vec::new();
        for table in &TABLES {
            if record::is_in_order(client, context.generation, table.file).await? {
                files.push(table.file);
            }
        }
        Ok(Self(files))
    }
}

/// What a batch's rows are read with.
pub(super) struct Reading<'a> {
    pub(super) context: &'a Context,
    pub(super) client: &'a Client,
    pub(super) in_order: &'a InOrder,
}

impl Reading<'_> {
    /// Gathers the rows with these keys, in ascending order of key, and of one key in the file's.
    pub(super) async fn rows<G: Gather>(&self, keys: &Keys, mut gathered: G) -> Result<G, LoadError> {
        gathered.clear();
        let (table, key) = (G::TABLE, G::TABLE.key());
        let rows_of_batch = format!("catalog_next.{} where {key} {keys}", table.name);
        if matches!(keys, Keys::Range(..)) && self.in_order.0.contains(&table.file) {
            let missing = || LoadError::Inconsistent(format!("{} has rows and no file", table.name));
            let file = self.context.file(table).ok_or_else(missing)?;
            return match self.stretch(table, &rows_of_batch).await? {
                Some(stretch) => {
                    let until = self.context.options.stop_at;
                    blocking(file, move |file| stretch.read(file, gathered, until)).await
                }
                None => Ok(gathered),
            };
        }
        let columns: Vec<_> = table.columns.iter().map(|column| column.name).collect();
        let select =
            format!("select {} from {rows_of_batch} order by {}", columns.join(", "), in_order(table));
        let mut rows = CopyOut::begin(self.client, &select).await?;
        while let Some(row) = rows.next().await? {
            gathered.push(row)?;
        }
        Ok(gathered)
    }

    /// Where the rows of a batch are in their file; nowhere if there are none.
    async fn stretch(&self, table: &Table, rows_of_batch: &str) -> Result<Option<Stretch>, LoadError> {
        let (first, last) = (in_order(table), in_order(table).replace(',', " desc,") + " desc");
        let select = format!(
            "select first, last, array(select byte_offset from etl.reject
                                       where generation = $1 and file = $2 and byte_offset between first and last
                                       order by byte_offset)
             from (select (select position from {rows_of_batch} order by {first} limit 1) as first,
                          (select position from {rows_of_batch} order by {last} limit 1) as last) as stretch"
        );
        let row = self.client.query_one(&select, &[&self.context.generation, &table.file]).await?;
        let (Some(first), Some(last)) = (row.get(0), row.get(1)) else { return Ok(None) };
        let set_aside = row.get::<_, Vec<i64>>(2).into_iter().map(unsigned).collect();
        Ok(Some(Stretch { first: unsigned(first), last: unsigned(last), set_aside }))
    }
}

/// The order of a table's rows, by its index.
fn in_order(table: &Table) -> String {
    table.parent.map_or_else(|| "id".to_owned(), |parent| format!("{parent}, position"))
}

/// Where the rows of a batch are in a file that is in order.
struct Stretch {
    /// Where the first of them begins, in bytes.
    first: u64,
    /// Where the last of them begins.
    last: u64,
    /// Where those begin between them that were set aside.
    set_aside: Vec<u64>,
}

impl Stretch {
    fn read<G: Gather>(
        &self,
        file: &SourceFile,
        mut gathered: G,
        until: Option<Instant>,
    ) -> Result<G, LoadError> {
        let mut input = file.read_from(self.first, self.last + USUAL_LINE, until)?;
        let mut lines = Lines::new(&mut input, self.first);
        let mut encoder = Encoder::new(file.table, 0, Order::NONE);
        let mut set_aside = self.set_aside.iter().copied().peekable();
        while let Some(line) = lines.next_line().map_err(|error| file.failed(error))? {
            if set_aside.next_if_eq(&line.offset).is_some() {
                continue;
            }
            encoder.clear();
            encoder.push(&line).map_err(|fault| {
                let (name, at, reason) = (file.table.file, line.offset, fault.reason);
                LoadError::Inconsistent(format!("{name}: the row at byte {at} was loaded, and is {reason}"))
            })?;
            gathered.push(Row::new(fields_of_file(encoder.rows(), file.table)))?;
            if line.offset >= self.last {
                break;
            }
        }
        drop(lines);
        file.check_unchanged(&input)?;
        Ok(gathered)
    }
}
