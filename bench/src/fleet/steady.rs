//! How long answers take at a steady rate, from when their requests were due.

use std::time::Duration;

use anyhow::Result;
use bench::open_loop::{Pace, Plan, Report, Requests, Route};

use super::Run;
use super::side::{Side, carry_out};
use crate::median;

/// A side at a rate; times in milliseconds, medians of the rounds.
pub(super) struct Point {
    pub(super) side: &'static str,
    /// Requests a second.
    pub(super) rate: f64,
    /// Of all rounds.
    sent: u64,
    failed: u64,
    mean: f64,
    pub(super) p50: f64,
    pub(super) p99: f64,
    p999: f64,
}

/// Asks each side at each rate, the ceiling first: the points of a rate follow each other in the order of the sides.
pub(super) async fn measure(run: &Run<'_>, rates: &[f64], sides: &[&Side]) -> Result<Vec<Point>> {
    let mut points = Vec::new();
    for &rate in rates {
        let mut reports = vec![Vec::new(); sides.len()];
        for round in 1..=run.options.rounds {
            for (side, reports) in sides.iter().zip(&mut reports) {
                let duration = Duration::from_secs(run.options.seconds.into());
                let mut requests = Requests::of(Route::Styles, run.highest);
                requests.seed = round.into();
                let report =
                    carry_out(Plan::new(side.address(), Pace::PerSecond(rate), duration, requests)).await?;
                println!(
                    "round {round}: {rate:.0}/s, {}: {} failed, mean {:.2} ms, p50 {:.2}, p99 {:.2}, p99.9 {:.2}",
                    side.name,
                    failures(&report),
                    milliseconds(report.mean()),
                    milliseconds(report.quantile(0.5)),
                    milliseconds(report.quantile(0.99)),
                    milliseconds(report.quantile(0.999)),
                );
                reports.push(report);
            }
        }
        points.extend(sides.iter().zip(&reports).map(|(side, reports)| Point::of(side.name, rate, reports)));
    }
    Ok(points)
}

impl Point {
    fn of(side: &'static str, rate: f64, reports: &[Report]) -> Self {
        let middle = |figure: &dyn Fn(&Report) -> Duration| {
            median(&reports.iter().map(|report| milliseconds(figure(report))).collect::<Vec<_>>())
        };
        Self {
            side,
            rate,
            sent: reports.iter().map(|report| report.sent).sum(),
            failed: reports.iter().map(Report::failed).sum(),
            mean: middle(&Report::mean),
            p50: middle(&|report| report.quantile(0.5)),
            p99: middle(&|report| report.quantile(0.99)),
            p999: middle(&|report| report.quantile(0.999)),
        }
    }
}

/// The table; rates that are shares of the ceiling's peak follow those that are not, and say so.
pub(super) fn table(points: &[Point], rates: &[f64], shares: &[f64]) -> String {
    let mut table = "## At a steady rate\n\n\
         Styles of random products, gzipped; times in milliseconds, from when a request was due. Aims: at 10,000/s no \
         failure, mean and p99 at most twice the ceiling's; at 0.30 of its peak no failure, and at most three times.\n\n\
         | rate | side | failed | mean | p50 | p99 | p99.9 | mean, of the ceiling's | p99, of the ceiling's |\n\
         |---|---|---:|---:|---:|---:|---:|---:|---:|\n"
        .to_owned();
    let sides = points.len() / (rates.len() + shares.len()).max(1);
    for (at, group) in points.chunks(sides.max(1)).enumerate() {
        let share = at.checked_sub(rates.len()).and_then(|at| shares.get(at));
        let share = share.map(|share| format!(" ({share:.2} of the peak)")).unwrap_or_default();
        let Some(ceiling) = group.first() else { continue };
        for point in group {
            table += &format!(
                "| {:.0}/s{share} | {} | {} of {} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} |\n",
                point.rate,
                point.side,
                point.failed,
                point.sent,
                point.mean,
                point.p50,
                point.p99,
                point.p999,
                point.mean / ceiling.mean,
                point.p99 / ceiling.p99
            );
        }
    }
    table + "\n![p50 and p99 against the rate](latency.svg)\n\n"
}

fn failures(report: &Report) -> String {
    let kinds: Vec<String> = report.failures.iter().map(|(how, count)| format!("{how:?} {count}")).collect();
    let kinds = if kinds.is_empty() { String::new() } else { format!(" ({})", kinds.join(", ")) };
    format!("{}{kinds}", report.failed())
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::{Point, table};

    #[test]
    fn each_side_is_told_as_a_multiple_of_the_ceiling_at_the_same_rate() {
        let point =
            |side, rate, p99| Point { side, rate, sent: 10, failed: 1, mean: 1.0, p50: 1.0, p99, p999: 9.0 };
        let points = [
            point("ceiling", 1000.0, 2.0),
            point("cache off", 1000.0, 3.0),
            point("ceiling", 6000.0, 4.0),
            point("cache off", 6000.0, 10.0),
        ];
        let table = table(&points, &[1000.0], &[0.3]);
        let rows: Vec<&str> = table.lines().filter(|line| line.contains("/s")).skip(1).collect();
        assert_eq!(
            rows,
            [
                "| 1000/s | ceiling | 1 of 10 | 1.00 | 1.00 | 2.00 | 9.00 | 1.00 | 1.00 |",
                "| 1000/s | cache off | 1 of 10 | 1.00 | 1.00 | 3.00 | 9.00 | 1.00 | 1.50 |",
                "| 6000/s (0.30 of the peak) | ceiling | 1 of 10 | 1.00 | 1.00 | 4.00 | 9.00 | 1.00 | 1.00 |",
                "| 6000/s (0.30 of the peak) | cache off | 1 of 10 | 1.00 | 1.00 | 10.00 | 9.00 | 1.00 | 2.50 |",
            ]
        );
    }
}
