//! HTTP services in front of functions: APIs of API Gateway, and services without routes.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response};

use super::event::decoded;
use super::reply::gateway_error;
use super::{Function, Matched, Route, Source};
use crate::{RawTarget, Transport};

/// Functions by their names.
pub type Functions = HashMap<String, Function>;

/// A kind of API of API Gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// An HTTP API with the routes of the template, in payload format 2.0.
    Http,
    /// An HTTP API with the routes of the template, in payload format 1.0.
    HttpFormat1,
    /// A REST API with a resource for each path.
    Rest,
    /// A REST API with only the resource `/{proxy+}`.
    RestProxy,
    /// An HTTP API with only the route `ANY /{proxy+}`.
    HttpProxy,
    /// A REST API with a resource for the first segment of each path, one below each of them, and `/{proxy+}`.
    RestProxyBelowPrefix,
}

/// The first segments of the endpoints' paths.
const PREFIXES: [&str; 5] = ["products", "cart", "cards", "categories", "catalog"];

fn first_segment(path: &str) -> &str {
    path.split('/').next().unwrap_or_default()
}

/// An API in front of functions.
#[derive(Debug, Clone)]
pub struct Gateway {
    routes: Arc<Vec<Route>>,
    functions: Arc<Functions>,
    api: Api,
    stage: &'static str,
    base_path: &'static str,
}

/// A service without routes in front of each function. A request goes to the function whose address a client of its
/// path would use.
#[derive(Debug, Clone)]
pub struct Direct {
    gateway: Gateway,
    source: Source,
}

impl Gateway {
    /// Returns an HTTP API with these routes to these functions, on the stage `$default`.
    pub fn new(routes: Vec<Route>, functions: Arc<Functions>) -> Self {
        Self { routes: Arc::new(routes), functions, api: Api::Http, stage: "$default", base_path: "" }
    }

    /// Returns another kind of API with the same functions, on a named stage and below a base path.
    #[must_use]
    pub fn of(self, api: Api, stage: &'static str, base_path: &'static str) -> Self {
        Self { api, stage, base_path, ..self }
    }

    /// Returns the same functions behind a service without routes.
    pub fn direct(self, source: Source) -> Direct {
        Direct { gateway: self, source }
    }

    /// Returns the route of a request and the values of its parameters. A route for the exact method precedes one for
    /// any method, one without parameters precedes one with them, and `$default` is the last. Slashes are significant,
    /// and paths are compared encoded.
    pub fn route(&self, method: &Method, path: &str) -> Option<(&Route, Vec<(String, String)>)> {
        let fitting = self.routes.iter().filter_map(|route| Some((route, route.parameters(method, path)?)));
        fitting.min_by_key(|(route, parameters)| {
            (route.is_default(), parameters.len(), route.is_for_any_method())
        })
    }

    fn function(&self, name: &str) -> &Function {
        self.functions.get(name).unwrap_or_else(|| panic!("there is no function {name}"))
    }

    fn source(&self, route: &Route, parameters: &[(String, String)], path: &str) -> Source {
        let (route_key, path_parameters) = match (self.api, path.strip_prefix('/').unwrap_or(path)) {
            (Api::Http | Api::HttpFormat1 | Api::Rest, _) => (
                route.key.clone(),
                parameters.iter().map(|(name, value)| (name.clone(), decoded(value))).collect::<Vec<_>>(),
            ),
            (Api::RestProxyBelowPrefix, rest) if PREFIXES.contains(&first_segment(rest)) => {
                let first = first_segment(rest);
                match rest[first.len()..].strip_prefix('/').filter(|rest| !rest.is_empty()) {
                    Some(rest) => {
                        (format!("ANY /{first}/{{proxy+}}"), vec![("proxy".to_owned(), decoded(rest))])
                    }
                    None => (format!("ANY /{first}"), Vec::new()),
                }
            }
            // `/{proxy+}` matches every path except `/`, which has a separate resource.
            (_, rest) if rest.trim_start_matches('/').is_empty() => ("ANY /".to_owned(), Vec::new()),
            (_, rest) => ("ANY /{proxy+}".to_owned(), vec![("proxy".to_owned(), decoded(rest))]),
        };
        let matched = Matched { route_key, path_parameters, stage: self.stage, base_path: self.base_path };
        match self.api {
            Api::Http | Api::HttpProxy => Source::HttpApi(matched),
            Api::HttpFormat1 => Source::HttpApiFormat1(matched),
            Api::Rest | Api::RestProxy | Api::RestProxyBelowPrefix => Source::RestApi(matched),
        }
    }
}

impl Transport for Gateway {
    const DECODES_PATHS: bool = true;

    async fn call(&self, request: Request<Bytes>) -> Response<Bytes> {
        let path = RawTarget::of(&request).0.into_owned();
        let Some((route, parameters)) = self.route(request.method(), &path) else {
            return gateway_error(404, "Not Found");
        };
        answer(&self.source(route, &parameters, &path), self.function(&route.function), &request).await
    }
}

impl Transport for Direct {
    async fn call(&self, request: Request<Bytes>) -> Response<Bytes> {
        let route = self.gateway.route(request.method(), &RawTarget::of(&request).0);
        let function = self.gateway.function(route.map_or("not-found", |(route, _)| &route.function));
        answer(&self.source, function, &request).await
    }
}

async fn answer(source: &Source, function: &Function, request: &Request<Bytes>) -> Response<Bytes> {
    let event = source.event(request).to_string();
    source.response(&function.invoke(event).await)
}
