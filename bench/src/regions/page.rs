//! A whole product page, and the ways in which a client can ask for it.

use std::time::Instant;

use anyhow::{Context, Result};

use super::browser::{Browser, Call};

/// How the parts of a page are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The four calls, each when the one before is answered. None needs another's answer: this is for comparison.
    InTurn,
    /// The four calls at once, each on a connection of its own; a browser has up to six.
    AtOnce,
    /// One call for all but the list, which is of the shop and not of the product.
    Overview,
}

/// One way to ask for a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Way {
    /// Its column.
    pub(super) name: &'static str,
    pub(super) form: Form,
    /// Whether the connections are there already.
    pub(super) kept: bool,
    pub(super) coding: &'static str,
    /// Whether the client has the page, and asks whether it is still good.
    pub(super) again: bool,
}

/// Connections kept, and gzip.
pub(super) const OVERVIEW: Way =
    Way { name: "overview, reused", form: Form::Overview, kept: true, coding: "gzip", again: false };

/// What connections cost.
pub(super) const CONNECTIONS: [Way; 6] = [
    Way { name: "4 sequential, reused", form: Form::InTurn, ..OVERVIEW },
    Way { name: "4 parallel, reused", form: Form::AtOnce, ..OVERVIEW },
    OVERVIEW,
    Way { name: "4 sequential, new", form: Form::InTurn, kept: false, ..OVERVIEW },
    Way { name: "4 parallel, new", form: Form::AtOnce, kept: false, ..OVERVIEW },
    Way { name: "overview, new", kept: false, ..OVERVIEW },
];

/// What the size of answers costs, on connections that are kept.
pub(super) const SIZES: [Way; 6] = [
    Way { name: "4 parallel, plain", form: Form::AtOnce, coding: "identity", ..OVERVIEW },
    Way { name: "4 parallel, gzip", form: Form::AtOnce, ..OVERVIEW },
    Way { name: "4 parallel, 304", form: Form::AtOnce, again: true, ..OVERVIEW },
    Way { name: "overview, plain", coding: "identity", ..OVERVIEW },
    Way { name: "overview, gzip", ..OVERVIEW },
    Way { name: "overview, 304", again: true, ..OVERVIEW },
];

/// What a page took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    pub(super) milliseconds: f64,
    /// Of all bodies.
    pub(super) bytes: usize,
}

impl Way {
    /// Asks for a product's page and measures until all of it is there.
    pub(super) async fn visit(self, browser: &mut Browser, product: i32) -> Result<Taken> {
        let mut calls = self.calls(product);
        if self.again {
            let had = browser.at_once(&calls).await?;
            for (call, answer) in calls.iter_mut().zip(had) {
                let etag =
                    answer.etag.with_context(|| format!("{} was answered without an ETag", call.path))?;
                call.etag = Some(etag);
            }
        }
        let since = Instant::now();
        let answers = match self.form {
            Form::InTurn => browser.in_turn(&calls).await?,
            Form::AtOnce | Form::Overview => browser.at_once(&calls).await?,
        };
        let milliseconds = since.elapsed().as_secs_f64() * 1e3;
        Ok(Taken { milliseconds, bytes: answers.iter().map(|answer| answer.bytes).sum() })
    }

    /// All that a page takes.
    pub(super) fn calls(self, product: i32) -> Vec<Call> {
        let paths = match self.form {
            Form::InTurn | Form::AtOnce => vec![
                format!("/products/{product}"),
                format!("/products/{product}/styles"),
                format!("/products/{product}/related"),
                "/products?count=5".to_owned(),
            ],
            Form::Overview => vec![format!("/products/{product}/overview")],
        };
        paths.into_iter().map(|path| Call { path, coding: self.coding, etag: None }).collect()
    }
}
