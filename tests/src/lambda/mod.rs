//! A local replacement for AWS: the Runtime API that runs a function's binary ([`RuntimeApi`], [`Function`]), and the
//! services that turn HTTP requests into events and replies into HTTP responses. These are APIs of API Gateway
//! ([`Gateway`]), and Function URLs, load balancers and VPC Lattice ([`Direct`]).
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
