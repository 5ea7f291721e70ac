//! The end of a function: being told of it, and letting it end well.
//!
//! Lambda sends SIGTERM to functions that have an extension, and kills the others. So one is registered, from within and
//! under a name, that asks for no events: <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html>.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Request};
use lambda_runtime::Error;
use lambda_runtime_api_client::Client;
use lambda_runtime_api_client::body::Body;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

const REGISTER: &str = "/2020-01-01/extension/register";
const NEXT: &str = "/2020-01-01/extension/event/next";
const NAME: &str = "atelier-shutdown";
const IDENTIFIER: &str = "lambda-extension-identifier";

/// Registers the extension. Without it a function answers all the same, and ends less well.
pub(crate) async fn register() {
    if let Err(error) = try_to_register().await {
        tracing::warn!(%error, "no extension could be registered: there will be no SIGTERM before the end");
    }
}

async fn try_to_register() -> Result<(), Error> {
    let client = Client::builder().build()?;
    let request = Request::post(REGISTER).header("lambda-extension-name", NAME);
    let registered = client.call(request.body(Body::from(r#"{"events":[]}"#))?).await?;
    let identifier = registered.headers().get(IDENTIFIER).cloned();
    let identifier: HeaderValue = identifier.ok_or_else(|| format!("answered {}", registered.status()))?;
    let next = Request::get(NEXT).header(IDENTIFIER, identifier).body(Body::empty())?;
    // Lambda waits for this request before it sends events, and leaves it unanswered as there is nothing to tell.
    tokio::spawn(async move { client.call(next).await.map(drop) });
    Ok(())
}

/// Ends when the process is told to.
pub(crate) async fn requested() -> Result<(), Error> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => tracing::info!("stopping on SIGTERM"),
        _ = interrupt.recv() => tracing::info!("stopping on SIGINT"),
    }
    Ok(())
}

/// Counts the invocations under way, up to the time at which their replies are sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct InFlight(Arc<watch::Sender<usize>>);

impl InFlight {
    /// The same future, counted for as long as it lives once it is polled.
    pub(crate) fn counted<F: Future>(&self, invocation: F) -> impl Future<Output = F::Output> + use<F> {
        let all = self.clone();
        async move {
            all.0.send_modify(|count| *count += 1);
            let _one = One(&all);
            invocation.await
        }
    }

    /// Waits until none is, `most` at the longest.
    pub(crate) async fn drained(&self, most: Duration) {
        let mut count = self.0.subscribe();
        let none = pin!(count.wait_for(|count| *count == 0));
        let _ = tokio::time::timeout(most, none).await; // what takes longer is cut off
    }
}

struct One<'a>(&'a InFlight);

impl Drop for One<'_> {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| *count -= 1);
    }
}
