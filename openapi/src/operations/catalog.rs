//! The operations of the catalog.

use super::{Content, Example, Operation, Reply, example, reply};
use crate::body::Body;
use crate::contract::{CardList, Catalog, CategoryList, Overview, Product, ProductList, RelatedIds, Styles};
use crate::headers::{CATALOG, LIST, LIST_NOT_MODIFIED, NOT_MODIFIED, PAGE, PAGE_NOT_MODIFIED};

/// The expected response of the conformance suite, for a path.
macro_rules! golden {
    ($path:literal) => {
        include_str!(concat!("../../../tests/data/small/expected/", $path, ".json"))
    };
}

const UNCHANGED: Reply = reply(304, "The content has the tag in `If-None-Match`.", NOT_MODIFIED, None);

pub(super) static ALL: &[Operation] = &[
    Operation {
        name: "list-products",
        tag: "catalog",
        summary: "List or search products",
        description: "Returns a page of products in ascending id, without features. Gaps between ids do not shorten a \
                      page. With `category`, it is a page of that category. With `q`, it is the first 20 products whose \
                      names have words that begin so, without paging. A request has either `category` or `q`.",
        request: None,
        replies: &[
            reply(
                200,
                "The page, or the products that were found. Past the end it is empty.",
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
        name: "list-cards",
        tag: "catalog",
        summary: "List products with prices and pictures",
        description: "Returns what a list shows of products: the products with `ids`, in this order and without unknown \
                      ones, or a page of products in ascending id. A request has either `ids`, or `page` and `count`.",
        request: None,
        replies: &[
            reply(
                200,
                "The cards.",
                PAGE,
                Some(Content::Json(
                    Body::of::<CardList>(),
                    &[example(
                        "cards",
                        "A product with a sale, and one without styles",
                        "/cards?ids=2,4",
                        r#"[{"id":2,"name":"O'Hara's \"Plain\" Cap","category":"Cap","default_price":"22","original_price":"22","sale_price":"18","thumbnail_url":"https://photos.example/7?w=300&q=80","in_stock":true},{"id":4,"name":"Größe Socks","category":"Socks","default_price":"0","original_price":null,"sale_price":null,"thumbnail_url":null,"in_stock":false}]"#,
                    )],
                )),
            ),
            reply(304, "The cards have the tag in `If-None-Match`.", PAGE_NOT_MODIFIED, None),
        ],
        problems: &[],
    },
    Operation {
        name: "list-categories",
        tag: "catalog",
        summary: "List the categories",
        description: "Returns the categories by name, at most 1,000, each with its number of products.",
        request: None,
        replies: &[
            reply(
                200,
                "The categories.",
                LIST,
                Some(Content::Json(
                    Body::of::<CategoryList>(),
                    &[example(
                        "categories",
                        "Seven categories",
                        "/categories",
                        r#"[{"category":"Accessories","products":1},{"category":"Boots","products":1},{"category":"Cap","products":1},{"category":"Coat","products":1},{"category":"Dress","products":1},{"category":"Socks","products":1},{"category":"Trousers","products":1}]"#,
                    )],
                )),
            ),
            reply(304, "The categories have the tag in `If-None-Match`.", LIST_NOT_MODIFIED, None),
        ],
        problems: &[],
    },
    Operation {
        name: "get-catalog",
        tag: "catalog",
        summary: "Get the current catalog",
        description: "Returns the number of the load that made the current catalog, when it was published, and its number \
                      of products.",
        request: None,
        replies: &[
            reply(
                200,
                "The current catalog.",
                CATALOG,
                Some(Content::Json(
                    Body::of::<Catalog>(),
                    &[Example {
                        name: "current-catalog",
                        summary: "The second load",
                        path: None,
                        body: r#"{"generation":2,"published_at":"2026-11-24T12:00:00Z","products":7}"#,
                    }],
                )),
            ),
            UNCHANGED,
        ],
        problems: &[],
    },
];
