//! GET /products/{product_id}/styles, a product's styles with photos and skus.
