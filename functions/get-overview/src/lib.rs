//! GET /products/{product_id}/overview, the whole page in one response.
