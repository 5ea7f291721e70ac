//! What a load balancer asks: whether the process is alive, and whether to send it requests.

use shared::endpoint::{ALLOW_GET, Method};
use shared::{App, Endpoint, Problem, Readiness, Request, Response};

/// `GET /healthz`: 200 as long as the process answers at all, whatever becomes of the database.
pub(crate) const LIVENESS: Endpoint = Endpoint {
    name: "liveness",
    method: Method::Get,
    path: "/healthz",
    query: &[],
    allow: ALLOW_GET,
    handler: |_, _| Box::pin(std::future::ready(Ok(Response::private_json(r#"{"status":"alive"}"#)))),
};

/// `GET /readyz`: 200 if the database answers and a catalog is published, unless the process is draining;
/// else 503.
pub(crate) const READINESS: Endpoint = Endpoint {
    name: "readiness",
    method: Method::Get,
    path: "/readyz",
    query: &[],
    allow: ALLOW_GET,
    handler: |app, request| Box::pin(readiness(app, request)),
};

async fn readiness(app: &App, request: &Request) -> Result<Response, Problem> {
    let readiness = request.timing.database(app.readiness()).await?;
    match readiness {
        Readiness::Ready { .. } => {
            Ok(Response::private_json(serde_json::to_vec(&readiness).map_err(Problem::internal)?))
        }
        Readiness::NoCatalog => Err(Problem::unavailable("No catalog has been published yet.")),
        Readiness::Draining => Err(Problem::unavailable("This process is about to end.")),
    }
}
