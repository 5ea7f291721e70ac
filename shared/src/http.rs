//! HTTP without a transport: requests, responses and problems, as handlers see them.

pub mod document;
pub mod encoding;
pub mod problem;
pub mod request;
pub mod response;
pub mod timing;

pub use document::{Content, Document};
pub use problem::Problem;
pub use request::Request;
pub use response::Response;
pub use timing::Timing;
