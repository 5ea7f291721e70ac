//! Graceful shutdown of a function.
//!
//! Lambda sends SIGTERM only to functions with an extension, and kills the others. So this process registers an
//! internal extension without events: <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html>.

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

/// Registers the extension. If that fails, the function serves requests, but shuts down without draining.
pub(crate) async fn register() {
    if let Err(error) = try_to_register().await {
        tracing::warn!(%error, "cannot register the shutdown extension, Lambda will end this process without SIGTERM");
    }
}

async fn try_to_register() -> Result<(), Error> {
    let client = Client::builder().build()?;
    let request = Request::post(REGISTER).header("lambda-extension-name", NAME);
    let registered = client.call(request.body(Body::from(r#"{"events":[]}"#))?).await?;
    let identifier = registered.headers().get(IDENTIFIER).cloned();
    let identifier: HeaderValue =
        identifier.ok_or_else(|| format!("no identifier in response {}", registered.status()))?;
    let next = Request::get(NEXT).header(IDENTIFIER, identifier).body(Body::empty())?;
    // Lambda expects this request before it sends events to the function. No response comes, because the extension has
    // no events.
    tokio::spawn(async move { client.call(next).await.map(drop) });
    Ok(())
}

/// Returns on SIGTERM or SIGINT.
pub(crate) async fn shutdown_signal() -> Result<(), Error> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => tracing::info!("stopping on SIGTERM"),
        _ = interrupt.recv() => tracing::info!("stopping on SIGINT"),
    }
    Ok(())
}

/// A counter of the invocations in flight. An invocation counts until its reply is sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct InFlight(Arc<watch::Sender<usize>>);

impl InFlight {
    /// Wraps an invocation so that it counts from its first poll until it is dropped.
    pub(crate) fn counted<F: Future>(&self, invocation: F) -> impl Future<Output = F::Output> + use<F> {
        let in_flight = self.clone();
        async move {
            in_flight.0.send_modify(|count| *count += 1);
            let _guard = InFlightGuard(&in_flight);
            invocation.await
        }
    }

    /// Waits until no invocation is in flight, for at most `limit`.
    pub(crate) async fn drained(&self, limit: Duration) {
        let mut count = self.0.subscribe();
        let none = pin!(count.wait_for(|count| *count == 0));
        let _ = tokio::time::timeout(limit, none).await; // the end of the process aborts the others
    }
}

/// One invocation in flight, until it is dropped.
struct InFlightGuard<'a>(&'a InFlight);

impl Drop for InFlightGuard<'_> {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| *count -= 1);
    }
}
