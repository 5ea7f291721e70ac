use proptest::prelude::*;

use super::*;

/// A reader that returns a few bytes at a time, as a network may.
struct Drip<'a>(&'a [u8], usize);

impl Read for Drip<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.1.min(self.0.len()).min(buffer.len());
        buffer[..count].copy_from_slice(&self.0[..count]);
        self.0 = &self.0[count..];
        Ok(count)
    }
}

fn all_lines(input: impl Read) -> Vec<(u64, Vec<u8>, u64)> {
    let mut lines = Lines::new(input, 0, 1);
    let mut all = Vec::new();
    while lines.advance().unwrap() {
        let record = lines.record();
        assert_eq!(record.line, all.len() as u64 + 1);
        all.push((record.offset, record.bytes.to_vec(), record.length));
    }
    all
}

fn fields(line: &str) -> (Result<bool, Malformed>, Vec<(String, bool)>) {
    let mut fields = [Field::default(); 3];
    let result = split(line.as_bytes(), &mut fields);
    (result, fields.map(|f| (String::from_utf8_lossy(f.raw).into_owned(), f.quoted)).to_vec())
}

fn owned(fields: [(&str, bool); 3]) -> Vec<(String, bool)> {
    fields.map(|(raw, quoted)| (raw.to_owned(), quoted)).to_vec()
}

#[test]
fn a_last_line_needs_no_line_ending_and_carriage_returns_belong_to_one() {
    let lines = all_lines(&b"a\r\n\nbb\r\r\nc"[..]);
    let expected =
        [(0, b"a".to_vec(), 1), (3, b"".to_vec(), 0), (4, b"bb".to_vec(), 2), (9, b"c".to_vec(), 1)];
    assert_eq!(lines, expected);
    assert!(all_lines(&b""[..]).is_empty());
}

#[test]
fn an_overlong_line_is_skipped_and_the_next_line_is_complete() {
    let mut input = vec![b'x'; 5 * MAX_LINE];
    input.extend_from_slice(b"\nnext");
    let lines = all_lines(Drip(&input, 700_001));
    assert_eq!(lines.len(), 2);
    let (offset, kept, length) = &lines[0];
    assert_eq!((*offset, kept.len(), *length), (0, MAX_KEPT, 5 * MAX_LINE as u64));
    assert_eq!(lines[1], (5 * MAX_LINE as u64 + 1, b"next".to_vec(), 4));
}

#[test]
fn an_overlong_line_at_the_end_of_a_file_is_a_line() {
    let lines = all_lines(&vec![b'x'; 3 * MAX_LINE][..]);
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0].2, 3 * MAX_LINE as u64);
}

#[test]
fn a_record_can_be_extended_and_shortened() {
    for drip in [1, 2, 100] {
        let mut lines = Lines::new(Drip(b"a\nb\r\n\nlast", drip), 10, 5);
        assert!(lines.advance().unwrap());
        let mark = lines.mark();
        assert!(lines.extend().unwrap() && lines.extend().unwrap());
        assert_eq!((lines.record().bytes, lines.last_line()), (&b"a\nb\r\n"[..], &b""[..]));
        lines.reset(mark);
        assert_eq!((lines.record().bytes, lines.next_offset()), (&b"a"[..], 12));
        assert!(lines.advance().unwrap() && lines.extend().unwrap());
        let record = lines.record();
        assert_eq!((record.bytes, record.offset, record.line), (&b"b\r\n"[..], 12, 6));
        assert!(lines.advance().unwrap());
        let record = lines.record();
        assert_eq!((record.bytes, record.offset, record.line), (&b"last"[..], 16, 8));
        assert!(!record.terminated && !lines.extend().unwrap() && lines.is_last().unwrap());
        assert!(!lines.advance().unwrap());
    }
}

#[test]
fn a_line_that_is_too_long_does_not_extend_a_record() {
    let mut input = b"first\n".to_vec();
    input.extend(std::iter::repeat_n(b'x', MAX_KEPT + 1));
    input.extend_from_slice(b"\nnext\n");
    let mut lines = Lines::new(Drip(&input, 50_000), 0, 1);
    assert!(lines.advance().unwrap());
    assert!(!lines.extend().unwrap() && !lines.is_last().unwrap());
    assert_eq!(lines.record().bytes, b"first");
    assert!(lines.advance().unwrap());
    assert_eq!((lines.record().length, lines.record().line), (MAX_KEPT as u64 + 1, 2));
    assert!(lines.advance().unwrap());
    assert_eq!(lines.record().bytes, b"next");
}

#[test]
fn fields_are_unquoted_or_quoted_and_commas_inside_quotes_are_text() {
    let (result, found) = fields(r#"1,"a, b",null"#);
    assert_eq!((result, found), (Ok(false), owned([("1", false), ("a, b", true), ("null", false)])));
    let (result, found) = fields(r#""",,"say ""hi""""#);
    assert_eq!((result, found), (Ok(false), owned([("", true), ("", false), (r#"say ""hi"""#, true)])));
}

#[test]
fn a_closing_quote_is_added_only_at_the_end_of_the_line() {
    let (result, found) = fields(r#"1,2,"https://a"#);
    assert_eq!((result, found), (Ok(true), owned([("1", false), ("2", false), ("https://a", true)])));
    assert_eq!(fields(r#"1,"2,3"#).0, Err(Malformed::Unclosed(1)));
    assert_eq!(fields(r#"1,"2,"3""#).0, Err(Malformed::TextAfterQuote(1)));
}

#[test]
fn a_malformed_line_has_its_kind_of_error() {
    assert_eq!(fields("1,2").0, Err(Malformed::FieldCount(2)));
    assert_eq!(fields("1,2,3,4").0, Err(Malformed::FieldCount(4)));
    assert_eq!(fields(r#"1,2,"a",4"#).0, Err(Malformed::FieldCount(4)));
    assert_eq!(fields(r#"1,a"b,3"#).0, Err(Malformed::QuoteInBareField(1)));
    assert_eq!(fields(r#"1,2,"a"b"#).0, Err(Malformed::TextAfterQuote(2)));
    assert_eq!(fields("").0, Err(Malformed::FieldCount(1)));
}

proptest! {
    #[test]
    fn lines_are_the_text_between_newlines_for_any_chunks_of_input(
        input in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), any::<u8>()], 0..400),
        drip in 1_usize..50,
    ) {
        let lines = all_lines(Drip(&input, drip));
        let mut expected: Vec<&[u8]> = input.split(|&byte| byte == b'\n').collect();
        if expected.last().is_some_and(|last| last.is_empty()) {
            expected.pop();
        }
        prop_assert_eq!(lines.len(), expected.len());
        for ((offset, bytes, _), expected) in lines.iter().zip(expected) {
            let kept = expected.len() - expected.iter().rev().take_while(|&&byte| byte == b'\r').count();
            prop_assert_eq!(bytes.as_slice(), &expected[..kept]);
            let at = usize::try_from(*offset).unwrap();
            prop_assert_eq!(&input[at..at + bytes.len()], bytes.as_slice());
        }
    }

    #[test]
    fn splitting_never_panics_and_keeps_every_byte(
        line in proptest::collection::vec(prop_oneof![Just(b'"'), Just(b','), Just(b'1'), any::<u8>()], 0..60),
        places in 0_usize..7,
    ) {
        let mut fields = vec![Field::default(); places];
        if split(&line, &mut fields) == Ok(false) {
            let written: Vec<Vec<u8>> = fields
                .iter()
                .map(|f| if f.quoted { [b"\"", f.raw, b"\""].concat() } else { f.raw.to_vec() })
                .collect();
            prop_assert_eq!(written.join(&b','), line);
        }
    }

    #[test]
    fn any_correctly_quoted_texts_are_read_back(
        texts in proptest::array::uniform3("[^\u{0}\r\n]{0,20}"),
    ) {
        let quoted = texts.clone().map(|text| format!("\"{}\"", text.replace('"', "\"\"")));
        let line = quoted.join(",");
        let mut fields = [Field::default(); 3];
        prop_assert_eq!(split(line.as_bytes(), &mut fields), Ok(false));
        for (field, text) in fields.iter().zip(&texts) {
            prop_assert_eq!(String::from_utf8_lossy(field.raw).replace("\"\"", "\""), text.as_str());
            prop_assert_eq!(field.doubled, text.contains('"'));
        }
    }
}
