use std::collections::{HashMap, HashSet};

use super::*;

/// A small set with more than the placed irregularities.
const SMALL: Options = Options { scale: 0.000_1, seed: 1, legacy_format: false };

fn generated(options: Options) -> HashMap<&'static str, Vec<u8>> {
    let dir = tempfile::tempdir().unwrap();
    generate(&options, dir.path(), |_| {}).unwrap();
    FILES.iter().map(|file| (*file, std::fs::read(dir.path().join(file)).unwrap())).collect()
}

/// Returns the fields of each row in a file of the small set. No text in these files has `,` beside a quote.
fn rows(file: &str) -> Vec<Vec<String>> {
    let text = String::from_utf8(generated(SMALL)[file].clone()).unwrap();
    let fields = |line: &str| line.splitn(4, ',').map(str::to_owned).collect();
    text.lines().skip(1).map(fields).collect()
}

/// Returns the ids of each parent in file order. The parent is the second column.
fn ids_by_parent(file: &str) -> HashMap<String, Vec<u32>> {
    let mut ids: HashMap<String, Vec<u32>> = HashMap::new();
    for row in rows(file) {
        ids.entry(row[1].clone()).or_default().push(row[0].parse().unwrap());
    }
    ids
}

#[test]
fn equal_options_write_equal_bytes() {
    let options = Options { scale: 0.001, seed: 7, legacy_format: false };
    assert!(generated(options) == generated(options));
}

#[test]
fn another_seed_writes_another_set() {
    let (one, other) = (generated(SMALL), generated(Options { seed: 2, ..SMALL }));
    for file in FILES {
        assert_ne!(one[file], other[file], "{file}");
    }
}

#[test]
fn counts_are_in_the_proportions_of_the_real_set() {
    let dir = tempfile::tempdir().unwrap();
    let summary = generate(&Options { scale: 0.01, ..SMALL }, dir.path(), |_| {}).unwrap();
    let full_size = [1_000_011, 2_219_279, 1_958_102, 5_655_656, 11_323_917, 4_508_263];
    assert_eq!(summary.products, 10_000);
    for (written, full) in summary.files.iter().zip(full_size) {
        let of_full = written.rows * 100 * 100 / full;
        assert!((96..=104).contains(&of_full), "{} has {} rows", written.file, written.rows);
        assert_eq!(written.bytes, std::fs::metadata(dir.path().join(written.file)).unwrap().len());
    }
    let bytes: u64 = summary.files.iter().map(|f| f.bytes).sum();
    assert!((21_000_000..=23_000_000).contains(&bytes), "{bytes} bytes are not a hundredth of 2.2 GB");
}

#[test]
fn every_file_has_its_header_and_no_line_end_after_its_last_row() {
    for (file, bytes) in generated(SMALL) {
        assert!(bytes.starts_with(layout(file).1.as_bytes()), "{file}");
        assert_ne!(bytes.last(), Some(&b'\n'), "{file}");
        assert!(!bytes.contains(&b'\r'), "{file}");
    }
}

#[test]
fn progress_is_reported_up_to_the_last_byte() {
    let dir = tempfile::tempdir().unwrap();
    let last = std::sync::Mutex::new(HashMap::new());
    let record = |p: Progress| {
        last.lock().unwrap().insert(p.file, (p.bytes, p.products_done == p.products));
    };
    let summary = generate(&SMALL, dir.path(), record).unwrap();
    for file in summary.files {
        assert_eq!(last.lock().unwrap()[file.file], (file.bytes, true), "{}", file.file);
    }
}

#[test]
fn only_files_of_the_set_are_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("product.csv"), "old").unwrap();
    std::fs::write(dir.path().join("notes.txt"), "mine").unwrap();
    generate(&SMALL, dir.path(), |_| {}).unwrap();
    assert_ne!(std::fs::read(dir.path().join("product.csv")).unwrap(), b"old");
    assert_eq!(std::fs::read(dir.path().join("notes.txt")).unwrap(), b"mine");
}

#[test]
fn a_scale_out_of_range_and_an_impossible_folder_are_clear_errors() {
    let dir = tempfile::tempdir().unwrap();
    for scale in [0.0, -1.0, 0.000_001, 101.0, f64::NAN, f64::INFINITY] {
        let error = generate(&Options { scale, ..SMALL }, dir.path(), |_| {}).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("scale {scale} is out of range: expected a number from 0.00002 to 100")
        );
    }
    std::fs::write(dir.path().join("file"), "").unwrap();
    let error = generate(&SMALL, &dir.path().join("file/set"), |_| {}).unwrap_err().to_string();
    assert!(error.starts_with("cannot create the folder "), "{error}");
    std::fs::create_dir(dir.path().join("skus.csv")).unwrap();
    let error = generate(&SMALL, dir.path(), |_| {}).unwrap_err().to_string();
    assert!(error.starts_with("cannot write ") && error.contains("skus.csv"), "{error}");
}

#[test]
fn oddity_01_null_is_unquoted_or_text() {
    let values: Vec<_> = rows("features.csv").into_iter().map(|row| row[3].clone()).collect();
    assert!(values.iter().any(|value| value == "null"));
    assert!(values.iter().any(|value| value == "\"null\""));
}

#[test]
fn oddity_02_sale_prices_are_null_or_0_or_more() {
    let sales: Vec<_> =
        rows("styles.csv").into_iter().map(|row| row[3].split(',').next().unwrap().to_owned()).collect();
    assert!(sales.iter().any(|sale| sale == "null"));
    assert!(sales.iter().any(|sale| sale == "0"));
    assert!(sales.iter().any(|sale| sale.parse().is_ok_and(|price: u32| price > 0)));
}

#[test]
fn oddity_03_unclosed_quotes_come_in_pairs_so_that_a_plain_parser_silently_loses_lines() {
    let lines: Vec<String> = rows("photos.csv").into_iter().map(|row| row.join(",")).collect();
    let broken: Vec<usize> = (0..lines.len()).filter(|at| !lines[*at].ends_with('"')).collect();
    assert!(!broken.is_empty());
    assert!(broken.chunks(2).all(|two| two.len() == 2 && (1..=3).contains(&(two[1] - two[0]))), "{broken:?}");
    // A plain parser ends a line only outside of quotes.
    let mut is_quoted = false;
    let mut parsed_rows = 0;
    for line in &lines {
        is_quoted ^= line.matches('"').count() % 2 == 1;
        parsed_rows += usize::from(!is_quoted);
    }
    assert!(!is_quoted, "a plain parser would stop at the end of the file");
    assert!(parsed_rows < lines.len());
}

#[test]
fn oddity_04_one_thumbnail_begins_with_uhttps() {
    let is_odd = |row: &&Vec<String>| row[3].contains("\"uhttps://");
    assert_eq!(rows("photos.csv").iter().filter(is_odd).count(), 1);
}

#[test]
fn oddity_05_some_quantities_begin_with_a_space() {
    assert!(rows("skus.csv").iter().any(|row| row[3].starts_with(' ')));
    assert!(rows("skus.csv").iter().any(|row| !row[3].starts_with(' ')));
}

#[test]
fn oddity_06_rows_of_one_parent_are_not_always_in_id_order() {
    for file in ["photos.csv", "skus.csv"] {
        assert!(ids_by_parent(file)["2"].windows(2).any(|ids| ids[0] > ids[1]), "{file}");
    }
}

#[test]
fn oddity_07_a_style_can_list_a_size_twice() {
    let mut seen = HashSet::new();
    assert!(rows("skus.csv").iter().any(|row| !seen.insert((row[1].clone(), row[2].clone()))));
}

#[test]
fn oddity_08_related_products_include_0_itself_and_duplicates() {
    let rows = rows("related.csv");
    assert!(rows.iter().any(|row| row[2] == "0"));
    assert!(rows.iter().any(|row| row[1] == row[2]));
    assert!(rows.windows(2).any(|two| two[0][1..] == two[1][1..]));
}

#[test]
fn oddity_09_some_products_and_styles_have_no_children() {
    let of_product = |file| ids_by_parent(file).into_keys().collect::<HashSet<_>>();
    assert!(!of_product("styles.csv").contains("3"));
    assert!(!of_product("features.csv").contains("4"));
    assert!(!of_product("related.csv").contains("5"));
    assert!(!of_product("photos.csv").contains("6") && !of_product("skus.csv").contains("6"));

    let styles = rows("styles.csv");
    let defaults_of = |product: &str| -> Vec<bool> {
        styles.iter().filter(|row| row[1] == product).map(|row| row[3].ends_with(",1")).collect()
    };
    assert_eq!(defaults_of("1"), [true, false]);
    assert_eq!(defaults_of("2"), [false, true]);
    assert_eq!(defaults_of("6"), [false, false]);
}

#[test]
fn oddity_10_prices_go_from_0_to_500_000_000_and_a_style_can_have_another() {
    let last = |row: &Vec<String>| row[3].rsplit(',').next().unwrap().to_owned();
    let of_products: Vec<_> = rows("product.csv").iter().map(last).collect();
    assert_eq!((of_products[6].as_str(), of_products[7].as_str()), ("0", "500000000"));
    let has_another = |row: &Vec<String>| {
        let product: usize = row[1].parse().unwrap();
        row[3].split(',').nth(1).unwrap() != of_products[product - 1]
    };
    assert!(rows("styles.csv").iter().any(has_another));
}

#[test]
fn oddity_11_texts_hold_apostrophes_double_spaces_signs_quotes_and_letters_beyond_ascii() {
    let set = generated(SMALL);
    let text = String::from_utf8(set["product.csv"].clone()).unwrap();
    for part in ["'", "  ", "&", ";", "\"\"", "é"] {
        assert!(text.contains(part), "{part}");
    }
    let sizes: HashSet<_> = rows("skus.csv").into_iter().map(|row| row[2].clone()).collect();
    for size in ["\"XS\"", "\"9.5\"", "\"One Size\""] {
        assert!(sizes.contains(size), "{size}");
    }
}

#[test]
fn oddity_12_only_photo_ids_have_gaps() {
    for file in FILES {
        let mut ids: Vec<u32> = rows(file).iter().map(|row| row[0].parse().unwrap()).collect();
        ids.sort_unstable();
        assert_eq!(ids.windows(2).any(|two| two[1] != two[0] + 1), file == "photos.csv", "{file}");
    }
}

#[test]
fn oddity_13_the_legacy_format_has_the_same_data() {
    let plain = generated(SMALL);
    let legacy = generated(Options { legacy_format: true, ..SMALL });
    assert!(legacy["product.csv"].starts_with("\u{feff}Id,Name,".as_bytes()));
    assert!(legacy["styles.csv"].starts_with("\u{feff}ID, Product Id,".as_bytes()));
    assert!(legacy["features.csv"].starts_with(b"1,1,"));
    assert!(String::from_utf8_lossy(&legacy["styles.csv"]).contains(",$"));
    for file in FILES {
        let text = String::from_utf8(legacy[file].clone()).unwrap();
        assert_eq!(text.matches("\r\n").count(), text.matches('\n').count());
        let skipped = usize::from(file != "features.csv");
        let same: Vec<_> = text.split("\r\n").skip(skipped).map(|line| line.replace(",$", ",")).collect();
        let plain = String::from_utf8(plain[file].clone()).unwrap();
        assert_eq!(same, plain.split('\n').skip(1).collect::<Vec<_>>(), "{file}");
    }
}
