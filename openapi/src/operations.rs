//! What the endpoints' constants do not say: the words, the bodies and the statuses of each endpoint.

use crate::body::Body;
use crate::contract::{AddToCart, Alive, Cart, Overview, Product, ProductList, Ready, RelatedIds, Styles};
use crate::headers::{
    ADDED, CATALOG, NO_CONTENT, NOT_MODIFIED, PAGE, PAGE_NOT_MODIFIED, PRIVATE, ResponseHeader,
};
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

/// The expected response of the conformance suite, for a path.
macro_rules! golden {
    ($path:literal) => {
        include_str!(concat!("../../tests/data/small/expected/", $path, ".json"))
    };
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

const UNCHANGED: Reply = reply(304, "The content has the tag in `If-None-Match`.", NOT_MODIFIED, None);

/// The operations, in the order of openapi.json.
pub(crate) static ALL: &[Operation] = &[
    Operation {
        name: "list-products",
        tag: "catalog",
        summary: "List products",
        description: "Returns a page of products in ascending id, without features. Gaps between ids do not shorten a \
                      page.",
        request: None,
        replies: &[
            reply(
                200,
                "The page. Past the end it is empty.",
                PAGE,
                Some(Content::Json(
                    Body::of::<ProductList>(),
                    &[
                        example("products", "All products", "/products?count=1000", golden!("products")),
                        example("products-past-the-end", "A page past the end", "/products?page=9", "[]"),
                    ],
                )),
            ),
            reply(304, "The page has the tag in `If-None-Match`.", PAGE_NOT_MODIFIED, None),
        ],
        problems: &[],
    },
    Operation {
        name: "get-product",
        tag: "catalog",
        summary: "Get a product",
        description: "Returns a product with its features.",
        request: None,
        replies: &[
            reply(
                200,
                "The product.",
                CATALOG,
                Some(Content::Json(
                    Body::of::<Product>(),
                    &[
                        example("product", "A feature without a value", "/products/2", golden!("products/2")),
                        example(
                            "product-without-features",
                            "No features",
                            "/products/12",
                            golden!("products/12"),
                        ),
                    ],
                )),
            ),
            UNCHANGED,
        ],
        problems: &[404],
    },
    Operation {
        name: "get-styles",
        tag: "catalog",
        summary: "Get the styles of a product",
        description: "Returns a product's styles, with their photos and skus.",
        request: None,
        replies: &[
            reply(
                200,
                "The styles.",
                CATALOG,
                Some(Content::Json(
                    Body::of::<Styles>(),
                    &[
                        example(
                            "styles",
                            "Placeholders for photos",
                            "/products/2/styles",
                            golden!("products/2/styles"),
                        ),
                        example("no-styles", "No styles", "/products/4/styles", golden!("products/4/styles")),
                    ],
                )),
            ),
            UNCHANGED,
        ],
        problems: &[404],
    },
    Operation {
        name: "get-related",
        tag: "catalog",
        summary: "Get related products",
        description: "Returns the ids of related products.",
        request: None,
        replies: &[
            reply(
                200,
                "The ids.",
                CATALOG,
                Some(Content::Json(
                    Body::of::<RelatedIds>(),
                    &[example(
                        "related",
                        "A repeated id, and the product's own",
                        "/products/1/related",
                        golden!("products/1/related"),
                    )],
                )),
            ),
            UNCHANGED,
        ],
        problems: &[404],
    },
    Operation {
        name: "get-overview",
        tag: "catalog",
        summary: "Get a whole product page",
        description: "Returns a product, its styles and its related ids in one response, from one catalog.",
        request: None,
        replies: &[
            reply(
                200,
                "The product, its styles and its related ids.",
                CATALOG,
                Some(Content::Json(
                    Body::of::<Overview>(),
                    &[example(
                        "overview",
                        "A product with two styles",
                        "/products/2/overview",
                        golden!("products/2/overview"),
                    )],
                )),
            ),
            UNCHANGED,
        ],
        problems: &[404],
    },
    Operation {
        name: "get-cart",
        tag: "cart",
        summary: "Get the cart",
        description: "Returns the caller's cart, in order of first adding. It is empty without an identity.",
        request: None,
        replies: &[reply(
            200,
            "The lines.",
            PRIVATE,
            Some(Content::Json(
                Body::of::<Cart>(),
                &[
                    Example {
                        name: "cart",
                        summary: "After the examples of `POST /cart`",
                        path: None,
                        body: r#"[{"sku_id":1,"count":2},{"sku_id":3,"count":1}]"#,
                    },
                    example("empty-cart", "No lines", "/cart", "[]"),
                ],
            )),
        )],
        problems: &[],
    },
    Operation {
        name: "add-to-cart",
        tag: "cart",
        summary: "Add to the cart",
        description: "Adds pieces of a sku. Concurrent requests add up. A request that returns 502, 503 or 504, or loses \
                      its connection, may still have succeeded: read the cart before a retry.",
        request: Some(Content::Json(
            Body::of_request::<AddToCart>(),
            &[
                Example { name: "add", summary: "Two pieces", path: None, body: r#"{"sku_id":1,"count":2}"# },
                Example {
                    name: "add-one",
                    summary: "One piece, by the key of a sku",
                    path: None,
                    body: r#"{"sku_id":"3"}"#,
                },
            ],
        )),
        replies: &[reply(201, "The pieces are in the cart.", ADDED, Some(Content::Text("Created")))],
        problems: &[415, 422],
    },
    Operation {
        name: "clear-cart",
        tag: "cart",
        summary: "Empty the cart",
        description: "Removes all lines of the caller's cart.",
        request: None,
        replies: &[reply(204, "The cart is empty.", NO_CONTENT, None)],
        problems: &[],
    },
    Operation {
        name: "remove-from-cart",
        tag: "cart",
        summary: "Remove a sku from the cart",
        description: "Removes a line of the caller's cart.",
        request: None,
        replies: &[reply(204, "The cart does not have the sku.", NO_CONTENT, None)],
        problems: &[],
    },
    Operation {
        name: "healthz",
        tag: "health",
        summary: "Check whether the host runs",
        description: "Returns 200 while the process can respond, whatever the state of the database. Functions do not \
                      have this path.",
        request: None,
        replies: &[reply(
            200,
            "The process responds.",
            PRIVATE,
            Some(Content::Json(
                Body::of::<Alive>(),
                &[example("alive", "The only response", "/healthz", r#"{"status":"alive"}"#)],
            )),
        )],
        problems: &[],
    },
    Operation {
        name: "readyz",
        tag: "health",
        summary: "Check whether the host can serve requests",
        description: "Returns 503 without a database or a catalog, and while the process drains. Functions do not have \
                      this path.",
        request: None,
        replies: &[reply(
            200,
            "The host serves a catalog.",
            PRIVATE,
            Some(Content::Json(
                Body::of::<Ready>(),
                &[example("ready", "The first catalog", "/readyz", r#"{"status":"ready","generation":1}"#)],
            )),
        )],
        problems: &[],
    },
];

/// Returns the operation of an endpoint.
pub(crate) fn by_name(name: &str) -> Option<&'static Operation> {
    ALL.iter().find(|operation| operation.name == name)
}

/// Returns the contents of all requests and responses.
pub(crate) fn contents() -> impl Iterator<Item = &'static Content> {
    let of = |operation: &'static Operation| {
        operation.request.iter().chain(operation.replies.iter().filter_map(|reply| reply.content.as_ref()))
    };
    ALL.iter().flat_map(of)
}

/// Returns the examples of responses.
pub fn examples() -> impl Iterator<Item = &'static Example> {
    let replies = ALL.iter().flat_map(|operation| operation.replies);
    replies.filter_map(|reply| reply.content.as_ref()).flat_map(Content::examples)
}

/// Returns the examples of requests.
pub fn request_examples() -> impl Iterator<Item = &'static Example> {
    ALL.iter().filter_map(|operation| operation.request.as_ref()).flat_map(Content::examples)
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
        let operations: BTreeSet<&str> = ALL.iter().map(|operation| operation.name).collect();
        assert_eq!(operations, endpoints);
        assert_eq!(ALL.len(), operations.len(), "an endpoint has two operations");
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
