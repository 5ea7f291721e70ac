//! The sources of a batch's rows: the file if it is sorted, otherwise the table through its index.
//!
//! Reading a file is several times cheaper than reading a table. The ledger has whether the rows of a file are in
//! ascending order of their key. Then the rows of a batch are the loaded lines between two positions, which the index
//! has. The loader checks and encodes the lines again and skips rejected ones.

use std::fmt;
use tokio_postgres::Client;

use super::super::LoadError;
use super::super::copy_out::{CopyOut, Row};
use crate::table::Table;

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

/// A source of the rows of a batch.
pub(super) struct RowSource<'a> {
    pub(super) client: &'a Client,
}

impl RowSource<'_> {
    /// Adds the rows with these keys to `gathered`, ordered by key, then by position in the file.
    pub(super) async fn rows<G: RowSink>(&self, keys: &KeySet, mut gathered: G) -> Result<G, LoadError> {
        gathered.clear();
        let (table, key) = (G::TABLE, G::TABLE.key());
        let rows_of_batch = format!("catalog_next.{} where {key} {keys}", table.name);
        let columns: Vec<_> = table.columns.iter().map(|column| column.name).collect();
        let select =
            format!("select {} from {rows_of_batch} order by {}", columns.join(", "), in_order(table));
        let mut rows = CopyOut::begin(self.client, &select).await?;
        while let Some(row) = rows.next().await? {
            gathered.push(row)?;
        }
        Ok(gathered)
    }
}

/// Returns the order of a table's rows in its index.
fn in_order(table: &Table) -> String {
    table.parent.map_or_else(|| "id".to_owned(), |parent| format!("{parent}, position"))
}
