//! Peak throughput: 64 connections request the styles of random products in a closed loop.

use std::fmt;

use anyhow::{Context, Result};

use super::variant::{BASELINE, CACHED, UNCACHED, Variant};
use super::{Run, target};
use crate::median;
use crate::read::average_bytes;
use crate::wrk::{self, Wrk};

/// An encoding of responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Gzip,
    Plain,
}

impl Coding {
    /// Returns the value of `accept-encoding`.
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

/// The peak throughput of one variant with one encoding.
struct Peak {
    variant: &'static str,
    coding: Coding,
    /// The average size of a body.
    bytes: u64,
    /// Responses per second, the median of the rounds.
    rate: f64,
}

/// The peak throughput of all variants and encodings.
pub(super) struct Peaks(Vec<Peak>);

impl Peaks {
    /// Returns the responses per second of a variant.
    pub(super) fn rate(&self, variant: &str, coding: Coding) -> f64 {
        let peak = self.0.iter().find(|peak| peak.variant == variant && peak.coding == coding);
        peak.map_or(f64::NAN, |peak| peak.rate)
    }

    /// Returns the table.
    pub(super) fn table(&self) -> String {
        let mut table = format!(
            "### Peak throughput\n\n\
             Styles of random products over {} connections.\n\n\
             | variant | encoding | body | responses/s | share of baseline | {}\n\
             |---|---|---:|---:|---:|---|---|\n",
            wrk::CONNECTIONS,
            target::HEADS
        );
        for Peak { variant, coding, bytes, rate } in &self.0 {
            let share = rate / self.rate(BASELINE, *coding);
            let target = match *variant {
                UNCACHED => target::at_least_and_better(share, 0.50, 0.60),
                CACHED => target::at_least_and_better(share, 0.85, 0.95),
                _ => target::NONE.to_owned(),
            };
            table += &format!("| {variant} | {coding} | {bytes} B | {rate:.0} | {share:.3} | {target}\n");
        }
        table + "\n"
    }
}

/// Measures hosts, and a baseline for each encoding. Returns the running baseline for gzip too.
///
/// Each variant runs gzip and plain in direct sequence, because the report also compares these two.
pub(super) async fn measure(run: &Run<'_>, variants: &[Variant]) -> Result<(Peaks, Variant)> {
    let (highest, seconds) = (i32::try_from(run.highest)?, run.options.seconds);
    let a_host = variants.first().context("no hosts")?.a_server()?.address();
    let gzip_bytes = average_bytes(a_host, highest, Coding::Gzip.accepted()).await?;
    let plain_bytes = average_bytes(a_host, highest, Coding::Plain.accepted()).await?;
    println!(
        "bodies of {gzip_bytes} bytes on average with gzip, {plain_bytes} plain; {} connections",
        wrk::CONNECTIONS
    );
    let gzip_baseline = Variant::of_fixed(run, "gzip", gzip_bytes).await?;
    let plain_baseline = Variant::of_fixed(run, "plain", plain_bytes).await?;
    let script = wrk::script(run.env)?;
    let mut runs = Vec::new();
    let variants = variants.iter().map(|variant| [variant; 2]);
    for [gzip, plain] in std::iter::once([&gzip_baseline, &plain_baseline]).chain(variants) {
        runs.push((gzip, Coding::Gzip, gzip_bytes, Vec::new()));
        runs.push((plain, Coding::Plain, plain_bytes, Vec::new()));
    }
    for round in 1..=run.options.rounds {
        for (variant, coding, _, rates) in &mut runs {
            let wrk = Wrk { script: &script, highest, coding: coding.accepted(), seconds };
            let figures = wrk.run(variant.address()).await?;
            println!(
                "round {round}: {}, {coding}: {:.0}/s (p99 {})",
                variant.name, figures.rate, figures.p99
            );
            rates.push(figures.rate);
        }
    }
    let peak = |(variant, coding, bytes, rates): (&Variant, Coding, u64, Vec<f64>)| Peak {
        variant: variant.name,
        coding,
        bytes,
        rate: median(&rates),
    };
    let peaks = Peaks(runs.into_iter().map(peak).collect());
    plain_baseline.stop().await?;
    Ok((peaks, gzip_baseline))
}
