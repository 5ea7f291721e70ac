//! HTTP in front of functions: an HTTP API of API Gateway, and Function URLs.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response};

use super::event::decoded;
use super::reply::gateway_s_own;
use super::{Function, Route, Source, response};
use crate::{RawTarget, Transport};

/// Functions by their names.
pub type Functions = HashMap<String, Function>;

/// An HTTP API with the routes of the template, on the stage `$default`.
#[derive(Debug, Clone)]
pub struct Gateway {
    routes: Arc<Vec<Route>>,
    functions: Arc<Functions>,
}

/// A Function URL for each function. A request goes to the one that a client of its path would have the address of.
#[derive(Debug, Clone)]
pub struct FunctionUrls {
    gateway: Gateway,
}

impl Gateway {
    /// With these routes to these functions.
    pub fn new(routes: Vec<Route>, functions: Arc<Functions>) -> Self {
        Self { routes: Arc::new(routes), functions }
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
}

impl FunctionUrls {
    /// For the same functions.
    pub fn new(gateway: Gateway) -> Self {
        Self { gateway }
    }
}

impl Transport for Gateway {
    const DECODES_PATHS: bool = true;

    async fn call(&self, request: Request<Bytes>) -> Response<Bytes> {
        let Some((route, parameters)) = self.route(request.method(), &RawTarget::of(&request).0) else {
            return gateway_s_own(404, "Not Found");
        };
        let path_parameters = parameters.iter().map(|(name, value)| (name.clone(), decoded(value))).collect();
        let source = Source::Api { route_key: route.key.clone(), path_parameters };
        answer(&source, self.function(&route.function), &request).await
    }
}

impl Transport for FunctionUrls {
    async fn call(&self, request: Request<Bytes>) -> Response<Bytes> {
        let route = self.gateway.route(request.method(), &RawTarget::of(&request).0);
        let function = self.gateway.function(route.map_or("not-found", |(route, _)| &route.function));
        answer(&Source::Url, function, &request).await
    }
}

async fn answer(source: &Source, function: &Function, request: &Request<Bytes>) -> Response<Bytes> {
    let event = source.event(request).to_string();
    response(&function.invoke(event).await)
}
