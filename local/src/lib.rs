//! A private Postgres and a fleet of hosts on one machine, for development. The crate rig adds what tests need.
//!
//! [`Cluster`] starts the machine's Postgres in a directory of its own, on a unix socket. It never outlives its owner.
//! [`LoadBalancer`] runs the machine's NGINX in front of hosts, and [`Fleet`] runs both. The binary `atelier-local` is the
//! command behind `make run` and `make fleet`.

mod account;
mod address;
mod binaries;
pub mod cluster;
mod error;
mod fleet;
mod load_balancer;
mod network;
mod settings;
mod supervisor;

pub use account::{Account, project_directory};
pub use address::{Address, HOST_LOGIN, SUPERUSER, connect, create_host_login};
pub use binaries::{Binaries, program};
pub use cluster::Cluster;
pub use error::Error;
pub use fleet::{Fleet, FleetSettings, Host};
pub use load_balancer::{LoadBalancer, LoadBalancerSettings, RENDER, nginx};
pub use network::{free_address, free_admin_address, responds};
pub use settings::Settings;
pub use supervisor::{SupervisedChild, Supervision, append, signal};
