//! What `make run` does, from nothing to answers.
use anyhow::Result;
pub(crate) const DATABASE: &str = "atelier";
#[derive(Debug, clap::Args)]
pub(crate) struct Options {}
pub(crate) async fn run(_: &Options) -> Result<()> {
    Ok(())
}
