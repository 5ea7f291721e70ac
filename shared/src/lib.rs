//! The query crate: configuration, database, catalog, cart, requests, responses and problems.
