//! Health checks for load balancers: whether the process runs, and whether it can serve requests.

use shared::endpoint::{ALLOW_GET, Method};
use shared::{App, Endpoint, Problem, Readiness, Request, Response};

/// `GET /healthz`: 200 while the process can respond, whatever the state of the database.
pub(crate) const HEALTHZ: Endpoint = Endpoint {
    name: "healthz",
    method: Method::Get,
    path: "/healthz",
    query: &[],
    allow: ALLOW_GET,
    handler: |_, _| Box::pin(std::future::ready(Ok(Response::private_json(r#"{"status":"alive"}"#)))),
};

/// `GET /readyz`: 200 if the database responds, or did so within the last three seconds, and a catalog is published,
/// unless the process is draining; otherwise 503.
pub(crate) const READYZ: Endpoint = Endpoint {
    name: "readyz",
    method: Method::Get,
    path: "/readyz",
    query: &[],
    allow: ALLOW_GET,
    handler: |app, request| Box::pin(readyz(app, request)),
};

async fn readyz(app: &App, request: &Request) -> Result<Response, Problem> {
    let readiness = request.timing.database(app.readiness()).await?;
    match readiness {
        Readiness::Ready { .. } => {
            Ok(Response::private_json(serde_json::to_vec(&readiness).map_err(Problem::internal)?))
        }
        Readiness::NoCatalog => Err(Problem::unavailable("No catalog has been published yet.")),
        Readiness::Draining => Err(Problem::unavailable("This process is about to end.")),
    }
}
