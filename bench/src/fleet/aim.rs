//! What is aimed at, and whether a figure meets it: the last two cells of each row of the report.

/// The names of those two cells.
pub(super) const HEADS: &str = "target | result |";

/// For a figure that is there to be compared with.
pub(super) const NONE: &str = "none | |";

pub(super) fn cells(aim: &str, is_met: bool) -> String {
    format!("{aim} | {} |", if is_met { "met" } else { "**missed**" })
}

pub(super) fn at_least(figure: f64, least: f64) -> String {
    cells(&format!("at least {least:.2}"), figure >= least)
}

/// The same, where more is aimed at than must be.
pub(super) fn at_least_and_better(figure: f64, least: f64, better: f64) -> String {
    let aim = format!("at least {least:.2}, better {better:.2}");
    if figure >= better { format!("{aim} | met, better too |") } else { cells(&aim, figure >= least) }
}

pub(super) fn at_most(figure: f64, most: f64) -> String {
    cells(&format!("at most {most:.2}"), figure <= most)
}

/// For a ratio whose target is 1, within `by`.
pub(super) fn flat(ratio: f64, by: f64) -> String {
    cells(&format!("{:.2} to {:.2}", 1.0 - by, 1.0 + by), (ratio - 1.0).abs() <= by)
}

#[cfg(test)]
mod tests {
    use super::{at_least, at_least_and_better, at_most, flat};

    #[test]
    fn a_figure_meets_its_aim_or_misses_it() {
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
    fn what_was_not_measured_meets_nothing() {
        for cells in [at_least(f64::NAN, 1.0), at_most(f64::NAN, 1.0), flat(f64::NAN, 0.1)] {
            assert!(cells.ends_with("| **missed** |"), "{cells}");
        }
    }
}
