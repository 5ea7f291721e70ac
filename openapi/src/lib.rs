//! The OpenAPI document of the HTTP API, and the contract types that hold each body.
//!
//! ```text
//! ENDPOINTS (methods, paths, parameters) ─┐
//! operations (words, bodies, statuses) ───┼─> document ──> openapi.json
//! contract types, headers, problems ──────┴─> verify ────> each response of the conformance suite
//! ```
//! No program of the service links this crate.

mod body;
pub mod contract;
mod document;
mod headers;
mod operations;
mod parameters;
mod problems;
mod schemas;
mod verify;

pub use document::document;
pub use operations::{Example, examples, request_examples};
pub use verify::{Mismatch, verify, verify_body};
