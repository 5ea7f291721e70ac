//! The query crate: everything between a request and its response that is the same on every transport.
//!
//! A function crate exports an [`Endpoint`], whose handler reads a [`Request`], queries the [`App`] and returns a
//! [`Response`] or a [`Problem`]. A transport calls [`respond`] with the endpoints it serves. The response is the same,
//! byte for byte, on every transport. This crate accepts no connections and knows no Lambda.
//!
//! A module imports only modules to its left: variables and log, database, http, catalog and cart, config, app,
//! metrics, endpoint, respond.

mod app;
pub mod cart;
pub mod catalog;
pub mod config;
pub mod database;
pub mod endpoint;
pub mod http;
pub mod log;
pub mod metrics;
mod respond;
pub mod variables;

pub use self::http::{Problem, Request, Response, StaticFile};
pub use app::{App, Readiness, statements};
pub use endpoint::Endpoint;
pub use respond::{Outcome, reject, respond, respond_not_found};
