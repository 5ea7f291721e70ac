//! A bucket in which files arrive, and the function that is told of them.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use conformance::s3::{Bucket, Proxy};
use etl::function::{Config, Function, Metric};
use etl::s3::{Reading, S3};
use local::testing::Database;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::events::key;
use super::loader::until;

/// What an invocation is given: Lambda's most.
pub const TIME: Duration = Duration::from_secs(900);

/// A bucket, a database, and the function between them.
#[derive(Clone)]
pub struct Incoming {
    pub bucket: Bucket,
    pub database: Database,
    pub function: Arc<Function>,
    failures: Arc<AtomicU64>,
    sequence: Arc<AtomicU64>,
}

impl Incoming {
    /// With nothing in it.
    pub async fn create() -> Self {
        Self::of(Database::create().await.unwrap(), &[]).await
    }

    /// For this database, the function with these variables too.
    pub async fn of(database: Database, further: &[(&str, &str)]) -> Self {
        let bucket = Bucket::create().await;
        let s3 = S3::of_server(&format!("http://{}", bucket.server()), "x", "x").await;
        let failures = Arc::default();
        let function = Arc::new(function(&database, &bucket, s3, further, count_into(&failures)).await);
        Self { bucket, database, function, failures, sequence: Arc::default() }
    }

    /// The same bucket and database, and a function that reaches the bucket through a proxy and reads it so.
    pub async fn through(&self, proxy: &Proxy, reading: Reading) -> Self {
        let s3 = S3::of_server(&format!("http://{}", proxy.address()), "x", "x").await.with(reading);
        let count = count_into(&self.failures);
        let function = Arc::new(function(&self.database, &self.bucket, s3, &[], count).await);
        Self { function, ..self.clone() }
    }

    /// Puts a file where it belongs, and answers with the record of an event that tells of it.
    pub async fn put(&self, dataset: &str, file: &str, content: impl Into<bytes::Bytes>) -> Value {
        let key = format!("incoming/{dataset}/{file}");
        self.bucket.put(&key, content).await;
        self.record(&key).await
    }

    /// Puts every CSV file of a folder, and answers with a record for each, in the order of their names.
    pub async fn put_folder(&self, dataset: &str, folder: &Path) -> Vec<Value> {
        let mut records = Vec::new();
        for (name, content) in files(folder) {
            records.push(self.put(dataset, &name, content).await);
        }
        records
    }

    /// The record of an event that tells of what is at a key now.
    pub async fn record(&self, key: &str) -> Value {
        let etag = self.bucket.etag(key).await.unwrap();
        record(&self.bucket, key, &etag, self.sequence.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Has the function handle one record in one message; answers whether it is done with it.
    pub async fn is_done(&self, record: &Value) -> bool {
        failed(&self.handle(&message("1", record), TIME).await).is_empty()
    }

    /// Has the function handle an event.
    pub async fn handle(&self, event: &Value, time: Duration) -> Value {
        self.function.handle(&event.to_string(), time).await.unwrap()
    }

    /// What a query over one text answers.
    pub async fn text(&self, select: &str) -> String {
        self.database.connect().await.unwrap().query_one(select, &[]).await.unwrap().get(0)
    }

    /// What a query over one number answers.
    pub async fn number(&self, select: &str) -> i64 {
        self.database.connect().await.unwrap().query_one(select, &[]).await.unwrap().get(0)
    }

    /// How often an alarm would have gone off so far.
    pub fn alarms(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// How many catalogs were published so far.
    pub async fn published(&self) -> i64 {
        self.number("select count(*) from etl.publication").await
    }
}

/// Tells of one file while another function reads, as S3 would: by a function that reaches the bucket directly. That one
/// runs with the test, and not on the thread of the proxy whose script tells.
pub struct Teller {
    incoming: Incoming,
    tell: Mutex<Option<oneshot::Sender<Value>>>,
}

impl Teller {
    /// How long the moment to tell may be waited for.
    const PATIENCE: Duration = Duration::from_mins(2);

    /// With what becomes of it: whether the function is done with what it was told.
    pub fn new(incoming: &Incoming) -> (Self, JoinHandle<bool>) {
        let (tell, told) = oneshot::channel();
        let function = incoming.clone();
        let telling = tokio::spawn(async move {
            let record = timeout(Self::PATIENCE, told).await.expect("nobody has told").unwrap();
            function.is_done(&record).await
        });
        (Self { incoming: incoming.clone(), tell: Mutex::new(Some(tell)) }, telling)
    }

    /// Tells, and waits until the arrival is recorded.
    pub async fn tell(&self, record: Value) {
        let sequencer = record["s3"]["object"]["sequencer"].as_str().unwrap().to_owned();
        let file = key(&record).rsplit('/').next().unwrap().to_owned();
        let arrived =
            format!("select coalesce(max(sequencer), '') from etl.incoming_file where file = '{file}'");
        self.tell.lock().unwrap().take().unwrap().send(record).unwrap();
        until("its arrival is recorded", async || self.incoming.text(&arrived).await == sequencer).await;
    }
}

/// The CSV files of a folder with their contents, in the order of their names.
pub fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let paths = folder.read_dir().unwrap().map(|entry| entry.unwrap().path());
    let csv = paths.filter(|path| path.extension().is_some_and(|extension| extension == "csv"));
    let read = |path: std::path::PathBuf| {
        (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(path).unwrap())
    };
    let mut files: Vec<_> = csv.map(read).collect();
    files.sort();
    files
}

/// A manifest of these files, what it says of each as `change` makes it.
pub fn manifest(files: &[(String, Vec<u8>)], change: impl Fn(&str, &mut Value)) -> String {
    let listed = files.iter().map(|(name, content)| {
        let hash: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
        let mut file = json!({ "name": name, "size": content.len(), "sha256": hash });
        change(name, &mut file);
        file
    });
    json!({ "files": listed.collect::<Vec<_>>() }).to_string()
}

/// A file with so many rows more, of which none can be loaded.
pub fn with_broken_rows(file: &[u8], rows: usize) -> Vec<u8> {
    [file, "\nno,row".repeat(rows).as_bytes()].concat()
}

fn count_into(failures: &Arc<AtomicU64>) -> impl Fn(Metric) + Send + Sync + 'static {
    let failures = Arc::clone(failures);
    move |metric| {
        if metric == Metric::Failed {
            failures.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The function for a database, by its own login, and a bucket, which it reaches so.
pub async fn function(
    database: &Database,
    bucket: &Bucket,
    s3: S3,
    further: &[(&str, &str)],
    count: impl Fn(Metric) + Send + Sync + 'static,
) -> Function {
    let mut variables = vec![
        ("DATABASE_URL".to_owned(), database.function_url("etl").await.unwrap()),
        ("REJECTS_URL".to_owned(), bucket.url("rejects/")),
    ];
    variables.extend(further.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    let lookup =
        |name: &str| variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    let config = Config::from_lookup(&lookup).unwrap();
    Function::new(&config, s3, count)
}

/// The record of an event that tells of an object with this `ETag`, the `nth` of its key.
pub fn record(bucket: &Bucket, key: &str, etag: &str, nth: u64) -> Value {
    json!({
        "eventVersion": "2.1", "eventSource": "aws:s3", "eventName": "ObjectCreated:Put",
        "s3": {
            "bucket": { "name": bucket.name() },
            "object": { "key": key, "eTag": etag.trim_matches('"'), "sequencer": format!("{nth:016X}") },
        },
    })
}

/// An event of SQS with one message, which wraps an event with one record.
pub fn message(id: &str, record: &Value) -> Value {
    let body = json!({ "Records": [record] }).to_string();
    json!({ "Records": [{ "eventSource": "aws:sqs", "messageId": id, "body": body }] })
}

/// The messages that are to come again.
pub fn failed(reply: &Value) -> Vec<&str> {
    let failures = reply["batchItemFailures"].as_array().unwrap();
    failures.iter().map(|failure| failure["itemIdentifier"].as_str().unwrap()).collect()
}

/// What the load of a dataset comes to that nothing disturbs.
pub async fn undisturbed(dataset: &Path) -> String {
    content(&super::load(dataset).await.database).await
}

/// Everything that a published catalog holds, and what was set aside for it, but for its generation: equal texts are
/// equal catalogs.
pub async fn content(database: &Database) -> String {
    let client = database.connect().await.unwrap();
    let mut content = String::new();
    for (table, order) in [
        ("products", "id"),
        ("features", "id"),
        ("styles", "id"),
        ("photos", "id"),
        ("skus", "id"),
        ("related", "id"),
        ("cart", "id"),
        ("documents", "product_id"),
    ] {
        let select = format!(
            "select coalesce(string_agg((to_jsonb(t) - 'generation')::text, e'\\n' order by {order}), '')
             from catalog.{table} as t"
        );
        let rows: String = client.query_one(&select, &[]).await.unwrap().get(0);
        content += &format!("{table}\n{rows}\n");
    }
    let rejects = "select coalesce(string_agg((to_jsonb(t) - 'generation')::text, e'\\n' order by file, byte_offset), '')
                   from etl.reject as t where generation = (select generation from catalog.documents limit 1)";
    let rejects: String = client.query_one(rejects, &[]).await.unwrap().get(0);
    content + "rejects\n" + &rejects
}
