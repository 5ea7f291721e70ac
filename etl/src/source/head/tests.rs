use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::*;
use crate::table::TABLES;

const HEADER: &str = "id,styleId,url,thumbnail_url\n";
const ROW: &str = "1,2,\"u\",\"t\"";

fn table(name: &str) -> &'static Table {
    TABLES.iter().find(|table| table.name == name).unwrap()
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// Checks a whole file of the photos.
fn photos(text: impl AsRef<[u8]>) -> Result<u64, String> {
    let text = text.as_ref();
    let compressed = gzip(text);
    let plain = check(text, text.len() as u64, table("photos"));
    let unzipped = check(&compressed, compressed.len() as u64, table("photos"));
    let offset = |head: &Head| head.body_offset;
    assert_eq!(plain.as_ref().map(offset), unzipped.as_ref().map(offset), "compressed and plain differ");
    plain.map(|head| head.body_offset).map_err(|error| error.to_string())
}

fn error(text: impl AsRef<[u8]>) -> String {
    photos(text).unwrap_err()
}

#[test]
fn the_spelling_of_a_header_does_not_matter() {
    for header in [
        "id,styleId,url,thumbnail_url",
        "ID, Style_ID ,\"URL\",Thumbnail Url",
        "\tid,\tstyle id,url,thumbnailurl\r",
        "id,styleId,url,thumbnail_url\r\r",
        "id,style_id,url,thumbnail_url",
        "\u{feff}id,styleId,url,thumbnail_url",
    ] {
        let text = format!("{header}\n{ROW}");
        assert_eq!(photos(&text), Ok(header.len() as u64 + 1), "{header:?}");
    }
}

#[test]
fn every_table_accepts_the_columns_of_its_file_and_those_of_the_table() {
    for table in &TABLES {
        let names: Vec<_> = table.columns.iter().map(|column| column.name).collect();
        for header in [table.header(), names.join(",")] {
            let text = format!("{header}\n1,");
            let head = check(text.as_bytes(), text.len() as u64, table).unwrap();
            let line_bytes = text.len() as u64;
            let expected = Head {
                is_gzip: false,
                body_offset: header.len() as u64 + 1,
                line_bytes,
                text_bytes: line_bytes,
            };
            assert_eq!(head, expected, "{}", table.file);
        }
    }
}

#[test]
fn a_first_line_that_begins_with_a_number_is_a_row() {
    assert_eq!(photos(ROW), Ok(0));
    assert_eq!(photos(format!("\u{feff} 7,2\n{ROW}")), Ok(3));
    assert_eq!(photos(format!("\"7\",2,\"u\",\"t\"\n{ROW}")), Ok(0));
}

#[test]
fn a_header_alone_is_an_empty_table_but_products_need_rows() {
    for text in [HEADER, HEADER.trim_end(), &format!("{HEADER}\r\n  \n")] {
        assert_eq!(photos(text), Ok(text.len() as u64));
    }
    let header = table("products").header();
    let alone = check(header.as_bytes(), header.len() as u64, table("products"));
    assert_eq!(alone.unwrap_err().to_string(), "has no rows: expected at least one below the header");
}

#[test]
fn a_file_without_any_text_is_an_error_for_every_table() {
    for table in &TABLES {
        for text in ["", "\u{feff}", "\n", " \r\n\r\n"] {
            let found = check(text.as_bytes(), text.len() as u64, table).unwrap_err().to_string();
            let expected = format!("is empty: expected the header {:?}", table.header());
            assert_eq!(found, expected, "{} {text:?}", table.file);
        }
    }
    assert_eq!(error(""), "is empty: expected the header \"id,styleId,url,thumbnail_url\"");
}

#[test]
fn another_encoding_is_named() {
    let text = format!("{HEADER}{ROW}");
    let utf16 = |to_bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(to_bytes).collect::<Vec<_>>();
    let utf32 =
        |to_bytes: fn(u32) -> [u8; 4]| text.chars().flat_map(|c| to_bytes(c.into())).collect::<Vec<_>>();
    for (bom, bytes, name) in [
        (&b"\xff\xfe"[..], utf16(u16::to_le_bytes), "UTF-16"),
        (b"\xfe\xff", utf16(u16::to_be_bytes), "UTF-16"),
        (b"\xff\xfe\0\0", utf32(u32::to_le_bytes), "UTF-32"),
        (b"\0\0\xfe\xff", utf32(u32::to_be_bytes), "UTF-32"),
    ] {
        let expected = format!("is {name}; convert it to UTF-8");
        assert_eq!(error(&bytes), expected);
        assert_eq!(error([bom, &bytes].concat()), expected);
    }
    assert!(error(b"1,2,\"\xe9t\xe9\",\"t\"\n").starts_with("is not UTF-8 (perhaps Windows-1252"));
    let later = format!("{HEADER}{ROW}\n").into_bytes();
    assert_eq!(photos([&later[..], b"2,2,\"\xe9t\xe9\",\"t\"\n"].concat()), Ok(HEADER.len() as u64));
    assert_eq!(error("id,\0styleId\n"), "has a NUL byte at offset 3: expected CSV in UTF-8");
}

#[test]
fn another_format_is_named() {
    let mut tar = b"photos.csv".to_vec();
    tar.resize(257, 0);
    tar.extend_from_slice(b"ustar\0");
    for (content, name) in [
        (&b"PK\x03\x04\x14\0photos.csv"[..], "a ZIP archive"),
        (b"PK\x03\x04\x14\0[Content_Types].xml", "an Excel workbook (.xlsx)"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Excel workbook (.xls)"),
        (b"\x28\xb5\x2f\xfd\x04", "a Zstandard file"),
        (b"BZh91AY&SY", "a bzip2 file"),
        (b"\xfd7zXZ\0", "an xz file"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
        (b"PAR1\x15\0", "a Parquet file"),
        (b"%PDF-1.7", "a PDF document"),
        (b"<!DOCTYPE html>", "an HTML or XML document"),
        (b"[{\"id\":1}]", "a JSON document"),
        (&tar, "a tar archive"),
    ] {
        let expected = format!("is {name}; expected CSV in UTF-8, plain or compressed with gzip");
        assert_eq!(error(content), expected);
    }
}

#[test]
fn gzip_in_gzip_is_named() {
    let twice = gzip(&gzip(HEADER.as_bytes()));
    let found = check(&twice, twice.len() as u64, table("photos"));
    assert_eq!(found.unwrap_err(), ContentError::GzipInGzip);
}

#[test]
fn old_mac_line_endings_are_named() {
    let expected = "has old Mac line endings (CR); convert them to LF";
    let text = format!("{HEADER}{ROW}\n{ROW}\n").replace('\n', "\r");
    assert_eq!(error(&text), expected);
    assert_eq!(error(format!("{text}\n")), expected);
    assert_eq!(error(format!("{ROW}\r{ROW}")), expected);
    let within = "1,2,\"u\rv\",\"t\"\n2,2,\"u\",\"t\"\n";
    assert_eq!(photos(within), Ok(0), "a CR inside a text is for the check of the row");
}

#[test]
fn another_separator_is_named() {
    for (text, name) in [
        ("id;styleId;url;thumbnail_url\n", "semicolons"),
        ("id;styleId;url\n", "semicolons"),
        ("1;2;\"u\";\"t\"\n", "semicolons"),
        ("id\tstyleId\turl\tthumbnail_url\n", "tabs"),
        ("1\t2\tu, v\tt\n", "tabs"),
        ("id|styleId|url|thumbnail_url\n", "vertical bars"),
    ] {
        let expected = format!("has {name} between the columns of line 1: expected commas, as in the header");
        assert!(error(text).starts_with(&expected), "{}", error(text));
    }
}

#[test]
fn other_columns_are_named() {
    for (header, problem) in [
        ("id,url,styleId,thumbnail_url", "another order of columns"),
        ("id,styleId,url", "no column thumbnail_url"),
        ("id,styleId,url,thumb", "no column thumbnail_url, an unknown column \"thumb\""),
        ("id,styleId,url,thumbnail_url,", "an unknown column \"\""),
        ("id,styleId,styleId,url,thumbnail_url", "more than one column styleId"),
    ] {
        let expected =
            format!("has {header:?} in line 1, with {problem}: expected the header {:?}", HEADER.trim());
        assert_eq!(error(format!("{header}\n{ROW}")), expected);
    }
}

#[test]
fn a_line_that_is_neither_is_shown_escaped_and_short() {
    let expected =
        "has \"\\u{1b}[31m\" in line 1: expected the header \"id,styleId,url,thumbnail_url\", or a row";
    assert_eq!(error("\x1b[31m\n1,2"), expected);
    assert!(error("ä".repeat(40_000)).len() < 400);
    assert!(error(format!("id,{}", "x,".repeat(20_000))).len() < 1000);
}

#[test]
fn a_large_file_is_checked_by_its_beginning() {
    let rows: String =
        (0..100_000_u32).map(|id| format!("{},2,\"é{}\",\"t\"\n", id + 1, id ^ 0x5555)).collect();
    let text = format!("{HEADER}{rows}");
    let stored = gzip(text.as_bytes());
    for length in [2000, 65_535, 65_536] {
        for (all, is_gzip) in [(text.as_bytes(), false), (&stored, true)] {
            let head = check(&all[..length], all.len() as u64, table("photos")).unwrap();
            assert_eq!((head.is_gzip, head.body_offset), (is_gzip, HEADER.len() as u64), "{length}");
            // A line has 16 to 22 bytes.
            assert!((16..23).contains(&head.line_bytes), "{length}: {}", head.line_bytes);
            let tolerance = if is_gzip { text.len() as u64 / 10 } else { 0 };
            let difference = head.text_bytes.abs_diff(text.len() as u64);
            assert!(difference <= tolerance, "{length}: {} of {}", head.text_bytes, text.len());
        }
    }
    let cut = check(&stored[..2000], 2000, table("photos"));
    assert_eq!(cut, Err(ContentError::TruncatedGzip));
    let long = format!("1,2,\"{}", "é".repeat(40_000));
    assert_eq!(check(&long.as_bytes()[..65_536], long.len() as u64, table("photos")).unwrap().body_offset, 0);
}

proptest! {
    #[test]
    fn any_bytes_have_a_result(stored in prop::collection::vec(any::<u8>(), 0..300), gzipped: bool, more in 0..2_u64) {
        let stored = if gzipped { gzip(&stored) } else { stored };
        for table in &TABLES {
            if let Ok(head) = check(&stored, stored.len() as u64 + more, table) {
                prop_assert!(head.is_gzip || head.body_offset <= stored.len() as u64);
            }
        }
    }
}
