//! Output of `atelier-etl` for other programs: the metrics of a load and the status as JSON.

// clippy.toml allows unwrap in tests, but not in their helper functions.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;

use rig::Database;
use serde_json::{Value, json};
use support::{edit, error, run, stdout, work_dir};
use tempfile::TempDir;

/// The metrics in a file, by series.
fn metrics(dir: &TempDir, file: &str) -> BTreeMap<String, f64> {
    let text = std::fs::read_to_string(dir.path().join(file)).unwrap();
    let (mut series, mut declared) = (BTreeMap::new(), BTreeSet::new());
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("# TYPE ") {
            assert!(declared.insert(name.strip_suffix(" gauge").unwrap().to_owned()), "{text}");
        } else if !line.starts_with("# HELP ") {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(declared.contains(name.split('{').next().unwrap()), "{text}");
            series.insert(name.replace("dataset=\"set\"", ""), value.parse().unwrap());
        }
    }
    series
}

fn names(metrics: &BTreeMap<String, f64>) -> BTreeSet<&str> {
    metrics.keys().map(|series| series.split('{').next().unwrap()).collect()
}

#[tokio::test]
async fn a_load_writes_its_metrics_whether_it_succeeds_or_fails() {
    let (dir, database) = (work_dir(), Database::create().await.unwrap());
    let load = |arguments: &[&str]| {
        run(&dir, &database.url(), &[&["load", "set", "--metrics", "load.prom"], arguments].concat())
    };
    let lines = |file: &str| {
        let text = std::fs::read_to_string(dir.path().join("set").join(file)).unwrap();
        text.lines().count() as f64 - 1.0
    };
    stdout(&load(&[]));
    let first = metrics(&dir, "load.prom");
    let all = [
        "atelier_load_bytes",
        "atelier_load_duration_seconds",
        "atelier_load_end_timestamp_seconds",
        "atelier_load_generation",
        "atelier_load_last_success_timestamp_seconds",
        "atelier_load_rows",
        "atelier_load_step_duration_seconds",
        "atelier_load_success",
    ];
    assert_eq!(names(&first), all.into());
    assert_eq!((first["atelier_load_success{}"], first["atelier_load_generation{}"]), (1.0, 1.0));
    let rows = |metrics: &BTreeMap<String, f64>, file: &str, result: &str| {
        metrics[&format!("atelier_load_rows{{,file=\"{file}\",result=\"{result}\"}}")]
    };
    for file in sample_data::FILES {
        assert_eq!(rows(&first, file, "loaded") + rows(&first, file, "rejected"), lines(file), "{file}");
        assert!(rows(&first, file, "repaired") <= rows(&first, file, "loaded"));
        let size = std::fs::metadata(dir.path().join("set").join(file)).unwrap().len() as f64;
        assert_eq!(first[&format!("atelier_load_bytes{{,file=\"{file}\"}}")], size);
    }
    for step in ["load", "index", "assemble", "publish"] {
        let seconds = first[&format!("atelier_load_step_duration_seconds{{,step=\"{step}\"}}")];
        assert!(seconds > 0.0 && seconds < first["atelier_load_duration_seconds{}"], "{step}");
    }
    let last_success = "atelier_load_last_success_timestamp_seconds{}";
    assert_eq!(first[last_success], first["atelier_load_end_timestamp_seconds{}"]);
    let mode = std::fs::metadata(dir.path().join("load.prom")).unwrap().permissions().mode();
    assert_eq!(mode & 0o444, 0o444, "node_exporter runs as another user");

    // Too many rejected rows: the counts are there, and no step after the first.
    edit(&dir, "skus.csv", |lines| lines[100..104].iter_mut().for_each(|line| line.push_str(",more")));
    assert_eq!(load(&["--max-rejects", "3"]).status.code(), Some(3));
    let failed = metrics(&dir, "load.prom");
    assert_eq!((failed["atelier_load_success{}"], failed["atelier_load_generation{}"]), (0.0, 2.0));
    assert_eq!(rows(&failed, "skus.csv", "rejected"), rows(&first, "skus.csv", "rejected") + 4.0);
    assert_eq!(failed[last_success], first[last_success]);
    assert!(failed["atelier_load_end_timestamp_seconds{}"] > first[last_success]);
    assert!(!failed.keys().any(|series| series.contains("publish")));

    // Without a database, or a complete dataset, little is known.
    let few = [all[1], all[2], all[4], all[7]].into();
    let arguments = ["load", "set", "--metrics", "load.prom"];
    error(&run(&dir, "postgresql://x@127.0.0.1:1/atelier", &arguments));
    let failed = metrics(&dir, "load.prom");
    assert_eq!(names(&failed), few);
    assert_eq!(failed[last_success], first[last_success], "a second failure keeps it too");
    std::fs::remove_file(dir.path().join("set/skus.csv")).unwrap();
    error(&load(&[]));
    assert_eq!(names(&metrics(&dir, "load.prom")), few);

    // Another dataset has not succeeded yet.
    error(&load(&["--dataset", "other"]));
    assert!(!names(&metrics(&dir, "load.prom")).contains("atelier_load_last_success_timestamp_seconds"));
    std::fs::remove_file(dir.path().join("load.prom")).unwrap();
    let invalid = run(&dir, "postgresql://x@127.0.0.1/atelier?sslmode=disabled", &arguments);
    assert_eq!(invalid.status.code(), Some(2), "a wrong setting");
    assert_eq!(metrics(&dir, "load.prom")["atelier_load_success{}"], 0.0);
    let files = std::fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().file_name());
    assert_eq!(files.filter(|name| name.to_str().unwrap().starts_with(".atelier")).count(), 0);
}

#[tokio::test]
async fn a_file_that_cannot_hold_metrics_is_an_error_before_the_load_begins() {
    let (dir, database) = (work_dir(), Database::create().await.unwrap());
    let load = |file: &str| run(&dir, &database.url(), &["load", "set", "--metrics", file]);
    for (file, expected) in [
        (
            "load.txt",
            "invalid value 'load.txt' for '--metrics <FILE>': expected a name that ends in .prom, as the textfile",
        ),
        (
            "nowhere/load.prom",
            "invalid value 'nowhere/load.prom' for '--metrics <FILE>': the folder nowhere does not exist: create it",
        ),
    ] {
        let output = load(file);
        assert_eq!(output.status.code(), Some(2));
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.starts_with(&format!("error: {expected}")), "{text}");
    }
    // Not even root can create a file there.
    let line = error(&load("/proc/load.prom"));
    assert!(line.starts_with("cannot write the metrics to /proc/load.prom (--metrics): "), "{line}");
    let status: Value =
        serde_json::from_str(&stdout(&run(&dir, &database.url(), &["status", "--json"]))).unwrap();
    assert_eq!(status["loads"], json!([]));
}

/// Returns the keys of an object, in order.
fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn the_status_in_json_has_the_documented_fields() {
    let (dir, database) = (work_dir(), Database::create().await.unwrap());
    let status = || -> Value {
        serde_json::from_str(&stdout(&run(&dir, &database.url(), &["status", "--json"]))).unwrap()
    };
    assert_eq!(status(), json!({ "served": null, "loads": [], "deliveries": [] }));

    stdout(&run(&dir, &database.url(), &["load", "set"]));
    edit(&dir, "skus.csv", |lines| lines[100..104].iter_mut().for_each(|line| line.push_str(",more")));
    error(&run(&dir, &database.url(), &["load", "set", "--max-rejects", "3"]));
    let client = database.connect().await.unwrap();
    let delivery =
        "insert into etl.delivery (source, dataset, files, note) values ('s3://x/', 'x', '{}', 'waiting')";
    client.batch_execute(delivery).await.unwrap();
    let status = status();
    assert_eq!(keys(&status["served"]), ["action", "generation", "since"]);
    assert_eq!(
        (&status["served"]["generation"], &status["served"]["action"]),
        (&json!(1), &json!("publish"))
    );
    let [failed, published] = status["loads"].as_array().unwrap().as_slice() else { panic!("{status}") };
    let of_a_load = [
        "dataset",
        "ended",
        "files",
        "generation",
        "reason",
        "rejected",
        "rows_loaded",
        "rows_rejected",
        "started",
        "step",
    ];
    assert_eq!((keys(failed), keys(published)), (of_a_load.into(), of_a_load.into()));
    assert_eq!((&failed["step"], &published["step"]), (&json!("failed"), &json!("published")));
    assert_eq!(published["reason"], Value::Null);
    assert!(failed["reason"].as_str().unwrap().starts_with("skus.csv: 4 of "), "{failed}");
    let skus = failed["files"].as_array().unwrap().iter().find(|file| file["file"] == "skus.csv").unwrap();
    assert_eq!(keys(skus), ["bytes", "complete", "file", "rows_loaded", "rows_rejected", "seconds"]);
    let expected = json!({ "file": "skus.csv", "reason": "4 fields expected, 5 found", "rows": 4 });
    assert!(failed["rejected"].as_array().unwrap().contains(&expected), "{failed}");
    let total: u64 =
        published["files"].as_array().unwrap().iter().map(|file| file["rows_loaded"].as_u64().unwrap()).sum();
    assert_eq!(published["rows_loaded"], total);
    assert_eq!(keys(&status["deliveries"][0]), ["note", "since", "source"]);
    let utc = "select to_char(started_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS') from etl.load where generation = 1";
    let utc: String = client.query_one(utc, &[]).await.unwrap().get(0);
    assert_eq!(published["started"], format!("{}Z", utc.replace(' ', "T")));
}
