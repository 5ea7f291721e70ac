//! HTTP without a transport: the requests, responses and problems that handlers use.

pub mod document;
pub mod encoding;
mod etag;
pub mod json;
mod memory;
pub mod page;
pub mod problem;
pub mod request;
pub mod response;
mod static_file;
pub mod timing;
mod trace;

pub use document::{Content, Document};
pub(crate) use memory::{LARGE_ABOVE_BYTES, MemoryBudget, Reservation};
pub use page::Page;
pub use problem::Problem;
pub use request::Request;
pub use response::Response;
pub use static_file::StaticFile;
pub use timing::Timing;
pub use trace::TraceParent;
