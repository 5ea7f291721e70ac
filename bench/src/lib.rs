//! What tests and other measurements can use of the benchmark: a client that asks at a steady rate, and a long line.
//!
//! The measurements themselves are in the binary, `atelier-bench`.

pub mod distance;
pub mod open_loop;
