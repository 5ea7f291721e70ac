//! HTTP in front of functions: APIs of API Gateway, and services that know no routes.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response};

use super::event::decoded;
use super::reply::gateway_s_own;
use super::{Function, Matched, Route, Source};
use crate::{RawTarget, Transport};

/// Functions by their names.
pub type Functions = HashMap<String, Function>;

/// An API of API Gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// An HTTP API with the routes of the template, in payload format 2.0.
    Http,
    /// The same in payload format 1.0.
    HttpFormat1,
    /// A REST API with a resource for each path.
    Rest,
    /// A REST API with the resource `/{proxy+}` alone.
    RestProxy,
    /// An HTTP API with the route `ANY /{proxy+}` alone.
    HttpProxy,
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

/// A service that knows no routes in front of each function. A request goes to the function that a client of its path would
/// have the address of.
#[derive(Debug, Clone)]
pub struct Direct {
    gateway: Gateway,
    source: Source,
}

impl Gateway {
    /// The HTTP API of these routes to these functions, on the stage `$default`.
    pub fn new(routes: Vec<Route>, functions: Arc<Functions>) -> Self {
        Self { routes: Arc::new(routes), functions, api: Api::Http, stage: "$default", base_path: "" }
    }

    /// Another API with the same functions, on a stage of this name and below a base path.
    #[must_use]
    pub fn of(self, api: Api, stage: &'static str, base_path: &'static str) -> Self {
        Self { api, stage, base_path, ..self }
    }

    /// The same functions behind a service that knows no routes.
    pub fn direct(self, source: Source) -> Direct {
        Direct { gateway: self, source }
    }

    /// The route of a request, and what its parameters stand for: one with the very method before one for any, one
    /// without parameters before one with them, and `$default` last. Slashes count, and paths are compared encoded.
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
        let (mut route_key, mut path_parameters) = (
            route.key.clone(),
            parameters.iter().map(|(name, value)| (name.clone(), decoded(value))).collect::<Vec<_>>(),
        );
        if matches!(self.api, Api::RestProxy | Api::HttpProxy) {
            // It takes every path but `/`, which leads to a resource of its own.
            let rest = path.trim_start_matches('/');
            (route_key, path_parameters) = if rest.is_empty() {
                ("ANY /".to_owned(), Vec::new())
            } else {
                let rest = path.strip_prefix('/').unwrap_or(path);
                ("ANY /{proxy+}".to_owned(), vec![("proxy".to_owned(), decoded(rest))])
            };
        }
        let matched = Matched { route_key, path_parameters, stage: self.stage, base_path: self.base_path };
        match self.api {
            Api::Http | Api::HttpProxy => Source::HttpApi(matched),
            Api::HttpFormat1 => Source::HttpApiFormat1(matched),
            Api::Rest | Api::RestProxy => Source::RestApi(matched),
        }
    }
}

impl Transport for Gateway {
    const DECODES_PATHS: bool = true;

    async fn call(&self, request: Request<Bytes>) -> Response<Bytes> {
        let path = RawTarget::of(&request).0.into_owned();
        let Some((route, parameters)) = self.route(request.method(), &path) else {
            return gateway_s_own(404, "Not Found");
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
