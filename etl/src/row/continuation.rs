//! Records whose last line ends inside quotes: whether they continue in the next lines.

use std::io::{self, Read};

use memchr::memchr_iter;

use super::fault::{Fault, FaultKind, LINE_BREAK};
use super::{Encoder, parse_u31};
use crate::csv::{Lines, MAX_KEPT, Record};
use crate::note::{Note, Notes};

impl Encoder {
    /// Says how the record continues, whose last line ends inside quotes, and extends it by the lines that belong to it.
    pub(super) fn continuation(&mut self, lines: &mut Lines<impl Read>) -> io::Result<Continuation> {
        if only_blank_lines_follow(lines)? {
            return Ok(Continuation::None);
        }
        let mark = lines.mark();
        let mut is_first = true;
        let mut is_open = true;
        while lines.extend()? {
            let next = lines.last_line();
            if is_first && self.begins_row(next) && !self.ends_row(lines) {
                lines.reset(mark);
                return Ok(Continuation::None);
            }
            is_first = false;
            if lines.record().length > MAX_KEPT as u64 {
                break;
            }
            is_open ^= memchr_iter(b'"', next).count() % 2 == 1;
            if !is_open {
                let joined = self.check(&lines.record());
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
        match self.check(&record_of(line)) {
            Ok(_) => true,
            Err(fault) if fault.reason == LINE_BREAK => {
                let id = line.split(|&byte| byte == b',').next().unwrap_or_default();
                parse_u31(id.trim_ascii()).is_some_and(|id| id > 0)
            }
            Err(fault) => fault.kind == FaultKind::Orphan,
        }
    }

    /// Returns whether the record's last line, which lacks a quote by itself, makes the record a row: a text may have a line
    /// such as `4,x`.
    fn ends_row(&mut self, lines: &Lines<impl Read>) -> bool {
        let (line, record) = (record_of(lines.last_line()), lines.record());
        let whole = self.check(&record);
        whole.is_ok() && !ends_inside_quotes(&whole, &record) && ends_inside_quotes(&self.check(&line), &line)
    }

    /// Encodes a record, of which nothing is kept.
    fn check(&mut self, record: &Record<'_>) -> Result<(i32, Notes), Fault> {
        let before = self.rows.len();
        let result = self.write(record);
        self.rows.truncate(before);
        result
    }
}

/// Returns a line as a record of its own.
fn record_of(line: &[u8]) -> Record<'_> {
    Record { offset: 0, line: 0, bytes: line, length: line.len() as u64, terminated: true }
}

pub(super) fn is_blank(line: &[u8]) -> bool {
    line.trim_ascii().is_empty()
}

/// Returns whether no line follows the record but blank ones, at most [`MAX_KEPT`] bytes of them.
pub(super) fn only_blank_lines_follow(lines: &mut Lines<impl Read>) -> io::Result<bool> {
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
pub(super) fn ends_inside_quotes(written: &Result<(i32, Notes), Fault>, record: &Record<'_>) -> bool {
    match written {
        Ok((_, notes)) => notes.contains(Note::ClosingQuote),
        Err(fault) if fault.kind == FaultKind::Syntax => fault.reason == LINE_BREAK,
        Err(_) => memchr_iter(b'"', record.bytes).count() % 2 == 1,
    }
}

/// How a record continues whose last line ends inside quotes.
pub(super) enum Continuation {
    /// It does not: it lacks its closing quote.
    None,
    /// In the next lines, which are part of the record now.
    Lines,
    /// Neither is certain.
    Unclear,
}
