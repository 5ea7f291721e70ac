//! The sources of a batch's rows: the file if it is sorted, otherwise the table through its index.
//!
//! Reading a file takes half the time of reading a table, although the loader parses it again. The ledger has whether the
//! rows of a file are in ascending order of their key. Then the rows of a batch are the loaded records between two
//! positions, which the index has.

use std::fmt;
use std::pin::pin;

use futures_util::TryStreamExt;
use tokio_postgres::Client;
use tokio_postgres::binary_copy::{BinaryCopyOutRow, BinaryCopyOutStream};
use tokio_postgres::types::{FromSql, Type};

use super::super::{Context, LoadError, blocking};
use crate::csv::Lines;
use crate::ledger::{self, unsigned};
use crate::row::{Encoder, MAX_COLUMNS, NullWord, fields_of_file};
use crate::source::{Reader, SourceFile};
use crate::table::{ColumnType, Table};

/// The expected max length of a record in bytes. For a longer one, a reader of S3 requests more.
const USUAL_RECORD: u64 = 16 << 10;

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

/// Returns the files whose rows can be read by ranges.
pub(super) async fn sorted_files(
    context: &Context,
    client: &Client,
) -> Result<Vec<&'static Table>, LoadError> {
    let mut sorted = Vec::new();
    for file in context.files.iter().filter(|file| !file.is_gzip) {
        if ledger::file_record(client, context.generation, file.table.file).await?.keys_ascend {
            sorted.push(file.table);
        }
    }
    Ok(sorted)
}

/// The sources of rows.
pub(super) struct Rows<'a> {
    pub(super) context: &'a Context,
    pub(super) client: &'a Client,
    /// The tables whose files are sorted.
    pub(super) sorted: &'a [&'static Table],
}

/// A buffer for the rows of a batch from one table.
pub(super) trait RowSink: Send + 'static {
    /// Returns the table.
    fn table(&self) -> &'static Table;

    /// Removes the rows of the previous batch.
    fn clear(&mut self);

    /// Adds a row. Returns whether there is space for another one.
    fn add(&mut self, row: &Fields<'_>) -> Result<bool, LoadError>;
}

/// The rows of a batch in a file.
enum InFile {
    /// Anywhere.
    Unsorted,
    /// Nowhere.
    Nothing,
    /// Between two positions.
    Range(FileRange),
}

/// A range of records.
struct FileRange {
    /// The offset of the first one.
    first: u64,
    /// The offset of the last one.
    last: u64,
    /// The offsets of the rejected ones between them.
    rejected: Vec<u64>,
}

impl Rows<'_> {
    /// Replaces the rows of a sink by those with these keys, ordered by key, then by position in the file, until it is full.
    pub(super) async fn read<S: RowSink>(&self, mut sink: S, keys: &KeySet) -> Result<S, LoadError> {
        sink.clear();
        match self.in_file(sink.table(), keys).await? {
            InFile::Unsorted => self.read_table(sink, keys).await,
            InFile::Nothing => Ok(sink),
            InFile::Range(range) => self.read_file(sink, range).await,
        }
    }

    /// Returns where the rows with these keys are in their file.
    async fn in_file(&self, table: &Table, keys: &KeySet) -> Result<InFile, LoadError> {
        if !matches!(keys, KeySet::Range(..)) || !self.sorted.contains(&table) {
            return Ok(InFile::Unsorted);
        }
        let rows = format!("catalog_next.{} where {} {keys}", table.name, table.key());
        let (first, last) = (in_order(table), in_order(table).replace(',', " desc,") + " desc");
        let select = format!(
            "select first, last, array(select byte_offset from etl.reject
                                       where generation = $1 and file = $2 and byte_offset between first and last
                                       order by byte_offset)
             from (select (select position from {rows} order by {first} limit 1) as first,
                          (select position from {rows} order by {last} limit 1) as last) as range"
        );
        let row = self.client.query_one(&select, &[&self.context.generation, &table.file]).await?;
        let (Some(first), Some(last)) = (row.get(0), row.get(1)) else { return Ok(InFile::Nothing) };
        let rejected = row.get::<_, Vec<i64>>(2).into_iter().map(unsigned).collect();
        Ok(InFile::Range(FileRange { first: unsigned(first), last: unsigned(last), rejected }))
    }

    async fn read_table<S: RowSink>(&self, mut sink: S, keys: &KeySet) -> Result<S, LoadError> {
        let table = sink.table();
        let columns: Vec<_> = table.columns.iter().map(|column| column.name).collect();
        let select = format!(
            "copy (select {} from catalog_next.{} where {} {keys} order by {}) to stdout (format binary)",
            columns.join(", "),
            table.name,
            table.key(),
            in_order(table)
        );
        let types: Vec<_> = table.columns.iter().map(|column| column_type(column.kind)).collect();
        let mut rows = pin!(BinaryCopyOutStream::new(self.client.copy_out(&select).await?, &types));
        while let Some(row) = rows.try_next().await? {
            if !sink.add(&Fields::of_copy(&row, types.len())?)? {
                break;
            }
        }
        Ok(sink)
    }

    async fn read_file<S: RowSink>(&self, mut sink: S, range: FileRange) -> Result<S, LoadError> {
        let table = sink.table();
        let missing = || LoadError::Bug(format!("{} has rows and no file", table.name));
        let file = self.context.file(table).ok_or_else(missing)?;
        let until = self.context.options.stop_at;
        blocking(file, move |file| {
            let input = file.read_from(range.first, range.last + USUAL_RECORD, until)?;
            let mut lines = Lines::new(input, range.first, 1);
            let read = range.read(file, &mut lines, &mut sink);
            file.check_unchanged(lines.input())?; // a changed file looks like a bug
            read.map(|()| sink)
        })
        .await
    }
}

impl FileRange {
    fn read(
        &self,
        file: &SourceFile,
        lines: &mut Lines<Reader>,
        sink: &mut impl RowSink,
    ) -> Result<(), LoadError> {
        let table = file.table;
        let mut encoder = Encoder::new(table, NullWord::default());
        let mut rejected = self.rejected.iter().copied().peekable();
        while let Some(row) = encoder.next_row(lines).map_err(|error| file.failed(error))? {
            let offset = lines.record().offset;
            if rejected.next_if_eq(&offset).is_none() {
                row.map_err(|fault| {
                    let (name, reason) = (table.file, fault.reason);
                    LoadError::Bug(format!("{name}: the row at byte {offset} was loaded, but it is {reason}"))
                })?;
                if !sink.add(&Fields::of_encoded(fields_of_file(encoder.rows(), table))?)? {
                    break;
                }
            }
            encoder.clear();
            if offset >= self.last {
                break;
            }
        }
        Ok(())
    }
}

/// Returns the order of a table's rows in its index.
fn in_order(table: &Table) -> String {
    table.parent.map_or_else(|| "id".to_owned(), |parent| format!("{parent}, position"))
}

fn column_type(kind: ColumnType) -> Type {
    match kind {
        ColumnType::Text | ColumnType::OptionalText => Type::TEXT,
        ColumnType::Flag => Type::BOOL,
        _ => Type::INT4,
    }
}

/// A field in the binary format of COPY, whatever its type.
struct Field<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Field<'a> {
    fn from_sql(_: &Type, bytes: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(bytes))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// The fields of a row, in the order of the file's columns.
#[derive(Debug, Default)]
pub(super) struct Fields<'a>([Option<&'a [u8]>; MAX_COLUMNS]);

impl<'a> Fields<'a> {
    fn of_copy(row: &'a BinaryCopyOutRow, columns: usize) -> Result<Self, LoadError> {
        let mut fields = Self::default();
        for (index, field) in fields.0.iter_mut().enumerate().take(columns) {
            *field = row.try_get::<Option<Field<'a>>>(index)?.map(|field| field.0);
        }
        Ok(fields)
    }

    /// Returns the fields of an encoded row.
    pub(super) fn of_encoded(mut row: &'a [u8]) -> Result<Self, LoadError> {
        let mut fields = Self::default();
        for field in &mut fields.0 {
            let Some((length, rest)) = row.split_first_chunk() else { break };
            row = rest;
            if let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) {
                let (value, rest) = row.split_at_checked(length).ok_or_else(|| wrong("row"))?;
                (*field, row) = (Some(value), rest);
            }
        }
        Ok(fields)
    }

    pub(super) fn optional_integer(&self, index: usize) -> Result<Option<i32>, LoadError> {
        let number = self.0[index].map(|bytes| bytes.try_into().map(i32::from_be_bytes));
        number.transpose().map_err(|_| wrong("integer"))
    }

    pub(super) fn integer(&self, index: usize) -> Result<i32, LoadError> {
        self.optional_integer(index)?.ok_or_else(|| wrong("integer"))
    }

    pub(super) fn optional_text(&self, index: usize) -> Result<Option<&'a str>, LoadError> {
        let text = self.0[index].map(simdutf8::basic::from_utf8);
        text.transpose().map_err(|_| wrong("text"))
    }

    pub(super) fn text(&self, index: usize) -> Result<&'a str, LoadError> {
        self.optional_text(index)?.ok_or_else(|| wrong("text"))
    }

    pub(super) fn boolean(&self, index: usize) -> Result<bool, LoadError> {
        match self.0[index] {
            Some([flag]) => Ok(*flag != 0),
            _ => Err(wrong("boolean")),
        }
    }
}

fn wrong(what: &str) -> LoadError {
    LoadError::Bug(format!("a loaded row has no valid {what} where one is expected"))
}
