//! What an endpoint is, and which one a path belongs to.

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;

use crate::app::App;
use crate::http::problem::Problem;
use crate::http::request::Request;
use crate::http::response::Response;

/// The `Allow` of a path that can only be read.
pub const ALLOW_GET: &str = "GET, HEAD, OPTIONS";

/// The `Allow` of `/cart`, which three endpoints share.
pub const ALLOW_CART: &str = "GET, HEAD, POST, DELETE, OPTIONS";

/// The `Allow` of `/cart/{sku_id}`.
pub const ALLOW_CART_LINE: &str = "DELETE, OPTIONS";

/// The `Access-Control-Allow-Methods` of every path: what the service as a whole takes.
pub const CORS_METHODS: &str = "GET, HEAD, POST, PUT, DELETE, OPTIONS";

/// One of the things this service can be asked. Each function crate exports one.
#[derive(Clone, Copy)]
pub struct Endpoint {
    /// The name of its function: `get-styles`.
    pub name: &'static str,
    /// Which method it matches.
    pub method: Method,
    /// Its path, in which a name in braces is a parameter, one whole segment: `/products/{product_id}/styles`. One
    /// parameter at most.
    pub path: &'static str,
    /// The query parameters that it reads. Caches in front of the service tell requests apart by these and no others.
    pub query: &'static [&'static str],
    /// Every method of its path, for 405: those of other endpoints with the same path too, because a function
    /// that knows only itself matches as the host does.
    pub allow: &'static str,
    /// What matches it.
    pub handler: Handler,
}

/// A method that an endpoint matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// `GET`, and `HEAD` with it.
    Get,
    /// `POST`.
    Post,
    /// `DELETE`.
    Delete,
}

/// An async function from the shared state and a request to a response or a problem.
pub type Handler = for<'a> fn(&'a App, &'a Request) -> HandlerFuture<'a>;

/// A handler at work.
pub type HandlerFuture<'a> = Pin<Box<dyn Future<Output = Result<Response, Problem>> + Send + 'a>>;

impl fmt::Debug for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {:?} {}", self.name, self.method, self.path)
    }
}

impl Endpoint {
    /// The name of the path's parameter, if it has one: `product_id`.
    #[must_use]
    pub fn parameter(&self) -> Option<&'static str> {
        split_at_parameter(self.path).map(|(_, name, _)| name)
    }

    /// The path with `value`, encoded as it stands in a path, in place of its parameter.
    #[must_use]
    pub fn path_with(&self, value: &str) -> String {
        match split_at_parameter(self.path) {
            Some((before, _, after)) => [before, value, after].concat(),
            None => self.path.to_owned(),
        }
    }
}

impl Method {
    fn matches(self, method: &http::Method) -> bool {
        match self {
            Self::Get => *method == http::Method::GET || *method == http::Method::HEAD,
            Self::Post => *method == http::Method::POST,
            Self::Delete => *method == http::Method::DELETE,
        }
    }
}

/// What a method and a path lead to.
#[derive(Debug)]
pub(crate) enum Route {
    /// An endpoint, and where in the path its parameter is (an empty range if it has none).
    Endpoint(Endpoint, Range<usize>),
    /// The path has an endpoint, but not for this method.
    OtherMethod(Endpoint),
    Nothing,
}

impl Route {
    /// The path template, if the path has an endpoint.
    pub(crate) fn path(&self) -> Option<&'static str> {
        match self {
            Self::Endpoint(endpoint, _) | Self::OtherMethod(endpoint) => Some(endpoint.path),
            Self::Nothing => None,
        }
    }
}

/// Finds the endpoint. Paths are compared as they were sent, byte for byte; one slash at the end makes no
/// difference.
pub(crate) fn route(endpoints: &[&Endpoint], method: &http::Method, path: &str) -> Route {
    let mut found = Route::Nothing;
    for endpoint in endpoints {
        if let Some(parameter) = matched(endpoint.path, path) {
            if endpoint.method.matches(method) {
                return Route::Endpoint(**endpoint, parameter);
            }
            found = Route::OtherMethod(**endpoint);
        }
    }
    found
}

/// Where in `path` the template's parameter is, if the path fits the template.
fn matched(template: &str, path: &str) -> Option<Range<usize>> {
    let path = path.strip_suffix('/').unwrap_or(path);
    let Some((before, _, after)) = split_at_parameter(template) else {
        return (path == template).then_some(0..0);
    };
    let parameter = path.strip_prefix(before)?.strip_suffix(after)?;
    let start = before.len();
    (!parameter.is_empty() && !parameter.contains('/')).then_some(start..start + parameter.len())
}

/// What stands before the parameter of a template, its name, and what stands behind it.
fn split_at_parameter(template: &str) -> Option<(&str, &str, &str)> {
    // Byte by byte: what `str` has for searching prepares itself first, which costs more than all the rest.
    let open = template.bytes().position(|byte| byte == b'{')?;
    let (before, rest) = (template.get(..open)?, template.get(open + 1..)?);
    let close = rest.bytes().position(|byte| byte == b'}')?;
    Some((before, rest.get(..close)?, rest.get(close + 1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_fits_its_template_with_and_without_a_slash_at_the_end() {
        let styles = "/products/{product_id}/styles";
        assert_eq!(matched(styles, "/products/71/styles"), Some(10..12));
        assert_eq!(matched(styles, "/products/71/styles/"), Some(10..12));
        assert_eq!(matched("/products", "/products/"), Some(0..0));
        assert_eq!(matched("/products/{product_id}", "/products/abc"), Some(10..13));
        assert_eq!(matched("/cart/{sku_id}", "/cart/33/"), Some(6..8));
    }

    #[test]
    fn a_path_that_is_only_like_its_template_does_not_fit() {
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
            assert_eq!(matched(styles, path), None, "{path}");
        }
        assert_eq!(matched("/products/{product_id}", "/products/"), None);
        assert_eq!(matched("/products/{product_id}", "/products//"), None);
    }
}
