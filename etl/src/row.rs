//! Validation, repair and encoding of rows: a record becomes a row in the binary format of COPY.

mod continuation;
mod fault;
mod value;

use std::borrow::Cow;
use std::io::{self, Read};

use memchr::{memchr, memmem};

use crate::csv::{self, Field, Lines, Record};
use crate::note::{Note, Notes};
use crate::table::{ColumnType, Table};

use continuation::{Continuation, ends_inside_quotes, is_blank, only_blank_lines_follow};
use fault::{BACKSLASH, LINE_BREAK, check_bytes, malformed};
pub use fault::{Fault, FaultKind};
pub(crate) use value::parse_u31;
use value::{NULL, flag, is_null, number_of};

/// The header of a binary COPY: the signature, no flags, no extension.
pub const COPY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// The trailer of a binary COPY.
pub const COPY_TRAILER: &[u8] = &[0xff, 0xff];

/// The max number of columns in a file.
pub(crate) const MAX_COLUMNS: usize = 6;

/// Returns the file's fields of an encoded row: without the number of fields, the position and the rank, which have a
/// fixed length.
pub(crate) fn fields_of_file<'a>(row: &'a [u8], table: &Table) -> &'a [u8] {
    let before = 2 + (4 + 8) + if table.is_ranked() { 4 + 4 } else { 0 };
    row.get(before..).unwrap_or_default()
}

/// What an unquoted `null` is in a column of optional texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NullWord {
    /// NULL.
    #[default]
    Null,
    /// Text: the file was written by a program like psql, which writes NULL as an empty field and quotes only where it
    /// must.
    Text,
}

/// The spellings of NULL in rows whose texts are not quoted.
#[derive(Clone, Copy, Debug, Default)]
struct NullSpellings {
    empty: bool,
    word: bool,
}

/// An encoder of the rows of one table, with a buffer.
#[derive(Debug)]
pub struct Encoder {
    table: &'static Table,
    null_word: NullWord,
    spellings: NullSpellings,
    rows: Vec<u8>,
    rank: i32,
    key_column: usize,
    last_key: i32,
    keys_ascend: bool,
    looks_cut: bool,
}

impl Encoder {
    /// Returns an encoder without rows.
    pub fn new(table: &'static Table, null_word: NullWord) -> Self {
        Self {
            table,
            null_word,
            spellings: NullSpellings::default(),
            rows: Vec::new(),
            rank: 0,
            key_column: table.columns.iter().position(|column| column.name == table.key()).unwrap_or(0),
            last_key: 0,
            keys_ascend: true,
            looks_cut: false,
        }
    }

    /// Returns whether NULL was an empty field in some rows and `null` in others, and no program writes both: then the word
    /// is text, and the file must be read again.
    pub fn has_both_nulls(&self) -> bool {
        self.null_word == NullWord::Null && self.spellings.empty && self.spellings.word
    }

    /// Returns whether the rows so far are in ascending order of the table's key. Ids must ascend strictly.
    pub fn keys_ascend(&self) -> bool {
        self.keys_ascend
    }

    /// Returns whether the last row ends like a part of one: with a comma, or with a text without quotes although others
    /// have them.
    pub fn looks_cut(&self) -> bool {
        self.looks_cut
    }

    /// Returns the buffered rows.
    pub fn rows(&self) -> &[u8] {
        &self.rows
    }

    /// Returns the size of the buffer in bytes.
    pub fn buffered(&self) -> usize {
        self.rows.len()
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

    /// Reads the next record of `lines` and adds its row; none at the end. A fault leaves the buffer unchanged.
    ///
    /// A line that ends inside quotes is one of three things. If the next line is a row, or there is none, it lacks its
    /// closing quote, which can be added in the last field. If it is a record together with the next lines, its text has
    /// line breaks. Otherwise it is rejected.
    ///
    /// # Errors
    /// A failed read.
    pub fn next_row(&mut self, lines: &mut Lines<impl Read>) -> io::Result<Option<Result<Notes, Fault>>> {
        if !lines.advance()? || (is_blank(lines.record().bytes) && only_blank_lines_follow(lines)?) {
            return Ok(None);
        }
        let before = self.rows.len();
        let mut result = self.write(&lines.record());
        if ends_inside_quotes(&result, &lines.record()) {
            self.rows.truncate(before);
            result = match self.continuation(lines)? {
                Continuation::None => self.write(&lines.record()),
                Continuation::Lines => {
                    self.write(&lines.record()).map(|(key, notes)| (key, notes.with(Note::JoinedLines)))
                }
                Continuation::Unclear => Err(Fault::syntax(None, LINE_BREAK)),
            };
        }
        match result {
            Ok((key, notes)) => {
                self.keys_ascend &=
                    key > self.last_key || (key == self.last_key && self.table.parent.is_some());
                self.last_key = key;
                self.rank = self.rank.saturating_add(1);
                Ok(Some(Ok(notes)))
            }
            Err(mut fault) => {
                self.rows.truncate(before);
                if fault.reason == LINE_BREAK && memmem::find(lines.record().bytes, b"\\\"").is_some() {
                    fault.reason = BACKSLASH.into();
                }
                Ok(Some(Err(fault)))
            }
        }
    }

    /// Appends a record's row and returns its key. After a fault, part of the row may be in the buffer.
    fn write(&mut self, record: &Record<'_>) -> Result<(i32, Notes), Fault> {
        check_bytes(record)?;
        let columns = self.table.columns;
        let mut all = [Field::default(); MAX_COLUMNS];
        let fields = &mut all[..columns.len()];
        let mut notes = Notes::default();
        if csv::split(record.bytes, fields).map_err(|m| malformed(self.table, m))? {
            notes = notes.with(Note::ClosingQuote);
        }
        let ranked = self.table.is_ranked();
        let count = 1 + usize::from(ranked) + columns.len();
        #[allow(clippy::cast_possible_truncation)] // at most 8
        self.rows.extend_from_slice(&(count as u16).to_be_bytes());
        self.put(&record.offset.to_be_bytes());
        if ranked {
            self.put(&self.rank.saturating_add(1).to_be_bytes());
        }
        let quotes_texts =
            columns.iter().zip(fields.iter()).any(|(c, f)| c.kind == ColumnType::Text && f.quoted);
        let bare_end = columns.last().zip(fields.last()).is_some_and(|(column, field)| {
            !field.quoted && (field.raw.is_empty() || column.kind.is_text() && !is_null(field))
        });
        self.looks_cut = quotes_texts && bare_end;
        let mut key = 0;
        for (index, (column, field)) in columns.iter().zip(fields.iter()).enumerate() {
            let fault =
                |reason, kind| Fault { column: Some(column.header), reason: Cow::Borrowed(reason), kind };
            let number = self.put_field(column.kind, field, &mut notes).map_err(|reason| {
                let is_orphan = matches!(column.kind, ColumnType::Reference(to) if to.orphan == reason);
                fault(reason, if is_orphan { FaultKind::Orphan } else { FaultKind::Value })
            })?;
            if index == self.key_column {
                key = number.unwrap_or_default();
            }
            if column.kind == ColumnType::OptionalText && !quotes_texts && is_null(field) {
                self.spellings.empty |= field.raw.is_empty();
                self.spellings.word |= field.raw == NULL;
            }
        }
        Ok((key, notes))
    }

    /// Appends a field and returns the number that it is, if it is one.
    fn put_field(
        &mut self,
        kind: ColumnType,
        field: &Field<'_>,
        notes: &mut Notes,
    ) -> Result<Option<i32>, &'static str> {
        let is_text = kind.is_text();
        let is_optional = matches!(kind, ColumnType::OptionalPrice | ColumnType::OptionalText);
        let is_word_as_text = self.null_word == NullWord::Text && is_text && field.raw == NULL;
        let is_blank_text = kind == ColumnType::Text && field.raw.trim_ascii().is_empty();
        if is_null(field) && !is_word_as_text && !is_blank_text {
            if !is_optional {
                return Err("null where a value must be");
            }
            if field.raw != NULL {
                *notes = notes.with(Note::NullSpelling);
            }
            self.rows.extend_from_slice(&(-1_i32).to_be_bytes());
            return Ok(None);
        }
        if is_text {
            return self.put_text(field).map(|()| None);
        }
        let digits = number_of(kind, field.raw, notes);
        let number = parse_u31(digits);
        match (kind, number) {
            (ColumnType::Flag, _) => {
                self.put(&[u8::from(flag(digits, notes)?)]);
                return Ok(None);
            }
            (ColumnType::Id, None | Some(0)) | (ColumnType::Reference(_), None) => {
                return Err("not a whole number from 1 to 2147483647");
            }
            (ColumnType::Reference(to), Some(0)) => return Err(to.orphan),
            (_, Some(number)) => self.put(&number.to_be_bytes()),
            (_, None) => return Err("not a whole number from 0 to 2147483647"),
        }
        Ok(number)
    }

    fn put_text(&mut self, field: &Field<'_>) -> Result<(), &'static str> {
        if !field.doubled {
            self.put(field.raw);
            return Ok(());
        }
        // Some databases write \" for a quote. In CSV that is a backslash and a quote, which nobody meant.
        if memmem::find(field.raw, b"\\\"").is_some() {
            return Err(BACKSLASH);
        }
        let mut text = Vec::with_capacity(field.raw.len());
        let mut rest = field.raw;
        while let Some(quote) = memchr(b'"', rest) {
            text.extend_from_slice(&rest[..=quote]);
            rest = rest.get(quote + 2..).unwrap_or_default();
        }
        text.extend_from_slice(rest);
        self.put(&text);
        Ok(())
    }

    fn put(&mut self, value: &[u8]) {
        #[allow(clippy::cast_possible_truncation)] // a line is at most MAX_LINE bytes
        self.rows.extend_from_slice(&(value.len() as u32).to_be_bytes());
        self.rows.extend_from_slice(value);
    }
}

#[cfg(test)]
mod tests;
