//! The functions' binaries, run as Lambda runs them.

use std::ffi::OsString;
use std::sync::Arc;

use bytes::Bytes;
use conformance::lambda::{Api, Direct, Function, Functions, Gateway, Route, Source};
use http::Request;
use rig::Database;
use shared::Endpoint;
use tokio::sync::OnceCell;

use super::SHARED_RUNTIME;
use super::incoming::Incoming;

/// Returns the endpoints that are also functions: all except the host's health checks.
pub fn endpoints() -> impl Iterator<Item = &'static Endpoint> {
    let of_the_host = ["/healthz", "/readyz"];
    atelier_host::ENDPOINTS.iter().copied().filter(move |endpoint| !of_the_host.contains(&endpoint.path))
}

/// Returns the names of all functions.
pub fn names() -> impl Iterator<Item = &'static str> {
    endpoints().map(|endpoint| endpoint.name).chain(["not-found"])
}

/// Starts a function on a database, with further variables. Its log is discarded.
pub async fn function(name: &str, database: &Database, further: &[(&str, &str)]) -> Function {
    start(name, database, further, false).await
}

/// Starts a function whose log the test reads. The function blocks while the test does not read.
pub async fn logging_function(name: &str, database: &Database, further: &[(&str, &str)]) -> Function {
    start(name, database, further, true).await
}

/// Starts the etl function, which loads from this bucket into this database, with further variables.
pub async fn etl_function(incoming: &Incoming, further: &[(&str, &str)]) -> Function {
    let own = etl_variables(incoming);
    let own = own.iter().map(|(name, value)| (*name, value.as_str()));
    function("etl", &incoming.database, &own.chain(further.iter().copied()).collect::<Vec<_>>()).await
}

/// Returns the variables of an etl function that reads this bucket.
pub fn etl_variables(incoming: &Incoming) -> Vec<(&'static str, String)> {
    let of_s3 = incoming.bucket.variables().map(|(name, value)| (name, value.into_string().unwrap()));
    of_s3.into_iter().chain([("REJECTS_URL", incoming.bucket.url("rejects/"))]).collect()
}

async fn start(name: &str, database: &Database, further: &[(&str, &str)], log: bool) -> Function {
    let url = database.function_url(name).await.unwrap();
    let mut variables = vec![("DATABASE_URL", OsString::from(url))];
    variables.extend(further.iter().map(|(name, value)| (*name, value.into())));
    Function::start(&local::program(name).unwrap(), &variables, log).await
}

/// Returns the functions of all endpoints over the hand-made dataset, started once for all tests of a binary.
async fn functions() -> Arc<Functions> {
    static FUNCTIONS: OnceCell<Arc<Functions>> = OnceCell::const_new();
    let start = || async {
        let database = super::small().await.database.clone();
        let starting = async move {
            let mut functions = Functions::new();
            for name in endpoints().map(|endpoint| endpoint.name) {
                functions.insert(name.to_owned(), function(name, &database, &[]).await);
            }
            functions.insert("not-found".to_owned(), not_found().await);
            Arc::new(functions)
        };
        SHARED_RUNTIME.spawn(starting).await.unwrap()
    };
    Arc::clone(FUNCTIONS.get_or_init(start).await)
}

/// Returns a GET request for a path.
pub fn get(path: &str) -> Request<Bytes> {
    Request::get(path).header("x-request-id", "tested").body(Bytes::new()).unwrap()
}

/// Returns the event that a Function URL makes of a GET request for a path.
pub fn event(path: &str) -> String {
    Source::Url.event(&get(path)).to_string()
}

/// Starts the function for unknown paths, which has no database.
pub async fn not_found() -> Function {
    Function::start(&local::program("not-found").unwrap(), &[], false).await
}

/// Returns the functions behind the HTTP API of the template.
pub async fn gateway() -> Gateway {
    Gateway::new(Route::from_template(), functions().await)
}

/// Returns the functions behind an HTTP API with a named stage and the base path of a custom domain.
pub async fn named_stage() -> Gateway {
    gateway().await.of(Api::Http, "prod", "/shop")
}

/// Returns the functions behind an HTTP API in payload format 1.0.
pub async fn format_1() -> Gateway {
    gateway().await.of(Api::HttpFormat1, "prod", "")
}

/// Returns the functions behind a REST API with a resource for each path.
pub async fn rest_api() -> Gateway {
    gateway().await.of(Api::Rest, "prod", "/shop")
}

/// Returns the functions behind a REST API with the resource `/{proxy+}`.
pub async fn rest_proxy() -> Gateway {
    gateway().await.of(Api::RestProxy, "prod", "/shop")
}

/// Returns the functions behind an HTTP API with the route `ANY /{proxy+}`.
pub async fn rest_proxy_below_prefix() -> Gateway {
    gateway().await.of(Api::RestProxyBelowPrefix, "prod", "/shop")
}

/// Returns the functions behind Function URLs.
pub async fn http_proxy() -> Gateway {
    gateway().await.of(Api::HttpProxy, "prod", "")
}

/// Returns the functions as targets of an Application Load Balancer.
pub async fn function_urls() -> Direct {
    gateway().await.direct(Source::Url)
}

/// Returns the functions as targets of VPC Lattice.
pub async fn load_balancer() -> Direct {
    gateway().await.direct(Source::Alb)
}

/// The functions as targets of VPC Lattice.
pub async fn lattice() -> Direct {
    gateway().await.direct(Source::Lattice)
}
