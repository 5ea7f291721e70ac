//! A product page, and the strategies to request it.

use std::time::Instant;

use anyhow::{Context, Result};

use super::browser::{Browser, Call};

/// The calls of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Four calls, one after another. No call needs another's response: this is for comparison.
    Sequential,
    /// Four calls in parallel, each on its own connection. A browser opens up to six.
    Parallel,
    /// One call for everything but the list, which belongs to the shop and not to the product.
    Overview,
}

/// A strategy to request a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Strategy {
    /// The name of its column.
    pub(super) name: &'static str,
    pub(super) form: Form,
    /// Whether it reuses open connections.
    pub(super) reuses: bool,
    pub(super) coding: &'static str,
    /// Whether the client has a copy of the page and revalidates it.
    pub(super) revalidates: bool,
}

/// One call with gzip on a reused connection.
pub(super) const OVERVIEW: Strategy = Strategy {
    name: "overview, reused",
    form: Form::Overview,
    reuses: true,
    coding: "gzip",
    revalidates: false,
};

/// The strategies that compare connections.
pub(super) const CONNECTIONS: [Strategy; 6] = [
    Strategy { name: "4 sequential, reused", form: Form::Sequential, ..OVERVIEW },
    Strategy { name: "4 parallel, reused", form: Form::Parallel, ..OVERVIEW },
    OVERVIEW,
    Strategy { name: "4 sequential, new", form: Form::Sequential, reuses: false, ..OVERVIEW },
    Strategy { name: "4 parallel, new", form: Form::Parallel, reuses: false, ..OVERVIEW },
    Strategy { name: "overview, new", reuses: false, ..OVERVIEW },
];

/// The strategies that compare sizes of responses, on reused connections.
pub(super) const SIZES: [Strategy; 6] = [
    Strategy { name: "4 parallel, plain", form: Form::Parallel, coding: "identity", ..OVERVIEW },
    Strategy { name: "4 parallel, gzip", form: Form::Parallel, ..OVERVIEW },
    Strategy { name: "4 parallel, 304", form: Form::Parallel, revalidates: true, ..OVERVIEW },
    Strategy { name: "overview, plain", coding: "identity", ..OVERVIEW },
    Strategy { name: "overview, gzip", ..OVERVIEW },
    Strategy { name: "overview, 304", revalidates: true, ..OVERVIEW },
];

/// The time and size of a page.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    pub(super) milliseconds: f64,
    /// Bytes of all bodies.
    pub(super) bytes: usize,
}

impl Strategy {
    /// Requests a product's page and measures the time until it is complete.
    pub(super) async fn request(self, browser: &mut Browser, product: i32) -> Result<Timing> {
        let mut calls = self.calls(product);
        if self.revalidates {
            let copies = browser.parallel(&calls).await?;
            for (call, copy) in calls.iter_mut().zip(copies) {
                let etag = copy.etag.with_context(|| format!("{} returned no ETag", call.path))?;
                call.etag = Some(etag);
            }
        }
        let since = Instant::now();
        let replies = match self.form {
            Form::Sequential => browser.sequential(&calls).await?,
            Form::Parallel | Form::Overview => browser.parallel(&calls).await?,
        };
        let milliseconds = since.elapsed().as_secs_f64() * 1e3;
        Ok(Timing { milliseconds, bytes: replies.iter().map(|reply| reply.bytes).sum() })
    }

    /// Returns the calls of a page.
    pub(super) fn calls(self, product: i32) -> Vec<Call> {
        let paths = match self.form {
            Form::Sequential | Form::Parallel => vec![
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
