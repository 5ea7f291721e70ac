//! Loads from S3 publish the same catalog as loads from a folder, for any content of the files and any size of the
//! pieces.

use conformance::small_dataset;
use etl::load::{LoadOptions, OutputTarget};
use etl::progress::Progress;
use etl::s3::{ReadPolicy, S3};
use etl::source::{Dataset, DatasetLocation};
use rig::Database;
use sample_data::Options;

use crate::support::incoming::{Incoming, content, files};
use crate::support::s3::{
    SHORT_TIMEOUTS, Set, assert_same, assert_served, error_message, folder, generated, handle_all,
    load_by_command, serving, summary,
};

/// Returns the hand-made dataset with changed files.
fn changed(change: impl Fn(&str, Vec<u8>) -> Vec<u8>) -> Vec<(String, Vec<u8>)> {
    let changed = files(&small_dataset()).into_iter().map(|(name, content)| {
        let content = change(&name, content);
        (name, content)
    });
    changed.collect()
}

fn replaced(content: &[u8], from: &str, to: &[u8]) -> Vec<u8> {
    let mut replaced = Vec::new();
    let mut rest = content;
    while let Some(at) = rest.windows(from.len()).position(|window| window == from.as_bytes()) {
        replaced.extend_from_slice(&rest[..at]);
        replaced.extend_from_slice(to);
        rest = &rest[at + from.len()..];
    }
    replaced.extend_from_slice(rest);
    replaced
}

/// Loads files from S3 with the function and with the command, and compares both with a load from a folder. Returns the
/// function's database and the content, for further assertions.
async fn same_from_s3(files: &[(String, Vec<u8>)]) -> (Incoming, String) {
    let set = Set::of(files).await;
    let incoming = Incoming::create().await;
    let records = incoming.put_folder("spring", set.folder.path()).await;
    handle_all(&incoming, &records).await.unwrap();
    assert_eq!(incoming.published().await, 1);
    assert_served(&incoming, &set.expected).await;
    let by_command = Database::create().await.unwrap();
    let url = incoming.bucket.url("incoming/spring/");
    summary(&load_by_command(&by_command, &incoming.bucket.variables(), &[&url]));
    assert_same(&content(&by_command).await, &set.expected, "by the command");
    (incoming, set.expected)
}

#[tokio::test]
async fn line_endings_and_a_byte_order_mark_change_nothing() {
    let bare = |content: &[u8]| content.strip_suffix(b"\n").unwrap_or(content).to_vec();
    let lf = same_from_s3(&changed(|_, content| [&bare(&content)[..], b"\n"].concat())).await.1;
    for (crlf, bom, end) in [(true, true, "\r\r\n"), (false, false, "\r\n")] {
        let loaded = same_from_s3(&changed(|_, content| {
            let text = bare(&content);
            let text = if crlf { replaced(&text, "\n", b"\r\n") } else { text };
            let mark = if bom { "\u{feff}" } else { "" };
            [mark.as_bytes(), &text, end.as_bytes()].concat()
        }))
        .await
        .1;
        // Only the byte offsets of the rows differ.
        let what = format!("{crlf} {bom} {end:?}");
        assert_same(&without_places(&loaded), &without_places(&lf), &what);
    }
}

/// Returns content without the positions of rows.
fn without_places(content: &str) -> String {
    let is_place = |part: &&str| !part.contains("\"position\":") && !part.contains("\"byte_offset\":");
    let lines = content.lines().map(|line| {
        let line = line.trim_matches(['{', '}']);
        let mut parts: Vec<_> = line.split(", ").filter(is_place).collect();
        parts.sort_unstable();
        parts.join(", ")
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn blank_lines_nul_and_invalid_utf_8_are_handled_alike() {
    let (incoming, _) = same_from_s3(&changed(|name, content| match name {
        "photos.csv" => replaced(&content, "example/1?", b"example/\0?"),
        "features.csv" => replaced(&content, "value\n", b"value\n\n\r\n"),
        "skus.csv" => replaced(&content, "\"XL\",15", b"\"X\xff\xfe\",15"),
        _ => content,
    }))
    .await;
    let reasons =
        incoming.text("select string_agg(distinct reason, '|' order by reason) from etl.reject").await;
    for reason in ["NUL byte", "blank line", "not UTF-8"] {
        assert!(reasons.contains(reason), "{reasons}");
    }
}

#[tokio::test]
async fn files_in_the_legacy_format_are_loaded_alike() {
    let folder = folder();
    let options = Options { scale: 0.000_1, seed: 11, legacy_format: true };
    sample_data::generate(&options, folder.path(), |_| {}).unwrap();
    same_from_s3(&files(folder.path())).await;
}

#[tokio::test]
async fn no_row_is_lost_where_every_third_closing_quote_is_missing() {
    let set = generated().await;
    let mut unclosed = 0;
    let files: Vec<_> = files(set.folder.path())
        .into_iter()
        .map(|(name, content)| {
            if name != "photos.csv" {
                return (name, content);
            }
            let mut text = String::new();
            for (nth, line) in str::from_utf8(&content).unwrap().lines().enumerate() {
                let without = line.strip_suffix('"').filter(|_| nth > 0 && nth % 3 == 0);
                unclosed += i64::from(without.is_some());
                text += without.unwrap_or(line);
                text.push('\n');
            }
            (name, text.into_bytes())
        })
        .collect();
    assert!(unclosed > 100, "{unclosed}");
    let (incoming, repaired) = same_from_s3(&files).await;
    // The repaired values equal the original ones.
    assert_same(&without_places(&repaired), &without_places(&set.expected), "repaired rows");
    let counts = "from etl.load_file where file = 'photos.csv'";
    let lines = files.iter().find(|(name, _)| name == "photos.csv").unwrap();
    let lines = i64::try_from(lines.1.iter().filter(|byte| **byte == b'\n').count()).unwrap() - 1;
    assert_eq!(incoming.number(&format!("select rows_read {counts}")).await, lines);
    assert_eq!(incoming.number(&format!("select rows_loaded {counts}")).await, lines);
    assert!(incoming.number(&format!("select rows_repaired {counts}")).await >= unclosed);
}

#[tokio::test]
async fn a_file_with_a_wrong_beginning_is_refused_from_s3_as_from_a_folder() {
    let (incoming, served) = serving().await;
    for (nth, (content_of_styles, reason)) in [
        (&b""[..], "styles.csv is empty"),
        (b"\xef\xbb\xbf\r\n", "styles.csv is empty"),
        (b"\xff\xfei\0d\0", "styles.csv is UTF-16"),
        (b"id;productId;name", "styles.csv has semicolons between the columns of line 1"),
        (b"\n1,1,\"Slate\",null,185,1\n", "styles.csv has \"\" in line 1"),
    ]
    .into_iter()
    .enumerate()
    {
        let files = changed(|name, content| match name {
            "styles.csv" => content_of_styles.to_vec(),
            _ => content,
        });
        let folder = folder();
        for (name, content) in &files {
            std::fs::write(folder.path().join(name), content).unwrap();
        }
        let dataset = format!("spring-{nth}");
        let url = incoming.bucket.url(&format!("incoming/{dataset}/"));
        let records = incoming.put_folder(&dataset, folder.path()).await;
        handle_all(&incoming, &records).await.unwrap();
        let refused = incoming.text("select reason from etl.load order by generation desc limit 1").await;
        let from_s3 =
            error_message(&load_by_command(&incoming.database, &incoming.bucket.variables(), &[&url]));
        assert_eq!(from_s3, refused);
        let place = folder.path().to_str().unwrap();
        let from_folder = error_message(&load_by_command(&incoming.database, &[], &[place]));
        assert_eq!(from_folder.replace(&format!("{place}/"), &url), from_s3);
        assert!(from_s3.contains(reason), "{from_s3}");
    }
    assert_eq!((incoming.published().await, incoming.alarms()), (1, 5));
    assert_served(&incoming, &served).await;
}

#[tokio::test]
async fn a_header_alone_is_an_empty_table() {
    let files = changed(|name, content| match name {
        "cart.csv" | "features.csv" => content.split_inclusive(|byte| *byte == b'\n').next().unwrap().into(),
        _ => content,
    });
    same_from_s3(&files).await;
}

#[tokio::test]
async fn a_line_longer_than_many_ranges_is_one_line() {
    let long = format!("\n1,1,\"{}\",\"x\"\n", "long ".repeat(600_000));
    let files = changed(|name, content| match name {
        "features.csv" => [&content[..150], long.as_bytes(), &content[150..]].concat(),
        _ => content,
    });
    let set = Set::of(&files).await;
    let incoming = Incoming::create().await;
    incoming.put_folder("spring", set.folder.path()).await;
    let reading = ReadPolicy { range: 200_000, ..SHORT_TIMEOUTS };
    let s3 = S3::with_endpoint(&format!("http://{}", incoming.bucket.server()), "x", "x").await.with(reading);
    let place = DatasetLocation::S3(s3, incoming.bucket.url("incoming/spring/").parse().unwrap());
    let rejects = tempfile::tempdir().unwrap();
    let options = LoadOptions::new(OutputTarget::File(rejects.path().join("rejects.csv")), Progress::Silent);
    let dataset = Dataset::open(&place, None).await.unwrap();
    let summary = etl::load::load(&incoming.database.config(), dataset, options).await.unwrap();
    assert_same(&content(&incoming.database).await, &set.expected, "the catalog");
    assert!(summary.reasons.iter().any(|count| count.reason.contains("longer than")), "{summary:?}");
}
