//! The query crate: everything between a request and its answer that is the same on every transport.
//!
//! A function crate exports an [`Endpoint`], whose handler reads a [`Request`], asks the [`App`] and returns
//! a [`Response`] or a [`Problem`]. A transport calls [`answer`] with the endpoints it serves; what it gets
//! back is the same, byte for byte, whatever the transport. Nothing here knows a socket or a Lambda, and only
//! [`config`] reads the environment.

mod answer;
mod app;
pub mod cart;
pub mod catalog;
pub mod config;
pub mod database;
pub mod encoding;
pub mod endpoint;
pub mod log;
pub mod problem;
pub mod request;
mod response;

pub use answer::{Answer, answer, answer_without_endpoint, refuse};
pub use app::{App, Readiness};
pub use endpoint::Endpoint;
pub use problem::Problem;
pub use request::Request;
pub use response::Response;
