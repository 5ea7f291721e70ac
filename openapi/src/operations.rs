//! What the endpoints' constants do not say: the words, the bodies and the statuses of each endpoint.

mod cart;
mod catalog;
mod health;

use crate::body::Body;
use crate::headers::ResponseHeader;
use crate::problems::COMMON;

/// The operation of an endpoint.
#[derive(Debug)]
pub(crate) struct Operation {
    /// The endpoint's name.
    pub(crate) name: &'static str,
    pub(crate) tag: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) description: &'static str,
    /// The JSON body that the endpoint expects.
    pub(crate) request: Option<Content>,
    /// The responses that are no problems.
    pub(crate) replies: &'static [Reply],
    /// The problems besides the common ones.
    pub(crate) problems: &'static [u16],
}

/// A response that is no problem.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) description: &'static str,
    pub(crate) headers: &'static [ResponseHeader],
    pub(crate) content: Option<Content>,
}

/// A body with examples.
#[derive(Debug)]
pub(crate) enum Content {
    Json(Body, &'static [Example]),
    /// Always the same text.
    Text(&'static str),
}

/// An example of a body.
#[derive(Debug, Clone, Copy)]
pub struct Example {
    /// The name of its component.
    pub name: &'static str,
    /// A sentence on what is special about it.
    pub summary: &'static str,
    /// The path of the GET request whose response it is, for the dataset in `tests/data/small`.
    pub path: Option<&'static str>,
    /// The body.
    pub body: &'static str,
}

const fn example(
    name: &'static str,
    summary: &'static str,
    path: &'static str,
    body: &'static str,
) -> Example {
    Example { name, summary, path: Some(path), body }
}

const fn reply(
    status: u16,
    description: &'static str,
    headers: &'static [ResponseHeader],
    content: Option<Content>,
) -> Reply {
    Reply { status, description, headers, content }
}

/// Returns the operations, in the order of openapi.json.
pub(crate) fn all() -> impl Iterator<Item = &'static Operation> {
    [catalog::ALL, cart::ALL, health::ALL].into_iter().flatten()
}

/// Returns the operation of an endpoint.
pub(crate) fn by_name(name: &str) -> Option<&'static Operation> {
    all().find(|operation| operation.name == name)
}

/// Returns the contents of all requests and responses.
pub(crate) fn contents() -> impl Iterator<Item = &'static Content> {
    let of = |operation: &'static Operation| {
        operation.request.iter().chain(operation.replies.iter().filter_map(|reply| reply.content.as_ref()))
    };
    all().flat_map(of)
}

/// Returns the examples of responses.
pub fn examples() -> impl Iterator<Item = &'static Example> {
    let replies = all().flat_map(|operation| operation.replies);
    replies.filter_map(|reply| reply.content.as_ref()).flat_map(Content::examples)
}

/// Returns the examples of requests.
pub fn request_examples() -> impl Iterator<Item = &'static Example> {
    all().filter_map(|operation| operation.request.as_ref()).flat_map(Content::examples)
}

impl Operation {
    /// Returns the statuses of all problems that the operation can have.
    pub(crate) fn problems(&self) -> impl Iterator<Item = u16> {
        COMMON.into_iter().chain(self.problems.iter().copied())
    }
}

impl Content {
    /// Returns the body, if it is JSON.
    pub(crate) fn json(&self) -> Option<&Body> {
        match self {
            Self::Json(body, _) => Some(body),
            Self::Text(_) => None,
        }
    }

    pub(crate) fn examples(&self) -> &'static [Example] {
        match self {
            Self::Json(_, examples) => examples,
            Self::Text(_) => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use atelier_host::ENDPOINTS;

    use super::*;

    #[test]
    fn every_endpoint_has_an_operation_and_none_is_left_over() {
        let endpoints: BTreeSet<&str> = ENDPOINTS.iter().map(|endpoint| endpoint.name).collect();
        let operations: BTreeSet<&str> = all().map(|operation| operation.name).collect();
        assert_eq!(operations, endpoints);
        assert_eq!(all().count(), operations.len(), "an endpoint has two operations");
    }

    #[test]
    fn examples_keep_to_their_contract_types_and_have_different_names() {
        let mut names = BTreeSet::new();
        for content in contents() {
            for example in content.examples() {
                assert!(names.insert(example.name), "{} is the name of two examples", example.name);
                let rewritten = content.json().unwrap().rewrite(example.body.as_bytes()).unwrap();
                assert_eq!(String::from_utf8(rewritten).unwrap(), example.body, "{}", example.name);
            }
        }
    }
}
