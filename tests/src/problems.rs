//! Checks of the statuses of invalid requests.

use bytes::Bytes;
use http::Request;

use crate::{Transport, get, send};

/// Texts that are not an integer from 1 to 2147483647 in its canonical form.
const WRONG_NUMBERS: [&str; 20] = [
    "abc",
    "5.55",
    "0",
    "-1",
    "007",
    "99999999999",
    "2147483648",
    "4294967297",
    "18446744073709551617",
    "+1",
    "1e3",
    "0x10",
    "1_000",
    "%31",
    "1%20",
    "%201",
    "NaN",
    "null",
    "1;drop",
    "%D9%A1",
];

/// Every path with an id rejects them.
pub async fn ids_that_are_not_whole_numbers_in_range_are_400<T: Transport>(service: &T) {
    for id in WRONG_NUMBERS.into_iter().filter(|id| !(T::DECODES_PATHS && *id == "%31")) {
        for endpoint in ["", "/", "/styles", "/related", "/overview", "/overview/"] {
            let path = format!("/products/{id}{endpoint}");
            assert_eq!(get(service, &path).await.status, 400, "{path}");
        }
        for path in [format!("/cart/{id}"), format!("/cart/{id}/")] {
            for method in ["DELETE", "PUT"] {
                let request = Request::builder().method(method).uri(&path).header("authorization", "x");
                let request = request.header("content-type", "application/json");
                let request = request.body(Bytes::from_static(b"{\"count\":1}")).unwrap();
                assert_eq!(send(service, request).await.status, 400, "{method} {path}");
            }
        }
    }
}

/// A `count` that is too large is valid.
pub async fn pages_and_counts_that_are_not_whole_numbers_in_range_are_400(service: &impl Transport) {
    // A query is decoded, so `%31` is 1 there.
    for wrong in WRONG_NUMBERS.iter().filter(|number| **number != "%31") {
        let is_large = wrong.len() > 9 && wrong.bytes().all(|byte| byte.is_ascii_digit());
        for parameter in
            ["page", "count"].into_iter().filter(|parameter| !(is_large && *parameter == "count"))
        {
            let path = format!("/products?{parameter}={wrong}");
            assert_eq!(get(service, &path).await.status, 400, "{path}");
        }
    }
    for query in [
        "page=1&count=0",
        "page=0&count=5",
        "page=0&page=1",
        "page=&count=x",
        "count=01001",
        "count=1001.0",
        "%70age=0",
    ] {
        let path = format!("/products?{query}");
        assert_eq!(get(service, &path).await.status, 400, "{path}");
    }
}

/// The ids are in the gaps and past the last product.
pub async fn unknown_products_are_404(service: &impl Transport) {
    for id in ["3", "8", "21", "22", "98", "2147483647"] {
        for endpoint in ["", "/", "/styles", "/related", "/overview"] {
            let path = format!("/products/{id}{endpoint}");
            assert_eq!(get(service, &path).await.status, 404, "{path}");
        }
    }
}

/// Paths are compared byte by byte; the service neither decodes nor resolves them.
pub async fn unknown_paths_are_404(service: &impl Transport) {
    for path in [
        "//",
        "/nothing",
        "/page",
        "/page/",
        "/product",
        "/products/1/nothing",
        "/products//styles",
        "/products/1/styles/2",
        "/Products",
        "/PRODUCTS/1",
        "//products",
        "/products//",
        "/products/1//styles",
        "/products/1/styles//",
        "/products/1/../cart",
        "/products/../cart",
        "/./products",
        "/products/1/./styles",
        "/%70roducts",
        "/products/1/%73tyles",
        "/products/1/Styles",
        "/cart//",
        "/cart/1/2",
        "/cart/1//",
        "/products.json",
        "/products;v=1",
        "/docs//",
        "/docs/nothing",
        "/docs/index.html",
        "/openapi.yaml",
    ] {
        assert_eq!(get(service, path).await.status, 404, "{path}");
    }
}
