//! A private Postgres, and a fleet of hosts, for a laptop and for tests, where a deployment has machines for them.
//!
//! [`Cluster`] starts the machine's own Postgres in a directory of its own, reachable by a unix socket only, and
//! sees to it that it never outlives its owner. [`testing`] makes a database for each test. [`Balancer`] is the
//! machine's own NGINX in front of hosts, and a [`Fleet`] both together. The binary `atelier-local` is what `make run`,
//! `make fleet` and `make test` call. What is in a database is left to the crate etl.

mod account;
mod balancer;
mod binaries;
mod cluster;
mod error;
mod fleet;
mod guardian;
mod probe;
mod process;
mod settings;
mod small_disk;
mod standby;
pub mod testing;

pub use account::{Account, project_directory};
pub use balancer::{Balancer, BalancerSettings, RENDER, nginx};
pub use binaries::{Binaries, program};
pub use cluster::{Address, Cluster, HOST_LOGIN, SUPERUSER, connect, create_host_login};
pub use error::Error;
pub use fleet::{Fleet, FleetSettings, Host, free_address};
pub use guardian::{Guarded, Watch};
pub use probe::is_answered;
pub use process::signal;
pub use settings::Settings;
