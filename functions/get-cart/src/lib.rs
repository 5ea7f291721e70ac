//! GET /cart, what is in the caller's cart.
