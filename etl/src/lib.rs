//! The loader: CSV files in, a published catalog out.
