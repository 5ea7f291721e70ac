//! The cost of a connection fault during a request, for a client that retries.
//!
//! Only one connection fails, as when a packet or a route is lost. New connections work.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bench::distance::DelayProxy;
use tokio::time::{sleep, timeout};

use super::browser::Browser;
use super::page::OVERVIEW;

/// The duration of a stall.
const STALL: Duration = Duration::from_secs(1);

/// The timeout of a client that retries: above the max round-trip time here.
const RETRY_TIMEOUT: Duration = Duration::from_millis(300);

/// A fault of the connection right after a request is sent, and the reaction of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The connection is reset, and the client retries on a new one.
    Reset,
    /// The connection stalls for a second, and the client waits.
    Waited,
    /// The connection stalls, and the client retries on a new one after 300 ms.
    Retried,
}

impl Fault {
    pub(super) const ALL: [Self; 3] = [Self::Reset, Self::Waited, Self::Retried];

    /// Returns the name of its column.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Reset => "reset, retried",
            Self::Waited => "stalled for 1 s, waited",
            Self::Retried => "stalled, retried after 300 ms",
        }
    }

    /// Requests an overview on a reused connection and injects the fault. Returns the milliseconds until the overview
    /// is complete.
    pub(super) async fn inject(self, proxy: &DelayProxy, product: i32) -> Result<f64> {
        let calls = OVERVIEW.calls(product);
        let mut browser = Browser::new(proxy.address(), true);
        browser.parallel(&calls).await?;
        let since = Instant::now();
        match self {
            Self::Reset => {
                let reset = async { proxy.reset_connections() };
                let (replies, ()) = tokio::join!(browser.parallel(&calls), reset);
                ensure!(replies.is_err(), "a reset connection returned a response");
            }
            Self::Waited => {
                proxy.stop_forwarding();
                let resume = async {
                    sleep(STALL).await;
                    proxy.resume_forwarding();
                };
                tokio::join!(browser.parallel(&calls), resume).0?;
                return Ok(since.elapsed().as_secs_f64() * 1e3);
            }
            Self::Retried => {
                proxy.stop_forwarding();
                let replies = timeout(RETRY_TIMEOUT, browser.parallel(&calls)).await;
                ensure!(replies.is_err(), "a stalled connection returned a response");
            }
        }
        let retry = Browser::new(proxy.address(), true).parallel(&calls).await.context("the retry failed");
        proxy.resume_forwarding();
        retry?;
        Ok(since.elapsed().as_secs_f64() * 1e3)
    }
}
