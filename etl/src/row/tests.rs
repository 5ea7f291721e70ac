use proptest::prelude::*;

use super::*;
use crate::csv::{MAX_KEPT, MAX_LINE};
use crate::table::TABLES;

/// The fields of an encoded row; none means null.
type Fields = Vec<Option<Vec<u8>>>;

fn table(name: &str) -> &'static Table {
    TABLES.iter().find(|table| table.name == name).unwrap()
}

/// Reads all rows of a text; returns the notes and the fields after the position of each.
fn rows(name: &str, text: &[u8]) -> Vec<Result<(Vec<Note>, Fields), Fault>> {
    let mut encoder = Encoder::new(table(name), NullWord::Null);
    let mut lines = Lines::new(text, 77, 1);
    let mut all = Vec::new();
    while let Some(result) = encoder.next_row(&mut lines).unwrap() {
        let row = encoder.take();
        all.push(match result {
            Ok(notes) => {
                let has = |note: &Note| notes.contains(*note);
                Ok((Note::ALL.into_iter().filter(has).collect(), decoded(&row)))
            }
            Err(fault) => {
                assert!(row.is_empty(), "a fault leaves nothing behind");
                Err(fault)
            }
        });
    }
    all
}

fn decoded(row: &[u8]) -> Fields {
    let count = u16::from_be_bytes(row[..2].try_into().unwrap());
    let mut rest = &row[2..];
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
    fields.remove(0);
    fields
}

/// Encodes the only row of a text.
fn encode(name: &str, text: &[u8]) -> Result<(Vec<Note>, Fields), Fault> {
    let mut rows = rows(name, text);
    assert_eq!(rows.len(), 1, "{}", String::from_utf8_lossy(text));
    rows.remove(0)
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
fn an_unquoted_null_is_null_in_any_spelling_and_a_quoted_one_is_text() {
    let row = |value: &str| encode("features", format!("1,2,\"Sole\",{value}").as_bytes()).unwrap();
    assert_eq!(row("null"), (vec![], vec![integer(1), integer(2), text("Sole"), None]));
    for spelling in ["", " ", "NULL", "Null", r"\N", " null ", "null ", "\t\\N"] {
        let (notes, fields) = row(spelling);
        assert_eq!((notes, &fields[3]), (vec![Note::NullSpelling], &None), "{spelling:?}");
        let (notes, fields) = encode("styles", format!("1,2,\"Red\",{spelling},40,1").as_bytes()).unwrap();
        assert_eq!((notes, &fields[3]), (vec![Note::NullSpelling], &None), "{spelling:?}");
    }
    for value in ["null", "NULL", "", r"\N", " "] {
        assert_eq!(row(&format!("\"{value}\"")).1[3], text(value));
    }
    assert_eq!(row("nullable").1[3], text("nullable"));
    for null in ["null", "NULL", r"\N"] {
        let (column, reason) = fault("features", format!("1,2,{null},\"x\"").as_bytes());
        assert_eq!((column, reason.as_str()), (Some("feature"), "null where a value must be"));
    }
    assert_eq!(encode("features", b"1,2,,\"x\"").unwrap().1[2], text(""), "an empty text is no null");
}

#[test]
fn a_word_is_text_in_a_file_that_also_has_empty_fields_and_quotes_no_texts() {
    let read = |text: &str, null_word| {
        let (mut encoder, mut lines) =
            (Encoder::new(table("features"), null_word), Lines::new(text.as_bytes(), 0, 1));
        let mut values = Vec::new();
        while let Some(row) = encoder.next_row(&mut lines).unwrap() {
            row.unwrap();
            values.push(decoded(&encoder.take())[3].clone());
        }
        (encoder.has_both_nulls(), values)
    };
    let psql = "1,2,Sole,\n2,2,Sole,null\n3,2,Sole,\\N\n4,2,\"a,b\",NULL\n5,2,Sole,\"\"\n";
    assert!(read(psql, NullWord::Null).0);
    let values = [None, text("null"), None, None, text("")];
    assert_eq!(read(psql, NullWord::Text), (false, values.to_vec()));
    for all_nulls in [
        "1,2,Sole,null\n2,2,Sole,NULL\n3,2,Sole,\\N",
        "1,2,Sole,\n2,2,Sole,",
        "1,2,\"Sole\",\n2,2,\"Sole\",null",
    ] {
        let (both, values) = read(all_nulls, NullWord::Null);
        assert!(!both && values.iter().all(Option::is_none), "{all_nulls}");
    }
}

#[test]
fn other_spellings_of_numbers_and_flags_are_counted() {
    let row = |line: &str| encode("styles", format!("1,2,\"Red\",{line}").as_bytes()).unwrap();
    let fields = |sale, price, flag: u8| {
        vec![integer(1), integer(2), text("Red"), integer(sale), integer(price), Some(vec![flag])]
    };
    assert_eq!(row("0,40,0"), (vec![], fields(0, 40, 0)));
    assert_eq!(row("$35,$40,1"), (vec![Note::DollarSign], fields(35, 40, 1)));
    assert_eq!(row("35.00,40.0,1"), (vec![Note::Decimal], fields(35, 40, 1)));
    for (word, flag) in [("t", 1), ("f", 0), ("true", 1), ("False", 0), ("TRUE", 1), ("\"t\"", 1)] {
        assert_eq!(row(&format!("35,40,{word}")), (vec![Note::Boolean], fields(35, 40, flag)), "{word}");
    }
    let (notes, row) = row("$ 35.00 ,40,t");
    assert_eq!(notes, [Note::Boolean, Note::Decimal, Note::DollarSign, Note::Blanks]);
    assert_eq!(row, fields(35, 40, 1));
    assert_eq!(encode("related", b"1.0,2.0,3.0").unwrap().1, [integer(1), integer(2), integer(3)]);
    assert_eq!(
        encode("skus", b"135,26,\"11\", 11").unwrap(),
        (vec![Note::Blanks], vec![integer(135), integer(26), text("11"), integer(11)])
    );
}

#[test]
fn a_negative_stock_becomes_0() {
    for quantity in ["-3", "-3.00", " -3"] {
        let (notes, row) = encode("skus", format!("1,2,\"S\",{quantity}").as_bytes()).unwrap();
        assert!(notes.contains(&Note::NegativeStock));
        assert_eq!(row[3], integer(0));
    }
    for (name, line) in
        [("styles", "1,2,\"Red\",-3,40,0"), ("skus", "1,2,\"S\",--3"), ("skus", "-1,2,\"S\",3")]
    {
        assert!(encode(name, line.as_bytes()).is_err(), "{line}");
    }
}

#[test]
fn a_session_of_cart_csv_is_any_text() {
    let row = |session: &str| encode("cart", format!("1,{session},3,1").as_bytes()).unwrap().1;
    assert_eq!(row("1234")[1], text("1234"));
    assert_eq!(row("b7a2f0de-6a1f-4e0e")[1], text("b7a2f0de-6a1f-4e0e"));
}

const PHOTO: &str = "8,2,\"u\",\"t\"\n";

#[test]
fn a_missing_closing_quote_is_added_before_a_row_and_at_the_end() {
    let open = "7,2,\"https://u\",\"uhttps://t";
    let repaired =
        (vec![Note::ClosingQuote], vec![integer(7), integer(2), text("https://u"), text("uhttps://t")]);
    for after in [
        "\n",
        "",
        "\n8,2,\"u\",\"t",
        "\n8,0,\"no\",\"style\"",
        &format!("\n{PHOTO}"),
        &format!("\r\n{PHOTO}"),
    ] {
        let rows = rows("photos", format!("{open}{after}").as_bytes());
        assert_eq!(rows[0].as_ref().unwrap(), &repaired, "{after:?}");
        assert_eq!(rows.len(), if after.len() < 3 { 1 } else { 2 });
    }
}

#[test]
fn a_text_may_have_line_breaks() {
    let texts = ["two\nlines", "a\r\nb\r\n", "\n\n\n", "1,2\n3,\"\"4\"\"\n5", "end\n7,seven"];
    for expected in texts {
        let text_of = text(&expected.replace("\"\"", "\""));
        for line in [format!("1,2,\"{expected}\",\"x\"\n"), format!("1,2,\"x\",\"{expected}\"\n")] {
            let rows = rows("features", format!("{line}9,2,\"f\",\"v\"\n").as_bytes());
            assert_eq!(rows.len(), 2, "{line:?}");
            let (notes, row) = rows[0].as_ref().unwrap();
            assert_eq!(notes, &[Note::JoinedLines]);
            assert!(row.contains(&text_of), "{line:?}");
        }
    }
    // A text's last line may be the beginning of a row, or a row that lacks its closing quote. The record is whole with it.
    for line in ["1,2,x,\"1,2,3\n4,5,\"\n", "1,2,\"1\n4,x,\",y\n", "1,2,\"1\n4,5,x,\",y\n"] {
        let rows = rows("features", format!("{line}9,2,\"f\",\"v\"\n").as_bytes());
        assert_eq!(rows.len(), 2, "{line:?}");
        assert_eq!(rows[0].as_ref().unwrap().0, [Note::JoinedLines], "{line:?}");
    }
    // One row with a wrong value is rejected as one.
    let rows = rows("features", b"1,0,\"a\nb\",\"c\"\n9,2,\"f\",\"v\"\n");
    assert_eq!(rows[0].as_ref().unwrap_err().reason, "no such product");
    assert_eq!(rows.len(), 2);
}

#[test]
fn adjacent_rows_without_closing_quotes_are_not_one() {
    let rows = rows("features", b"1,2,\"a\",\"b\n3,2,\"c\",\"d\n4,2,\"e,f\n5,2,\"g,h\n6,2,\"i\",\"j\"\n");
    assert_eq!(rows.len(), 5);
    for row in [&rows[0], &rows[1]] {
        assert_eq!(row.as_ref().unwrap().0, [Note::ClosingQuote]);
    }
    for row in [&rows[2], &rows[3]] {
        assert_eq!(row.as_ref().unwrap_err().reason, LINE_BREAK);
    }
}

#[test]
fn an_unclear_line_break_is_rejected_and_the_rows_after_it_are_read() {
    let reason = |line: &str| {
        let rows = rows("photos", format!("{line}\n{PHOTO}").as_bytes());
        assert!(rows.last().unwrap().is_ok(), "{line:?}");
        rows[0].as_ref().unwrap_err().reason.clone().into_owned()
    };
    assert_eq!(reason("7,2,\"u\",\"t\nrest without a quote"), LINE_BREAK);
    assert_eq!(reason("7,2,\"u\",\"t\nrest\" and more"), LINE_BREAK);
    assert_eq!(reason("7,2,\"u"), LINE_BREAK, "the third field has no quote, and a row follows");
    let first = format!("7,2,\"u\",\"{}\n", "t".repeat(MAX_KEPT));
    assert_eq!(
        rows("photos", format!("{first}end\"\n").as_bytes())[0].as_ref().unwrap_err().reason,
        LINE_BREAK
    );
    let long = format!("7,2,\"u\",\"t\n{}", "x\n".repeat(MAX_KEPT));
    assert!(rows("photos", format!("{long}\"\n").as_bytes())[0].is_err(), "over 64 KiB");
}

#[test]
fn blank_lines_are_rejected_but_at_the_end_of_a_file() {
    let reasons = |text: &str| -> Vec<_> {
        let rows = rows("related", text.as_bytes()).into_iter();
        rows.map(|row| row.map_or_else(|fault| fault.reason.into_owned(), |_| "row".to_owned())).collect()
    };
    assert_eq!(reasons("1,1,2\n\n2,1,2"), ["row", "blank line", "row"]);
    assert_eq!(reasons("1,1,2\n\n\r\n  "), ["row"]);
    assert_eq!(reasons("\n\n"), [""; 0]);
    let rows = rows("photos", b"7,2,\"u\",\"t\n\n\n");
    assert_eq!(rows[0].as_ref().unwrap().0, [Note::ClosingQuote]);
}

#[test]
fn a_row_that_ends_in_a_text_without_quotes_looks_cut_if_others_have_them() {
    let looks_cut = |name, line: &str| {
        let (mut encoder, mut lines) =
            (Encoder::new(table(name), NullWord::Null), Lines::new(line.as_bytes(), 0, 1));
        encoder.next_row(&mut lines).unwrap().unwrap().unwrap();
        encoder.looks_cut()
    };
    for cut in ["3,2,\"Sole\",nul", "3,2,\"Sole\",", "3,2,\"Sole\",n"] {
        assert!(looks_cut("features", cut), "{cut}");
    }
    for whole in ["3,2,\"Sole\",null", "3,2,\"Sole\",\"\"", "3,2,Sole,nul", "3,2,Sole,"] {
        assert!(!looks_cut("features", whole), "{whole}");
    }
    assert!(looks_cut("photos", "1,2,\"u\",") && !looks_cut("skus", "1,2,\"S\",5"));
}

#[test]
fn a_backslash_before_a_quote_is_no_escape() {
    let (column, reason) = fault("skus", br#"135,26,"6\"",11"#);
    assert_eq!((column, reason.as_str()), (Some("size"), BACKSLASH));
    assert!(encode("features", br#"1,2,"size","6\""#).is_ok(), "a backslash at the end of a text");
    for line in [r#"1,2,"size","6\"""#, r#"1,2,"6\"","x""#, r#"1,2,"6\" pipe","x""#, r#"1,2,"a","6\"" pipe""#]
    {
        assert!(encode("features", line.as_bytes()).is_err(), "{line}");
    }
}

#[test]
fn doubled_quotes_become_one() {
    let (_, row) = encode("features", br#"1,2,"6"" heel","""a"" ""b""""#).unwrap();
    assert_eq!((&row[2], &row[3]), (&text("6\" heel"), &text("\"a\" \"b\"")));
}

fn product(id: i32) -> String {
    format!("{id},\"a\",\"b\",\"c\",\"d\",1\n")
}

#[test]
fn ranks_count_only_loaded_rows() {
    let rows = rows("products", (product(5) + "broken\n" + &product(9)).as_bytes());
    let ranks: Vec<_> = rows.iter().flatten().map(|(_, fields)| fields[0].clone()).collect();
    assert_eq!(ranks, [integer(1), integer(2)]);
}

#[test]
fn keys_ascend_if_each_is_higher_than_the_one_before_or_has_the_same_parent() {
    let ascend = |name, text: &str| {
        let (mut encoder, mut lines) =
            (Encoder::new(table(name), NullWord::Null), Lines::new(text.as_bytes(), 0, 1));
        while encoder.next_row(&mut lines).unwrap().is_some() {}
        encoder.keys_ascend()
    };
    let products = |ids: &[i32]| ascend("products", &ids.iter().copied().map(product).collect::<String>());
    assert!(products(&[]) && products(&[3, 4, 9]) && products(&[3, 0, 4]), "a rejected row does not count");
    assert!(!products(&[4, 3]) && !products(&[3, 3]));
    assert!(ascend("related", "9,1,2\n8,1,2\n7,3,2"), "ids are no key of children");
    assert!(!ascend("related", "1,2,2\n2,1,2"));
}

#[test]
fn a_rejected_row_has_its_column_and_reason() {
    let id = "not a whole number from 1 to 2147483647";
    let count = "not a whole number from 0 to 2147483647";
    let cases: [(&str, &[u8], Option<&str>, &str); 13] = [
        ("related", b"1,2,0", Some("related_product_id"), "no such product"),
        ("photos", b"1,0,\"u\",\"t\"", Some("styleId"), "no such style"),
        ("related", b"0,1,2", Some("id"), id),
        ("related", b"-1,1,2", Some("id"), id),
        ("related", b"1,abc,2", Some("current_product_id"), id),
        ("related", b"2147483648,1,2", Some("id"), id),
        ("related", b"1,,2", Some("current_product_id"), "null where a value must be"),
        ("skus", b"1,2,\"S\",1.5", Some("quantity"), count),
        ("skus", b"1,2,\"S\",null", Some("quantity"), "null where a value must be"),
        ("styles", b"1,2,\"Red\",null,40,2", Some("default_style"), "not 0 or 1, nor true or false"),
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
    let mut line = b"1,2,3".to_vec();
    line.resize(MAX_LINE + 1, b'4');
    let (column, reason) = fault("related", &line);
    assert!(column.is_none() && reason.starts_with("longer than 1048576 bytes"), "{reason}");
}

proptest! {
    #[test]
    fn no_text_panics_and_accepted_texts_are_utf8_without_nul(
        line in proptest::collection::vec(
            prop_oneof![Just(b'"'), Just(b','), Just(b'7'), Just(b' '), Just(b'\n'), any::<u8>()], 0..120),
        index in 0_usize..TABLES.len(),
    ) {
        for (_, fields) in rows(TABLES[index].name, &line).into_iter().flatten() {
            let texts = TABLES[index].columns.iter().rev().zip(fields.iter().rev());
            for (column, field) in texts.filter(|(c, _)| matches!(c.kind, ColumnType::Text | ColumnType::OptionalText)) {
                let text = field.as_deref().unwrap_or_default();
                prop_assert!(std::str::from_utf8(text).is_ok() && !text.contains(&0), "{}", column.name);
            }
        }
    }

    /// The bytes of every line are in exactly one record, whatever the loader makes of them.
    #[test]
    fn records_cover_the_whole_text(
        line in proptest::collection::vec(
            prop_oneof![Just(b'"'), Just(b','), Just(b'7'), Just(b'\n'), Just(b'\r')], 0..60),
    ) {
        let (mut encoder, mut lines) = (Encoder::new(table("related"), NullWord::Null), Lines::new(&line[..], 0, 1));
        let (mut offset, mut number) = (0, 1);
        while encoder.next_row(&mut lines).unwrap().is_some() {
            prop_assert_eq!((lines.record().offset, lines.record().line), (offset, number));
            let next = lines.next_offset();
            let [from, to] = [offset, next].map(|at| usize::try_from(at).unwrap());
            number += line[from..to].iter().filter(|&&byte| byte == b'\n').count() as u64;
            offset = next;
        }
        let rest = &line[usize::try_from(offset).unwrap()..];
        prop_assert!(rest.is_empty() || rest.trim_ascii().is_empty(), "only blank lines at the end are no records");
    }

    #[test]
    fn any_texts_in_quotes_are_read_back(texts in proptest::array::uniform2("[^\u{0}]{0,20}")) {
        prop_assume!(!texts.iter().any(|text| text.contains("\\\"")));
        let quoted = texts.clone().map(|text| format!("\"{}\"", text.replace('"', "\"\"")));
        let lines = format!("1,2,{}\n3,2,\"f\",\"v\"\n", quoted.join(","));
        let rows = rows("features", lines.as_bytes());
        prop_assert_eq!(rows.len(), 2);
        prop_assert_eq!(&rows[0].as_ref().unwrap().1[2..], &[text(&texts[0]), text(&texts[1])]);
    }

    #[test]
    fn numbers_are_parsed_like_i32(number in any::<u64>()) {
        let digits = number.to_string();
        prop_assert_eq!(parse_u31(digits.as_bytes()), digits.parse::<i32>().ok());
    }
}
