//! CSV files that other programs write: they are read as they were meant, or rejected with a reason.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod support;

use std::path::Path;

use etl::load::{LoadError, LoadOptions, OutputTarget, RejectLimit, Summary};
use etl::progress::Progress;
use etl::source::{Dataset, DatasetLocation};
use rig::Database;
use support::{document, load_into};
use tempfile::TempDir;

/// A dataset with two products, of which the first has two styles.
const FILES: [(&str, &str); 6] = [
    (
        "product.csv",
        "id,name,slogan,description,category,default_price\n1,\"Coat\",\"Warm\",\"Of wool.\",\"Coat\",140\n2,\"Cap\",\"Light\",\"Of linen.\",\"Cap\",20\n",
    ),
    (
        "features.csv",
        "id,product_id,feature,value\n1,1,\"Fabric\",\"Wool\"\n2,1,\"Cut\",\"Loose\"\n3,2,\"Sole\",null\n",
    ),
    (
        "styles.csv",
        "id,productId,name,sale_price,original_price,default_style\n1,1,\"Red\",null,140,1\n2,1,\"Blue\",100,140,0\n3,2,\"Tan\",null,20,1\n",
    ),
    (
        "photos.csv",
        "id,styleId,url,thumbnail_url\n1,1,\"https://a/1\",\"https://a/t1\"\n2,2,\"https://a/2\",\"https://a/t2\"\n3,3,\"https://a/3\",\"https://a/t3\"\n",
    ),
    ("skus.csv", "id,styleId,size,quantity\n1,1,\"S\",8\n2,1,\"M\",16\n3,2,\"S\",4\n4,3,\"One Size\",0\n"),
    ("related.csv", "id,current_product_id,related_product_id\n1,1,2\n2,2,1\n3,2,2\n"),
];

/// Writes the dataset with other contents of some files.
fn dataset(changed: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (file, content) in FILES.iter().chain(changed) {
        std::fs::write(folder.path().join(file), content).unwrap();
    }
    folder
}

/// Returns a file of the dataset in which a text is replaced by another.
fn edited(file: &'static str, from: &str, to: &str) -> (&'static str, String) {
    let (_, content) = FILES.iter().find(|(name, _)| *name == file).unwrap();
    assert!(content.contains(from));
    (file, content.replace(from, to))
}

async fn try_load(database: &Database, dir: &Path, limit: RejectLimit) -> Result<Summary, LoadError> {
    let rejects = tempfile::tempdir().unwrap();
    let target = OutputTarget::File(rejects.path().join("rejects.csv"));
    let dataset = Dataset::open(&DatasetLocation::Folder(dir.to_owned()), Some("tested")).await?;
    let options = LoadOptions { limit, ..LoadOptions::new(target, Progress::Silent) };
    etl::load::load(&database.config(), dataset, options).await
}

/// Returns the responses of both products as text.
async fn responses(database: &Database) -> String {
    let client = database.connect().await.unwrap();
    document(&client, 1).await.overview() + &document(&client, 2).await.overview()
}

/// Loads the dataset with one changed file. Returns the responses, and the notes as `file: note, rows, lines`.
async fn load_edited(file: &'static str, from: &str, to: &str) -> (String, Vec<String>) {
    let (file, content) = edited(file, from, to);
    let loaded = load_into(Database::create().await.unwrap(), dataset(&[(file, &content)]).path()).await;
    assert_eq!(loaded.summary.reasons, [], "{content}");
    let notes = loaded.summary.notes.iter();
    let notes = notes.map(|note| format!("{}: {}, {}, {:?}", note.file, note.note, note.rows, note.lines));
    (responses(&loaded.database).await, notes.collect())
}

async fn plain() -> String {
    responses(&load_into(Database::create().await.unwrap(), dataset(&[]).path()).await.database).await
}

#[tokio::test]
async fn other_spellings_of_a_value_are_read_as_the_value_and_counted() {
    let plain = plain().await;
    let null = r"NULL written as an empty field, \N or NULL";
    let cases = [
        ("styles.csv", ",140,1\n", ",140,t\n", "0 or 1 written as true or false, 1, [2]"),
        ("styles.csv", ",140,0\n", ",140,FALSE\n", "0 or 1 written as true or false, 1, [3]"),
        ("styles.csv", ",140,", ",140.00,", "whole number written with .0 or .00, 2, [2]"),
        ("product.csv", ",140\n", ",$140.0\n", "whole number written with .0 or .00, 1, [2]"),
        ("styles.csv", ",null,", ",,", &format!("{null}, 2, [2]")),
        ("styles.csv", ",null,", ",NULL,", &format!("{null}, 2, [2]")),
        ("features.csv", ",null\n", ",\n", &format!("{null}, 1, [4]")),
        ("features.csv", ",null\n", ",\\N\n", &format!("{null}, 1, [4]")),
        ("features.csv", ",null\n", ", Null \n", &format!("{null}, 1, [4]")),
        ("skus.csv", ",16\n", ", 16\n", "blanks around a number, 1, [3]"),
        ("skus.csv", "\n", "\r\r\n", ""),
    ];
    for (file, from, to, note) in cases {
        let (responses, notes) = load_edited(file, from, to).await;
        assert_eq!(responses, plain, "{file} with {to:?}");
        let expected = format!("{file}: {note}");
        assert!(
            note.is_empty() == notes.is_empty() && notes.iter().all(|n| *n == expected || to.contains('$')),
            "{notes:?}"
        );
    }
}

#[tokio::test]
async fn a_quoted_null_is_text() {
    for text in ["", "null", "\\\\N"] {
        let (responses, notes) =
            load_edited("features.csv", ",null\n", &format!(",\"{}\"\n", text.replace("\\\\", "\\"))).await;
        assert!(responses.contains(&format!(r#"{{"feature":"Sole","value":"{text}"}}"#)), "{responses}");
        assert_eq!(notes, [""; 0]);
    }
}

#[tokio::test]
async fn repairs_keep_whole_values_and_are_listed() {
    let (responses, notes) = load_edited("features.csv", "\"Wool\"", "\"Wool,\nwith 5 % silk\"").await;
    assert!(responses.contains(r#""value":"Wool,\nwith 5 % silk""#), "{responses}");
    assert_eq!(notes, ["features.csv: line breaks inside quotes kept, 1, [2]"]);
    let (responses, notes) = load_edited("photos.csv", "/t2\"", "/t2").await;
    assert_eq!(responses, plain().await);
    assert_eq!(notes, ["photos.csv: closing quote added, 1, [3]"]);
    let (responses, notes) = load_edited("skus.csv", ",16\n", ",-16\n").await;
    assert!(responses.contains(r#""2":{"quantity":0,"size":"M"}"#), "{responses}");
    assert_eq!(notes, ["skus.csv: negative stock set to 0, 1, [3]"]);
}

#[tokio::test]
async fn what_cannot_be_read_without_a_loss_is_rejected() {
    for (file, from, to, column, reason) in [
        ("styles.csv", ",100,140", ",100.50,140", "sale_price", "not a whole number from 0 to 2147483647"),
        ("features.csv", "\"Loose\"", "\"6\\\"\"", "value", "a backslash before a quote"),
        ("features.csv", "\"Wool\"", "\"Wool\nand more", "", "line break inside quotes"),
        ("styles.csv", ",140,0", ",140,yes", "default_style", "not 0 or 1, nor true or false"),
        ("product.csv", ",20\n", ",\n", "default_price", "null where a value must be"),
    ] {
        let database = Database::create().await.unwrap();
        let (file, content) = edited(file, from, to);
        // Further rows, so that the file does not lose half of them.
        let more = match file {
            "product.csv" => "5,a,b,c,d,1\n6,a,b,c,d,1\n",
            "features.csv" => "5,1,a,b\n6,1,a,b\n",
            _ => "5,1,a,1,1,1\n6,1,a,1,1,1\n",
        };
        let set = dataset(&[
            (file, &(content + more)),
            ("related.csv", "id,current_product_id,related_product_id\n"),
        ]);
        let loaded = load_into(database, set.path()).await;
        let rejects = String::from_utf8(loaded.rejects).unwrap();
        assert!(rejects.contains(&format!(",{column},\"{reason}")), "{to:?}: {rejects}");
        assert!(rejects.starts_with("file,line,byte_offset"), "{rejects}");
    }
}

#[tokio::test]
async fn a_file_that_ends_within_a_row_is_refused() {
    let database = load_into(Database::create().await.unwrap(), dataset(&[]).path()).await.database;
    let before = responses(&database).await;
    let photos = FILES[3].1;
    let last = photos.trim_end().rfind('\n').unwrap() + 1;
    for end in last + 1..photos.len() - 2 {
        let error =
            try_load(&database, dataset(&[("photos.csv", &photos[..end])]).path(), RejectLimit::Rows(9))
                .await;
        let error = error.unwrap_err();
        assert!(error.is_permanent() && error.to_string().contains("looks truncated"), "{error}");
    }
    assert_eq!(responses(&database).await, before);
    // Without its last line ending, or without its last row, a file is complete as far as anybody can tell.
    for end in [last, photos.len() - 1] {
        try_load(&database, dataset(&[("photos.csv", &photos[..end])]).path(), RejectLimit::default())
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn no_file_may_lose_half_of_its_rows_whatever_the_limit() {
    let database = load_into(Database::create().await.unwrap(), dataset(&[]).path()).await.database;
    let before = responses(&database).await;
    let styles = FILES[2].1;
    let all = styles.replace(",1\n", ",x\n").replace(",0\n", ",x\n");
    let half = styles.replace(",140,1\n", ",140,x\n").replace(",140,0\n", ",140,x\n");
    for (content, expected) in [
        (all, "styles.csv would lose all of its rows: 3 of 3 rejected, most often because of: not 0 or 1"),
        (half, "styles.csv would lose half of its rows or more: 2 of 3 rejected"),
    ] {
        for limit in [RejectLimit::default(), RejectLimit::Percent(100.0), RejectLimit::Rows(1000)] {
            let error =
                try_load(&database, dataset(&[("styles.csv", &content)]).path(), limit).await.unwrap_err();
            assert!(error.to_string().starts_with(expected), "{error}");
        }
    }
    // Rows without a parent count like rows that cannot be read.
    let orphans = "id,styleId,size,quantity\n1,1,\"S\",8\n2,91,\"M\",16\n3,92,\"S\",4\n";
    let error = try_load(&database, dataset(&[("skus.csv", orphans)]).path(), RejectLimit::Rows(1000)).await;
    let error = error.unwrap_err().to_string();
    assert!(error.starts_with("skus.csv would lose half of its rows or more: 2 of 3"), "{error}");
    assert_eq!(responses(&database).await, before);
}

#[tokio::test]
async fn any_text_is_a_session_of_cart_csv() {
    let carts =
        "id,user_session,product_id,active\n1,3f2b8c1e-7a4d-4b6e,1,1\n2,\"a, \"\"b\"\"\",2,f\n3,17,2,0\n";
    let loaded = load_into(Database::create().await.unwrap(), dataset(&[("cart.csv", carts)]).path()).await;
    let client = loaded.database.connect().await.unwrap();
    let rows = client.query("select user_session from catalog.cart order by id", &[]).await.unwrap();
    let sessions: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(sessions, ["3f2b8c1e-7a4d-4b6e", "a, \"b\"", "17"]);
}

#[tokio::test]
async fn a_repair_is_listed_for_at_most_a_thousand_lines_and_counted_for_all() {
    let mut skus = FILES[4].1.to_owned();
    for id in 100..2100 {
        skus += &format!("{id},1,\"S\",-{id}\n");
    }
    let loaded = load_into(Database::create().await.unwrap(), dataset(&[("skus.csv", &skus)]).path()).await;
    let [note] = loaded.summary.notes.as_slice() else { panic!("{:?}", loaded.summary.notes) };
    assert_eq!((note.rows, note.lines.len(), note.lines[0], note.lines[999]), (2000, 1000, 6, 1005));
}
