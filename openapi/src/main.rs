//! Writes openapi.json to standard output.

use std::io::Write as _;

fn main() -> anyhow::Result<()> {
    std::io::stdout().write_all(openapi::document()?.as_bytes())?;
    Ok(())
}
