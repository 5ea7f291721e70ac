//! A catalog that psql exports as CSV and the loader loads again has the same responses, byte for byte.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod support;

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use etl::table::TABLES;
use fastrand::Rng;
use local::Binaries;
use rig::Database;
use sample_data::{Options, generate};
use support::{documents, load};

/// Exports every table of the catalog with psql, in the order of the files.
fn export(database: &Database, folder: &Path) {
    for table in &TABLES {
        let columns: Vec<_> =
            table.columns.iter().map(|column| format!("{} as \"{}\"", column.name, column.header)).collect();
        let copy = format!(
            r"\copy (select {} from catalog.{} order by position) to '{}' csv header",
            columns.join(", "),
            table.name,
            folder.join(table.file).display()
        );
        let psql = Binaries::find().unwrap().program("psql");
        let output = Command::new(psql)
            .args(["--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--command", &copy, &database.url()])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Returns a text of characters that mean something in CSV, of line breaks and of others.
fn odd_text(random: &mut Rng) -> String {
    const PARTS: [&str; 13] =
        ["\n", "\r\n", "\r", "\"", ",", " ", "\t", "\\", "\\N", "null", "1,2,3\n4,x", "é\u{1f9e5}", "wool"];
    loop {
        let text: String = (0..random.usize(0..6)).map(|_| PARTS[random.usize(0..PARTS.len())]).collect();
        let unquoted = text.trim();
        // The loader rejects a backslash before a quote. And psql does not quote these texts, which mean NULL then.
        if !text.contains("\\\"") && (text.is_empty() || !["", "\\N", "null"].contains(&unquoted)) {
            return text;
        }
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// Adds rows with odd texts to a generated dataset.
fn add_odd_rows(folder: &Path, random: &mut Rng) {
    let mut add = |file: &str, row: &dyn Fn(&mut Rng, u32) -> String| {
        let path = folder.join(file);
        let mut text = std::fs::read_to_string(&path).unwrap();
        for id in 900_000..900_040 {
            write!(text, "\n{}", row(random, id)).unwrap();
        }
        text.push('\n');
        std::fs::write(&path, text).unwrap();
    };
    add("product.csv", &|random, id| {
        let texts = [(); 4].map(|()| quoted(&odd_text(random))).join(",");
        format!("{id},{texts},5")
    });
    add("features.csv", &|random, id| {
        let value = if id % 3 == 0 { "null".to_owned() } else { quoted(&odd_text(random)) };
        format!("{id},{id},{},{value}", quoted(&odd_text(random)))
    });
    add("styles.csv", &|random, id| format!("{id},{id},{},{},7,1", quoted(&odd_text(random)), id % 2));
    add("photos.csv", &|random, id| {
        format!("{id},{id},{},{}", quoted(&odd_text(random)), quoted(&odd_text(random)))
    });
    add("skus.csv", &|random, id| format!("{id},{id},{},3", quoted(&odd_text(random))));
    let carts = (1..40).map(|id| format!("\n{id},{},900000,{}", quoted(&odd_text(random)), id % 2));
    let carts: String = carts.collect();
    std::fs::write(folder.join("cart.csv"), format!("id,user_session,product_id,active{carts}\n")).unwrap();
}

#[tokio::test]
async fn a_catalog_exported_by_psql_is_loaded_with_equal_responses() {
    let seed = fastrand::u64(..);
    let mut random = Rng::with_seed(seed);
    for legacy_format in [false, true] {
        let (folder, exported) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let options = Options { scale: 0.000_3, seed: random.u64(..), legacy_format };
        generate(&options, folder.path(), |_| {}).unwrap();
        add_odd_rows(folder.path(), &mut random);
        let first = load(folder.path()).await;
        export(&first.database, exported.path());
        let second = load(exported.path()).await;
        let clients = (first.database.connect().await.unwrap(), second.database.connect().await.unwrap());
        let (expected, again) = (documents(&clients.0).await, documents(&clients.1).await);
        assert!(expected.len() > 300, "{} products", expected.len());
        for (expected, again) in expected.iter().zip(&again) {
            assert_eq!(expected, again, "seed {seed}");
        }
        assert_eq!(expected.len(), again.len(), "seed {seed}");
        let carts =
            "select string_agg(concat_ws('|', id, user_session, product_id, active), E'\\n' order by id)
                     from catalog.cart";
        let carts_of = async |client: &tokio_postgres::Client| {
            client.query_one(carts, &[]).await.unwrap().get::<_, String>(0)
        };
        assert_eq!(carts_of(&clients.0).await, carts_of(&clients.1).await, "seed {seed}");
        assert_eq!(second.summary.reasons, [], "seed {seed}");
        let joined = second.summary.notes.iter().filter(|note| note.note.contains("line breaks"));
        assert!(joined.count() >= 4, "{:?}", second.summary.notes);
    }
}
