//! The loader: CSV files in, a published catalog out.
//!
//! A *load* takes a *dataset* (six or seven CSV files) through four steps: load, index, assemble, publish. An
//! interrupted load resumes. ARCHITECTURE.md draws the steps; [`load::load`] runs them.
//! This is the only crate that writes the catalog.

pub mod abandon;
pub mod csv;
pub mod database;
pub mod deliveries;
pub mod failpoint;
pub mod function;
pub mod ledger;
pub mod load;
pub mod locks;
pub mod metrics;
pub mod migrate;
pub mod note;
pub mod progress;
pub mod prune;
pub mod row;
pub mod s3;
pub mod shown;
pub mod source;
pub mod status;
pub mod table;
