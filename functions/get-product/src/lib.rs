//! GET /products/{product_id}, one product with its features.
