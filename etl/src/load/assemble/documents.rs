//! Assembly of the documents of a batch from its rows.

use std::mem::take;
use std::ops::AddAssign;

use bytes::Bytes;
use tokio_postgres::Client;
use xxhash_rust::xxh3::xxh3_64;

use super::super::{Context, LoadError, MAX_RESPONSE, json};
use super::gzip::Gzip;
use super::reading::{KeySet, RowSource};
use super::rows::{Feature, Groups, Parent, Parents, Photo, Product, Related, Sku, Style};
use crate::ledger;
use crate::table::TABLES;

/// The number of responses of a batch that train the gzip code.
const SAMPLES: usize = 64;
/// The max size of each of them in bytes.
const MAX_SAMPLE: usize = 64 << 10;

/// The number of rows of each table that reached a document.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RowCounts {
    products: u64,
    features: u64,
    styles: u64,
    photos: u64,
    skus: u64,
    related: u64,
}

impl AddAssign for RowCounts {
    fn add_assign(&mut self, other: Self) {
        self.products += other.products;
        self.features += other.features;
        self.styles += other.styles;
        self.photos += other.photos;
        self.skus += other.skus;
        self.related += other.related;
    }
}

impl RowCounts {
    pub(super) async fn check(
        &self,
        context: &Context,
        client: &Client,
        documents: u64,
    ) -> Result<(), LoadError> {
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
            let loaded = ledger::file_record(client, context.generation, table.file).await?.counts.loaded;
            if merged != loaded {
                let what = format!("{loaded} {} were loaded, but {merged} are in documents", table.name);
                return Err(LoadError::Bug(what));
            }
        }
        if documents != self.products {
            let what = format!("{} documents were sent, but Postgres copied {documents}", self.products);
            return Err(LoadError::Bug(what));
        }
        Ok(())
    }
}

/// The rows of a batch.
#[derive(Default)]
struct Batch {
    products: Parents<Product>,
    features: Groups<Feature>,
    related: Groups<Related>,
    styles: Parents<Style>,
    photos: Groups<Photo>,
    skus: Groups<Sku>,
}

impl Batch {
    /// Replaces the rows by those of the products with these ids.
    async fn read(&mut self, from: &RowSource<'_>, ids: &KeySet) -> Result<(), LoadError> {
        // In parallel, because a range in S3 has a high latency.
        (self.products, self.features, self.related, self.styles) = tokio::try_join!(
            from.rows(ids, take(&mut self.products)),
            from.rows(ids, take(&mut self.features)),
            from.rows(ids, take(&mut self.related)),
            from.rows(ids, take(&mut self.styles)),
        )?;
        let ids = self.styles.ids();
        (self.photos, self.skus) = tokio::try_join!(
            from.rows(&ids, take(&mut self.photos)),
            from.rows(&ids, take(&mut self.skus)),
        )?;
        Ok(())
    }

    /// Appends the response of `/products/{id}`.
    fn put_product(&self, out: &mut Vec<u8>, product: &Parent, merged: &mut RowCounts) {
        let (features, rows) = self.features.of(product.id).unwrap_or_default();
        merged.products += 1;
        merged.features += rows;
        out.extend_from_slice(self.products.opening(product));
        out.extend_from_slice(features);
        out.extend_from_slice(b"]}");
    }

    /// Appends the response of `/products/{id}/related`.
    fn put_related(&self, out: &mut Vec<u8>, product: &Parent, merged: &mut RowCounts) {
        let (related, rows) = self.related.of(product.id).unwrap_or_default();
        merged.related += rows;
        out.push(b'[');
        out.extend_from_slice(related);
        out.push(b']');
    }

    /// Appends the response of `/products/{id}/styles`.
    fn put_styles(&self, out: &mut Vec<u8>, product: &Parent, merged: &mut RowCounts) {
        let styles = self.styles.rows();
        let styles = &styles[styles.partition_point(|style| style.product_id < product.id)..];
        let styles = &styles[..styles.partition_point(|style| style.product_id == product.id)];
        out.extend_from_slice(b"{\"product_id\":\"");
        json::integer(out, product.id);
        out.extend_from_slice(b"\",\"results\":[");
        for (index, style) in styles.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(self.styles.opening(style));
            let (photos, rows) = self.photos.of(style.id).unwrap_or((NO_PHOTOS, 0));
            merged.photos += rows;
            out.extend_from_slice(photos);
            out.extend_from_slice(b"],\"skus\":{");
            let (skus, rows) = self.skus.of(style.id).unwrap_or((NO_SKUS, 0));
            merged.skus += rows;
            out.extend_from_slice(skus);
            out.extend_from_slice(b"}}");
            merged.styles += 1;
        }
        out.extend_from_slice(b"]}");
    }

    /// Returns some responses of `/products/{id}/styles`, evenly distributed over the batch.
    fn samples(&self) -> Vec<Vec<u8>> {
        let products = self.products.rows();
        let mut styles = Vec::new();
        let sample = |product| {
            styles.clear();
            self.put_styles(&mut styles, product, &mut RowCounts::default());
            styles[..styles.len().min(MAX_SAMPLE)].to_vec()
        };
        products.iter().step_by(products.len().div_ceil(SAMPLES).max(1)).map(sample).collect()
    }
}

/// An assembler of the documents of one batch after the other.
pub(super) struct Assembler {
    pub(super) merged: RowCounts,
    batch: Batch,
    gzip: Gzip,
}

impl Assembler {
    pub(super) fn new() -> Self {
        Self { merged: RowCounts::default(), batch: Batch::default(), gzip: Gzip::new() }
    }

    /// Returns the rows of `documents` for the products with these ids, in the binary format of COPY.
    pub(super) async fn assemble(
        &mut self,
        from: &RowSource<'_>,
        ids: &KeySet,
    ) -> Result<Vec<Bytes>, LoadError> {
        self.batch.read(from, ids).await?;
        let Self { merged, batch, gzip } = self;
        gzip.train(batch.samples().iter().map(Vec::as_slice));
        let (mut chunks, mut chunk) = (Vec::new(), Vec::new());
        let (mut product, mut styles, mut related) = (Vec::new(), Vec::new(), Vec::new());
        let mut compressed = Vec::new();
        for row in batch.products.rows() {
            for response in [&mut product, &mut styles, &mut related, &mut compressed] {
                response.clear();
            }
            batch.put_product(&mut product, row, merged);
            batch.put_styles(&mut styles, row, merged);
            batch.put_related(&mut related, row, merged);
            if styles.len() > MAX_RESPONSE {
                return Err(LoadError::TooLarge { table: "styles", parent: format!("product {}", row.id) });
            }
            gzip.compress(&styles, &mut compressed);

            chunk.extend_from_slice(&7_u16.to_be_bytes());
            put(&mut chunk, &row.id.to_be_bytes())?;
            put(&mut chunk, &product)?;
            put(&mut chunk, &compressed)?;
            put(&mut chunk, &related)?;
            for plain in [&product, &styles, &related] {
                put(&mut chunk, &xxh3_64(plain).to_be_bytes())?;
            }
            if chunk.len() >= CHUNK {
                chunks.push(std::mem::replace(&mut chunk, Vec::with_capacity(CHUNK + (CHUNK >> 3))).into());
            }
        }
        chunks.push(chunk.into());
        Ok(chunks)
    }
}

/// The size of a chunk of documents in bytes.
const CHUNK: usize = 256 << 10;

/// The photos of a style without photos. The original API returns this, and front ends rely on it.
const NO_PHOTOS: &[u8] = b"{\"thumbnail_url\":null,\"url\":null}";
/// The SKUs of a style without SKUs; see [`NO_PHOTOS`].
const NO_SKUS: &[u8] = b"\"null\":{\"quantity\":null,\"size\":null}";

fn put(out: &mut Vec<u8>, value: &[u8]) -> Result<(), LoadError> {
    let too_large = |_| LoadError::Bug("a document is larger than Postgres can hold".to_owned());
    let length = i32::try_from(value.len()).map_err(too_large)?;
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(value);
    Ok(())
}
