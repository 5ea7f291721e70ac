//! Validation, repair and encoding of rows: a line becomes a row in the binary format of COPY.

use std::borrow::Cow;

use memchr::memchr;

use crate::csv::{self, Field, Line, MAX_KEPT, MAX_LINE, Malformed};
use crate::table::{ColumnType, Table};

/// The header of a binary COPY: the signature, no flags, no extension.
pub const COPY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// The trailer of a binary COPY.
pub const COPY_TRAILER: &[u8] = &[0xff, 0xff];

/// The max number of columns in a file.
const MAX_COLUMNS: usize = 6;

/// The reason for rejecting a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The name of the faulty column in the header; none if the whole row is wrong.
    pub column: Option<&'static str>,
    /// The reason, the same text for every row with this fault.
    pub reason: Cow<'static, str>,
}

impl Fault {
    fn row(reason: impl Into<Cow<'static, str>>) -> Self {
        Self { column: None, reason: reason.into() }
    }
}

/// Returns the file's fields of an encoded row: without the number of fields, the position and the rank, which have a
/// fixed length.
pub(crate) fn fields_of_file<'a>(row: &'a [u8], table: &Table) -> &'a [u8] {
    let before = 2 + (4 + 8) + if table.is_ranked() { 4 + 4 } else { 0 };
    row.get(before..).unwrap_or_default()
}

/// The key order of some rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// The key of the first row.
    pub first: Option<i32>,
    /// The key of the last row.
    pub last: Option<i32>,
    /// Whether the keys ascend; ids must ascend strictly.
    pub ascends: bool,
}

impl Order {
    /// The order of no rows.
    pub const NONE: Self = Self { first: None, last: None, ascends: true };

    fn add(&mut self, key: i32, is_unique: bool) {
        self.first.get_or_insert(key);
        let last = self.last.replace(key);
        self.ascends &= last.is_none_or(|last| last < key || (last == key && !is_unique));
    }
}

/// A buffer of encoded rows of one table.
#[derive(Debug)]
pub struct Encoder {
    table: &'static Table,
    rows: Vec<u8>,
    rank: i32,
    key_column: Option<usize>,
    /// The key of the last row.
    key: i32,
    order: Order,
}

impl Encoder {
    /// Returns an encoder for a table that already has `loaded` rows in this `order`.
    pub fn new(table: &'static Table, loaded: u64, order: Order) -> Self {
        // A file with more rows than possible ids exceeds the limit of rejected rows long before this matters.
        let rank = i32::try_from(loaded).unwrap_or(i32::MAX);
        let key_column = table.columns.iter().position(|column| column.name == table.key());
        Self { table, rows: Vec::new(), rank, key_column, key: 0, order }
    }

    /// Returns the key order of all rows so far.
    pub fn order(&self) -> Order {
        self.order
    }

    /// Returns the size of the buffer in bytes.
    pub fn buffered(&self) -> usize {
        self.rows.len()
    }

    /// Returns the buffered rows.
    pub fn rows(&self) -> &[u8] {
        &self.rows
    }

    /// Clears the buffer.
    pub fn clear(&mut self) {
        self.rows.clear();
    }

    /// Takes the buffered rows.
    pub fn take(&mut self) -> Vec<u8> {
        let capacity = self.rows.capacity();
        std::mem::replace(&mut self.rows, Vec::with_capacity(capacity))
    }

    /// Adds the row of one line and returns whether it was repaired. A fault leaves the buffer unchanged.
    pub fn push(&mut self, line: &Line<'_>) -> Result<bool, Fault> {
        let before = self.rows.len();
        let result = self.write(line);
        if result.is_err() {
            self.rows.truncate(before);
            return result;
        }
        self.order.add(self.key, self.table.parent.is_none());
        if self.table.is_ranked() {
            self.rank = self.rank.saturating_add(1);
        }
        result
    }

    fn write(&mut self, line: &Line<'_>) -> Result<bool, Fault> {
        check_bytes(line)?;
        let columns = self.table.columns;
        let mut all = [Field::default(); MAX_COLUMNS];
        let fields = &mut all[..columns.len()];
        let mut repaired = csv::split(line.bytes, fields).map_err(|m| malformed(self.table, m))?;

        let ranked = self.table.is_ranked();
        let count = 1 + usize::from(ranked) + columns.len();
        #[allow(clippy::cast_possible_truncation)] // at most 8
        self.rows.extend_from_slice(&(count as u16).to_be_bytes());
        self.put(&line.offset.to_be_bytes());
        if ranked {
            self.put(&self.rank.saturating_add(1).to_be_bytes());
        }
        for (index, (column, field)) in columns.iter().zip(fields.iter()).enumerate() {
            let fault = |reason| Fault { column: Some(column.header), reason: Cow::Borrowed(reason) };
            let is_key = self.key_column == Some(index);
            repaired |= self.put_field(column.kind, field, is_key).map_err(fault)?;
        }
        Ok(repaired)
    }

    fn put_field(&mut self, kind: ColumnType, field: &Field<'_>, is_key: bool) -> Result<bool, &'static str> {
        let is_null = !field.quoted && field.raw == b"null";
        match kind {
            ColumnType::OptionalPrice | ColumnType::OptionalText if is_null => {
                self.rows.extend_from_slice(&(-1_i32).to_be_bytes());
                return Ok(false);
            }
            _ if is_null => return Err("null where a value must be"),
            ColumnType::Text | ColumnType::OptionalText => {
                self.put_text(field);
                return Ok(false);
            }
            _ => {}
        }
        let (digits, mut repaired) = trim(field.raw);
        let digits = match digits {
            [b'$', amount @ ..] if matches!(kind, ColumnType::Price | ColumnType::OptionalPrice) => {
                repaired = true;
                amount
            }
            _ => digits,
        };
        let number = parse_u31(digits);
        match (kind, number) {
            (ColumnType::Flag, Some(flag @ (0 | 1))) => self.put(&[u8::from(flag == 1)]),
            (ColumnType::Flag, _) => return Err("not 0 or 1"),
            (ColumnType::Id, None | Some(0)) => return Err("not a whole number from 1 to 2147483647"),
            (ColumnType::Reference(to), Some(0)) => return Err(to.orphan),
            (_, Some(number)) => {
                if is_key {
                    self.key = number;
                }
                self.put(&number.to_be_bytes());
            }
            (ColumnType::Reference(_), None) => return Err("not a whole number from 1 to 2147483647"),
            (_, None) => return Err("not a whole number from 0 to 2147483647"),
        }
        Ok(repaired)
    }

    fn put_text(&mut self, field: &Field<'_>) {
        if !field.doubled {
            self.put(field.raw);
            return;
        }
        let mut text = Vec::with_capacity(field.raw.len());
        let mut rest = field.raw;
        while let Some(quote) = memchr(b'"', rest) {
            text.extend_from_slice(&rest[..=quote]);
            rest = rest.get(quote + 2..).unwrap_or_default();
        }
        text.extend_from_slice(rest);
        self.put(&text);
    }

    fn put(&mut self, value: &[u8]) {
        #[allow(clippy::cast_possible_truncation)] // a line is at most MAX_LINE bytes
        self.rows.extend_from_slice(&(value.len() as u32).to_be_bytes());
        self.rows.extend_from_slice(value);
    }
}

/// Checks the bytes of a line before it is split into fields.
fn check_bytes(line: &Line<'_>) -> Result<(), Fault> {
    if line.length > line.bytes.len() as u64 {
        return Err(Fault::row(format!(
            "longer than {MAX_LINE} bytes, of which the first {MAX_KEPT} are kept"
        )));
    }
    if line.bytes.is_empty() {
        return Err(Fault::row("blank line"));
    }
    if memchr(0, line.bytes).is_some() {
        return Err(Fault::row("NUL byte"));
    }
    if simdutf8::basic::from_utf8(line.bytes).is_err() {
        return Err(Fault::row("not UTF-8"));
    }
    Ok(())
}

fn malformed(table: &'static Table, what: Malformed) -> Fault {
    let header = |index: usize| table.columns.get(index).map(|column| column.header);
    match what {
        Malformed::FieldCount(found) => {
            Fault::row(format!("{} fields expected, {found} found", table.columns.len()))
        }
        Malformed::TextAfterQuote(index) => {
            Fault { column: header(index), reason: "text after the closing quote".into() }
        }
        Malformed::QuoteInBareField(index) => {
            Fault { column: header(index), reason: "a quote inside an unquoted field".into() }
        }
    }
}

/// Removes the spaces around a number and returns whether there were any.
fn trim(raw: &[u8]) -> (&[u8], bool) {
    let trimmed = raw.trim_ascii();
    (trimmed, trimmed.len() != raw.len())
}

/// Parses a whole number from 0 to 2147483647: digits only, no sign.
pub(crate) fn parse_u31(digits: &[u8]) -> Option<i32> {
    if digits.is_empty() || digits.len() > 10 {
        return None;
    }
    let mut number = 0_i64;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        number = number * 10 + i64::from(digit - b'0');
    }
    i32::try_from(number).ok()
}
#[cfg(test)]
mod tests;
