//! Tools of the benchmarks that tests use too: an open-loop client and a proxy that adds latency.
//!
//! The benchmarks are in the binary `atelier-bench`.

pub mod distance;
pub mod open_loop;
