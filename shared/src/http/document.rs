//! Documents: the precomputed body of a response, plain or gzipped, with its tag and generation.

use std::time::Duration;

use bytes::Bytes;

use crate::http::Reservation;
use crate::http::encoding::{self, InvalidGzip};

/// The size above which a plain body is gzipped for clients that accept it. Gzip saves little on a shorter one.
pub(crate) const GZIP_ABOVE_BYTES: usize = 1024;

/// The body of one response of the catalog.
#[derive(Debug, Clone)]
pub struct Document {
    /// JSON.
    pub content: Content,
    /// XXH3-64 of the plain JSON.
    pub tag: u64,
    /// The generation that its row names; `None` without a row, as on a page past the end of the list.
    pub generation: Option<i32>,
    /// The number of products in the catalog, for a page of the list; `None` if its rows do not contain it.
    pub total: Option<i32>,
    /// How long ago a server last confirmed that the generation is current; `None` unless that is longer than usual,
    /// because the database is unavailable.
    pub stale_for: Option<Duration>,
}

/// The bytes of a body, with their content coding.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Content<B = Bytes> {
    Plain(B),
    Gzipped(B),
}

impl Document {
    pub(crate) fn new(content: Content, tag: u64, generation: Option<i32>) -> Self {
        Self { content, tag, generation, total: None, stale_for: None }
    }

    /// Creates a document from parts that were joined here, for which the loader stores no tag.
    pub(crate) fn from_plain(plain: &[u8], generation: Option<i32>, gzip_above_bytes: usize) -> Self {
        let tag = xxhash_rust::xxh3::xxh3_64(plain);
        Self::new(Content::compress(plain, gzip_above_bytes), tag, generation)
    }

    /// Returns the document with a body that keeps its part of the reservation.
    pub(crate) fn reserved(self, reservation: Reservation) -> Self {
        let content = match self.content {
            Content::Plain(body) => Content::Plain(reservation.attach(body)),
            Content::Gzipped(body) => Content::Gzipped(reservation.attach(body)),
        };
        Self { content, ..self }
    }
}

impl Content {
    /// Gzips a body that has more than `above_bytes`, unless that makes it no smaller. Most clients accept gzip, so
    /// this is done once before the body is cached, and undone for the others. The result is a copy of its exact size,
    /// so a cached body keeps no larger buffer alive.
    pub(crate) fn compress(plain: &[u8], above_bytes: usize) -> Self {
        let gzipped = if plain.len() > above_bytes { encoding::gzip(plain) } else { None };
        match gzipped {
            Some(gzipped) => Self::Gzipped(Bytes::copy_from_slice(&gzipped)),
            None => Self::Plain(Bytes::copy_from_slice(plain)),
        }
    }
}

impl<B: AsRef<[u8]>> Content<B> {
    /// Returns the bytes in their coding.
    pub(crate) fn bytes(&self) -> &B {
        match self {
            Self::Plain(bytes) | Self::Gzipped(bytes) => bytes,
        }
    }

    /// Returns the length of the plain body.
    pub(crate) fn plain_length(&self) -> Result<usize, InvalidGzip> {
        match self {
            Self::Plain(plain) => Ok(plain.as_ref().len()),
            Self::Gzipped(gzipped) => encoding::plain_length(gzipped.as_ref()),
        }
    }

    /// Appends the plain body to `plain`.
    pub(crate) fn append_to(&self, plain: &mut Vec<u8>) -> Result<(), InvalidGzip> {
        match self {
            Self::Plain(body) => {
                plain.extend_from_slice(body.as_ref());
                Ok(())
            }
            Self::Gzipped(gzipped) => encoding::gunzip_into(plain, gzipped.as_ref()),
        }
    }
}
