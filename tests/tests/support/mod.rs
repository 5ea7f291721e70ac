//! Support for the tests: datasets that the real loader loads into separate databases, and hosts that serve them on
//! sockets.

// Each test binary uses only a part of this module.
#![allow(dead_code, unreachable_pub)]

pub mod balancing;
pub mod derivation;
pub mod disk;
pub mod events;
pub mod front;
pub mod functions;
pub mod incoming;
pub mod loader;
pub mod marked;
pub mod mutation;
pub mod s3;
pub mod serving;
pub mod template;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use conformance::small_dataset;
use etl::load::{LoadOptions, OutputTarget, Summary};
use etl::progress::Progress;
use etl::source::{Dataset, DatasetLocation};
use rig::Database;
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;
use tokio_postgres::Client;

/// The runtime for what tests share. A test's own runtime ends with the test.
static SHARED_RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

/// Returns the folder of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A dataset that is loaded and published.
pub struct Loaded {
    pub database: Database,
    pub summary: Summary,
    /// The CSV of the rejected rows; empty if there are none.
    pub rejects: Vec<u8>,
}

/// Loads a dataset into a new database.
pub async fn load(dir: impl AsRef<Path>) -> Loaded {
    let database = Database::create().await.unwrap();
    load_into(database, dir.as_ref()).await
}

/// Loads a dataset and publishes it in this database.
pub async fn load_into(database: Database, dir: &Path) -> Loaded {
    let out = tempfile::tempdir().unwrap();
    let rejects = out.path().join("rejects.csv");
    let options = LoadOptions::new(OutputTarget::File(rejects.clone()), Progress::Silent);
    let dataset = Dataset::open(&DatasetLocation::Folder(dir.to_owned()), Some("tested")).await.unwrap();
    let summary = etl::load::load(&database.config(), dataset, options).await.unwrap();
    Loaded { database, summary, rejects: std::fs::read(rejects).unwrap_or_default() }
}

/// Runs a future on the shared runtime, from a new thread, because the future of a load is not `Send`.
async fn on_shared_runtime<F, T>(begin: impl FnOnce() -> F + Send + 'static) -> T
where
    F: Future<Output = T>,
    T: Send + 'static,
{
    tokio::task::spawn_blocking(move || SHARED_RUNTIME.block_on(begin())).await.unwrap()
}

/// Returns the hand-made dataset with the carts that the suite needs, loaded once for all tests of a binary.
pub async fn small() -> &'static Loaded {
    static SMALL: OnceCell<Loaded> = OnceCell::const_new();
    let load = async || {
        let loaded = load(small_dataset()).await;
        let client = loaded.database.connect().await.unwrap();
        client.batch_execute(conformance::cart::NEARLY_FULL_CARTS).await.unwrap();
        loaded
    };
    SMALL.get_or_init(|| on_shared_runtime(load)).await
}

/// Loads a generated dataset into a new database.
pub async fn generated(scale: f64, seed: u64, legacy_format: bool) -> Loaded {
    let dir = tempfile::tempdir().unwrap();
    let options = sample_data::Options { scale, seed, legacy_format };
    sample_data::generate(&options, dir.path(), |_| {}).unwrap();
    load(dir.path()).await
}

/// Returns the folder in `REAL_HEADS`. If it is not set, prints so and returns `None`.
pub fn real_heads() -> Option<PathBuf> {
    let dir = std::env::var_os("REAL_HEADS").filter(|dir| !dir.is_empty());
    if dir.is_none() {
        println!("REAL_HEADS is not set: this ran over the project's own data only");
    }
    dir.map(Into::into)
}

/// The three stored documents of a product, as text, decompressed.
#[derive(Debug, PartialEq, Eq)]
pub struct Document {
    pub product_id: i32,
    pub product: String,
    pub styles: String,
    pub related: String,
}

impl Document {
    /// Returns the overview that consists of these three.
    pub fn overview(&self) -> String {
        format!(r#"{{"product":{},"styles":{},"related":{}}}"#, self.product, self.styles, self.related)
    }
}

/// Returns all stored documents, in ascending order of id.
pub async fn documents(client: &Client) -> Vec<Document> {
    let rows = client
        .query("select product_id, product, styles, related from catalog.documents order by product_id", &[])
        .await
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    rows.iter()
        .map(|row| Document {
            product_id: row.get(0),
            product: text(row.get(1)),
            styles: text(&conformance::gunzip(row.get(2))),
            related: text(row.get(3)),
        })
        .collect()
}

/// Returns the stored documents of one product.
pub async fn document(client: &Client, product_id: i32) -> Document {
    documents(client).await.into_iter().find(|d| d.product_id == product_id).unwrap()
}
