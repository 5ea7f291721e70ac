//! What the loader understood or repaired in a row that it loaded.
//!
//! Other programs write the same value in other ways. Those spellings are counted. A repair changes bytes of the file, so
//! its lines are listed too.

use std::fmt;

/// A spelling or a repair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// The closing quote of the last field was missing.
    ClosingQuote,
    /// A text has line breaks.
    JoinedLines,
    /// A quantity below 0 became 0.
    NegativeStock,
    /// NULL was written as an empty field, `\N` or `NULL`.
    NullSpelling,
    /// A flag was written as a word.
    Boolean,
    /// A whole number had decimals, all of them 0.
    Decimal,
    /// A price had a `$`.
    DollarSign,
    /// A number had blanks around it.
    Blanks,
}

impl Note {
    /// All notes; the index of each is its bit in [`Notes`].
    pub const ALL: [Self; 8] = [
        Self::ClosingQuote,
        Self::JoinedLines,
        Self::NegativeStock,
        Self::NullSpelling,
        Self::Boolean,
        Self::Decimal,
        Self::DollarSign,
        Self::Blanks,
    ];

    /// Returns whether bytes of the file were changed.
    pub fn is_repair(self) -> bool {
        matches!(self, Self::ClosingQuote | Self::JoinedLines | Self::NegativeStock)
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClosingQuote => "closing quote added",
            Self::JoinedLines => "line breaks inside quotes kept",
            Self::NegativeStock => "negative stock set to 0",
            Self::NullSpelling => r"NULL written as an empty field, \N or NULL",
            Self::Boolean => "0 or 1 written as true or false",
            Self::Decimal => "whole number written with .0 or .00",
            Self::DollarSign => "price written with $",
            Self::Blanks => "blanks around a number",
        })
    }
}

/// The notes of one row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notes(u8);

impl Notes {
    /// Returns these notes and one more.
    #[must_use]
    pub fn with(self, note: Note) -> Self {
        Self(self.0 | 1 << note as u8)
    }

    /// Returns whether the note is one of these.
    pub fn contains(self, note: Note) -> bool {
        self.0 & (1 << note as u8) != 0
    }

    /// Returns whether the row was repaired.
    pub fn has_repair(self) -> bool {
        Note::ALL.into_iter().any(|note| note.is_repair() && self.contains(note))
    }
}

/// The notes of a file.
#[derive(Clone, Debug, Default)]
pub struct NoteCounts([NoteCount; Note::ALL.len()]);

/// The rows with one note.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NoteCount {
    /// Their number.
    pub rows: u64,
    /// The numbers of their first lines: one for a spelling, max [`MAX_LINES`] for a repair.
    pub lines: Vec<u64>,
}

/// The max number of listed lines for each file and repair.
pub const MAX_LINES: usize = 1000;

impl NoteCounts {
    /// Counts the notes of the row at a line.
    pub fn add(&mut self, notes: Notes, line: u64) {
        if notes == Notes::default() {
            return;
        }
        for (note, count) in Note::ALL.into_iter().zip(&mut self.0) {
            if notes.contains(note) {
                count.rows += 1;
                let listed = if note.is_repair() { MAX_LINES } else { 1 };
                if count.lines.len() < listed {
                    count.lines.push(line);
                }
            }
        }
    }

    /// Returns the notes that some rows have.
    pub fn iter(&self) -> impl Iterator<Item = (Note, &NoteCount)> {
        Note::ALL.into_iter().zip(&self.0).filter(|(_, count)| count.rows > 0)
    }
}
