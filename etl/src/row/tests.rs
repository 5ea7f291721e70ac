use proptest::prelude::*;

use super::*;
use crate::table::TABLES;

/// The fields of an encoded row; none means null.
type Fields = Vec<Option<Vec<u8>>>;

fn table(name: &str) -> &'static Table {
    TABLES.iter().find(|table| table.name == name).unwrap()
}

/// Encodes a line; returns whether it was repaired, and the fields after the position.
fn encode(name: &str, line: &[u8]) -> Result<(bool, Fields), Fault> {
    let mut encoder = Encoder::new(table(name), 0, Order::NONE);
    let line = Line { offset: 77, end: 0, bytes: line, length: line.len() as u64 };
    let result = encoder.push(&line);
    let rows = encoder.take();
    let Ok(repaired) = result else {
        assert!(rows.is_empty(), "a fault leaves nothing behind");
        return Err(result.unwrap_err());
    };
    let count = u16::from_be_bytes(rows[..2].try_into().unwrap());
    let mut rest = &rows[2..];
    let mut fields = Vec::new();
    for _ in 0..count {
        let length = i32::from_be_bytes(rest[..4].try_into().unwrap());
        rest = &rest[4..];
        fields.push(usize::try_from(length).ok().map(|length| {
            let (field, after) = rest.split_at(length);
            rest = after;
            field.to_vec()
        }));
    }
    assert!(rest.is_empty());
    assert_eq!(fields.remove(0).unwrap(), 77_u64.to_be_bytes());
    Ok((repaired, fields))
}

fn integer(number: i32) -> Option<Vec<u8>> {
    Some(number.to_be_bytes().to_vec())
}

fn text(text: &str) -> Option<Vec<u8>> {
    Some(text.as_bytes().to_vec())
}

fn fault(name: &str, line: &[u8]) -> (Option<&'static str>, String) {
    let fault = encode(name, line).unwrap_err();
    (fault.column, fault.reason.into_owned())
}

#[test]
fn an_unquoted_null_is_null_and_a_quoted_one_is_text() {
    let row = |value: &str| encode("features", format!("1,2,\"Sole\",{value}").as_bytes()).unwrap().1;
    assert_eq!(row("null")[3], None);
    assert_eq!(row("\"null\"")[3], text("null"));
    assert_eq!(fault("features", b"1,2,null,\"x\""), (Some("feature"), "null where a value must be".into()));
}

#[test]
fn removing_a_space_or_a_dollar_before_a_number_counts_as_a_repair() {
    assert_eq!(
        encode("skus", b"135,26,\"11\", 11").unwrap(),
        (true, vec![integer(135), integer(26), text("11"), integer(11)])
    );
    let (repaired, row) = encode("styles", b"1,2,\"Red\",$35,$40,1").unwrap();
    assert_eq!((repaired, &row[3], &row[4], &row[5]), (true, &integer(35), &integer(40), &Some(vec![1])));
    let (repaired, row) = encode("styles", b"1,2,\"Red\",0,40,0").unwrap();
    assert_eq!((repaired, &row[3]), (false, &integer(0)));
    assert_eq!(fault("skus", b"1,2,\"S\",$3").0, Some("quantity"), "only prices have a currency");
}

#[test]
fn adding_a_missing_closing_quote_at_the_end_counts_as_a_repair() {
    let (repaired, row) = encode("photos", b"1,2,\"https://u\",\"uhttps://t").unwrap();
    assert_eq!((repaired, &row[2], &row[3]), (true, &text("https://u"), &text("uhttps://t")));
}

#[test]
fn doubled_quotes_become_one() {
    let (_, row) = encode("features", br#"1,2,"6"" heel","""a"" ""b""""#).unwrap();
    assert_eq!((&row[2], &row[3]), (&text("6\" heel"), &text("\"a\" \"b\"")));
}

#[test]
fn ranks_count_only_loaded_rows() {
    let mut encoder = Encoder::new(table("products"), 0, Order::NONE);
    let mut ranks = Vec::new();
    for line in [&b"5,\"a\",\"b\",\"c\",\"d\",1"[..], b"broken", b"9,\"a\",\"b\",\"c\",\"d\",1"] {
        let line = Line { offset: 0, end: 0, bytes: line, length: line.len() as u64 };
        if encoder.push(&line).is_ok() {
            let row = encoder.take();
            ranks.push(i32::from_be_bytes(row[18..22].try_into().unwrap()));
        }
    }
    assert_eq!(ranks, [1, 2]);
}

#[test]
fn the_order_is_that_of_the_keys_of_loaded_rows() {
    let order = |name, lines: &[&[u8]]| {
        let mut encoder = Encoder::new(table(name), 0, Order::NONE);
        for line in lines {
            let _ = encoder.push(&Line { offset: 0, end: 0, bytes: line, length: line.len() as u64 });
        }
        encoder.order()
    };
    let of = |first, last, ascends| Order { first: Some(first), last: Some(last), ascends };
    assert_eq!(order("related", &[]), Order::NONE);
    assert_eq!(
        order("related", &[b"9,1,2", b"8,1,2", b"7,3,2"]),
        of(1, 3, true),
        "ids are no key of children"
    );
    assert_eq!(order("related", &[b"1,2,2", b"2,1,2"]), of(2, 1, false));
    assert_eq!(order("related", &[b"1,2,2", b"2,1,0", b"3,4,2"]), of(2, 4, true), "one is rejected");
    let product = |id| format!("{id},\"a\",\"b\",\"c\",\"d\",1").into_bytes();
    assert_eq!(order("products", &[&product(3), &product(4)]), of(3, 4, true));
    assert_eq!(order("products", &[&product(3), &product(3)]), of(3, 3, false), "an id comes once");
}

#[test]
fn a_rejected_row_has_its_column_and_reason() {
    let id = "not a whole number from 1 to 2147483647";
    let count = "not a whole number from 0 to 2147483647";
    let cases: [(&str, &[u8], Option<&str>, &str); 14] = [
        ("related", b"1,2,0", Some("related_product_id"), "no such product"),
        ("photos", b"1,0,\"u\",\"t\"", Some("styleId"), "no such style"),
        ("related", b"0,1,2", Some("id"), id),
        ("related", b"-1,1,2", Some("id"), id),
        ("related", b"1,abc,2", Some("current_product_id"), id),
        ("related", b"2147483648,1,2", Some("id"), id),
        ("related", b"1,,2", Some("current_product_id"), id),
        ("skus", b"1,2,\"S\",1.5", Some("quantity"), count),
        ("skus", b"1,2,\"S\",null", Some("quantity"), "null where a value must be"),
        ("styles", b"1,2,\"Red\",null,40,2", Some("default_style"), "not 0 or 1"),
        ("related", b"", None, "blank line"),
        ("related", b"1,2", None, "3 fields expected, 2 found"),
        ("skus", b"1,2,\"a\0b\",1", None, "NUL byte"),
        ("skus", b"1,2,\"\xff\",1", None, "not UTF-8"),
    ];
    for (name, line, column, reason) in cases {
        assert_eq!(fault(name, line), (column, reason.to_owned()), "{}", String::from_utf8_lossy(line));
    }
}

#[test]
fn an_overlong_line_is_rejected_with_any_content() {
    let line = Line { offset: 0, end: 0, bytes: b"1,2,3", length: 5_000_000 };
    let fault = Encoder::new(table("related"), 0, Order::NONE).push(&line).unwrap_err();
    assert!(fault.reason.starts_with("longer than 1048576 bytes"), "{}", fault.reason);
}

proptest! {
    #[test]
    fn no_line_panics_and_accepted_texts_are_utf8_without_nul(
        line in proptest::collection::vec(
            prop_oneof![Just(b'"'), Just(b','), Just(b'7'), Just(b' '), Just(b'$'), any::<u8>()], 0..80),
        index in 0_usize..TABLES.len(),
    ) {
        if let Ok((_, fields)) = encode(TABLES[index].name, &line) {
            let texts = TABLES[index].columns.iter().rev().zip(fields.iter().rev());
            for (column, field) in texts.filter(|(c, _)| matches!(c.kind, ColumnType::Text | ColumnType::OptionalText)) {
                let text = field.as_deref().unwrap_or_default();
                prop_assert!(std::str::from_utf8(text).is_ok() && !text.contains(&0), "{}", column.name);
            }
        }
    }

    #[test]
    fn numbers_are_parsed_like_i32(number in any::<u64>()) {
        let digits = number.to_string();
        prop_assert_eq!(parse_u31(digits.as_bytes()), digits.parse::<i32>().ok());
    }
}
