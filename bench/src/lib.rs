//! A proxy that simulates a distant server.

pub mod distance;
