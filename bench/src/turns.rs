//! Comparisons: things that run in turn, round by round, and the ratios of their medians.

use std::fmt;

use anyhow::Result;

/// A thing that is measured, and the names of those that it is compared with.
pub(crate) struct Subject<S> {
    pub(crate) name: String,
    pub(crate) compared_with: Vec<String>,
    pub(crate) of: S,
}

impl<S> Subject<S> {
    pub(crate) fn new(name: impl Into<String>, compared_with: Option<&str>, of: S) -> Self {
        Self { name: name.into(), compared_with: compared_with.map(str::to_owned).into_iter().collect(), of }
    }
}

/// The median of each subject, as a Markdown table.
pub(crate) struct Comparison {
    unit: &'static str,
    rows: Vec<(String, f64, Vec<String>)>,
}

/// Measures each subject once in each round, and returns the figures by subject. Every second round runs backwards, so
/// that no subject is always first.
pub(crate) async fn figures_in_turn<S, F>(
    rounds: u32,
    subjects: &[Subject<S>],
    measure: impl AsyncFn(u32, &Subject<S>) -> Result<F>,
) -> Result<Vec<Vec<F>>> {
    let mut figures: Vec<Vec<F>> = subjects.iter().map(|_| Vec::new()).collect();
    for round in 1..=rounds {
        let mut turns: Vec<_> = subjects.iter().zip(&mut figures).collect();
        if round.is_multiple_of(2) {
            turns.reverse();
        }
        for (subject, figures) in turns {
            figures.push(measure(round, subject).await?);
        }
    }
    Ok(figures)
}

/// Measures all subjects in turn, and compares their medians.
pub(crate) async fn in_turn<S>(
    rounds: u32,
    unit: &'static str,
    subjects: &[Subject<S>],
    measure: impl AsyncFn(&S) -> Result<f64>,
) -> Result<Comparison> {
    let measure = async |round: u32, subject: &Subject<S>| {
        let figure = measure(&subject.of).await?;
        println!("round {round}: {}: {figure:.2} {unit}", subject.name);
        Ok(figure)
    };
    let figures = figures_in_turn(rounds, subjects, measure).await?;
    let row = |(subject, figures): (&Subject<S>, &Vec<f64>)| {
        (subject.name.clone(), median(figures), subject.compared_with.clone())
    };
    Ok(Comparison { unit, rows: subjects.iter().zip(&figures).map(row).collect() })
}

impl Comparison {
    /// Returns the median of a subject; NaN if it has none.
    pub(crate) fn median(&self, name: &str) -> f64 {
        self.rows.iter().find(|(row, ..)| row == name).map_or(f64::NAN, |(_, median, _)| *median)
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| | {} | compared with | ratio |\n|---|---:|---|---:|", self.unit)?;
        for (name, median, compared_with) in &self.rows {
            let digits = if *median < 1_000.0 { 2 } else { 0 };
            let ratio = |other: &String| format!("{:.3}", median / self.median(other));
            let ratios: Vec<String> = compared_with.iter().map(ratio).collect();
            let (others, ratios) = (compared_with.join("; "), ratios.join("; "));
            writeln!(f, "| {name} | {median:.digits$} | {others} | {ratios} |")?;
        }
        Ok(())
    }
}

/// Returns the median; the lower of the two in the middle for an even count.
pub(crate) fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get((sorted.len().max(1) - 1) / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::{Subject, in_turn, median};

    #[test]
    fn one_slow_run_does_not_move_the_median() {
        assert!((median(&[3.0, 1.0, 90.0]) - 3.0).abs() < f64::EPSILON);
        assert!((median(&[2.0]) - 2.0).abs() < f64::EPSILON);
    }

    #[tokio::test]
    async fn subjects_take_turns_and_their_medians_are_compared() {
        let subjects = [Subject::new("bare", None, 2000.0), Subject::new("host", Some("bare"), 500.0)];
        let order = RefCell::new(Vec::new());
        let measure = async |figure: &f64| {
            order.borrow_mut().push(*figure);
            Ok(*figure)
        };
        let table = in_turn(2, "responses/s", &subjects, measure).await.unwrap().to_string();
        assert_eq!(*order.borrow(), [2000.0, 500.0, 500.0, 2000.0]);
        assert!(table.contains("\n| bare | 2000 |  |  |\n| host | 500.00 | bare | 0.250 |\n"), "{table}");
    }
}
