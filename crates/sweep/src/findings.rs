//! The differences in words: which are larger than twice their standard error, which are not, and how many would be if
//! nothing made a difference.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::{Change, Measure, Measured, Results, Row, exceeded_by_chance};

/// A difference that was measured.
struct Difference<'a> {
    row: &'a Row,
    measured: &'a Measured,
    change: Change,
}

impl Difference<'_> {
    /// Whether both sides have the same numbers in every seed, for instance because a variation changes a later stage only.
    fn is_none(&self) -> bool {
        self.change.mean == 0.0 && self.change.standard_error == Some(0.0)
    }

    fn in_words(&self) -> String {
        let digits = self.measured.digits();
        let error = self
            .change
            .standard_error
            .map_or(String::new(), |error| format!(" ± {error:.digits$}"));
        format!(
            "{} of {}: {:+.digits$}{error} {}",
            self.measured.name,
            self.measured.stage,
            self.change.mean,
            self.measured.unit(),
        )
    }
}

/// Lines of text: one a variation, then what they are worth.
pub(crate) fn findings(results: &Results) -> Vec<String> {
    let mut lines = Vec::new();
    for row in results.rows.iter().filter(|row| !row.is_reference()) {
        lines.push(of_row(results, row));
    }
    let all: Vec<Difference<'_>> = results
        .rows
        .iter()
        .flat_map(|row| differences(results, row))
        .collect();
    lines.extend(caveats(results, &all));
    lines
}

/// Speed depends on the machine, and is in the table only.
fn differences<'a>(results: &'a Results, row: &'a Row) -> Vec<Difference<'a>> {
    let measured = results.measures.iter().zip(&row.values);
    measured
        .filter(|(measured, _)| measured.kind != Measure::Speed)
        .filter_map(|(measured, value)| {
            let change = value.as_ref()?.change?;
            Some(Difference {
                row,
                measured,
                change,
            })
        })
        .collect()
}

fn of_row(results: &Results, row: &Row) -> String {
    let (name, reference) = (&row.variation, &row.reference);
    let differences = differences(results, row);
    if differences.is_empty() {
        return format!("{name}: nothing to compare with {reference} yet.");
    }
    let count =
        |wanted: &dyn Fn(&Difference<'_>) -> bool| differences.iter().filter(|one| wanted(one)).count();
    let larger: Vec<String> = differences
        .iter()
        .filter(|one| one.change.exceeds_twice_its_error() == Some(true))
        .map(Difference::in_words)
        .collect();
    let not_larger = count(&|one| !one.is_none() && one.change.exceeds_twice_its_error() == Some(false));
    let of_one_seed = count(&|one| one.change.exceeds_twice_its_error().is_none());
    let equal = count(&|one| one.is_none());
    let mut text = format!("{name} against {reference}. ");
    if !larger.is_empty() {
        let _ = write!(
            text,
            "Larger than twice the standard error: {}. ",
            larger.join("; ")
        );
    }
    for (what, count) in [
        ("Not larger than twice the standard error", not_larger),
        (
            "Of one seed, so that whether they are more than chance is not known",
            of_one_seed,
        ),
        ("The same in every seed", equal),
    ] {
        if count > 0 {
            let _ = write!(text, "{what}: {count} of {}. ", differences.len());
        }
    }
    if !row.same_tokens {
        text.push_str(
            "It reads other tokens, so its losses per token are not those of the reference's text. ",
        );
    }
    text.trim_end().to_owned()
}

/// How far the differences can be trusted.
fn caveats(results: &Results, all: &[Difference<'_>]) -> Vec<String> {
    let mut lines = Vec::new();
    let pairs: BTreeSet<usize> = all.iter().map(|one| one.change.n).collect();
    if pairs.contains(&1) {
        lines.push(
            "One seed gives no spread: a difference between single runs says nothing of seeds.".to_owned(),
        );
    }
    for n in pairs.into_iter().filter(|n| *n > 1) {
        let Some(part) = exceeded_by_chance(n) else {
            continue;
        };
        let of_n = all.iter().filter(|one| one.change.n == n && !one.is_none());
        let of_n: Vec<&Difference<'_>> = of_n.collect();
        if of_n.is_empty() {
            continue;
        }
        let clear = of_n
            .iter()
            .filter(|one| one.change.exceeds_twice_its_error() == Some(true))
            .count();
        let variations: BTreeSet<&str> = of_n.iter().map(|one| one.row.variation.as_str()).collect();
        lines.push(format!(
            "With {n} seeds, {:.0} % of the differences would be larger than twice their standard error if nothing made a \
             difference: {:.1} of these {} (of {} variations); {clear} are. They are not independent: \
             categories are parts of the whole, stages follow one another, and all are compared with the same runs.",
            100.0 * part,
            part * of_n.len() as f64,
            of_n.len(),
            variations.len(),
        ));
    }
    if results
        .rows
        .iter()
        .any(|row| row.seeds.len() < results.seeds.len())
    {
        lines.push(
            "Not all runs are finished; differences are over the seeds that both sides have.".to_owned(),
        );
    }
    lines
}
