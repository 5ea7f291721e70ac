//! The documents of a batch, merged from its rows.

use std::ops::AddAssign;

use bytes::Bytes;
use libdeflater::{CompressionLvl, Compressor};
use tokio_postgres::Client;
use xxhash_rust::xxh3::xxh3_64;

use super::super::copy_out::{CopyOut, Row};
use super::super::{Context, LARGEST_ANSWER, LoadError, json};
use super::rows::{among, features, photos, related, skus, styles};
use crate::record;
use crate::table::TABLES;

/// Level 6 takes half as long again for two bytes in a hundred.
const GZIP_LEVEL: i32 = 1;

/// How many rows of each table reached a document.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Merged {
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

pub(super) struct Assembler {
    pub(super) merged: Merged,
    compressor: Compressor,
    compressed: Vec<u8>,
}

impl Assembler {
    pub(super) fn new() -> Self {
        let level = CompressionLvl::new(GZIP_LEVEL).unwrap_or_default();
        Self { compressor: Compressor::new(level), merged: Merged::default(), compressed: Vec::new() }
    }

    /// The rows of `documents` for the products whose id is in `range`, in the binary form of COPY.
    pub(super) async fn assemble(&mut self, client: &Client, range: &str) -> Result<Bytes, LoadError> {
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
            if styles_answer.len() > LARGEST_ANSWER {
                return Err(LoadError::TooLarge { table: "styles", parent: format!("product {id}") });
            }
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
