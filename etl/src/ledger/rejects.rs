//! Rejected rows in the ledger.

use tokio_postgres::{Client, Row, Transaction};

use super::{Result, signed, unsigned};
use crate::csv::{MAX_KEPT, Record};

/// A rejected row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// The offset of its first byte in the file.
    pub byte_offset: u64,
    /// The number of its first line.
    pub line: u64,
    /// The name of the faulty column in the header; none if the whole row is wrong.
    pub column: Option<&'static str>,
    /// The reason, the same text for every row with this fault.
    pub reason: String,
    /// Its length in bytes.
    pub length: u64,
    /// Its bytes, max 64 KiB.
    pub original: Vec<u8>,
}

impl Reject {
    /// Returns the reject of a record.
    pub fn new(record: &Record<'_>, column: Option<&'static str>, reason: String) -> Self {
        let original = record.bytes[..record.bytes.len().min(MAX_KEPT)].to_vec();
        let Record { offset, line, length, .. } = *record;
        Self { byte_offset: offset, line, column, reason, length, original }
    }
}

/// The number of rejected rows of a file with one reason.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct RejectCount {
    /// The file's name.
    pub file: String,
    /// The reason.
    pub reason: String,
    /// The number of rows.
    pub rows: u64,
}

/// Returns the number of a load's rejected rows by file and reason, in descending order.
pub async fn reject_counts(client: &Client, generation: i32) -> Result<Vec<RejectCount>> {
    let rows = client
        .query(
            "select file, reason, count(*) from etl.reject where generation = $1
             group by file, reason order by count(*) desc, file, reason",
            &[&generation],
        )
        .await?;
    let count_of =
        |row: &Row| RejectCount { file: row.get(0), reason: row.get(1), rows: unsigned(row.get(2)) };
    Ok(rows.iter().map(count_of).collect())
}

/// Records rejected rows of a file.
pub async fn reject(
    transaction: &Transaction<'_>,
    generation: i32,
    file: &str,
    rejects: &[Reject],
) -> Result<()> {
    let offsets: Vec<i64> = rejects.iter().map(|r| signed(r.byte_offset)).collect();
    let lines: Vec<i64> = rejects.iter().map(|r| signed(r.line)).collect();
    let columns: Vec<_> = rejects.iter().map(|r| r.column).collect();
    let reasons: Vec<_> = rejects.iter().map(|r| r.reason.as_str()).collect();
    let lengths: Vec<i64> = rejects.iter().map(|r| signed(r.length)).collect();
    let originals: Vec<_> = rejects.iter().map(|r| r.original.as_slice()).collect();
    transaction
        .execute(
            "insert into etl.reject
                 (generation, file, byte_offset, line, column_name, reason, size_bytes, original)
             select $1::integer, $2::text, * from unnest
                 ($3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::bigint[], $8::bytea[])",
            &[&generation, &file, &offsets, &lines, &columns, &reasons, &lengths, &originals],
        )
        .await?;
    Ok(())
}

/// Moves a number of rows from loaded to rejected, after the load step.
pub async fn reject_loaded(
    transaction: &Transaction<'_>,
    generation: i32,
    file: &str,
    rows: usize,
) -> Result<()> {
    transaction
        .execute(
            "update etl.load_file
             set rows_loaded = rows_loaded - $3, rows_rejected = rows_rejected + $3
             where generation = $1 and file = $2",
            &[&generation, &file, &signed(rows as u64)],
        )
        .await?;
    Ok(())
}
