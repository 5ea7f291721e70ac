//! The sources of a batch's rows: the file if it is sorted, otherwise the table through its index.
//!
//! Reading a file is several times cheaper than reading a table. The ledger has whether the rows of a file are in
//! ascending order of their key. Then the rows of a batch are the loaded lines between two positions, which the index
//! has. The loader checks and encodes the lines again and skips rejected ones.

use std::fmt;
use std::time::Instant;

use tokio_postgres::Client;

use super::super::copy_out::{CopyOut, Row};
use super::super::{Context, LoadError, blocking};
use crate::csv::Lines;
use crate::ledger::{self, unsigned};
use crate::row::{Encoder, Order, fields_of_file};
use crate::source::{SourceFile, USUAL_LINE};
use crate::table::{TABLES, Table};

/// A reusable buffer for the rows of a batch from one table.
pub(super) trait RowSink: Send + 'static {
    /// The table.
    const TABLE: &'static Table;

    /// Removes the rows of the previous batch.
    fn clear(&mut self);

    /// Adds a row with the columns of the file. A row out of order is an error: it would be assigned to another parent.
    fn push(&mut self, row: Row<'_>) -> Result<(), LoadError>;
}

/// The keys of a batch's rows in one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KeySet {
    /// A range, inclusive.
    Range(i32, i32),
    /// A list.
    Each(Vec<i32>),
}

/// Formats the keys as an SQL condition for the column before it.
impl fmt::Display for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeySet::Range(first, last) => write!(f, "between {first} and {last}"),
            KeySet::Each(keys) => {
                let keys: Vec<_> = keys.iter().map(i32::to_string).collect();
                write!(f, "= any ('{{{}}}')", keys.join(","))
            }
        }
    }
}

/// The files that are sorted by the key of their table.
#[derive(Clone, Debug, Default)]
pub(super) struct SortedFiles(Vec<&'static str>);

impl SortedFiles {
    /// Reads the sorted files from the ledger.
    pub(super) async fn from_ledger(context: &Context, client: &Client) -> Result<Self, LoadError> {
        let mut files = Vec::new();
        for table in &TABLES {
            if ledger::is_in_order(client, context.generation, table.file).await? {
                files.push(table.file);
            }
        }
        Ok(Self(files))
    }
}

/// A source of the rows of a batch.
pub(super) struct RowSource<'a> {
    pub(super) context: &'a Context,
    pub(super) client: &'a Client,
    pub(super) sorted: &'a SortedFiles,
}

impl RowSource<'_> {
    /// Adds the rows with these keys to `gathered`, ordered by key, then by position in the file.
    pub(super) async fn rows<G: RowSink>(&self, keys: &KeySet, mut gathered: G) -> Result<G, LoadError> {
        gathered.clear();
        let (table, key) = (G::TABLE, G::TABLE.key());
        let rows_of_batch = format!("catalog_next.{} where {key} {keys}", table.name);
        if matches!(keys, KeySet::Range(..)) && self.sorted.0.contains(&table.file) {
            let missing = || LoadError::Bug(format!("{} has rows and no file", table.name));
            let file = self.context.file(table).ok_or_else(missing)?;
            return match self.file_range(table, &rows_of_batch).await? {
                Some(range) => {
                    let until = self.context.options.stop_at;
                    blocking(file, move |file| range.read(file, gathered, until)).await
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

    /// Returns the range of the rows of a batch in their file; none if there are none.
    async fn file_range(&self, table: &Table, rows_of_batch: &str) -> Result<Option<FileRange>, LoadError> {
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
        let rejected = row.get::<_, Vec<i64>>(2).into_iter().map(unsigned).collect();
        Ok(Some(FileRange { first: unsigned(first), last: unsigned(last), rejected }))
    }
}

/// Returns the order of a table's rows in its index.
fn in_order(table: &Table) -> String {
    table.parent.map_or_else(|| "id".to_owned(), |parent| format!("{parent}, position"))
}

/// The range of a batch's rows in a sorted file.
struct FileRange {
    /// The offset of the first row.
    first: u64,
    /// The offset of the last row.
    last: u64,
    /// The offsets of the rejected rows between them.
    rejected: Vec<u64>,
}

impl FileRange {
    fn read<G: RowSink>(
        &self,
        file: &SourceFile,
        mut gathered: G,
        until: Option<Instant>,
    ) -> Result<G, LoadError> {
        let mut input = file.read_from(self.first, self.last + USUAL_LINE, until)?;
        let mut lines = Lines::new(&mut input, self.first);
        let mut encoder = Encoder::new(file.table, 0, Order::NONE);
        let mut rejected = self.rejected.iter().copied().peekable();
        while let Some(line) = lines.next_line().map_err(|error| file.failed(error))? {
            if rejected.next_if_eq(&line.offset).is_some() {
                continue;
            }
            encoder.clear();
            encoder.push(&line).map_err(|fault| {
                let (name, at, reason) = (file.table.file, line.offset, fault.reason);
                LoadError::Bug(format!("{name}: the row at byte {at} was loaded, but it is {reason}"))
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
