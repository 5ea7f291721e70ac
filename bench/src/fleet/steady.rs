//! Latency at a steady rate, from the time when a request is due.

use std::time::Duration;

use anyhow::Result;
use bench::open_loop::{LoadProfile, Rate, Report, Requests, Route};

use super::variant::{BASELINE, Variant, run_profile};
use super::{Run, target};
use crate::median;

/// A request rate and its target.
#[derive(Clone, Copy, Debug)]
struct TargetRate {
    at: At,
    /// The target, if any: the max ratio of a host's mean and p99 to the baseline's, without failures.
    max_ratio: Option<f64>,
}

#[derive(Clone, Copy, Debug)]
enum At {
    /// Requests per second.
    Fixed(f64),
    /// A share of the baseline's peak throughput.
    Share(f64),
}

const RATES: [TargetRate; 6] = [
    TargetRate { at: At::Fixed(1_000.0), max_ratio: None },
    TargetRate { at: At::Fixed(5_000.0), max_ratio: None },
    TargetRate { at: At::Fixed(10_000.0), max_ratio: Some(2.0) },
    TargetRate { at: At::Share(0.15), max_ratio: None },
    TargetRate { at: At::Share(0.30), max_ratio: Some(3.0) },
    TargetRate { at: At::Share(0.45), max_ratio: None },
];

/// The results of a variant at a rate. Times are in milliseconds, medians of the rounds.
pub(super) struct Point {
    pub(super) variant: &'static str,
    target: TargetRate,
    /// Requests per second.
    pub(super) rate: f64,
    /// The sum over all rounds.
    sent: u64,
    failed: u64,
    mean: f64,
    pub(super) p50: f64,
    pub(super) p99: f64,
    p999: f64,
}

/// Measures each variant at each rate. `peak` is the baseline's peak throughput. The points of a rate follow each other
/// in the order of the variants, the baseline first.
pub(super) async fn measure(run: &Run<'_>, peak: f64, variants: &[Variant]) -> Result<Vec<Point>> {
    let mut points = Vec::new();
    for target in RATES {
        let rate = match target.at {
            At::Fixed(rate) => rate,
            At::Share(share) => share * peak,
        };
        let mut reports = vec![Vec::new(); variants.len()];
        for round in 1..=run.options.rounds {
            for (variant, reports) in variants.iter().zip(&mut reports) {
                let duration = Duration::from_secs(run.options.seconds.into());
                let mut requests = Requests::of(Route::Styles, run.highest);
                requests.seed = round.into();
                let report = run_profile(LoadProfile::new(
                    variant.address(),
                    Rate::PerSecond(rate),
                    duration,
                    requests,
                ))
                .await?;
                println!(
                    "round {round}: {rate:.0}/s, {}: {} failed, mean {:.2} ms, p50 {:.2}, p99 {:.2}, p99.9 {:.2}",
                    variant.name,
                    failures(&report),
                    milliseconds(report.mean()),
                    milliseconds(report.quantile(0.5)),
                    milliseconds(report.quantile(0.99)),
                    milliseconds(report.quantile(0.999)),
                );
                reports.push(report);
            }
        }
        let point =
            |(variant, reports): (&Variant, &Vec<Report>)| Point::of(variant.name, target, rate, reports);
        points.extend(variants.iter().zip(&reports).map(point));
    }
    Ok(points)
}

impl Point {
    fn of(variant: &'static str, target: TargetRate, rate: f64, reports: &[Report]) -> Self {
        let median_of = |figure: &dyn Fn(&Report) -> Duration| {
            median(&reports.iter().map(|report| milliseconds(figure(report))).collect::<Vec<_>>())
        };
        Self {
            variant,
            target,
            rate,
            sent: reports.iter().map(|report| report.sent).sum(),
            failed: reports.iter().map(Report::failed).sum(),
            mean: median_of(&Report::mean),
            p50: median_of(&|report| report.quantile(0.5)),
            p99: median_of(&|report| report.quantile(0.99)),
            p999: median_of(&|report| report.quantile(0.999)),
        }
    }

    /// Returns its row, compared with the baseline at the same rate.
    fn row(&self, baseline: &Self) -> String {
        let Self { variant, target, rate, sent, failed, mean, p50, p99, p999 } = self;
        let share = match target.at {
            At::Fixed(_) => String::new(),
            At::Share(share) => format!(" ({share:.2} of baseline peak)"),
        };
        let (of_mean, of_p99) = (mean / baseline.mean, p99 / baseline.p99);
        let cells = match target.max_ratio {
            Some(max) if *variant != BASELINE => target::cells(
                &format!("no failures, both ratios at most {max:.2}"),
                *failed == 0 && of_mean <= max && of_p99 <= max,
            ),
            _ => target::NONE.to_owned(),
        };
        format!(
            "| {rate:.0}/s{share} | {variant} | {failed} of {sent} | {mean:.2} | {p50:.2} | {p99:.2} | {p999:.2} \
             | {of_mean:.3} | {of_p99:.3} | {cells}\n"
        )
    }
}

/// Returns the table.
pub(super) fn table(points: &[Point]) -> String {
    let mut table = format!(
        "### Latency at a steady rate\n\n\
         Styles of random products, with gzip. Latency is in milliseconds, from the moment when a request is due.\n\n\
         | rate | variant | failed | mean | p50 | p99 | p99.9 | mean / baseline | p99 / baseline | {}\n\
         |---|---|---:|---:|---:|---:|---:|---:|---:|---|---|\n",
        target::HEADS
    );
    for group in points.chunk_by(|_, next| next.variant != BASELINE) {
        table.extend(group.iter().map(|point| point.row(&group[0])));
    }
    table + "\n![p50 and p99 latency at each steady rate](img/latency.svg)\n\n"
}

fn failures(report: &Report) -> String {
    let kinds: Vec<String> = report.failures.iter().map(|(how, count)| format!("{how:?} {count}")).collect();
    let kinds = if kinds.is_empty() { String::new() } else { format!(" ({})", kinds.join(", ")) };
    format!("{}{kinds}", report.failed())
}

pub(crate) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::{At, Point, TargetRate, table};

    fn row(variant: &'static str, target: TargetRate, failed: u64, p99: f64) -> Point {
        Point { variant, target, rate: 6000.0, sent: 10, failed, mean: 1.0, p50: 1.0, p99, p999: 9.0 }
    }

    fn rows(points: &[Point]) -> Vec<String> {
        table(points).lines().filter(|line| line.contains("/s")).map(str::to_owned).collect()
    }

    #[test]
    fn each_variant_is_compared_with_the_baseline_at_the_same_rate() {
        let fixed = TargetRate { at: At::Fixed(6000.0), max_ratio: None };
        let share = TargetRate { at: At::Share(0.3), max_ratio: Some(3.0) };
        let points = [
            row("baseline", fixed, 1, 2.0),
            row("uncached", fixed, 1, 3.0),
            row("baseline", share, 0, 4.0),
            row("uncached", share, 0, 10.0),
        ];
        assert_eq!(
            rows(&points),
            [
                "| 6000/s | baseline | 1 of 10 | 1.00 | 1.00 | 2.00 | 9.00 | 1.000 | 1.000 | none | |",
                "| 6000/s | uncached | 1 of 10 | 1.00 | 1.00 | 3.00 | 9.00 | 1.000 | 1.500 | none | |",
                "| 6000/s (0.30 of baseline peak) | baseline | 0 of 10 | 1.00 | 1.00 | 4.00 | 9.00 | 1.000 | 1.000 | none | |",
                "| 6000/s (0.30 of baseline peak) | uncached | 0 of 10 | 1.00 | 1.00 | 10.00 | 9.00 | 1.000 | 2.500 \
                 | no failures, both ratios at most 3.00 | met |",
            ]
        );
    }

    #[test]
    fn a_failure_or_a_high_ratio_misses_the_target() {
        let target = TargetRate { at: At::Fixed(6000.0), max_ratio: Some(2.0) };
        for (failed, p99) in [(1, 1.0), (0, 2.1)] {
            let rows = rows(&[row("baseline", target, 0, 1.0), row("uncached", target, failed, p99)]);
            assert!(rows[1].ends_with("| **missed** |"), "{}", rows[1]);
        }
    }
}
