//! NGINX in front of hosts, with settings of a test.

use std::net::SocketAddr;

use bytes::Bytes;
use http::Response;
use local::{LoadBalancer, LoadBalancerSettings};
use rig::start_load_balancer;

use super::serving::{Balanced, Socket};

/// Starts NGINX in front of these hosts, with the default settings of tests.
pub async fn balance(hosts: &[SocketAddr]) -> (LoadBalancer, Balanced) {
    balance_with(hosts, LoadBalancerSettings::default()).await
}

/// Starts NGINX in front of these hosts.
pub async fn balance_with(hosts: &[SocketAddr], settings: LoadBalancerSettings) -> (LoadBalancer, Balanced) {
    let balancer = start_load_balancer(hosts, settings).await.unwrap();
    let service = Balanced(Socket(balancer.address()));
    (balancer, service)
}

/// Returns settings with these variables for the configuration.
pub fn with_variables(variables: &[(&'static str, &str)]) -> LoadBalancerSettings {
    let variables = variables.iter().map(|&(name, value)| (name, value.to_owned())).collect();
    LoadBalancerSettings { variables, ..LoadBalancerSettings::default() }
}

/// Asserts that NGINX's response is a problem in the same form as the hosts' problems.
pub fn assert_is_problem(response: &Response<Bytes>, status: u16) {
    assert_eq!(response.status(), status);
    let header = |name| response.headers().get(name).map_or("", |value| value.to_str().unwrap());
    assert_eq!(header("content-type"), "application/problem+json");
    assert_eq!(header("access-control-allow-origin"), "*");
    assert_eq!(header("cache-control"), "no-store");
    let problem: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
    assert_eq!(problem["status"], status);
    assert_eq!(problem["request_id"], header("x-request-id"));
    assert_eq!(problem.as_object().unwrap().len(), 5, "{problem}");
}
