//! GET /products/{product_id}/related, the ids of related products.
