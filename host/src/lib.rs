//! The HTTP adapter: every endpoint in one process.
