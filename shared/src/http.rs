//! HTTP without a transport: the requests, responses and problems that handlers use.

pub mod document;
pub mod encoding;
pub mod json;
mod memory;
pub mod problem;
pub mod request;
pub mod response;
pub mod timing;

pub use document::{Content, Document};
pub(crate) use memory::{LARGE_ABOVE_BYTES, MemoryBudget, Reservation};
pub use problem::Problem;
pub use request::Request;
pub use response::{Response, StaticFile};
pub use timing::Timing;
