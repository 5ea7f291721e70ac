//! Validation, repair and encoding of rows: a record becomes a row in the binary format of COPY.

use std::borrow::Cow;
use std::io::{self, Read};

use memchr::{memchr, memchr_iter, memmem};

use crate::csv::{self, Field, Lines, MAX_KEPT, MAX_LINE, Malformed, Record};
use crate::note::{Note, Notes};
use crate::table::{ColumnType, Table};

/// The header of a binary COPY: the signature, no flags, no extension.
pub const COPY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// The trailer of a binary COPY.
pub const COPY_TRAILER: &[u8] = &[0xff, 0xff];

/// The max number of columns in a file.
pub(crate) const MAX_COLUMNS: usize = 6;

/// How the original files write NULL.
const NULL: &[u8] = b"null";

const BACKSLASH: &str = "a backslash before a quote: expected \"\" for a quote inside quotes";
const LINE_BREAK: &str = "line break inside quotes";

/// The reason for rejecting a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The name of the faulty column in the header; none if the whole row is wrong.
    pub column: Option<&'static str>,
    /// The reason, the same text for every row with this fault.
    pub reason: Cow<'static, str>,
    /// What kind of fault it is.
    pub kind: FaultKind,
}

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The record has no fields for the columns.
    Syntax,
    /// A field has no value for its column.
    Value,
    /// A reference is 0, which is never an id.
    Orphan,
}

impl Fault {
    fn syntax(column: Option<&'static str>, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { column, reason: reason.into(), kind: FaultKind::Syntax }
    }
}

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

    /// Says how the record continues, whose last line ends inside quotes, and extends it by the lines that belong to it.
    fn continuation(&mut self, lines: &mut Lines<impl Read>) -> io::Result<Continuation> {
        let before = self.rows.len();
        if only_blank_lines_follow(lines)? {
            return Ok(Continuation::None);
        }
        let mark = lines.mark();
        let mut is_first = true;
        let mut is_open = true;
        while lines.extend()? {
            let next = lines.last_line();
            if is_first && self.begins_row(next) {
                lines.reset(mark);
                return Ok(Continuation::None);
            }
            is_first = false;
            if lines.record().length > MAX_KEPT as u64 {
                break;
            }
            is_open ^= memchr_iter(b'"', next).count() % 2 == 1;
            if !is_open {
                let joined = self.write(&lines.record());
                self.rows.truncate(before);
                // A record with a wrong value is one record too, and is rejected as one.
                if joined.map_or_else(|fault| fault.kind != FaultKind::Syntax, |_| true) {
                    return Ok(Continuation::Lines);
                }
                break;
            }
        }
        lines.reset(mark);
        Ok(Continuation::Unclear)
    }

    /// Returns whether a line is a row, or the beginning of one that ends inside quotes.
    fn begins_row(&mut self, line: &[u8]) -> bool {
        let before = self.rows.len();
        let record = Record { offset: 0, line: 0, bytes: line, length: line.len() as u64, terminated: true };
        let result = self.write(&record);
        self.rows.truncate(before);
        match result {
            Ok(_) => true,
            Err(fault) if fault.reason == LINE_BREAK => {
                let id = line.split(|&byte| byte == b',').next().unwrap_or_default();
                parse_u31(id.trim_ascii()).is_some_and(|id| id > 0)
            }
            Err(fault) => fault.kind == FaultKind::Orphan,
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

fn is_blank(line: &[u8]) -> bool {
    line.trim_ascii().is_empty()
}

/// Returns whether no line follows the record but blank ones, at most [`MAX_KEPT`] bytes of them.
fn only_blank_lines_follow(lines: &mut Lines<impl Read>) -> io::Result<bool> {
    let mark = lines.mark();
    let mut blank = true;
    while blank && lines.record().length <= MAX_KEPT as u64 && lines.extend()? {
        blank = is_blank(lines.last_line());
    }
    let at_end = blank && lines.is_last()?;
    lines.reset(mark);
    Ok(at_end)
}

/// Returns whether a record ends inside quotes. In one that has fields for all columns, quotes come in pairs otherwise.
fn ends_inside_quotes(written: &Result<(i32, Notes), Fault>, record: &Record<'_>) -> bool {
    match written {
        Ok((_, notes)) => notes.contains(Note::ClosingQuote),
        Err(fault) if fault.kind == FaultKind::Syntax => fault.reason == LINE_BREAK,
        Err(_) => memchr_iter(b'"', record.bytes).count() % 2 == 1,
    }
}

/// How a record continues whose last line ends inside quotes.
enum Continuation {
    /// It does not: it lacks its closing quote.
    None,
    /// In the next lines, which are part of the record now.
    Lines,
    /// Neither is certain.
    Unclear,
}

/// Returns whether a field is NULL in the usual spellings: unquoted, and empty, `null` in any case or `\N`.
fn is_null(field: &Field<'_>) -> bool {
    let usual = |first: &u8| !matches!(first, b'n' | b'N' | b'\\') && !first.is_ascii_whitespace();
    if field.quoted || field.raw.first().is_some_and(usual) {
        return false; // decided early
    }
    match field.raw.trim_ascii() {
        b"" | b"\\N" => true,
        text => text.eq_ignore_ascii_case(b"null"),
    }
}

/// Returns the digits of a number without what other programs write around them: blanks, a `$` before a price, `.00` after
/// a whole number. A negative stock becomes 0.
fn number_of<'a>(kind: ColumnType, raw: &'a [u8], notes: &mut Notes) -> &'a [u8] {
    let mut digits = raw.trim_ascii();
    if digits.len() != raw.len() {
        *notes = notes.with(Note::Blanks);
    }
    if let (ColumnType::Price | ColumnType::OptionalPrice, [b'$', amount @ ..]) = (kind, digits) {
        *notes = notes.with(Note::DollarSign);
        digits = amount.trim_ascii_start();
    }
    if let Some(point) = digits.iter().position(|&byte| byte == b'.') {
        let (whole, fraction) = (&digits[..point], &digits[point + 1..]);
        if !fraction.is_empty() && fraction.iter().all(|&digit| digit == b'0') {
            *notes = notes.with(Note::Decimal);
            digits = whole;
        }
    }
    match (kind, digits) {
        (ColumnType::Count, [b'-', amount @ ..]) if parse_u31(amount).is_some() => {
            *notes = notes.with(Note::NegativeStock);
            b"0"
        }
        _ => digits,
    }
}

fn flag(text: &[u8], notes: &mut Notes) -> Result<bool, &'static str> {
    let is = |spelling: &str| text.eq_ignore_ascii_case(spelling.as_bytes());
    let value = match text {
        b"0" => return Ok(false),
        b"1" => return Ok(true),
        _ if is("t") || is("true") => true,
        _ if is("f") || is("false") => false,
        _ => return Err("not 0 or 1, nor true or false"),
    };
    *notes = notes.with(Note::Boolean);
    Ok(value)
}

/// Checks the bytes of a record before it is split into fields.
fn check_bytes(record: &Record<'_>) -> Result<(), Fault> {
    let syntax = |reason| Err(Fault::syntax(None, reason));
    if record.length > record.bytes.len() as u64 {
        return Err(Fault::syntax(
            None,
            format!("longer than {MAX_LINE} bytes, of which the first {MAX_KEPT} are kept"),
        ));
    }
    if record.bytes.is_empty() {
        return syntax("blank line");
    }
    if memchr(0, record.bytes).is_some() {
        return syntax("NUL byte");
    }
    if simdutf8::basic::from_utf8(record.bytes).is_err() {
        return syntax("not UTF-8");
    }
    Ok(())
}

fn malformed(table: &'static Table, what: Malformed) -> Fault {
    let header = |index: usize| table.columns.get(index).map(|column| column.header);
    match what {
        Malformed::FieldCount(found) => {
            Fault::syntax(None, format!("{} fields expected, {found} found", table.columns.len()))
        }
        Malformed::TextAfterQuote(index) => Fault::syntax(header(index), "text after the closing quote"),
        Malformed::QuoteInBareField(index) => {
            Fault::syntax(header(index), "a quote inside an unquoted field")
        }
        Malformed::Unclosed(index) => Fault::syntax(header(index), LINE_BREAK),
    }
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
