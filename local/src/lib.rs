//! A private Postgres for a laptop and for tests, where a deployment has a server of its own.
//!
//! [`Cluster`] starts the machine's own Postgres in a directory of its own, reachable by a unix socket only, and
//! sees to it that it never outlives its owner. [`testing`] makes a database for each test. The binary
//! `atelier-local` is what `make run` and `make test` call. What is in a database is left to the crate etl.

mod account;
mod binaries;
mod cluster;
mod error;
mod guardian;
mod settings;
mod small_disk;
mod standby;
pub mod testing;

pub use account::{Account, project_directory};
pub use binaries::{Binaries, program};
pub use cluster::{Address, Cluster, HOST_LOGIN, SUPERUSER, connect, create_host_login};
pub use error::Error;
pub use guardian::{Guarded, Watch};
pub use settings::Settings;
