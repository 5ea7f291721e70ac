//! What is read from S3 is what would be read from a folder, whatever becomes of the requests and whatever the files
//! hold; what cannot be read changes nothing that is served.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod beside;
mod content;
mod disturbed;
mod events;
mod replaced;
#[path = "../stand/mod.rs"]
mod stand;
