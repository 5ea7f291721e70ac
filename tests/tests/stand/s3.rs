//! Datasets that are loaded from an S3 which fails, and what they come to when nothing does.

use std::ffi::OsString;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use conformance::s3::{Fault, Proxy, Seen};
use conformance::small_dataset;
use etl::generate::Options;
use etl::s3::Reading;
use http::Method;
use local::testing::Database;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use super::events::key;
use super::incoming::{Incoming, TIME, content, files, undisturbed};
use super::load_into;

/// Ranges so short that a small file has many, and patience that a test has too.
pub const BRISK: Reading = Reading {
    range: 4 << 10,
    ranges_ahead: 3,
    silence: Duration::from_secs(1),
    longest_range: Duration::from_secs(60),
    attempts: 8,
    first_pause: Duration::from_millis(1),
};

/// The same where nothing is meant to be silent: how often something is asked for must not hang on how busy the machine is.
pub const PATIENT: Reading = Reading { silence: Duration::from_secs(60), ..BRISK };

/// A folder that can be a dataset.
pub fn folder() -> TempDir {
    tempfile::Builder::new().prefix("set-").tempdir().unwrap()
}

/// A dataset in a folder, and what it comes to when it is loaded from there.
pub struct Set {
    pub folder: TempDir,
    pub expected: String,
}

impl Set {
    /// Of these files.
    pub async fn of(files: &[(String, Vec<u8>)]) -> Self {
        let folder = folder();
        for (name, content) in files {
            std::fs::write(folder.path().join(name), content).unwrap();
        }
        let expected = undisturbed(folder.path()).await;
        Self { folder, expected }
    }

    /// The size of a file.
    pub fn size(&self, file: &str) -> u64 {
        self.folder.path().join(file).metadata().unwrap().len()
    }
}

/// A generated dataset with some 20 ranges in its largest file, made once for all tests of a binary.
pub async fn generated() -> &'static Set {
    static SET: OnceCell<Set> = OnceCell::const_new();
    let generate = || async {
        let folder = folder();
        let options = Options { scale: 0.000_1, seed: 5, legacy_format: false };
        etl::generate::generate(&options, folder.path(), |_| {}).unwrap();
        let expected = undisturbed(folder.path()).await;
        Set { folder, expected }
    };
    SET.get_or_init(generate).await
}

/// The same dataset, but for one file, in which one text is another.
pub async fn with_other(set: &Set, file: &str) -> Set {
    let mut files = files(set.folder.path());
    let (_, content) = files.iter_mut().find(|(name, _)| name == file).unwrap();
    let end = content.iter().rposition(|byte| *byte == b'"').unwrap();
    content.splice(end..end, *b" and so on");
    Set::of(&files).await
}

/// A bucket and a database in which the hand-made dataset is the catalog.
pub async fn serving() -> (Incoming, String) {
    let database = load_into(Database::create().await.unwrap(), &small_dataset()).await.database;
    let incoming = Incoming::of(database, &[]).await;
    let served = content(&incoming.database).await;
    (incoming, served)
}

/// Has the function handle one event of S3 that tells of all these; what it fails with, if so.
pub async fn handle_all(incoming: &Incoming, records: &[Value]) -> Result<(), String> {
    let event = json!({ "Records": records }).to_string();
    incoming.function.handle(&event, TIME).await.map(drop).map_err(|error| error.to_string())
}

/// Fails where two catalogs differ, with the first line in which they do.
pub fn assert_same(found: &str, expected: &str, what: &str) {
    if found != expected {
        let differ = found.lines().zip(expected.lines()).find(|(found, expected)| found != expected);
        let short = |line: &str| line.chars().take(500).collect::<String>();
        let differ = differ.map(|(found, expected)| (short(found), short(expected)));
        panic!("{what}: {differ:#?}, in {} and {} lines", found.lines().count(), expected.lines().count());
    }
}

/// Holds that a catalog is what it should be.
pub async fn assert_served(incoming: &Incoming, expected: &str) {
    assert_same(&content(&incoming.database).await, expected, "the catalog served");
}

/// The first and the last byte that a GET is for.
pub fn asked_for(seen: &Seen) -> (u64, u64) {
    let range = seen.range.as_deref().and_then(|range| range.strip_prefix("bytes="));
    let (from, to) = range.and_then(|range| range.split_once('-')).unwrap_or_else(|| panic!("{seen:?}"));
    (from.parse().unwrap(), to.parse().unwrap())
}

/// Whether this is a GET for rows of a file, which do not begin where the file does.
pub fn is_for_rows(seen: &Seen, file: &str) -> bool {
    seen.method == Method::GET && seen.key.ends_with(file) && asked_for(seen).0 > 0
}

/// Whether this is a GET for rows of any file.
pub fn rows(seen: &Seen) -> bool {
    is_for_rows(seen, "")
}

/// Fails if a GET was not for a range of one version.
pub fn check_requests(proxy: &Proxy) {
    let seen = proxy.seen();
    assert!(seen.iter().any(|seen| seen.method == Method::GET), "nothing was read");
    for seen in seen.iter().filter(|seen| seen.method == Method::GET) {
        assert!(seen.if_match.is_some() && seen.range.is_some(), "{seen:?}");
    }
}

/// Runs `atelier-etl load` in a folder of its own, S3 being what these variables say.
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

/// What it says of itself when it has succeeded.
pub fn summary(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The one line that says why it has failed, with exit code 1.
pub fn complaint(output: &Output) -> String {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    let line = text.lines().last().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or_else(|| panic!("no error line in {text}")).to_owned()
}

/// A switch by which a test ends what its script does.
#[derive(Clone, Default)]
pub struct Over(Arc<AtomicBool>);

impl Over {
    pub fn end(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub fn is(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Has every request for this file fail that `is_meant`, then none: the load waits with what it is told, and ends as if
/// nothing had been.
pub async fn fails_until_it_is_over(
    reading: Reading,
    fault: Fault,
    is_meant: fn(&Seen) -> bool,
    expected: &[&str],
) {
    let set = generated().await;
    let (incoming, served) = serving().await;
    let records = incoming.put_folder("spring", set.folder.path()).await;
    let over = Over::default();
    let until = over.clone();
    let proxy = Proxy::start(incoming.bucket.server(), async move |seen| {
        if seen.key.ends_with("/skus.csv") && is_meant(seen) && !until.is() { fault } else { Fault::None }
    });
    let incoming = incoming.through(&proxy, reading).await;
    let error = handle_all(&incoming, &records).await.unwrap_err();
    // Where no load began, the log has it.
    let reason = "select coalesce(max(coalesce(reason, 'none')), '') from etl.load where generation > 1";
    let reason = incoming.text(reason).await;
    for part in expected.iter().chain(&[&*incoming.bucket.url("incoming/spring/skus.csv")]) {
        assert!(error.contains(part), "{part} in {error}");
        assert!(reason.is_empty() || reason.contains(part), "{part} in the record: {reason}");
    }
    let skus = records.iter().find(|record| key(record).ends_with("skus.csv")).unwrap();
    assert!(!incoming.is_done(skus).await, "the message is to come again");
    assert_served(&incoming, &served).await;
    assert_eq!((incoming.published().await, incoming.alarms()), (1, 0));
    assert_eq!(
        incoming.number("select count(*) from etl.load where step in ('failed', 'abandoned')").await,
        0
    );
    over.end();
    handle_all(&incoming, &records).await.unwrap();
    assert_served(&incoming, &set.expected).await;
    assert_eq!(
        incoming.number("select max(generation)::bigint from etl.load").await,
        2,
        "the same load went on"
    );
}
