//! The files of `deploy/monitoring`: a real Prometheus scrapes a fleet, each graph has data, and each alarm leads to its
//! runbook. `make monitoring` runs the unit tests of the alert rules.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod failures;
mod files;
mod prometheus;
mod sandbox;
mod scrape;
#[path = "../support/mod.rs"]
mod support;
