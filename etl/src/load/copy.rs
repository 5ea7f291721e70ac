//! New tables of the catalog in progress, and the COPY that fills them with rows that the loader has encoded.

use std::pin::Pin;

use bytes::Bytes;
use futures_util::SinkExt;
use tokio_postgres::{CopyInSink, GenericClient, Transaction};

use super::LoadError;
use crate::database;
use crate::row::{COPY_HEADER, COPY_TRAILER};

/// The size of a chunk of rows in bytes.
pub(super) const CHUNK: usize = 256 << 10;

/// The max number of chunks that wait for the database.
pub(super) const CHUNKS_AHEAD: usize = 4;

/// Creates a table of `catalog_next` from scratch. The DDL has the placeholder `{generation}`.
pub(super) async fn create_table(
    client: &impl GenericClient,
    name: &str,
    ddl: &str,
    generation: i32,
) -> Result<(), LoadError> {
    client.batch_execute(&format!("drop table if exists catalog_next.{name}")).await?;
    Ok(database::execute_each(client, &ddl.replace("{generation}", &generation.to_string())).await?)
}

/// A running COPY.
pub(super) struct Copy {
    sink: Pin<Box<CopyInSink<Bytes>>>,
}

impl Copy {
    /// Begins to fill columns of a table that the same transaction has created, so that rows can be frozen: Postgres then
    /// writes no WAL for them.
    pub(super) async fn begin(
        transaction: &Transaction<'_>,
        table: &str,
        columns: &str,
    ) -> Result<Self, LoadError> {
        let statement =
            format!("copy catalog_next.{table} ({columns}) from stdin with (format binary, freeze)");
        let mut sink = Box::pin(transaction.copy_in(&statement).await?);
        sink.send(Bytes::from_static(COPY_HEADER)).await?;
        Ok(Self { sink })
    }

    /// Sends rows.
    pub(super) async fn send(&mut self, rows: Bytes) -> Result<(), LoadError> {
        Ok(self.sink.send(rows).await?)
    }

    /// Ends the COPY and returns the number of rows that Postgres copied.
    pub(super) async fn finish(mut self) -> Result<u64, LoadError> {
        self.send(Bytes::from_static(COPY_TRAILER)).await?;
        Ok(self.sink.as_mut().finish().await?)
    }
}

/// Appends a field in the binary format of COPY.
pub(super) fn put_field(out: &mut Vec<u8>, value: &[u8]) -> Result<(), LoadError> {
    put_length(out, value.len())?;
    out.extend_from_slice(value);
    Ok(())
}

/// Appends an array of integers as a field.
pub(super) fn put_integers(out: &mut Vec<u8>, values: &[i32]) -> Result<(), LoadError> {
    /// One dimension, no NULL, and the type of the elements: `integer`.
    const HEADER: [i32; 3] = [1, 0, 23];
    /// The lower bound of the dimension.
    const FIRST: i32 = 1;

    put_length(out, 20 + 8 * values.len())?;
    HEADER.iter().for_each(|number| out.extend_from_slice(&number.to_be_bytes()));
    put_length(out, values.len())?;
    out.extend_from_slice(&FIRST.to_be_bytes());
    for value in values {
        out.extend_from_slice(&4_i32.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
    Ok(())
}

fn put_length(out: &mut Vec<u8>, length: usize) -> Result<(), LoadError> {
    let too_large = |_| LoadError::Bug("a field is larger than Postgres can hold".to_owned());
    out.extend_from_slice(&i32::try_from(length).map_err(too_large)?.to_be_bytes());
    Ok(())
}
