//! Rebuilds the crate when a migration is added: what is embedded is read while it compiles.

fn main() {
    println!("cargo::rerun-if-changed=../migrations");
}
