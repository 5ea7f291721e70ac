//! As much as each side answers: 64 connections that ask for the styles of random products, again at once.

use anyhow::Result;

use super::Run;
use super::side::Side;
use crate::median;
use crate::read::average_bytes;
use crate::wrk::{self, Wrk};

/// Answers a second, medians of the rounds.
pub(super) struct Peaks {
    coding: &'static str,
    /// The average body.
    bytes: u64,
    /// Of the ceiling first, then of the hosts.
    rates: Vec<f64>,
}

impl Peaks {
    pub(super) fn ceiling(&self) -> f64 {
        self.rates.first().copied().unwrap_or(f64::NAN)
    }

    /// Of each side of hosts, in the order in which they were given.
    pub(super) fn hosts(&self) -> &[f64] {
        self.rates.get(1..).unwrap_or_default()
    }
}

/// Measures hosts and a ceiling for this coding, which is returned, still running.
pub(super) async fn measure(run: &Run<'_>, coding: &'static str, hosts: &[&Side]) -> Result<(Peaks, Side)> {
    let (highest, seconds) = (i32::try_from(run.highest)?, run.options.seconds);
    let mut bytes = 0;
    if let Some(side) = hosts.first() {
        bytes = average_bytes(side.a_server()?.address(), highest, coding).await?;
    }
    let ceiling = Side::of_fixed(run, coding, bytes).await?;
    println!(
        "accept-encoding: {coding}, bodies of {bytes} bytes on average, {} connections",
        wrk::CONNECTIONS
    );
    let script = wrk::script(run.stage)?;
    let wrk = Wrk { script: &script, highest, coding, seconds };
    let sides: Vec<&Side> = std::iter::once(&ceiling).chain(hosts.iter().copied()).collect();
    let mut rates = vec![Vec::new(); sides.len()];
    for round in 1..=run.options.rounds {
        for (side, rates) in sides.iter().zip(&mut rates) {
            let figures = wrk.run(side.address()).await?;
            println!("round {round}: {} {:.0}/s (p99 {})", side.name, figures.rate, figures.p99);
            rates.push(figures.rate);
        }
    }
    let rates = rates.iter().map(|rates| median(rates)).collect();
    Ok((Peaks { coding, bytes, rates }, ceiling))
}

/// The table of both codings.
pub(super) fn table(gzip: &Peaks, plain: &Peaks) -> String {
    let mut table = format!(
        "## As fast as they answer\n\n\
         Styles of random products, {} connections, answers a second.\n\n\
         | accept-encoding | body | ceiling | cache off | of the ceiling | catalog in cache | of the ceiling |\n\
         |---|---:|---:|---:|---:|---:|---:|\n",
        wrk::CONNECTIONS
    );
    for peaks in [gzip, plain] {
        table += &format!("| {} | {} B | {:.0}", peaks.coding, peaks.bytes, peaks.ceiling());
        for rate in peaks.hosts() {
            table += &format!(" | {rate:.0} | {:.2}", rate / peaks.ceiling());
        }
        table += " |\n";
    }
    table + "| aim | | | | at least 0.50, better 0.60 | | at least 0.85, better 0.95 |\n\n"
}
