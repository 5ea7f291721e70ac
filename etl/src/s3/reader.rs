//! A sequential reader of an object.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::time::Instant;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::timeout_at;

use super::{Object, ReadPolicy, S3, S3Error};

/// The bytes that a reader requests past its `end` at a time: the rest of a line.
const OVERREAD: u64 = 64 << 10;

/// A sequential reader of an object, which prefetches some ranges. Its errors wrap an [`S3Error`], except for the
/// timeout at the deadline.
pub struct ObjectReader {
    s3: S3,
    object: Object,
    runtime: Handle,
    until: Option<Instant>,
    requested_to: u64,
    end: u64,
    in_flight: VecDeque<JoinHandle<Result<Bytes, S3Error>>>,
    pending: Bytes,
}

impl S3 {
    /// Returns a reader of a version of an object, from `offset`. It requests a little more than `end` only when it is
    /// needed. Must be called within a runtime; reads block. If nothing has arrived by `until`, a read times out.
    pub fn read_from(&self, object: &Object, offset: u64, end: u64, until: Option<Instant>) -> ObjectReader {
        ObjectReader {
            s3: self.clone(),
            object: object.clone(),
            runtime: Handle::current(),
            until,
            requested_to: offset,
            end,
            in_flight: VecDeque::new(),
            pending: Bytes::new(),
        }
    }
}

impl ObjectReader {
    fn request_ahead(&mut self) {
        let ReadPolicy { range, prefetch, .. } = self.s3.policy;
        while self.in_flight.len() < prefetch && self.requested_to < self.object.size {
            let end = match self.requested_to < self.end {
                true => self.end,
                false if self.in_flight.is_empty() => self.requested_to + OVERREAD,
                false => break,
            };
            let (from, to) = (self.requested_to, (self.requested_to + range).min(end).min(self.object.size));
            let (s3, object) = (self.s3.clone(), self.object.clone());
            self.in_flight.push_back(self.runtime.spawn(async move { s3.range(&object, from, to).await }));
            self.requested_to = to;
        }
    }
}

impl Read for ObjectReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.pending.is_empty() {
            self.request_ahead();
            let Some(next) = self.in_flight.pop_front() else { return Ok(0) };
            // The next range is requested only when the current one is consumed, which bounds the memory.
            let received = match self.until {
                Some(until) => self.runtime.block_on(async { timeout_at(until.into(), next).await })?,
                None => self.runtime.block_on(next),
            };
            let received = received.map_err(io::Error::other)?;
            self.pending = received.map_err(io::Error::other)?;
        }
        let length = self.pending.len().min(buffer.len());
        buffer[..length].copy_from_slice(&self.pending.split_to(length));
        Ok(length)
    }
}

impl Drop for ObjectReader {
    fn drop(&mut self) {
        self.in_flight.iter().for_each(JoinHandle::abort);
    }
}
