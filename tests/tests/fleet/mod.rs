//! Support for the fleet tests: three hosts behind NGINX over a generated catalog, and a load on them.
//!
//! `make test-fleet` sets two variables. `FLEET_RATE` is the number of requests per second; if it exceeds half of what
//! the machine can serve, the test fails with that message. `FLEET_HOST` is the host's program. Without them, the tests
//! use the unoptimised host of the same build, and a rate for it.

// Each test binary uses only a part of this module.
#![allow(dead_code, unreachable_pub)]

pub mod carts;
pub mod load;
pub mod network;
pub mod readers;
pub mod unread;

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use local::{Fleet, FleetSettings, free_address, program};
use rig::{Cluster, Database};
use tempfile::TempDir;

use crate::support::load_into;
use crate::support::loader::generated;

/// The number of products in the catalog.
pub const PRODUCTS: u32 = 10_000;

/// The scale of a generated dataset with `PRODUCTS` products.
const SCALE: f64 = 0.01;

/// The default of `FLEET_RATE`, in requests per second.
const RATE: u32 = 1_000;

/// The time limit of every wait.
pub const TEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Three hosts behind NGINX. Their logs are in a folder that is removed with them.
pub struct TestFleet {
    pub fleet: Fleet,
    _folder: TempDir,
}

impl TestFleet {
    /// Starts hosts with this `DATABASE_URL` and these variables.
    pub async fn start(url: &str, variables: &[(&str, &str)]) -> Self {
        let program = match std::env::var_os("FLEET_HOST").filter(|path| !path.is_empty()) {
            Some(path) => {
                PathBuf::from(path).canonicalize().expect("FLEET_HOST: expected the host's program")
            }
            None => program("atelier-host").unwrap(),
        };
        let mut server = Command::new(program);
        server.env("DATABASE_URL", url).envs(variables.iter().copied());
        let folder = tempfile::tempdir().unwrap();
        let address = free_address().unwrap();
        let fleet = Fleet::start(folder.path(), address, &server, &FleetSettings::default()).await.unwrap();
        Self { fleet, _folder: folder }
    }

    pub async fn stop(self) {
        self.fleet.stop().await.unwrap();
    }
}

/// Returns the configured number of requests per second.
pub fn rate() -> f64 {
    let rate = match std::env::var("FLEET_RATE") {
        Ok(rate) if !rate.is_empty() => rate.parse().ok().filter(|&rate| rate > 0),
        _ => Some(RATE),
    };
    rate.expect("FLEET_RATE: expected a whole number of requests a second, such as 5000").into()
}

/// Creates a database in this cluster with the generated catalog of this seed.
pub async fn catalog(cluster: &Cluster, seed: u64) -> Database {
    let database = Database::create_in(cluster).await.unwrap();
    load_into(database, generated_set(seed).path()).await.database
}

/// Returns the files of that catalog.
pub fn generated_set(seed: u64) -> TempDir {
    generated(SCALE, seed)
}

/// Waits while only the load runs.
pub async fn a_while() {
    tokio::time::sleep(Duration::from_secs(2)).await;
}

/// Waits until the condition is true, and returns how long that took.
pub async fn until(what: &str, holds: impl AsyncFn() -> bool) -> Duration {
    let since = Instant::now();
    rig::until(what, holds).await;
    since.elapsed()
}
