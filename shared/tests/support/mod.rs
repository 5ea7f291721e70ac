//! Support for the tests: configuration as programs read it, and a proxy to a database.

#![allow(dead_code)] // each test binary uses a part of it
#![allow(clippy::unwrap_used, clippy::panic)] // clippy does not count helpers as tests

pub(crate) mod host;

use rig::{Database, Proxy};
use shared::App;
use shared::config::FunctionConfig;

/// Starts a proxy to a database. Returns it with the `DATABASE_URL` of the service.
pub(crate) async fn proxy_to(database: &Database) -> (Proxy, String) {
    let proxy = Proxy::to(database.socket()).await.unwrap();
    let url = database.host_url_through(&[proxy.address()]);
    (proxy, url)
}

/// Returns the configuration of a function with these variables.
pub(crate) fn function(variables: &[(&str, &str)]) -> FunctionConfig {
    let set =
        |name: &str| variables.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned());
    FunctionConfig::from_lookup(&set).unwrap()
}

/// Starts the state of a function with these variables.
pub(crate) fn app(variables: &[(&str, &str)]) -> App {
    let function = function(variables);
    App::start(&function.database, &function.requests)
}
