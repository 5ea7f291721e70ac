//! What an endpoint is, and which one a path belongs to.

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;

use crate::app::App;
use crate::problem::Problem;
use crate::request::Request;
use crate::response::Response;

/// What stands for a product's id in a template.
const PRODUCT_ID: &str = "{product_id}";

/// The `Allow` of a path that can only be read.
pub const READ_ONLY: &str = "GET, HEAD, OPTIONS";

/// The `Allow` of `/cart`, which two endpoints share.
pub const READ_AND_ADD: &str = "GET, HEAD, POST, OPTIONS";

/// One of the things this service can be asked. Each function crate exports one.
#[derive(Clone, Copy)]
pub struct Endpoint {
    /// The name of its function: `get-styles`.
    pub name: &'static str,
    /// Which method it answers.
    pub method: Method,
    /// Its path, `{product_id}` in it standing for one segment: `/products/{product_id}/styles`.
    pub path: &'static str,
    /// Every method of its path, for 405: those of other endpoints with the same path too, because a function
    /// that knows only itself answers as the host does.
    pub allow: &'static str,
    /// What answers it.
    pub handler: Handler,
}

/// A method that an endpoint answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// `GET`, and `HEAD` with it.
    Get,
    /// `POST`.
    Post,
}

/// An async function from the shared state and a request to a response or a problem.
pub type Handler = for<'a> fn(&'a App, &'a Request) -> Answering<'a>;

/// A handler at work.
pub type Answering<'a> = Pin<Box<dyn Future<Output = Result<Response, Problem>> + Send + 'a>>;

impl fmt::Debug for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {:?} {}", self.name, self.method, self.path)
    }
}

impl Endpoint {
    /// The path with `product_id`, as it stands in a path, in the template's place for it.
    #[must_use]
    pub fn path_of(&self, product_id: &str) -> String {
        self.path.replace(PRODUCT_ID, product_id)
    }
}

impl Method {
    fn answers(self, method: &http::Method) -> bool {
        match self {
            Self::Get => *method == http::Method::GET || *method == http::Method::HEAD,
            Self::Post => *method == http::Method::POST,
        }
    }
}

/// What a method and a path lead to.
#[derive(Debug)]
pub(crate) enum Route {
    /// An endpoint, and where in the path its `{product_id}` is (an empty range if it has none).
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
            if endpoint.method.answers(method) {
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
    // By one character, for to look for several takes a preparation that costs more than all the rest.
    let Some((before, (_, after))) =
        template.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?)))
    else {
        return (path == template).then_some(0..0);
    };
    let parameter = path.strip_prefix(before)?.strip_suffix(after)?;
    let start = before.len();
    (!parameter.is_empty() && !parameter.contains('/')).then_some(start..start + parameter.len())
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
