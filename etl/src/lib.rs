//! The loader: CSV files in, a published catalog out.
//!
//! A *load* takes a *dataset* (six or seven CSV files) through four steps, each of which can be taken up again
//! where it stopped: load, index, assemble, publish. ARCHITECTURE.md draws them; [`load::load`] runs them.
//! This is the only crate that writes the catalog.

pub mod csv;
pub mod database;
pub mod failpoint;
pub mod function;
pub mod generate;
pub mod incoming;
pub mod load;
pub mod migrate;
pub mod progress;
pub mod prune;
pub mod record;
pub mod row;
pub mod s3;
pub mod source;
pub mod status;
pub mod table;
