//! Endpoints, and the routing of a request to one of them.

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;

use crate::app::App;
use crate::http::problem::Problem;
use crate::http::request::Request;
use crate::http::response::Response;

/// The `Allow` header of a read-only path.
pub const ALLOW_GET: &str = "GET, HEAD, OPTIONS";

/// The `Allow` header of `/cart`, which three endpoints share.
pub const ALLOW_CART: &str = "GET, HEAD, POST, DELETE, OPTIONS";

/// The `Allow` header of `/cart/{sku_id}`, which two endpoints share.
pub const ALLOW_CART_LINE: &str = "PUT, DELETE, OPTIONS";

/// An endpoint: a method, a path template and a handler. Each function crate exports one.
#[derive(Clone, Copy)]
pub struct Endpoint {
    /// The name of its function: `get-styles`.
    pub name: &'static str,
    /// The method.
    pub method: Method,
    /// The path template. A name in braces stands for one whole segment, the parameter:
    /// `/products/{product_id}/styles`. A path has at most one parameter.
    pub path: &'static str,
    /// The query parameters that the handler reads. Caches in front of the service use only these in their key.
    pub query: &'static [&'static str],
    /// Every method of the path, for a 405. It includes those of other endpoints with the same path, so that a
    /// function, which knows only its own endpoint, responds as the host does.
    pub allow: &'static str,
    /// The handler.
    pub handler: Handler,
}

/// The method of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// `GET` and `HEAD`.
    Get,
    /// `POST`.
    Post,
    /// `PUT`.
    Put,
    /// `DELETE`.
    Delete,
}

/// An async function that turns the shared state and a request into a response or a problem.
pub type Handler = for<'a> fn(&'a App, &'a Request) -> HandlerFuture<'a>;

/// The future of a handler.
pub type HandlerFuture<'a> = Pin<Box<dyn Future<Output = Result<Response, Problem>> + Send + 'a>>;

impl fmt::Debug for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {:?} {}", self.name, self.method, self.path)
    }
}

impl Endpoint {
    /// Returns the name of the path's parameter, if it has one: `product_id`.
    #[must_use]
    pub fn parameter(&self) -> Option<&'static str> {
        split_at_parameter(self.path).map(|(_, name, _)| name)
    }

    /// Returns the path with `value` in place of the parameter. The caller has encoded `value` for a path.
    #[must_use]
    pub fn path_with(&self, value: &str) -> String {
        match split_at_parameter(self.path) {
            Some((before, _, after)) => [before, value, after].concat(),
            None => self.path.to_owned(),
        }
    }
}

impl Method {
    /// Returns its name in HTTP: `GET`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }

    fn matches(self, method: &http::Method) -> bool {
        method.as_str() == self.name() || (self == Self::Get && method == http::Method::HEAD)
    }
}

/// The result of routing a request.
#[derive(Debug)]
pub(crate) enum Route {
    /// The endpoint, and the range of its parameter in the path (empty if it has none).
    Endpoint(Endpoint, Range<usize>),
    /// The path has an endpoint, but not for this method.
    MethodNotAllowed(Endpoint),
    /// No endpoint has this path.
    NotFound,
}

impl Route {
    /// Returns the path template, if the path has an endpoint.
    pub(crate) fn path(&self) -> Option<&'static str> {
        match self {
            Self::Endpoint(endpoint, _) | Self::MethodNotAllowed(endpoint) => Some(endpoint.path),
            Self::NotFound => None,
        }
    }
}

/// Finds the endpoint of a request. Paths are compared byte for byte as the client sent them, except for one slash at
/// the end. The first template that matches the path decides, so a template without parameter stands before those with
/// one that match its path too: `/cart/lines` before `/cart/{sku_id}`.
pub(crate) fn route(endpoints: &[&Endpoint], method: &http::Method, path: &str) -> Route {
    let mut found: Option<&Endpoint> = None;
    for endpoint in endpoints {
        match found {
            Some(found) if found.path != endpoint.path => {}
            _ => {
                if let Some(parameter) = match_template(endpoint.path, path) {
                    if endpoint.method.matches(method) {
                        return Route::Endpoint(**endpoint, parameter);
                    }
                    found = Some(endpoint);
                }
            }
        }
    }
    found.map_or(Route::NotFound, |endpoint| Route::MethodNotAllowed(*endpoint))
}

/// Returns the range of the template's parameter in `path`, if the path matches the template.
fn match_template(template: &str, path: &str) -> Option<Range<usize>> {
    if template == "/" {
        return (path == "/").then_some(0..0);
    }
    let path = path.strip_suffix('/').unwrap_or(path);
    let Some((before, _, after)) = split_at_parameter(template) else {
        return (path == template).then_some(0..0);
    };
    let parameter = path.strip_prefix(before)?.strip_suffix(after)?;
    let start = before.len();
    (!parameter.is_empty() && !parameter.contains('/')).then_some(start..start + parameter.len())
}

/// Splits a template into the text before its parameter, the parameter's name, and the text after it.
fn split_at_parameter(template: &str) -> Option<(&str, &str, &str)> {
    // Search for one byte: `str::find` builds a searcher first, which costs more than the match itself.
    let open = template.bytes().position(|byte| byte == b'{')?;
    let (before, rest) = (template.get(..open)?, template.get(open + 1..)?);
    let close = rest.bytes().position(|byte| byte == b'}')?;
    Some((before, rest.get(..close)?, rest.get(close + 1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_matches_its_template_with_or_without_a_slash_at_the_end() {
        let styles = "/products/{product_id}/styles";
        assert_eq!(match_template(styles, "/products/71/styles"), Some(10..12));
        assert_eq!(match_template(styles, "/products/71/styles/"), Some(10..12));
        assert_eq!(match_template("/products", "/products/"), Some(0..0));
        assert_eq!(match_template("/products/{product_id}", "/products/abc"), Some(10..13));
        assert_eq!(match_template("/cart/{sku_id}", "/cart/33/"), Some(6..8));
        assert_eq!(match_template("/", "/"), Some(0..0));
    }

    #[test]
    fn the_first_template_that_matches_decides_for_every_method() {
        let endpoint = |method, path| Endpoint {
            name: "",
            method,
            path,
            query: &[],
            allow: "",
            handler: |_, _| Box::pin(async { Ok(Response::no_content()) }),
        };
        let lines = endpoint(Method::Get, "/cart/lines");
        let [put, delete] = [Method::Put, Method::Delete].map(|method| endpoint(method, "/cart/{sku_id}"));
        let found = |method: http::Method, path: &str| route(&[&lines, &put, &delete], &method, path);
        for (method, path, expected) in [
            (http::Method::HEAD, "/cart/lines", "/cart/lines"),
            (http::Method::PUT, "/cart/1/", "/cart/{sku_id}"),
            (http::Method::DELETE, "/cart/1", "/cart/{sku_id}"),
        ] {
            let route = found(method, path);
            assert!(matches!(route, Route::Endpoint(..)) && route.path() == Some(expected), "{path}");
        }
        for (method, path, expected) in [
            (http::Method::DELETE, "/cart/lines/", "/cart/lines"),
            (http::Method::GET, "/cart/1", "/cart/{sku_id}"),
        ] {
            let route = found(method, path);
            assert!(matches!(route, Route::MethodNotAllowed(_)) && route.path() == Some(expected), "{path}");
        }
        assert!(matches!(found(http::Method::PUT, "/cart/1/2"), Route::NotFound));
    }

    #[test]
    fn a_path_that_only_resembles_its_template_does_not_match() {
        let styles = "/products/{product_id}/styles";
        for path in [
            "/products/styles",
            "/products//styles",
            "/products/1/styles//",
            "/products/1/2/styles",
            "/products/1/../styles",
            "/Products/1/styles",
            "/products/1/style%73",
            "products/1/styles",
            "",
            "/",
        ] {
            assert_eq!(match_template(styles, path), None, "{path}");
        }
        assert_eq!(match_template("/", "//").or(match_template("/", "")), None);
        assert_eq!(match_template("/products/{product_id}", "/products/"), None);
        assert_eq!(match_template("/products/{product_id}", "/products//"), None);
    }
}
