//! Loads from an S3 that fails, and the catalogs that undisturbed loads of the same datasets publish.

use std::ffi::OsString;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use conformance::small_dataset;
use etl::s3::ReadPolicy;
use http::Method;
use rig::{Database, Fault, HttpProxy, HttpRequest};
use sample_data::Options;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use super::events::key;
use super::incoming::{Incoming, TIME, content, files, undisturbed};
use super::load_into;

/// A read policy with short timeouts, and with ranges so short that a small file has many.
pub const SHORT_TIMEOUTS: ReadPolicy = ReadPolicy {
    range: 4 << 10,
    prefetch: 3,
    read_timeout: Duration::from_secs(1),
    range_timeout: Duration::from_secs(60),
    attempts: 8,
    backoff_min: Duration::from_millis(1),
};

/// A policy with a long timeout, for tests in which S3 always responds: the number of requests must not depend on the
/// machine's load.
pub const LONG_TIMEOUT: ReadPolicy = ReadPolicy { read_timeout: Duration::from_secs(60), ..SHORT_TIMEOUTS };

/// Returns an empty temporary folder for a dataset.
pub fn folder() -> TempDir {
    tempfile::Builder::new().prefix("set-").tempdir().unwrap()
}

/// A dataset in a folder, and the catalog that an undisturbed load of it publishes.
pub struct Set {
    pub folder: TempDir,
    pub expected: String,
}

impl Set {
    /// Returns the dataset with these files.
    pub async fn of(files: &[(String, Vec<u8>)]) -> Self {
        let folder = folder();
        for (name, content) in files {
            std::fs::write(folder.path().join(name), content).unwrap();
        }
        let expected = undisturbed(folder.path()).await;
        Self { folder, expected }
    }

    /// Returns the size of a file.
    pub fn size(&self, file: &str) -> u64 {
        self.folder.path().join(file).metadata().unwrap().len()
    }
}

/// Returns a generated dataset whose largest file has about 20 ranges, made once for all tests of a binary.
pub async fn generated() -> &'static Set {
    static SET: OnceCell<Set> = OnceCell::const_new();
    let generate = || async {
        let folder = folder();
        let options = Options { scale: 0.000_1, seed: 5, legacy_format: false };
        sample_data::generate(&options, folder.path(), |_| {}).unwrap();
        let expected = undisturbed(folder.path()).await;
        Set { folder, expected }
    };
    SET.get_or_init(generate).await
}

/// Returns the same dataset with one text changed in one file.
pub async fn with_other(set: &Set, file: &str) -> Set {
    let mut files = files(set.folder.path());
    let (_, content) = files.iter_mut().find(|(name, _)| name == file).unwrap();
    let end = content.iter().rposition(|byte| *byte == b'"').unwrap();
    content.splice(end..end, *b" and so on");
    Set::of(&files).await
}

/// Returns a bucket and a database whose catalog is the hand-made dataset, and that catalog's content.
pub async fn serving() -> (Incoming, String) {
    let database = load_into(Database::create().await.unwrap(), &small_dataset()).await.database;
    let incoming = Incoming::of(database, &[]).await;
    let served = content(&incoming.database).await;
    (incoming, served)
}

/// Sends the function one S3 event with all these records; returns its error if it fails.
pub async fn handle_all(incoming: &Incoming, records: &[Value]) -> Result<(), String> {
    let event = json!({ "Records": records }).to_string();
    incoming.function.handle(&event, TIME).await.map(drop).map_err(|error| error.to_string())
}

/// Asserts that two catalogs are equal, and prints the first line in which they differ.
pub fn assert_same(found: &str, expected: &str, what: &str) {
    if found != expected {
        let differ = found.lines().zip(expected.lines()).find(|(found, expected)| found != expected);
        let short = |line: &str| line.chars().take(500).collect::<String>();
        let differ = differ.map(|(found, expected)| (short(found), short(expected)));
        panic!("{what}: {differ:#?}, in {} and {} lines", found.lines().count(), expected.lines().count());
    }
}

/// Asserts that the served catalog has this content.
pub async fn assert_served(incoming: &Incoming, expected: &str) {
    assert_same(&content(&incoming.database).await, expected, "the catalog served");
}

/// Returns the first and the last byte that a GET requests.
pub fn requested_range(seen: &HttpRequest) -> (u64, u64) {
    let range = seen.header("range").and_then(|range| range.strip_prefix("bytes="));
    let (from, to) = range.and_then(|range| range.split_once('-')).unwrap_or_else(|| panic!("{seen:?}"));
    (from.parse().unwrap(), to.parse().unwrap())
}

/// Returns whether this is a GET for rows of a file, which start after the header.
pub fn is_for_rows(seen: &HttpRequest, file: &str) -> bool {
    seen.method == Method::GET && seen.key.ends_with(file) && requested_range(seen).0 > 0
}

/// Returns whether this is a GET for rows of any file.
pub fn rows(seen: &HttpRequest) -> bool {
    is_for_rows(seen, "")
}

/// Asserts that every GET requests a range of one version.
pub fn check_requests(proxy: &HttpProxy) {
    let seen = proxy.requests();
    assert!(seen.iter().any(|seen| seen.method == Method::GET), "nothing was read");
    for seen in seen.iter().filter(|seen| seen.method == Method::GET) {
        assert!(seen.header("if-match").is_some() && seen.header("range").is_some(), "{seen:?}");
    }
}

/// Runs `atelier-etl load` in a temporary folder, with these variables for S3.
pub fn load_by_command(database: &Database, s3: &[(&str, OsString)], arguments: &[&str]) -> Output {
    let folder = folder();
    Command::new(local::program("atelier-etl").unwrap())
        .arg("load")
        .args(arguments)
        .current_dir(folder.path())
        .env("DATABASE_URL", database.url())
        .envs(s3.iter().map(|(name, value)| (name, value)))
        .output()
        .unwrap()
}

/// Returns the output of a load, which must have succeeded.
pub fn summary(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Returns the error message of a load, which must have failed with exit code 1.
pub fn error_message(output: &Output) -> String {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    let line = text.lines().last().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or_else(|| panic!("no error line in {text}")).to_owned()
}

/// A switch with which a test ends the faults of its script.
#[derive(Clone, Default)]
pub struct FaultSwitch(Arc<AtomicBool>);

impl FaultSwitch {
    pub fn turn_off(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub fn is_off(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Makes every request for skus.csv that `is_meant` selects fail, and then none. The load waits with the reason
/// recorded, and then publishes as if nothing had failed.
pub async fn fails_until_turned_off(
    reading: ReadPolicy,
    fault: Fault,
    is_meant: fn(&HttpRequest) -> bool,
    expected: &[&str],
) {
    let set = generated().await;
    let (incoming, served) = serving().await;
    let records = incoming.put_folder("spring", set.folder.path()).await;
    let switch = FaultSwitch::default();
    let script_switch = switch.clone();
    let proxy = HttpProxy::start(incoming.bucket.server(), async move |seen| {
        if seen.key.ends_with("/skus.csv") && is_meant(seen) && !script_switch.is_off() {
            fault
        } else {
            Fault::None
        }
    });
    let incoming = incoming.through(&proxy, reading).await;
    let error = handle_all(&incoming, &records).await.unwrap_err();
    // If no load has started, the reason is only in the log.
    let reason = "select coalesce(max(coalesce(reason, 'none')), '') from etl.load where generation > 1";
    let reason = incoming.text(reason).await;
    for part in expected.iter().chain(&[&*incoming.bucket.url("incoming/spring/skus.csv")]) {
        assert!(error.contains(part), "{part} in {error}");
        assert!(reason.is_empty() || reason.contains(part), "{part} in the record: {reason}");
    }
    let skus = records.iter().find(|record| key(record).ends_with("skus.csv")).unwrap();
    assert!(!incoming.is_done(skus).await, "the message must be delivered again");
    assert_served(&incoming, &served).await;
    assert_eq!((incoming.published().await, incoming.alarms()), (1, 0));
    assert_eq!(
        incoming.number("select count(*) from etl.load where step in ('failed', 'abandoned')").await,
        0
    );
    switch.turn_off();
    handle_all(&incoming, &records).await.unwrap();
    assert_served(&incoming, &set.expected).await;
    assert_eq!(
        incoming.number("select max(generation)::bigint from etl.load").await,
        2,
        "the same load resumed"
    );
}
