//! Targets, and whether figures meet them: the last two cells of each row of the report.

/// The headings of these cells.
pub(crate) const HEADS: &str = "target | result |";

/// The cells of a figure without a target.
pub(crate) const NONE: &str = "none | |";

/// Returns the cells of a target that is met or missed.
pub(crate) fn cells(target: &str, is_met: bool) -> String {
    format!("{target} | {} |", if is_met { "met" } else { "**missed**" })
}

pub(super) fn at_least(figure: f64, min: f64) -> String {
    cells(&format!("at least {min:.2}"), figure >= min)
}

/// Returns the cells of a minimum and of a better value.
pub(super) fn at_least_and_better(figure: f64, min: f64, better: f64) -> String {
    let target = format!("at least {min:.2}, better {better:.2}");
    if figure >= better { format!("{target} | met, better too |") } else { cells(&target, figure >= min) }
}

pub(super) fn at_most(figure: f64, max: f64) -> String {
    cells(&format!("at most {max:.2}"), figure <= max)
}

/// Returns the cells of a ratio that should be 1, with this tolerance.
pub(super) fn flat(ratio: f64, tolerance: f64) -> String {
    cells(&format!("{:.2} to {:.2}", 1.0 - tolerance, 1.0 + tolerance), (ratio - 1.0).abs() <= tolerance)
}

#[cfg(test)]
mod tests {
    use super::{at_least, at_least_and_better, at_most, flat};

    #[test]
    fn a_figure_meets_or_misses_its_target() {
        assert_eq!(at_least(1.0, 1.0), "at least 1.00 | met |");
        assert_eq!(at_least(0.999, 1.0), "at least 1.00 | **missed** |");
        assert_eq!(at_most(0.31, 0.3), "at most 0.30 | **missed** |");
        assert_eq!(flat(1.2, 0.1), "0.90 to 1.10 | **missed** |");
        assert_eq!(flat(0.95, 0.1), "0.90 to 1.10 | met |");
        let better = [0.49, 0.5, 0.6].map(|figure| at_least_and_better(figure, 0.5, 0.6));
        assert_eq!(
            better.map(|cells| cells.replace("at least 0.50, better 0.60 | ", "")),
            ["**missed** |", "met |", "met, better too |"]
        );
    }

    #[test]
    fn a_missing_figure_misses_its_target() {
        for cells in [at_least(f64::NAN, 1.0), at_most(f64::NAN, 1.0), flat(f64::NAN, 0.1)] {
            assert!(cells.ends_with("| **missed** |"), "{cells}");
        }
    }
}
