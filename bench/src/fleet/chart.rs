//! A chart of latency by request rate, as SVG.

use anyhow::Result;
use plotters::prelude::*;

use super::Point;

/// Width and height in pixels; GitHub shows about 900.
const SIZE: (u32, u32) = (880, 500);

/// The colours of the baseline, of hosts without and with a cache, and of the same two of a base commit.
const COLOURS: [RGBColor; 5] = [
    RGBColor(120, 120, 120),
    RGBColor(213, 94, 0),
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];

/// Draws p50 and p99 of each variant on logarithmic axes. Returns the SVG.
pub(super) fn latency(points: &[Point]) -> Result<String> {
    let mut svg = String::new();
    let rates = range(points.iter().map(|point| point.rate));
    let times = range(points.iter().flat_map(|point| [point.p50, point.p99]));
    let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption("Latency of styles at a steady request rate", ("sans-serif", 18))
        .margin(15)
        .x_label_area_size(45)
        .y_label_area_size(60)
        .build_cartesian_2d(rates.log_scale(), times.log_scale())?;
    chart
        .configure_mesh()
        .light_line_style(BLACK.mix(0.04))
        .bold_line_style(BLACK.mix(0.12))
        .x_desc("requests/s")
        .y_desc("latency in ms, from when the request is due")
        .x_label_formatter(&rate_label)
        .y_label_formatter(&|time| format!("{time}"))
        .draw()?;
    // Each rate has a point of each variant, in the same order.
    let first = points.iter().take_while(|point| point.rate.total_cmp(&points[0].rate).is_eq());
    for (Point { variant, .. }, colour) in first.zip(COLOURS) {
        let mut of_variant: Vec<&Point> = points.iter().filter(|point| point.variant == *variant).collect();
        of_variant.sort_by(|one, other| one.rate.total_cmp(&other.rate));
        for (figure, width) in [("p50", 1), ("p99", 3)] {
            let line: Vec<(f64, f64)> = of_variant
                .iter()
                .map(|point| (point.rate, if figure == "p50" { point.p50 } else { point.p99 }))
                .collect();
            let style = colour.stroke_width(width);
            chart.draw_series(line.iter().map(|&at| Circle::new(at, 3, colour.filled())))?;
            chart
                .draw_series(LineSeries::new(line, style))?
                .label(format!("{variant}, {figure}"))
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
        }
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.2))
        .draw()?;
    area.present()?;
    drop(chart);
    drop(area);
    Ok(svg)
}

/// Returns a label for 1, 2, 5 and 10 times a power of ten; there is no room for all labels.
fn rate_label(rate: &f64) -> String {
    let label = format!("{rate:.0}");
    if label.starts_with(['1', '2', '5']) { label } else { String::new() }
}

/// Returns a range from slightly below the lowest to slightly above the highest value.
fn range(values: impl Iterator<Item = f64>) -> std::ops::Range<f64> {
    let (mut low, mut high) = (f64::INFINITY, 0.0_f64);
    for value in values.filter(|value| *value > 0.0) {
        low = low.min(value);
        high = high.max(value);
    }
    if high > 0.0 { low / 1.3..high * 1.3 } else { 0.1..1.0 }
}

#[cfg(test)]
mod tests {
    use super::{latency, range, rate_label};

    #[test]
    fn no_points_make_an_empty_chart() {
        assert!(latency(&[]).unwrap().contains("requests/s"));
    }

    #[test]
    fn a_range_ignores_values_without_a_logarithm() {
        let range = range([0.0, 10.0, 100.0].into_iter());
        assert!(range.start > 1.0 && range.start < 10.0 && range.end > 100.0, "{range:?}");
    }

    #[test]
    fn only_some_rates_have_a_label() {
        assert_eq!([1000.0, 5000.0, 9000.0].map(|rate| rate_label(&rate)), ["1000", "5000", ""]);
    }
}
