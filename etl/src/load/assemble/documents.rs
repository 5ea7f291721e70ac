//! Assembly of the documents of a batch from its rows.

use bytes::Bytes;
use tokio::sync::mpsc;
use xxhash_rust::xxh3::xxh3_64;

use super::super::copy::{CHUNK, put_field};
use super::super::{LoadError, MAX_RESPONSE};
use super::gzip::Gzip;
use super::postings::Names;
use super::reading::{KeySet, Rows};
use super::rows::{FEATURES, Groups, InQuotes, PHOTOS, Products, RELATED, SKUS, STYLES, write_json};
use crate::table::Table;

/// The photos of a style without photos. The original API returns this, and front ends rely on it.
const NO_PHOTOS: &[u8] = b"{\"thumbnail_url\":null,\"url\":null}";
/// The SKUs of a style without SKUs; see [`NO_PHOTOS`].
const NO_SKUS: &[u8] = b"\"null\":{\"quantity\":null,\"size\":null}";

/// An assembler of the documents of one batch after the other.
pub(super) struct Assembler {
    products: Products,
    features: Groups,
    styles: Groups,
    photos: Groups,
    skus: Groups,
    related: Groups,
    gzip: Gzip,
}

impl Assembler {
    pub(super) fn new() -> Self {
        Self {
            products: Products::new(),
            features: Groups::new(&FEATURES),
            styles: Groups::new(&STYLES),
            photos: Groups::new(&PHOTOS),
            skus: Groups::new(&SKUS),
            related: Groups::new(&RELATED),
            gzip: Gzip::new(),
        }
    }

    /// Returns the number of rows of each table that reached a document.
    pub(super) fn merged(&self) -> [(&'static Table, u64); 6] {
        [&self.products.json, &self.features, &self.styles, &self.photos, &self.skus, &self.related]
            .map(|groups| (groups.source.table, groups.merged))
    }

    /// Reads the rows of the products with the ids `from..=to` and returns whether they fit into memory.
    pub(super) async fn read(&mut self, rows: &Rows<'_>, from: i32, to: i32) -> Result<bool, LoadError> {
        let keys = KeySet::Range(from, to);
        // In parallel, because a range in S3 has a high latency.
        (self.products, self.features, self.related, self.styles) = tokio::try_join!(
            rows.read(self.products.take(), &keys),
            rows.read(self.features.take(), &keys),
            rows.read(self.related.take(), &keys),
            rows.read(self.styles.take(), &keys),
        )?;
        let keys = self.styles.keys_of_children();
        (self.photos, self.skus) =
            tokio::try_join!(rows.read(self.photos.take(), &keys), rows.read(self.skus.take(), &keys))?;
        let all =
            [&self.products.json, &self.features, &self.styles, &self.photos, &self.skus, &self.related];
        let fits = !all.iter().any(|groups| groups.is_full());
        if !fits && from == to {
            return Err(too_large(from));
        }
        Ok(fits)
    }

    /// Sends the documents of the products that were read, as rows of `documents` in the binary format of COPY. Stops
    /// early if there is no receiver any more.
    pub(super) async fn send(&mut self, documents: &mpsc::Sender<Bytes>) -> Result<(), LoadError> {
        let ids: Vec<_> = self.products.json.parents().collect();
        let mut chunk = Vec::with_capacity(CHUNK + (CHUNK >> 3));
        let (mut product, mut styles, mut related) = (Vec::new(), Vec::new(), Vec::new());
        for id in ids {
            for response in [&mut product, &mut styles, &mut related] {
                response.clear();
            }
            self.write_product(id, &mut product);
            self.write_styles(id, &mut styles)?;
            self.write_related(id, &mut related);
            if styles.len() > MAX_RESPONSE {
                return Err(too_large(id));
            }
            let failed = |error| LoadError::Bug(format!("cannot compress a document: {error}"));
            let compressed = self.gzip.compress(&styles).map_err(failed)?;

            chunk.extend_from_slice(&7_u16.to_be_bytes());
            for field in [&id.to_be_bytes()[..], &product, compressed, &related] {
                put_field(&mut chunk, field)?;
            }
            for plain in [&product, &styles, &related] {
                put_field(&mut chunk, &xxh3_64(plain).to_be_bytes())?;
            }
            if chunk.len() >= CHUNK {
                let full = std::mem::replace(&mut chunk, Vec::with_capacity(CHUNK + (CHUNK >> 3)));
                if documents.send(full.into()).await.is_err() {
                    return Ok(()); // the receiver failed and returns its error
                }
            }
        }
        let _ = documents.send(chunk.into()).await;
        Ok(())
    }

    /// Takes the names and categories of the products that were read.
    pub(super) fn take_names(&mut self) -> Names {
        std::mem::take(&mut self.products.names)
    }

    /// Appends the response of `/products/{id}`.
    fn write_product(&mut self, id: i32, out: &mut Vec<u8>) {
        out.extend_from_slice(elements(&mut self.products.json, id).unwrap_or_default());
        out.extend_from_slice(elements(&mut self.features, id).unwrap_or_default());
        out.extend_from_slice(b"]}");
    }

    /// Appends the response of `/products/{id}/related`.
    fn write_related(&mut self, id: i32, out: &mut Vec<u8>) {
        out.push(b'[');
        out.extend_from_slice(elements(&mut self.related, id).unwrap_or_default());
        out.push(b']');
    }

    /// Appends the response of `/products/{id}/styles`.
    fn write_styles(&mut self, id: i32, out: &mut Vec<u8>) -> Result<(), LoadError> {
        out.extend_from_slice(b"{\"product_id\":");
        write_json(out, &InQuotes(id))?;
        out.extend_from_slice(b",\"results\":[");
        for (index, (style, json)) in self.styles.of(id).enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(json);
            out.extend_from_slice(elements(&mut self.photos, style).unwrap_or(NO_PHOTOS));
            out.extend_from_slice(b"],\"skus\":{");
            out.extend_from_slice(elements(&mut self.skus, style).unwrap_or(NO_SKUS));
            out.extend_from_slice(b"}}");
        }
        out.extend_from_slice(b"]}");
        Ok(())
    }
}

/// Returns the JSON of a parent's only group; none if it has no rows.
fn elements(groups: &mut Groups, parent: i32) -> Option<&[u8]> {
    groups.of(parent).next().map(|(_, json)| json)
}

fn too_large(product: i32) -> LoadError {
    LoadError::TooLarge { table: "styles", parent: format!("product {product}") }
}
