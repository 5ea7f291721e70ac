//! The reasons for rejecting a row, and the checks of a record before its fields.

use std::borrow::Cow;

use memchr::memchr;

use crate::csv::{MAX_KEPT, MAX_LINE, Malformed, Record};
use crate::table::Table;

pub(super) const BACKSLASH: &str = "a backslash before a quote: expected \"\" for a quote inside quotes";
pub(super) const LINE_BREAK: &str = "line break inside quotes";

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
    pub(super) fn syntax(column: Option<&'static str>, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { column, reason: reason.into(), kind: FaultKind::Syntax }
    }
}

/// Checks the bytes of a record before it is split into fields.
pub(super) fn check_bytes(record: &Record<'_>) -> Result<(), Fault> {
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

pub(super) fn malformed(table: &'static Table, what: Malformed) -> Fault {
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
