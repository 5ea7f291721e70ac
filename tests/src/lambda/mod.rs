//! What stands in for AWS where none can be had: the Runtime API that runs a function's binary ([`RuntimeApi`],
//! [`Function`]), and what turns HTTP into events for it and its replies into HTTP again: APIs of API Gateway ([`Gateway`]),
//! and Function URLs, load balancers and VPC Lattice ([`Direct`]).
//!
//! ```text
//! request ──> Gateway (routes of template.yaml) ──event──> RuntimeApi <──poll── the function's process
//! response <── Gateway <──────────reply────────────────────── RuntimeApi <──post──┘
//! ```

mod event;
mod function;
mod gateway;
mod reply;
mod runtime_api;
mod template;

pub use event::{Matched, Source};
pub use function::Function;
pub use gateway::{Api, Direct, Functions, Gateway};
pub use reply::response;
pub use runtime_api::{Outcome, RuntimeApi};
pub use template::{Route, read_template};
