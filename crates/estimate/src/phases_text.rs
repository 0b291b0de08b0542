//! The phases of a stage as tables: where they begin and end, and what each source contributes.

use std::collections::BTreeMap;
use std::fmt;

use smollm3_recipe::{PhasePlan, SourcePlan};

use crate::figures::{clipped, grouped, short};

/// Phases side by side in the table of sources.
const PHASES_ABREAST: usize = 3;

/// The phases of a stage, then their sources.
pub(crate) fn write_phases(f: &mut fmt::Formatter<'_>, phases: &[PhasePlan]) -> fmt::Result {
    let width = name_width(phases.iter().map(|phase| phase.name.as_str()), 5, 26);
    writeln!(
        f,
        "\n  {:<width$}  {:>13}  {:>13}  {:>12}  {:>16}",
        "phase", "first step", "last step", "ends at", "asked for"
    )?;
    for phase in phases {
        let (name, until) = (clipped(&phase.name, width), clipped(&phase.until, 16));
        let [first, last] = [phase.start_step, phase.end_step].map(grouped);
        let end = short(phase.end_token);
        writeln!(
            f,
            "  {name:<width$}  {first:>13}  {last:>13}  {end:>12}  {until:>16}"
        )?;
    }
    phases
        .chunks(PHASES_ABREAST)
        .try_for_each(|phases| write_sources(f, phases))
}

fn write_sources(f: &mut fmt::Formatter<'_>, phases: &[PhasePlan]) -> fmt::Result {
    let categories = by_category(phases);
    let names = categories
        .iter()
        .flat_map(|(_, sources)| sources.iter().map(|(name, _)| *name));
    let width = 2 + name_width(names, 6, 26);
    let rest = width - 2;
    let mut line = |text: String| writeln!(f, "{}", text.trim_end());
    let titles = phases
        .iter()
        .map(|phase| format!("{:>23}", clipped(&phase.name, 21)));
    line(format!("\n  {:<width$}{}", "source", titles.collect::<String>()))?;
    for (category, sources) in categories {
        let mut text = format!("  {:<width$}", clipped(category, width));
        for phase in phases {
            let of_category = phase.sources.iter().filter(|source| source.category == category);
            let tokens: u64 = of_category.map(|source| source.tokens).sum();
            text += &cell(phase.shares.get(category), tokens, None);
        }
        line(text)?;
        let asked = |phase: &PhasePlan| percent(phase.shares_asked.get(category));
        if phases
            .iter()
            .any(|phase| percent(phase.shares.get(category)) != asked(phase))
        {
            let asked = phases
                .iter()
                .map(|phase| format!("{:>6} %{:15}", asked(phase), ""));
            line(format!("    {:<rest$}{}", "asked for", asked.collect::<String>()))?;
        }
        for (name, cells) in sources {
            let mut text = format!("    {:<rest$}", clipped(name, rest));
            for (source, phase) in cells.into_iter().zip(phases) {
                text += &match source {
                    Some(source) => {
                        let share = source.tokens as f64 / (phase.end_token - phase.start_token) as f64;
                        cell(Some(&share), source.tokens, source.epochs)
                    }
                    None => format!("{:>6}{:17}", "–", ""),
                };
            }
            line(text)?;
        }
    }
    Ok(())
}

/// A share, the tokens that it comes to, and the epochs where they are known.
fn cell(share: Option<&f64>, tokens: u64, epochs: Option<f64>) -> String {
    let epochs = epochs.map_or_else(String::new, |epochs| format!("×{epochs:.1}"));
    format!("{:>6} %{:>9} {epochs:<5}", percent(share), short(tokens))
}

/// A source's name and its share of each phase.
type Row<'p> = (&'p str, Vec<Option<&'p SourcePlan>>);

/// The sources of each category over the phases; categories and sources with most tokens first.
fn by_category(phases: &[PhasePlan]) -> Vec<(&str, Vec<Row<'_>>)> {
    let mut rows: BTreeMap<&str, BTreeMap<&str, Vec<Option<&SourcePlan>>>> = BTreeMap::new();
    for (column, phase) in phases.iter().enumerate() {
        for source in &phase.sources {
            let row = rows
                .entry(&source.category)
                .or_default()
                .entry(&source.name)
                .or_insert_with(|| vec![None; phases.len()]);
            if let Some(cell) = row.get_mut(column) {
                *cell = Some(source);
            }
        }
    }
    let tokens = |row: &Row<'_>| row.1.iter().flatten().map(|source| source.tokens).sum::<u64>();
    let mut categories: Vec<(&str, Vec<Row<'_>>)> = rows
        .into_iter()
        .map(|(category, rows)| {
            let mut rows: Vec<Row<'_>> = rows.into_iter().collect();
            rows.sort_by_key(|row| std::cmp::Reverse(tokens(row)));
            (category, rows)
        })
        .collect();
    categories.sort_by_key(|(_, rows)| std::cmp::Reverse(rows.iter().map(tokens).sum::<u64>()));
    categories
}

/// The width of a column of `names`.
fn name_width<'n>(names: impl Iterator<Item = &'n str>, least: usize, most: usize) -> usize {
    let widest = names.map(|name| name.chars().count()).max();
    widest.unwrap_or(least).clamp(least, most)
}

fn percent(share: Option<&f64>) -> String {
    format!("{:.2}", 100.0 * share.copied().unwrap_or(0.0))
}
