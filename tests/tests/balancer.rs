//! The balancer in front of hosts: the suite through NGINX, and what NGINX does with hosts that fail.

#![allow(clippy::unwrap_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod stand;

use stand::serving::small_fleet;

conformance::suite!(small_fleet);
