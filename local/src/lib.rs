//! A private Postgres and a fleet of hosts on one machine, for development and tests.
//!
//! [`Cluster`] starts the machine's Postgres in a directory of its own, on a unix socket. It never outlives its owner.
//! [`testing`] creates a database for each test. [`LoadBalancer`] runs the machine's NGINX in front of hosts, and
//! [`Fleet`] runs both. The binary `atelier-local` is the command behind `make run`, `make fleet` and `make test`. The
//! crate etl fills the databases.

mod account;
mod binaries;
mod cluster;
mod error;
mod fleet;
mod free_address;
mod http_probe;
mod load_balancer;
mod process;
mod replica;
mod settings;
mod small_disk;
mod supervisor;
pub mod testing;

pub use account::{Account, project_directory};
pub use binaries::{Binaries, program};
pub use cluster::{Address, Cluster, HOST_LOGIN, SUPERUSER, connect, create_host_login};
pub use error::Error;
pub use fleet::{Fleet, FleetSettings, Host};
pub use free_address::free_address;
pub use http_probe::responds;
pub use load_balancer::{LoadBalancer, LoadBalancerSettings, RENDER, nginx};
pub use process::signal;
pub use settings::Settings;
pub use supervisor::{SupervisedChild, Supervision};
