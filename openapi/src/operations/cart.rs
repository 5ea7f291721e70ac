//! The operations of the cart.

use super::{Content, Example, Operation, example, reply};
use crate::body::Body;
use crate::contract::{AddToCart, Cart, CartDetails, CartLine, SetCartLine};
use crate::headers::{ADDED, NO_CONTENT, PRIVATE, SET};

pub(super) static ALL: &[Operation] = &[
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
        name: "get-cart-lines",
        tag: "cart",
        summary: "Get the cart with its products",
        description: "Returns the caller's cart with what a page shows of each product. A line whose sku the catalog lacks \
                      has null members.",
        request: None,
        replies: &[reply(
            200,
            "The lines.",
            PRIVATE,
            Some(Content::Json(
                Body::of::<CartDetails>(),
                &[Example {
                    name: "cart-lines",
                    summary: "A line, and one whose sku a new catalog lacks",
                    path: None,
                    body: r#"[{"sku_id":1,"count":2,"product_id":1,"product_name":"Thistle Raincoat","style_id":1,"style_name":"Slate & Moss","size":"XS","original_price":"185","sale_price":null,"thumbnail_url":"https://photos.example/1?w=300&q=80","quantity":8},{"sku_id":99,"count":1,"product_id":null,"product_name":null,"style_id":null,"style_name":null,"size":null,"original_price":null,"sale_price":null,"thumbnail_url":null,"quantity":null}]"#,
                }],
            )),
        )],
        problems: &[],
    },
    Operation {
        name: "set-cart-line",
        tag: "cart",
        summary: "Set the count of a sku",
        description: "Sets the count of a sku in the caller's cart, and adds the sku if the cart lacks it. 0 removes it. A \
                      repeated request changes nothing more.",
        request: Some(Content::Json(
            Body::of_request::<SetCartLine>(),
            &[Example { name: "set", summary: "Three pieces", path: None, body: r#"{"count":3}"# }],
        )),
        replies: &[
            reply(
                200,
                "The line.",
                SET,
                Some(Content::Json(
                    Body::of::<CartLine>(),
                    &[Example {
                        name: "cart-line",
                        summary: "Three pieces",
                        path: None,
                        body: r#"{"sku_id":2,"count":3}"#,
                    }],
                )),
            ),
            reply(204, "The cart does not have the sku.", NO_CONTENT, None),
        ],
        problems: &[415, 422],
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
];
