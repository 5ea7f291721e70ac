//! What the tests stand on: datasets loaded by the real loader into databases of their own, served on real sockets.

// Each test binary takes what it needs, and nothing else sees it.
#![allow(dead_code, unreachable_pub)]

pub mod derivation;
pub mod disk;
pub mod events;
pub mod functions;
pub mod incoming;
pub mod loader;
pub mod marked;
pub mod mutation;
pub mod s3;
pub mod scripted;
pub mod serving;
pub mod template;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use conformance::small_dataset;
use etl::load::{LoadOptions, RejectsPlace, Summary};
use etl::progress::Progress;
use etl::source::{Dataset, Location};
use local::testing::Database;
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;
use tokio_postgres::Client;

/// What several tests share runs here: each test's own runtime ends with it.
static SHARED_RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

/// The folder of the project.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A dataset that was loaded and published.
pub struct Loaded {
    pub database: Database,
    pub summary: Summary,
    /// The CSV of the rows set aside; empty where none were.
    pub rejects: Vec<u8>,
}

/// Loads a dataset into a new database.
pub async fn load(dir: impl AsRef<Path>) -> Loaded {
    let database = Database::create().await.unwrap();
    load_into(database, dir.as_ref()).await
}

/// Loads a dataset and makes it the catalog of this database.
pub async fn load_into(database: Database, dir: &Path) -> Loaded {
    let out = tempfile::tempdir().unwrap();
    let rejects = out.path().join("rejects.csv");
    let options = LoadOptions::new(RejectsPlace::File(rejects.clone()), Progress::Silent);
    let dataset = Dataset::open(&Location::Folder(dir.to_owned()), Some("tested")).await.unwrap();
    let summary = etl::load::load(&database.config(), dataset, options).await.unwrap();
    Loaded { database, summary, rejects: std::fs::read(rejects).unwrap_or_default() }
}

/// Does something on the shared runtime, from a thread of its own: the future of a load can't be sent to one.
async fn on_shared_runtime<F, T>(begin: impl FnOnce() -> F + Send + 'static) -> T
where
    F: Future<Output = T>,
    T: Send + 'static,
{
    tokio::task::spawn_blocking(move || SHARED_RUNTIME.block_on(begin())).await.unwrap()
}

/// The hand-made dataset, loaded once for all tests of a binary, with the carts that the suite wants.
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

/// A generated dataset, loaded into a database of its own.
pub async fn generated(scale: f64, seed: u64, legacy_format: bool) -> Loaded {
    let dir = tempfile::tempdir().unwrap();
    let options = etl::generate::Options { scale, seed, legacy_format };
    etl::generate::generate(&options, dir.path(), |_| {}).unwrap();
    load(dir.path()).await
}

/// Where `REAL_HEADS` points; where it is not set, says so and answers none.
pub fn real_heads() -> Option<PathBuf> {
    let dir = std::env::var_os("REAL_HEADS").filter(|dir| !dir.is_empty());
    if dir.is_none() {
        println!("REAL_HEADS is not set: this ran over the project's own data only");
    }
    dir.map(Into::into)
}

/// The three answers stored of a product, as text, gzip undone.
#[derive(Debug, PartialEq, Eq)]
pub struct Document {
    pub product_id: i32,
    pub product: String,
    pub styles: String,
    pub related: String,
}

impl Document {
    /// The overview that these three make.
    pub fn overview(&self) -> String {
        format!(r#"{{"product":{},"styles":{},"related":{}}}"#, self.product, self.styles, self.related)
    }
}

/// All answers stored, in ascending order of id.
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

/// The answers stored of one product.
pub async fn document(client: &Client, product_id: i32) -> Document {
    documents(client).await.into_iter().find(|d| d.product_id == product_id).unwrap()
}
