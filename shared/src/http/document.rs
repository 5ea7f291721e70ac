//! One finished answer: its bytes, plain or gzipped, and what is known of it.

use std::time::Duration;

use bytes::Bytes;

use crate::http::encoding;

/// A plain body over this is gzipped for who takes it; gzip makes little of a shorter one.
pub(crate) const GZIP_FROM_BYTES: usize = 1024;

/// One finished answer of the catalog.
#[derive(Debug, Clone)]
pub struct Document {
    /// JSON.
    pub content: Content,
    /// XXH3-64 of the plain JSON.
    pub tag: u64,
    /// Which generation of the catalog it is of, as its own row says; `None` if there was no row, as on a page past the
    /// end of the list.
    pub generation: Option<i32>,
    /// Of a page of the list, how many products the catalog has, if its rows say so.
    pub total: Option<i32>,
    /// How long nothing has been heard of whether that generation is still served, if that is longer than it should
    /// be: the database is away.
    pub stale_for: Option<Duration>,
}

/// Bytes, and their coding.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Content {
    Plain(Bytes),
    Gzipped(Bytes),
}

impl Document {
    pub(crate) fn new(content: Content, tag: u64, generation: Option<i32>) -> Self {
        Self { content, tag, generation, total: None, stale_for: None }
    }

    /// Of what was joined here, for which the loader stores no tag.
    pub(crate) fn of_plain(plain: &[u8], generation: Option<i32>, gzip_from_bytes: usize) -> Self {
        let tag = xxhash_rust::xxh3::xxh3_64(plain);
        Self::new(Content::packed(plain, gzip_from_bytes), tag, generation)
    }
}

impl Content {
    /// Gzipped, if the body is over so many bytes and becomes smaller by it. Most clients take gzip, so this is done
    /// once, before it is kept, and undone for the others. Either way it is a copy that takes no more memory than it has
    /// bytes, and keeps nothing alive that was read with it.
    pub(crate) fn packed(plain: &[u8], from_bytes: usize) -> Self {
        let gzipped = if plain.len() > from_bytes { encoding::gzip(plain) } else { None };
        match gzipped {
            Some(gzipped) => Self::Gzipped(Bytes::copy_from_slice(&gzipped)),
            None => Self::Plain(Bytes::copy_from_slice(plain)),
        }
    }

    /// The bytes as they are.
    pub(crate) fn bytes(&self) -> &Bytes {
        match self {
            Self::Plain(bytes) | Self::Gzipped(bytes) => bytes,
        }
    }
}
