//! Loads from S3 publish the same catalog as loads from a folder, whatever happens to the requests and whatever the
//! files contain. A load that fails leaves the served catalog unchanged.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod beside;
mod content;
mod disturbed;
mod events;
mod replaced;
#[path = "../support/mod.rs"]
mod support;
