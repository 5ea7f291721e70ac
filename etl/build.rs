//! Rebuilds the crate when a migration changes: the SQL is embedded at compile time.

fn main() {
    println!("cargo::rerun-if-changed=../migrations");
}
