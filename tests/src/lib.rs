//! One suite for every transport: what the HTTP contract promises.
