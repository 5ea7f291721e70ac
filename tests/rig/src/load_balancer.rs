//! A load balancer in a temporary directory.

use std::net::SocketAddr;
use std::path::Path;

use local::{Error, LoadBalancer, LoadBalancerSettings, free_address};

/// Starts NGINX on a free address in front of `hosts`, in a temporary directory.
///
/// # Errors
/// As [`LoadBalancer::start`].
pub async fn start_load_balancer(
    hosts: &[SocketAddr],
    settings: LoadBalancerSettings,
) -> Result<LoadBalancer, Error> {
    let made = tempfile::Builder::new().prefix("atelier-nginx-").tempdir();
    let directory = made.map_err(Error::io("create a temporary", Path::new("directory")))?;
    let settings = LoadBalancerSettings { temporary: true, ..settings };
    let load_balancer = LoadBalancer::start(directory.path(), free_address()?, hosts, &settings).await?;
    let _removed_by_supervisor = directory.keep();
    Ok(load_balancer)
}
