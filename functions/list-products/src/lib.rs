//! GET /products, one page of the catalog.
