//! What it costs a client that asks again when its line fails while a request is under way.
//!
//! Only one connection fails, as when a packet or a route is lost: a new one is answered.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bench::distance::Line;
use tokio::time::{sleep, timeout};

use super::browser::Browser;
use super::page::OVERVIEW;

/// How long the connection is silent.
const SILENCE: Duration = Duration::from_secs(1);

/// The timeout of a client that retries: above the max round trip here.
const RETRY_AFTER: Duration = Duration::from_millis(300);

/// What befalls the connection as soon as the request is sent, and what the client does about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It is reset, and the client asks again on a new one.
    Reset,
    /// It is silent for a second, and the client waits.
    Waited,
    /// The same, and the client asks again on a new one after 300 ms.
    AskedAgain,
}

impl Trouble {
    pub(super) const ALL: [Self; 3] = [Self::Reset, Self::Waited, Self::AskedAgain];

    /// Its column.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Reset => "reset, retried",
            Self::Waited => "stalled for 1 s, waited",
            Self::AskedAgain => "stalled, retried after 300 ms",
        }
    }

    /// Asks for an overview on a connection that is kept, has it fail, and answers with the milliseconds until the overview
    /// is there.
    pub(super) async fn befall(self, line: &Line, product: i32) -> Result<f64> {
        let calls = OVERVIEW.calls(product);
        let mut browser = Browser::new(line.address(), true);
        browser.at_once(&calls).await?;
        let since = Instant::now();
        match self {
            Self::Reset => {
                let cut_off = async { line.cut_off() };
                let (answers, ()) = tokio::join!(browser.at_once(&calls), cut_off);
                ensure!(answers.is_err(), "a connection that was cut off has brought an answer");
            }
            Self::Waited => {
                line.fall_silent();
                let over = async {
                    sleep(SILENCE).await;
                    line.speak_again();
                };
                tokio::join!(browser.at_once(&calls), over).0?;
                return Ok(since.elapsed().as_secs_f64() * 1e3);
            }
            Self::AskedAgain => {
                line.fall_silent();
                let answers = timeout(RETRY_AFTER, browser.at_once(&calls)).await;
                ensure!(answers.is_err(), "a connection that is silent has brought an answer");
            }
        }
        let again = Browser::new(line.address(), true).at_once(&calls).await.context("asked again");
        line.speak_again();
        again?;
        Ok(since.elapsed().as_secs_f64() * 1e3)
    }
}
