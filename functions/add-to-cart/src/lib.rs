//! POST /cart, one sku into the caller's cart.
