//! A private Postgres for a laptop and for tests, and the command behind make run.
