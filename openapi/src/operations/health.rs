//! The operations of the health checks.

use super::{Content, Operation, example, reply};
use crate::body::Body;
use crate::contract::{Alive, Ready};
use crate::headers::PRIVATE;

pub(super) static ALL: &[Operation] = &[
    Operation {
        name: "healthz",
        tag: "health",
        summary: "Check whether the host runs",
        description: "Returns 200 while the process can respond, whatever the state of the database. Functions do not \
                      have this path.",
        request: None,
        replies: &[reply(
            200,
            "The process responds.",
            PRIVATE,
            Some(Content::Json(
                Body::of::<Alive>(),
                &[example("alive", "The only response", "/healthz", r#"{"status":"alive"}"#)],
            )),
        )],
        problems: &[],
    },
    Operation {
        name: "readyz",
        tag: "health",
        summary: "Check whether the host can serve requests",
        description: "Returns 503 without a database or a catalog, and while the process drains. Functions do not have \
                      this path.",
        request: None,
        replies: &[reply(
            200,
            "The host serves a catalog.",
            PRIVATE,
            Some(Content::Json(
                Body::of::<Ready>(),
                &[example("ready", "The first catalog", "/readyz", r#"{"status":"ready","generation":1}"#)],
            )),
        )],
        problems: &[],
    },
];
