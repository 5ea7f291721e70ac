//! As much as each side answers: 64 connections that ask for the styles of random products, again at once.

use std::fmt;

use anyhow::Result;

use super::side::{CACHED, CEILING, Side, UNCACHED};
use super::{Run, aim};
use crate::median;
use crate::read::average_bytes;
use crate::wrk::{self, Wrk};

/// How answers are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Gzip,
    Plain,
}

impl Coding {
    /// What `accept-encoding` says.
    fn accepted(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Plain => "identity",
        }
    }
}

impl fmt::Display for Coding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Plain => "plain",
        })
    }
}

/// As much as one side answers in one coding.
struct Peak {
    side: &'static str,
    coding: Coding,
    /// The average body.
    bytes: u64,
    /// Answers a second, the median of the rounds.
    rate: f64,
}

/// As much as each side answers in each coding.
pub(super) struct Peaks(Vec<Peak>);

impl Peaks {
    /// Answers a second of the side of this name.
    pub(super) fn rate(&self, side: &str, coding: Coding) -> f64 {
        let peak = self.0.iter().find(|peak| peak.side == side && peak.coding == coding);
        peak.map_or(f64::NAN, |peak| peak.rate)
    }

    /// The table.
    pub(super) fn table(&self) -> String {
        let mut table = format!(
            "### Peak throughput\n\n\
             Styles of random products over {} connections.\n\n\
             | variant | encoding | body | responses/s | share of baseline | {}\n\
             |---|---|---:|---:|---:|---|---|\n",
            wrk::CONNECTIONS,
            aim::HEADS
        );
        for Peak { side, coding, bytes, rate } in &self.0 {
            let share = rate / self.rate(CEILING, *coding);
            let judged = match *side {
                UNCACHED => aim::at_least_and_better(share, 0.50, 0.60),
                CACHED => aim::at_least_and_better(share, 0.85, 0.95),
                _ => aim::NONE.to_owned(),
            };
            table += &format!("| {side} | {coding} | {bytes} B | {rate:.0} | {share:.3} | {judged}\n");
        }
        table + "\n"
    }
}

/// Measures hosts, and ceilings for both codings; that for gzip is returned, still running.
///
/// A side is asked for gzip and for plain right after each other, since these two are compared as well.
pub(super) async fn measure(run: &Run<'_>, uncached: &Side, cached: &Side) -> Result<(Peaks, Side)> {
    let (highest, seconds) = (i32::try_from(run.highest)?, run.options.seconds);
    let a_host = uncached.a_server()?.address();
    let gzip_bytes = average_bytes(a_host, highest, Coding::Gzip.accepted()).await?;
    let plain_bytes = average_bytes(a_host, highest, Coding::Plain.accepted()).await?;
    println!(
        "bodies of {gzip_bytes} bytes on average with gzip, {plain_bytes} plain; {} connections",
        wrk::CONNECTIONS
    );
    let gzip_ceiling = Side::of_fixed(run, "gzip", gzip_bytes).await?;
    let plain_ceiling = Side::of_fixed(run, "plain", plain_bytes).await?;
    let script = wrk::script(run.stage)?;
    let mut asked = Vec::new();
    for [gzip, plain] in [[&gzip_ceiling, &plain_ceiling], [uncached; 2], [cached; 2]] {
        asked.push((gzip, Coding::Gzip, gzip_bytes, Vec::new()));
        asked.push((plain, Coding::Plain, plain_bytes, Vec::new()));
    }
    for round in 1..=run.options.rounds {
        for (side, coding, _, rates) in &mut asked {
            let wrk = Wrk { script: &script, highest, coding: coding.accepted(), seconds };
            let figures = wrk.run(side.address()).await?;
            println!("round {round}: {}, {coding}: {:.0}/s (p99 {})", side.name, figures.rate, figures.p99);
            rates.push(figures.rate);
        }
    }
    let peak = |(side, coding, bytes, rates): (&Side, Coding, u64, Vec<f64>)| Peak {
        side: side.name,
        coding,
        bytes,
        rate: median(&rates),
    };
    let peaks = Peaks(asked.into_iter().map(peak).collect());
    plain_ceiling.stop().await?;
    Ok((peaks, gzip_ceiling))
}
