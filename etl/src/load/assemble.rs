//! The third step: the rows of each product are merged into its finished answers.
//!
//! Products are taken in batches by rank. A batch reads the rows that belong to it through the (parent, position)
//! indexes, so nothing depends on the order of the files; what is in memory is one batch a worker. Every row that
//! reaches a document is counted, and the counts must be those of the load's record.

use std::ops::AddAssign;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::SinkExt;
use libdeflater::{CompressionLvl, Compressor};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_postgres::Client;
use xxhash_rust::xxh3::xxh3_64;

use super::copy_out::{CopyOut, Row};
use super::{Context, LoadError, json};
use crate::record;
use crate::row::{COPY_HEADER, COPY_TRAILER};
use crate::table::{DOCUMENTS_DDL, TABLES};

/// How many products are assembled at a time: some 15 MB of rows.
const BATCH: i32 = 4096;

/// Level 6 takes half as long again for two bytes in a hundred.
const GZIP_LEVEL: i32 = 1;

/// Fills `catalog_next.documents`, from nothing.
pub(super) async fn run(context: &Arc<Context>) -> Result<(), LoadError> {
    let mut client = context.connect().await?;
    let first_ids = Arc::new(first_ids(&client).await?);
    let task = context.options.progress.steps("assembling", first_ids.len() as u64);

    let (sender, mut batches) = mpsc::channel(context.options.workers);
    let next = Arc::new(AtomicUsize::new(0));
    let mut workers = JoinSet::new();
    for _ in 0..context.options.workers {
        let worker = Worker {
            context: Arc::clone(context),
            first_ids: Arc::clone(&first_ids),
            next: Arc::clone(&next),
            documents: sender.clone(),
        };
        workers.spawn(worker.run());
    }
    drop(sender);
    let analysis = tokio::spawn(analyze_tables(Arc::clone(context)));

    let transaction = client.transaction().await?;
    let ddl = DOCUMENTS_DDL.replace("{generation}", &context.generation.to_string());
    transaction.batch_execute(&format!("drop table if exists catalog_next.documents; {ddl}")).await?;
    let mut sink = Box::pin(transaction.copy_in(COPY_DOCUMENTS).await?);
    sink.send(Bytes::from_static(COPY_HEADER)).await?;
    while let Some(documents) = batches.recv().await {
        sink.send(documents).await?;
        task.advance(1);
    }
    let mut merged = Merged::default();
    while let Some(result) = workers.join_next().await {
        merged += result.map_err(|_| LoadError::Inconsistent("a worker panicked".to_owned()))??;
    }
    sink.send(Bytes::from_static(COPY_TRAILER)).await?;
    let written = sink.as_mut().finish().await?;
    drop(sink);
    transaction.commit().await?;
    merged.check(context, &client, written).await?;
    client
        .batch_execute(
            "alter table catalog_next.documents add constraint documents_pkey primary key (product_id);
             analyze catalog_next.documents",
        )
        .await?;
    analysis.await.map_err(|_| LoadError::Inconsistent("analyze panicked".to_owned()))??;
    task.finish();
    Ok(())
}

const COPY_DOCUMENTS: &str = "copy catalog_next.documents
     (product_id, product, styles, related, product_tag, styles_tag, related_tag)
     from stdin with (format binary, freeze)";

/// The id of the first product of each batch.
async fn first_ids(client: &Client) -> Result<Vec<i32>, LoadError> {
    let rows = client
        .query(
            "select products.id
             from generate_series(1, (select max(rank) from catalog_next.products), $1::integer) as first (rank)
             join catalog_next.products using (rank) order by products.id",
            &[&BATCH],
        )
        .await?;
    if rows.is_empty() {
        return Err(LoadError::NoProducts);
    }
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// The planner's statistics of the tables, meanwhile.
async fn analyze_tables(context: Arc<Context>) -> Result<(), LoadError> {
    let client = context.connect().await?;
    for table in &TABLES {
        client.batch_execute(&format!("analyze catalog_next.{}", table.name)).await?;
    }
    Ok(())
}

/// How many rows of each table reached a document.
#[derive(Clone, Copy, Debug, Default)]
struct Merged {
    products: u64,
    features: u64,
    styles: u64,
    photos: u64,
    skus: u64,
    related: u64,
}

impl AddAssign for Merged {
    fn add_assign(&mut self, other: Self) {
        self.products += other.products;
        self.features += other.features;
        self.styles += other.styles;
        self.photos += other.photos;
        self.skus += other.skus;
        self.related += other.related;
    }
}

impl Merged {
    async fn check(&self, context: &Context, client: &Client, documents: u64) -> Result<(), LoadError> {
        let of_table = |name| match name {
            "products" => Some(self.products),
            "features" => Some(self.features),
            "styles" => Some(self.styles),
            "photos" => Some(self.photos),
            "skus" => Some(self.skus),
            "related" => Some(self.related),
            _ => None,
        };
        for table in &TABLES {
            let Some(merged) = of_table(table.name) else { continue };
            let loaded = record::file_counts(client, context.generation, table.file).await?.counts.loaded;
            if merged != loaded {
                let what = format!("{loaded} {} were loaded and {merged} are in documents", table.name);
                return Err(LoadError::Inconsistent(what));
            }
        }
        if documents != self.products {
            let what = format!("{} documents were sent and {documents} arrived", self.products);
            return Err(LoadError::Inconsistent(what));
        }
        Ok(())
    }
}

/// Takes batch after batch until there are no more.
struct Worker {
    context: Arc<Context>,
    first_ids: Arc<Vec<i32>>,
    next: Arc<AtomicUsize>,
    documents: mpsc::Sender<Bytes>,
}

impl Worker {
    async fn run(self) -> Result<Merged, LoadError> {
        let client = self.context.connect().await?;
        // Statistics come later; without them a scan and a sort may look cheaper than they are.
        client
            .batch_execute("set enable_seqscan = off; set enable_sort = off; set enable_bitmapscan = off")
            .await?;
        let mut assembler = Assembler::new();
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(&from) = self.first_ids.get(number) else { break };
            let range = match self.first_ids.get(number + 1) {
                Some(to) => format!("between {from} and {}", to - 1),
                None => format!(">= {from}"),
            };
            let documents = assembler.assemble(&client, &range).await?;
            if self.documents.send(documents).await.is_err() {
                break; // the receiver failed, and says why
            }
        }
        Ok(assembler.merged)
    }
}

/// What the rows of one parent come to: JSON, the elements joined by commas.
struct Group {
    parent: i32,
    json: std::ops::Range<usize>,
    rows: u64,
}

/// The JSON of a batch's rows, grouped by parent in ascending order.
struct Groups {
    json: Vec<u8>,
    groups: Vec<Group>,
}

impl Groups {
    /// Reads rows whose first column is the parent, and which come in its order; `element` writes the rest.
    async fn read(
        client: &Client,
        select: &str,
        element: impl Fn(&mut Vec<u8>, &mut Row) -> Result<(), LoadError>,
    ) -> Result<Self, LoadError> {
        let mut rows = CopyOut::begin(client, select).await?;
        let mut json = Vec::with_capacity(1 << 20);
        let mut groups: Vec<Group> = Vec::new();
        while let Some(mut row) = rows.next().await? {
            let parent = row.integer()?;
            match groups.last_mut() {
                Some(last) if last.parent == parent => {
                    json.push(b',');
                    element(&mut json, &mut row)?;
                    last.json.end = json.len();
                    last.rows += 1;
                }
                Some(last) if last.parent > parent => {
                    return Err(LoadError::Inconsistent(format!("rows came out of order: {select}")));
                }
                _ => {
                    let start = json.len();
                    element(&mut json, &mut row)?;
                    groups.push(Group { parent, json: start..json.len(), rows: 1 });
                }
            }
        }
        Ok(Self { json, groups })
    }

    /// The elements of one parent, and how many rows they are.
    fn of(&self, parent: i32) -> Option<(&[u8], u64)> {
        let index = self.groups.binary_search_by_key(&parent, |group| group.parent).ok()?;
        let group = &self.groups[index];
        Some((&self.json[group.json.clone()], group.rows))
    }
}

/// A style as far as its own row tells: the JSON up to its photos.
struct Style {
    product_id: i32,
    id: i32,
    json: std::ops::Range<usize>,
}

struct Assembler {
    compressor: Compressor,
    merged: Merged,
    compressed: Vec<u8>,
}

impl Assembler {
    fn new() -> Self {
        let level = CompressionLvl::new(GZIP_LEVEL).unwrap_or_default();
        Self { compressor: Compressor::new(level), merged: Merged::default(), compressed: Vec::new() }
    }

    /// The rows of `documents` for the products whose id is in `range`, in the binary form of COPY.
    async fn assemble(&mut self, client: &Client, range: &str) -> Result<Bytes, LoadError> {
        let features = features(client, range).await?;
        let related = related(client, range).await?;
        let (styles, styles_json) = styles(client, range).await?;
        let wanted = among(&styles);
        let photos = photos(client, &wanted).await?;
        let skus = skus(client, &wanted).await?;

        let mut products = CopyOut::begin(
            client,
            &format!(
                "select id, name, slogan, description, category, default_price
                 from catalog_next.products where id {range} order by id"
            ),
        )
        .await?;
        let mut documents = Vec::with_capacity(8 << 20);
        let (mut product, mut styles_answer, mut related_answer) = (Vec::new(), Vec::new(), Vec::new());
        let mut remaining = styles.as_slice();
        while let Some(mut row) = products.next().await? {
            let id = row.integer()?;
            self.merged.products += 1;

            let (of_product, rows) = features.of(id).unwrap_or_default();
            self.merged.features += rows;
            product.clear();
            product_json(&mut product, id, &mut row, of_product)?;

            let (of_product, rows) = related.of(id).unwrap_or_default();
            self.merged.related += rows;
            related_answer.clear();
            related_answer.push(b'[');
            related_answer.extend_from_slice(of_product);
            related_answer.push(b']');

            let (of_product, others) =
                remaining.split_at(remaining.partition_point(|style| style.product_id <= id));
            remaining = others;
            styles_answer.clear();
            styles_answer.extend_from_slice(b"{\"product_id\":\"");
            json::integer(&mut styles_answer, id);
            styles_answer.extend_from_slice(b"\",\"results\":[");
            for (index, style) in of_product.iter().enumerate() {
                if index > 0 {
                    styles_answer.push(b',');
                }
                styles_answer.extend_from_slice(&styles_json[style.json.clone()]);
                let (of_style, rows) = photos.of(style.id).unwrap_or((NO_PHOTOS, 0));
                self.merged.photos += rows;
                styles_answer.extend_from_slice(of_style);
                styles_answer.extend_from_slice(b"],\"skus\":{");
                let (of_style, rows) = skus.of(style.id).unwrap_or((NO_SKUS, 0));
                self.merged.skus += rows;
                styles_answer.extend_from_slice(of_style);
                styles_answer.extend_from_slice(b"}}");
                self.merged.styles += 1;
            }
            styles_answer.extend_from_slice(b"]}");
            self.put_document(&mut documents, id, &product, &styles_answer, &related_answer)?;
        }
        Ok(documents.into())
    }

    fn put_document(
        &mut self,
        out: &mut Vec<u8>,
        id: i32,
        product: &[u8],
        styles: &[u8],
        related: &[u8],
    ) -> Result<(), LoadError> {
        self.compressed.resize(self.compressor.gzip_compress_bound(styles.len()), 0);
        let failed = |error| LoadError::Inconsistent(format!("gzip: {error}"));
        let length = self.compressor.gzip_compress(styles, &mut self.compressed).map_err(failed)?;
        out.extend_from_slice(&7_u16.to_be_bytes());
        put(out, &id.to_be_bytes())?;
        put(out, product)?;
        put(out, &self.compressed[..length])?;
        put(out, related)?;
        for plain in [product, styles, related] {
            put(out, &xxh3_64(plain).to_be_bytes())?;
        }
        Ok(())
    }
}

/// What front ends read where a style has none: the live API answers so, and they rely on it.
const NO_PHOTOS: &[u8] = b"{\"thumbnail_url\":null,\"url\":null}";
/// As [`NO_PHOTOS`].
const NO_SKUS: &[u8] = b"\"null\":{\"quantity\":null,\"size\":null}";

fn put(out: &mut Vec<u8>, value: &[u8]) -> Result<(), LoadError> {
    let too_large = |_| LoadError::Inconsistent("a document is larger than Postgres can hold".to_owned());
    let length = i32::try_from(value.len()).map_err(too_large)?;
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(value);
    Ok(())
}

fn product_json(out: &mut Vec<u8>, id: i32, row: &mut Row, features: &[u8]) -> Result<(), LoadError> {
    out.extend_from_slice(b"{\"id\":");
    json::integer(out, id);
    for name in ["name", "slogan", "description", "category"] {
        out.extend_from_slice(b",\"");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
        json::string(out, row.text()?)?;
    }
    out.extend_from_slice(b",\"default_price\":");
    json::price(out, Some(row.integer()?));
    out.extend_from_slice(b",\"features\":[");
    out.extend_from_slice(features);
    out.extend_from_slice(b"]}");
    Ok(())
}

async fn features(client: &Client, range: &str) -> Result<Groups, LoadError> {
    let select = format!(
        "select product_id, feature, value from catalog_next.features
         where product_id {range} order by product_id, position"
    );
    Groups::read(client, &select, |out, row| {
        out.extend_from_slice(b"{\"feature\":");
        json::string(out, row.text()?)?;
        out.extend_from_slice(b",\"value\":");
        json::optional_string(out, row.bytes()?)?;
        out.push(b'}');
        Ok(())
    })
    .await
}

async fn related(client: &Client, range: &str) -> Result<Groups, LoadError> {
    let select = format!(
        "select product_id, related_product_id from catalog_next.related
         where product_id {range} order by product_id, position"
    );
    Groups::read(client, &select, |out, row| {
        json::integer(out, row.integer()?);
        Ok(())
    })
    .await
}

async fn photos(client: &Client, of_styles: &str) -> Result<Groups, LoadError> {
    let select = format!(
        "select style_id, thumbnail_url, url from catalog_next.photos
         where style_id {of_styles} order by style_id, position"
    );
    Groups::read(client, &select, |out, row| {
        out.extend_from_slice(b"{\"thumbnail_url\":");
        json::string(out, row.text()?)?;
        out.extend_from_slice(b",\"url\":");
        json::string(out, row.text()?)?;
        out.push(b'}');
        Ok(())
    })
    .await
}

async fn skus(client: &Client, of_styles: &str) -> Result<Groups, LoadError> {
    let select = format!(
        "select style_id, id, quantity, size from catalog_next.skus
         where style_id {of_styles} order by style_id, position"
    );
    Groups::read(client, &select, |out, row| {
        out.push(b'"');
        json::integer(out, row.integer()?);
        out.extend_from_slice(b"\":{\"quantity\":");
        json::integer(out, row.integer()?);
        out.extend_from_slice(b",\"size\":");
        json::string(out, row.text()?)?;
        out.push(b'}');
        Ok(())
    })
    .await
}

/// The styles of a batch, in order of product and file, with the JSON they point into.
async fn styles(client: &Client, range: &str) -> Result<(Vec<Style>, Vec<u8>), LoadError> {
    let select = format!(
        "select product_id, id, name, original_price, sale_price, is_default from catalog_next.styles
         where product_id {range} order by product_id, position"
    );
    let mut rows = CopyOut::begin(client, &select).await?;
    let (mut styles, mut out): (Vec<Style>, Vec<u8>) = (Vec::new(), Vec::new());
    while let Some(mut row) = rows.next().await? {
        let (product_id, id) = (row.integer()?, row.integer()?);
        if styles.last().is_some_and(|last| last.product_id > product_id) {
            return Err(LoadError::Inconsistent(format!("rows came out of order: {select}")));
        }
        let start = out.len();
        out.extend_from_slice(b"{\"style_id\":");
        json::integer(&mut out, id);
        out.extend_from_slice(b",\"name\":");
        json::string(&mut out, row.text()?)?;
        out.extend_from_slice(b",\"original_price\":");
        json::price(&mut out, Some(row.integer()?));
        out.extend_from_slice(b",\"sale_price\":");
        json::price(&mut out, row.optional_integer()?);
        out.extend_from_slice(b",\"default?\":");
        out.extend_from_slice(if row.boolean()? { b"true" } else { b"false" });
        out.extend_from_slice(b",\"photos\":[");
        styles.push(Style { product_id, id, json: start..out.len() });
    }
    Ok((styles, out))
}

/// A condition that finds the rows of these styles, and few others: a range where their ids lie close together, as
/// they do in files sorted by product, else each by itself.
fn among(styles: &[Style]) -> String {
    let ids = || styles.iter().map(|style| style.id);
    let (Some(lowest), Some(highest)) = (ids().min(), ids().max()) else {
        return "between 1 and 0".to_owned();
    };
    let span = i64::from(highest) - i64::from(lowest) + 1;
    if usize::try_from(span).is_ok_and(|span| span <= 2 * styles.len()) {
        return format!("between {lowest} and {highest}");
    }
    let ids: Vec<String> = ids().map(|id| id.to_string()).collect();
    format!("in ({})", ids.join(","))
}
