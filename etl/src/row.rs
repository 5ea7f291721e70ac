//! Checks the fields of a line against the columns of its table, mends what can be mended, and writes the row in
//! the binary form of COPY.

use std::borrow::Cow;

use memchr::memchr;

use crate::csv::{self, Field, KEPT_OF_LINE, LONGEST_LINE, Line, Malformed};
use crate::table::{Kind, Table};

/// What a COPY in binary form begins with: the signature, no flags, no extension.
pub const COPY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What it ends with.
pub const COPY_TRAILER: &[u8] = &[0xff, 0xff];

/// The most columns a file has.
const MOST_COLUMNS: usize = 6;

/// Why a row is set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The column at fault, as the header names it; none where the row as a whole is.
    pub column: Option<&'static str>,
    /// What is wrong, in words that are the same for every row with this fault.
    pub reason: Cow<'static, str>,
}

impl Fault {
    fn row(reason: impl Into<Cow<'static, str>>) -> Self {
        Self { column: None, reason: reason.into() }
    }
}

/// The fields of a row that an [`Encoder`] wrote, without what is in no column of its file: the number of fields, the
/// position and the rank, all of which have a fixed length.
pub(crate) fn fields_of_file<'a>(row: &'a [u8], table: &Table) -> &'a [u8] {
    let before = 2 + (4 + 8) + if table.is_ranked() { 4 + 4 } else { 0 };
    row.get(before..).unwrap_or_default()
}

/// How rows came by the key of their table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// The key of the first row.
    pub first: Option<i32>,
    /// The key of the last row.
    pub last: Option<i32>,
    /// Whether no key was lower than the one before it; where it is an id, whether each was higher.
    pub ascends: bool,
}

impl Order {
    /// Of no rows.
    pub const NONE: Self = Self { first: None, last: None, ascends: true };

    fn add(&mut self, key: i32, is_unique: bool) {
        self.first.get_or_insert(key);
        let last = self.last.replace(key);
        self.ascends &= last.is_none_or(|last| last < key || (last == key && !is_unique));
    }
}

/// Collects the rows of one table in the binary form of COPY.
#[derive(Debug)]
pub struct Encoder {
    table: &'static Table,
    rows: Vec<u8>,
    rank: i32,
    key_column: Option<usize>,
    /// That of the last row.
    key: i32,
    order: Order,
}

impl Encoder {
    /// For a table of which `loaded` rows are in already; `order` is that of the rows before.
    pub fn new(table: &'static Table, loaded: u64, order: Order) -> Self {
        // A file with more rows than ids has its rows set aside long before this number matters.
        let rank = i32::try_from(loaded).unwrap_or(i32::MAX);
        let key_column = table.columns.iter().position(|column| column.name == table.key());
        Self { table, rows: Vec::new(), rank, key_column, key: 0, order }
    }

    /// The order of the rows so far, and of those before.
    pub fn order(&self) -> Order {
        self.order
    }

    /// How many bytes are collected so far.
    pub fn collected(&self) -> usize {
        self.rows.len()
    }

    /// What is collected so far.
    pub fn rows(&self) -> &[u8] {
        &self.rows
    }

    /// Forgets what was collected.
    pub fn clear(&mut self) {
        self.rows.clear();
    }

    /// Hands over what was collected.
    pub fn take(&mut self) -> Vec<u8> {
        let room = self.rows.capacity();
        std::mem::replace(&mut self.rows, Vec::with_capacity(room))
    }

    /// Adds the row of one line. Answers whether it had to be repaired; a fault leaves nothing of it behind.
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
        let mut all = [Field::default(); MOST_COLUMNS];
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

    fn put_field(&mut self, kind: Kind, field: &Field<'_>, is_key: bool) -> Result<bool, &'static str> {
        let is_null = !field.quoted && field.raw == b"null";
        match kind {
            Kind::OptionalPrice | Kind::OptionalText if is_null => {
                self.rows.extend_from_slice(&(-1_i32).to_be_bytes());
                return Ok(false);
            }
            _ if is_null => return Err("null where a value must be"),
            Kind::Text | Kind::OptionalText => {
                self.put_text(field);
                return Ok(false);
            }
            _ => {}
        }
        let (digits, mut repaired) = trim(field.raw);
        let digits = match digits {
            [b'$', amount @ ..] if matches!(kind, Kind::Price | Kind::OptionalPrice) => {
                repaired = true;
                amount
            }
            _ => digits,
        };
        let number = whole_number(digits);
        match (kind, number) {
            (Kind::Flag, Some(flag @ (0 | 1))) => self.put(&[u8::from(flag == 1)]),
            (Kind::Flag, _) => return Err("not 0 or 1"),
            (Kind::Id, None | Some(0)) => return Err("not a whole number from 1 to 2147483647"),
            (Kind::Reference(to), Some(0)) => return Err(to.orphan),
            (_, Some(number)) => {
                if is_key {
                    self.key = number;
                }
                self.put(&number.to_be_bytes());
            }
            (Kind::Reference(_), None) => return Err("not a whole number from 1 to 2147483647"),
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
        #[allow(clippy::cast_possible_truncation)] // a line is at most LONGEST_LINE bytes
        self.rows.extend_from_slice(&(value.len() as u32).to_be_bytes());
        self.rows.extend_from_slice(value);
    }
}

/// What must hold for a line's bytes before they are looked at as fields.
fn check_bytes(line: &Line<'_>) -> Result<(), Fault> {
    if line.length > line.bytes.len() as u64 {
        return Err(Fault::row(format!(
            "longer than {LONGEST_LINE} bytes, of which the first {KEPT_OF_LINE} are kept"
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

/// A number's digits without the spaces around them, and whether there were any.
fn trim(raw: &[u8]) -> (&[u8], bool) {
    let trimmed = raw.trim_ascii();
    (trimmed, trimmed.len() != raw.len())
}

/// A whole number that fits a Postgres `integer`: digits only, no sign.
pub(crate) fn whole_number(digits: &[u8]) -> Option<i32> {
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
