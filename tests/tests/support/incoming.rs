//! A bucket into which tests upload files, and the etl function that receives events about them.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use conformance::s3::Bucket;
use etl::function::{Config, Function, Metric};
use etl::s3::{ReadPolicy, S3};
use rig::{Database, HttpProxy};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The time limit of an invocation: Lambda's maximum.
pub const TIME: Duration = Duration::from_secs(900);

/// A bucket, a database, and the etl function that loads from one into the other.
#[derive(Clone)]
pub struct Incoming {
    pub bucket: Bucket,
    pub database: Database,
    pub function: Arc<Function>,
    counted: Arc<Mutex<Vec<Metric>>>,
}

impl Incoming {
    /// Creates an empty bucket and an empty database.
    pub async fn create() -> Self {
        Self::of(Database::create().await.unwrap(), &[]).await
    }

    /// Creates an empty bucket for this database, and a function with further variables.
    pub async fn of(database: Database, further: &[(&str, &str)]) -> Self {
        let bucket = Bucket::create().await;
        let s3 = S3::with_endpoint(&format!("http://{}", bucket.server()), "x", "x").await;
        let counted = Arc::default();
        let function = Arc::new(function(&database, &bucket, s3, further, count_into(&counted)).await);
        Self { bucket, database, function, counted }
    }

    /// Returns the same bucket and database with a function that has further variables.
    pub async fn with(&self, further: &[(&str, &str)]) -> Self {
        let s3 = S3::with_endpoint(&format!("http://{}", self.bucket.server()), "x", "x").await;
        self.with_function(s3, further).await
    }

    /// Returns the same bucket and database with a function that reads the bucket through a proxy, with this read
    /// policy.
    pub async fn through(&self, proxy: &HttpProxy, reading: ReadPolicy) -> Self {
        let s3 = S3::with_endpoint(&format!("http://{}", proxy.address()), "x", "x").await.with(reading);
        self.with_function(s3, &[]).await
    }

    async fn with_function(&self, s3: S3, further: &[(&str, &str)]) -> Self {
        let count = count_into(&self.counted);
        let function = Arc::new(function(&self.database, &self.bucket, s3, further, count).await);
        Self { function, ..self.clone() }
    }

    /// Uploads a file of a dataset, and returns the event record for it.
    pub async fn put(&self, dataset: &str, file: &str, content: impl Into<bytes::Bytes>) -> Value {
        let key = format!("incoming/{dataset}/{file}");
        self.bucket.put(&key, content).await;
        self.record(&key).await
    }

    /// Uploads every CSV file of a folder, and returns a record for each, in the order of their names.
    pub async fn put_folder(&self, dataset: &str, folder: &Path) -> Vec<Value> {
        let mut records = Vec::new();
        for (name, content) in files(folder) {
            records.push(self.put(dataset, &name, content).await);
        }
        records
    }

    /// Returns the event record for the current object of a key.
    pub async fn record(&self, key: &str) -> Value {
        let etag = self.bucket.etag(key).await.unwrap();
        record(&self.bucket, key, &etag, 1)
    }

    /// Uploads every CSV file of a folder, sends the event of each, and returns the events' records. Each message must
    /// complete.
    pub async fn deliver(&self, dataset: &str, folder: &Path) -> Vec<Value> {
        let records = self.put_folder(dataset, folder).await;
        for record in &records {
            assert!(self.is_done(record).await, "{record}");
        }
        records
    }

    /// Returns the output of `atelier-etl status`.
    pub async fn status(&self) -> String {
        etl::status::status(&self.database.config()).await.unwrap().to_string()
    }

    /// Sends the function one record in one message, and returns whether it has completed the message.
    pub async fn is_done(&self, record: &Value) -> bool {
        failed(&self.handle(&message("1", record), TIME).await).is_empty()
    }

    /// Sends the function an event, and returns its reply.
    pub async fn handle(&self, event: &Value, time: Duration) -> Value {
        self.function.handle(&event.to_string(), time).await.unwrap()
    }

    /// Returns the only text that a query selects.
    pub async fn text(&self, select: &str) -> String {
        self.database.connect().await.unwrap().query_one(select, &[]).await.unwrap().get(0)
    }

    /// Returns the only number that a query selects.
    pub async fn number(&self, select: &str) -> i64 {
        self.database.connect().await.unwrap().query_one(select, &[]).await.unwrap().get(0)
    }

    /// Returns how often the alarm for failed loads would have fired so far.
    pub fn alarms(&self) -> u64 {
        self.counted(Metric::Failed)
    }

    /// Returns how often the alarm for ignored deliveries would have fired so far.
    pub fn ignored(&self) -> u64 {
        self.counted(Metric::Ignored)
    }

    fn counted(&self, metric: Metric) -> u64 {
        self.counted.lock().unwrap().iter().filter(|counted| **counted == metric).count() as u64
    }

    /// Returns the number of catalogs published so far.
    pub async fn published(&self) -> i64 {
        self.number("select count(*) from etl.publication").await
    }
}

/// Returns the CSV files of a folder with their contents, in the order of their names.
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

/// Returns a manifest of these files, whose entries `change` can modify.
pub fn manifest(files: &[(String, Vec<u8>)], change: impl Fn(&str, &mut Value)) -> String {
    let listed = files.iter().map(|(name, content)| {
        let hash: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
        let mut file = json!({ "name": name, "size": content.len(), "sha256": hash });
        change(name, &mut file);
        file
    });
    json!({ "files": listed.collect::<Vec<_>>() }).to_string()
}

/// Returns a file with further rows, none of which can be loaded.
pub fn with_broken_rows(file: &[u8], rows: usize) -> Vec<u8> {
    [file, "\nno,row".repeat(rows).as_bytes()].concat()
}

fn count_into(counted: &Arc<Mutex<Vec<Metric>>>) -> impl Fn(Metric) + Send + Sync + 'static {
    let counted = Arc::clone(counted);
    move |metric| counted.lock().unwrap().push(metric)
}

/// Creates the etl function with its own login for a database, and with this client for a bucket.
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

/// Returns the event record for the `nth` object of a key, with this `ETag`.
pub fn record(bucket: &Bucket, key: &str, etag: &str, nth: u64) -> Value {
    json!({
        "eventVersion": "2.1", "eventSource": "aws:s3", "eventName": "ObjectCreated:Put",
        "s3": {
            "bucket": { "name": bucket.name() },
            "object": { "key": key, "eTag": etag.trim_matches('"'), "sequencer": format!("{nth:016X}") },
        },
    })
}

/// Returns an SQS event with one message, which wraps an event with one record.
pub fn message(id: &str, record: &Value) -> Value {
    let body = json!({ "Records": [record] }).to_string();
    json!({ "Records": [{ "eventSource": "aws:sqs", "messageId": id, "body": body }] })
}

/// Returns the ids of the messages that SQS must deliver again.
pub fn failed(reply: &Value) -> Vec<&str> {
    let failures = reply["batchItemFailures"].as_array().unwrap();
    failures.iter().map(|failure| failure["itemIdentifier"].as_str().unwrap()).collect()
}

/// Returns the content of a catalog that an undisturbed load of a dataset publishes.
pub async fn undisturbed(dataset: &Path) -> String {
    content(&super::load(dataset).await.database).await
}

/// Returns all data of a published catalog and its rejected rows, except its generation. Equal texts mean equal
/// catalogs.
pub async fn content(database: &Database) -> String {
    let client = database.connect().await.unwrap();
    client.batch_execute("set work_mem = '1GB'").await.unwrap(); // a full disk has no space for temporary files
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
        ("categories", "category, block"),
        ("words", "block, word"),
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
