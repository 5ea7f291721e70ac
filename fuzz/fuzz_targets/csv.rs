//! Any bytes as lines and fields of a CSV file: each byte is in one record, and the sizes of reads change nothing.

#![no_main]

use std::io::Read;

use etl::csv::{Field, Lines, MAX_KEPT, MAX_LINE, Malformed, split};
use fuzz::{Pieces, text_and_size};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((text, size)) = text_and_size(data) else { return };
    check(&text, Lines::new(&text[..], 0, 1));
    check(&text, Lines::new(Pieces::new(&text, size), 0, 1));
});

fn check(text: &[u8], mut lines: Lines<impl Read>) {
    let (mut offset, mut number) = (0, 1);
    while lines.advance().unwrap() {
        let rest = &text[offset..];
        let newline = rest.iter().position(|&byte| byte == b'\n');
        let next = offset + newline.map_or(rest.len(), |newline| newline + 1);
        let record = lines.record();
        assert_eq!((record.offset, record.line), (offset as u64, number));
        assert_eq!(record.terminated, newline.is_some());
        assert_eq!(lines.next_offset(), next as u64);
        let length = usize::try_from(record.length).unwrap();
        assert!(rest[length..next - offset].iter().all(|byte| b"\r\n".contains(byte)));
        if length > MAX_LINE {
            assert_eq!(record.bytes, &rest[..MAX_KEPT]);
        } else {
            assert_eq!(record.bytes, &rest[..length]);
            check_fields(record.bytes);
        }
        check_extension(text, &mut lines);
        (offset, number) = (next, number + 1);
    }
    assert_eq!(offset, text.len());
}

/// Extends a record and takes that back.
fn check_extension(text: &[u8], lines: &mut Lines<impl Read>) {
    let (before, next) = (lines.record().length, lines.next_offset());
    let (offset, is_whole) = (lines.record().offset, lines.record().bytes.len() as u64 == before);
    let first = lines.record().bytes.to_vec();
    let mark = lines.mark();
    for _ in 0..3 {
        let end = lines.next_offset();
        if lines.record().length > MAX_KEPT as u64 || !lines.extend().unwrap() {
            break;
        }
        assert!(lines.next_offset() > end);
        if is_whole {
            let record = lines.record();
            let start = usize::try_from(offset).unwrap();
            assert_eq!(record.bytes, &text[start..start + record.bytes.len()]);
            assert!(record.bytes.ends_with(lines.last_line()));
        }
    }
    let is_last = next == text.len() as u64;
    lines.reset(mark);
    assert_eq!((lines.record().bytes, lines.record().length), (&first[..], before));
    assert_eq!(lines.is_last().unwrap(), is_last);
    assert_eq!(lines.next_offset(), next);
}

/// Splits a record: its fields give it back.
fn check_fields(record: &[u8]) {
    for columns in 1..=6 {
        let mut fields = vec![Field::default(); columns];
        match split(record, &mut fields) {
            Ok(is_open) => {
                let quoted = |field: &Field<'_>| [b"\"", field.raw, b"\""].concat();
                let all =
                    fields.iter().map(|field| if field.quoted { quoted(field) } else { field.raw.to_vec() });
                let mut joined = all.collect::<Vec<_>>().join(&b',');
                if is_open {
                    joined.pop();
                }
                assert_eq!(joined, record);
            }
            Err(Malformed::FieldCount(found)) => assert_ne!(found, columns),
            Err(Malformed::TextAfterQuote(index) | Malformed::QuoteInBareField(index)) => {
                assert!(index < columns)
            }
            Err(Malformed::Unclosed(index)) => assert!(index + 1 < columns),
        }
    }
}
