//! What the tests of the fleet stand on: three hosts behind NGINX over a generated catalog, and a load on them.
//!
//! Two variables say how hard they are tried, and `make test-fleet` sets both: `FLEET_RATE`, how many requests a second
//! there are (a machine that can bear less than twice as many is told so, and tries nothing), and `FLEET_HOST`, the
//! program that serves. Without them it is the host that was built along with the tests, unoptimised, and a rate for that.

// Each test binary takes what it needs, and nothing else sees it.
#![allow(dead_code, unreachable_pub)]

pub mod carts;
pub mod load;
pub mod network;
pub mod readers;
pub mod unread;

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use local::testing::Database;
use local::{Cluster, Fleet, FleetSettings, free_address, program};
use tempfile::TempDir;

use crate::stand::load_into;
use crate::stand::loader::generated;

/// Products of the catalog.
pub const PRODUCTS: u32 = 10_000;

/// The scale of a generated set with so many.
const SCALE: f64 = 0.01;

/// Requests a second, where `FLEET_RATE` does not say.
const RATE: u32 = 1_000;

/// How long anything that is waited for may take.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Three hosts behind NGINX. What they say is in a folder that is removed with them.
pub struct Stage {
    pub fleet: Fleet,
    _folder: TempDir,
}

impl Stage {
    /// Hosts with this `DATABASE_URL`, and these variables set.
    pub async fn set(url: &str, variables: &[(&str, &str)]) -> Self {
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

    pub async fn strike(self) {
        self.fleet.stop().await.unwrap();
    }
}

/// How many requests a second there are to be.
pub fn rate() -> f64 {
    let rate = match std::env::var("FLEET_RATE") {
        Ok(rate) if !rate.is_empty() => rate.parse().ok().filter(|&rate| rate > 0),
        _ => Some(RATE),
    };
    rate.expect("FLEET_RATE: expected a whole number of requests a second, such as 5000").into()
}

/// A database in this cluster with the generated catalog that comes of this seed.
pub async fn catalog(cluster: &Cluster, seed: u64) -> Database {
    let database = Database::create_in(cluster).await.unwrap();
    load_into(database, generated_set(seed).path()).await.database
}

/// The files of that catalog.
pub fn generated_set(seed: u64) -> TempDir {
    generated(SCALE, seed)
}

/// Lets time pass in which nothing happens but the load.
pub async fn a_while() {
    tokio::time::sleep(Duration::from_secs(2)).await;
}

/// Tries until it is so, and answers with how long that took.
pub async fn until(what: &str, holds: impl AsyncFn() -> bool) -> Duration {
    let since = Instant::now();
    crate::stand::loader::until(what, holds).await;
    since.elapsed()
}
