//! Deliveries to S3: each is published once, whole, or not at all.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod events;
mod failures;
mod first;
mod reused;
#[path = "../support/mod.rs"]
mod support;
