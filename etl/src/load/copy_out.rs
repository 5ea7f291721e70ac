//! A reader of `copy (...) to stdout (format binary)`, which is cheaper than a query.

use std::pin::Pin;

use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use tokio_postgres::{Client, CopyOutStream};

use super::LoadError;
use crate::row::COPY_HEADER;

/// A stream of rows in the order of the query.
pub(super) struct CopyOut {
    stream: Pin<Box<CopyOutStream>>,
    header_is_read: bool,
    message: Bytes,
}

impl CopyOut {
    /// Starts the COPY of `select`. COPY takes no parameters, so the values must be in the text.
    pub(super) async fn begin(client: &Client, select: &str) -> Result<Self, LoadError> {
        let stream = client.copy_out(&format!("copy ({select}) to stdout (format binary)")).await?;
        Ok(Self { stream: Box::pin(stream), header_is_read: false, message: Bytes::new() })
    }

    /// Returns the next row; none at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Row<'_>>, LoadError> {
        loop {
            let Some(message) = self.stream.next().await else {
                return Err(malformed("ended without a trailer"));
            };
            let mut message = message?;
            if !self.header_is_read {
                if !message.starts_with(COPY_HEADER) {
                    return Err(malformed("has no header"));
                }
                message.advance(COPY_HEADER.len());
                self.header_is_read = true;
                if message.is_empty() {
                    continue; // some versions send the header separately
                }
            }
            if message.remaining() < 2 {
                return Err(malformed("has a row without a number of columns"));
            }
            if message.get_i16() >= 0 {
                self.message = message;
                return Ok(Some(Row::new(&self.message)));
            }
            // After the trailer, the end of the command must be read before the next statement.
            while let Some(rest) = self.stream.next().await {
                rest?;
            }
            return Ok(None);
        }
    }
}

/// A row in the binary format of COPY, read field by field.
#[derive(Clone)]
pub(super) struct Row<'a> {
    rest: &'a [u8],
}

impl<'a> Row<'a> {
    /// Returns a row of these fields, which lack the leading number of fields.
    pub(super) fn new(fields: &'a [u8]) -> Self {
        Self { rest: fields }
    }

    /// Returns the bytes of the next field; none if it is null.
    pub(super) fn bytes(&mut self) -> Result<Option<&'a [u8]>, LoadError> {
        let early = || malformed("has a row that ends early");
        let (length, rest) = self.rest.split_first_chunk().ok_or_else(early)?;
        self.rest = rest;
        let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else { return Ok(None) };
        let (field, rest) = rest.split_at_checked(length).ok_or_else(early)?;
        self.rest = rest;
        Ok(Some(field))
    }

    /// Returns the next field, a text that is not null.
    pub(super) fn text(&mut self) -> Result<&'a [u8], LoadError> {
        self.bytes()?.ok_or_else(|| malformed("has a null instead of a text"))
    }

    /// Returns the next field, an `integer`; none if it is null.
    pub(super) fn optional_integer(&mut self) -> Result<Option<i32>, LoadError> {
        let Some(bytes) = self.bytes()? else { return Ok(None) };
        let bytes = bytes.try_into().map_err(|_| malformed("has an integer of another size"))?;
        Ok(Some(i32::from_be_bytes(bytes)))
    }

    /// Returns the next field, an `integer` that is not null.
    pub(super) fn integer(&mut self) -> Result<i32, LoadError> {
        self.optional_integer()?.ok_or_else(|| malformed("has a null instead of an integer"))
    }

    /// Returns the next field, a `boolean` that is not null.
    pub(super) fn boolean(&mut self) -> Result<bool, LoadError> {
        match self.bytes()? {
            Some([flag]) => Ok(*flag != 0),
            _ => Err(malformed("has no boolean where one is expected")),
        }
    }
}

fn malformed(what: &str) -> LoadError {
    LoadError::Bug(format!("a COPY from the database {what}"))
}
