//! Texts that other people choose: they must not command the operator's terminal.

// clippy.toml allows unwrap in tests, but not in their helper functions.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use rig::Database;
use support::{edit, error, run, stdout, work_dir};

/// Red text, a new title of the window, and a letter after a right-to-left override.
const HOSTILE: &str = "\u{1b}[31m\u{1b}]0;title\u{7}\u{9b}2J\u{202e}x";
const ESCAPED: &str = r"\u{1b}[31m\u{1b}]0;title\u{7}\u{9b}2J\u{202e}x";

fn assert_harmless(text: &str) {
    let command = text.chars().find(|character| character.is_control() && *character != '\n');
    assert_eq!(command, None, "{text:?}");
}

#[tokio::test]
async fn errors_and_status_escape_control_characters() {
    let (dir, database) = (work_dir(), Database::create().await.unwrap());
    let manifest = dir.path().join("set/manifest.json");
    let members = serde_json::json!({ HOSTILE: 1 }).to_string();
    std::fs::write(&manifest, members).unwrap();
    let line = error(&run(&dir, &database.url(), &["load", "set"]));
    assert_harmless(&line);
    assert!(line.contains(ESCAPED), "{line}");
    std::fs::remove_file(manifest).unwrap();
    edit(&dir, "skus.csv", |lines| lines[0] = HOSTILE.to_owned());
    assert_harmless(&error(&run(&dir, &database.url(), &["load", "set"])));

    // Keys of objects are up to the uploader.
    let client = database.connect().await.unwrap();
    let source = format!("s3://incoming/spring{HOSTILE}/");
    client
        .execute(
            "insert into etl.delivery (source, dataset, files, note) values ($1, 'spring', '', $1 || E'\\nserving: generation 9')",
            &[&source],
        )
        .await
        .unwrap();
    client
        .execute("insert into etl.load (dataset, step, reason) values ('spring', 'load', $1)", &[&source])
        .await
        .unwrap();
    let status = stdout(&run(&dir, &database.url(), &["status"]));
    assert_harmless(&status);
    assert_eq!(status.matches(ESCAPED).count(), 3, "{status}");
    assert!(!status.lines().any(|line| line.starts_with("serving: generation 9")), "{status}");
}

/// A spreadsheet could take cells that begin with these characters for formulas. `original` is the exception.
#[tokio::test]
async fn the_columns_of_the_reject_list_hold_no_text_of_a_file_except_the_original_row() {
    let (dir, database) = (work_dir(), Database::create().await.unwrap());
    let rows = [
        "=cmd()",
        "+1,2,3",
        "-1,2,3,4",
        "@sum,1,S,2",
        "\t1,=x,S",
        "9999999,=x,S,1",
        "9999998,1,S,=1",
        "9999997,1,=\"S,1",
    ];
    edit(&dir, "skus.csv", |lines| drop(lines.splice(1..1, rows.map(str::to_owned))));
    stdout(&run(&dir, &database.url(), &["load", "set", "--max-rejects", "100"]));
    let list = std::fs::read_to_string(dir.path().join("rejects/set.csv")).unwrap();
    for row in rows {
        let original = format!(",\"{}\"", row.replace('"', "\"\""));
        let line =
            list.lines().find(|line| line.ends_with(&original)).unwrap_or_else(|| panic!("{row:?}: {list}"));
        let cells = line.strip_suffix(&original).unwrap().split(',');
        for cell in cells {
            let text = cell.trim_matches('"');
            assert!(!text.starts_with(['=', '+', '-', '@', '\t']) && !text.contains('='), "{line}");
        }
    }
}
