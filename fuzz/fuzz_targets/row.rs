//! Any bytes as rows of any table: each line is in a row, in a rejected record or blank, and the sizes of reads change
//! nothing.

#![no_main]

use std::io::Read;

use etl::csv::{Lines, MAX_KEPT, MAX_LINE};
use etl::note::Note;
use etl::row::{Encoder, Fault, FaultKind, NullWord};
use etl::table::{ColumnType, TABLES, Table};
use fuzz::{Pieces, text_and_size};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((text, size)) = text_and_size(data) else { return };
    let null_word = if size % 2 == 0 { NullWord::Null } else { NullWord::Text };
    for table in &TABLES {
        let at_once = rows(table, null_word, &text, &text[..]);
        assert_eq!(at_once, rows(table, null_word, &text, Pieces::new(&text, size)));
    }
});

/// Returns the encoded rows, and the faults with the offsets of their records.
fn rows(
    table: &'static Table,
    null_word: NullWord,
    text: &[u8],
    input: impl Read,
) -> (Vec<u8>, Vec<(u64, Fault)>) {
    let (mut encoder, mut lines) = (Encoder::new(table, null_word), Lines::new(input, 0, 1));
    let (mut faults, mut end, mut number) = (Vec::new(), 0, 1);
    loop {
        let before = encoder.buffered();
        let Some(result) = encoder.next_row(&mut lines).unwrap() else { break };
        let record = lines.record();
        assert_eq!((record.offset, record.line), (end, number));
        end = lines.next_offset();
        let bytes = &text[usize::try_from(record.offset).unwrap()..usize::try_from(end).unwrap()];
        number += bytes.iter().filter(|&&byte| byte == b'\n').count() as u64 + u64::from(!record.terminated);
        let row = &encoder.rows()[before..];
        match result {
            Ok(notes) => {
                check(table, record.offset, row);
                let limit = if notes.contains(Note::JoinedLines) { MAX_KEPT } else { MAX_LINE };
                assert!(record.length <= limit as u64);
                assert!(notes.contains(Note::JoinedLines) || !record.bytes.contains(&b'\n'));
            }
            Err(fault) => {
                assert!(row.is_empty() && !fault.reason.is_empty());
                assert!(fault.kind == FaultKind::Syntax || fault.column.is_some());
                faults.push((record.offset, fault));
            }
        }
    }
    assert!(text[usize::try_from(end).unwrap()..].trim_ascii().is_empty());
    assert_eq!(encoder.buffered(), encoder.rows().len());
    (encoder.take(), faults)
}

/// Checks a row as COPY reads it.
fn check(table: &Table, offset: u64, row: &[u8]) {
    let (count, mut rest) = row.split_first_chunk().unwrap();
    let mut next = || {
        let (length, after) = rest.split_first_chunk().unwrap();
        let length = i32::from_be_bytes(*length);
        let (value, after) = after.split_at(usize::try_from(length).unwrap_or(0));
        rest = after;
        (length >= 0).then_some(value)
    };
    assert_eq!(next(), Some(&offset.to_be_bytes()[..]));
    if table.is_ranked() {
        assert_eq!(next().map(<[u8]>::len), Some(4));
    }
    for column in table.columns {
        let value = next();
        let is_optional = matches!(column.kind, ColumnType::OptionalPrice | ColumnType::OptionalText);
        let Some(value) = value else {
            assert!(is_optional);
            continue;
        };
        match column.kind {
            ColumnType::Text | ColumnType::OptionalText => {
                assert!(!std::str::from_utf8(value).unwrap().contains('\0'));
            }
            ColumnType::Flag => assert!(matches!(value, [0 | 1])),
            kind => {
                let number = i32::from_be_bytes(value.try_into().unwrap());
                assert!(number >= i32::from(matches!(kind, ColumnType::Id | ColumnType::Reference(_))));
            }
        }
    }
    assert!(rest.is_empty());
    assert_eq!(
        usize::from(u16::from_be_bytes(*count)),
        1 + usize::from(table.is_ranked()) + table.columns.len()
    );
}
