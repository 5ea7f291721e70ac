//! What tests and benchmarks need beside the service: databases, and components that can be disturbed.
//!
//! [`Database`] creates a database for each test. [`Cluster`] is a temporary Postgres that can be killed, restarted and
//! copied. [`Proxy`] disturbs connections, and [`HttpProxy`] requests. The binary `with-postgres` runs a command such as
//! `cargo test` with one cluster for all its tests.

// A helper of tests fails the test.
#![allow(clippy::unwrap_used, clippy::panic)]

mod cluster;
mod database;
mod http_proxy;
mod load_balancer;
mod proxy;
mod settings;
mod small_disk;
mod waiting;

pub use cluster::Cluster;
pub use database::{CLUSTER_VARIABLE, Database};
pub use http_proxy::{Fault, HttpProxy, HttpRequest};
pub use load_balancer::start_load_balancer;
pub use proxy::{Proxy, Server, Traffic};
pub use settings::Settings;
pub use waiting::{TEST_TIMEOUT, is_alive, reachable_directory, server_of, until};
