//! From what is written to the variations that are run: their names, settings, and what each is compared with.

use std::collections::BTreeSet;

use crate::grid::product;
use crate::{Axis, Result, SweepError, Varied};

/// The name of the recipe without changes.
pub const BASE: &str = "base";

/// One recipe to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variation {
    /// Its name, fit for a folder's.
    pub name: String,
    /// What it changes, `KEY=VALUE`, in order.
    pub settings: Vec<String>,
    /// The name of the variation that it is compared with; its own, if it is compared with none.
    pub reference: String,
}

/// The base, then each variation, at every point of `grid`. Each is compared with the base at the same point; where there
/// is only a grid, with its first point.
///
/// # Errors
/// A name that cannot name a folder, two variations with one name, a grid that cannot be understood.
pub fn expand(varied: &[Varied], grid: &[Axis]) -> Result<Vec<Variation>> {
    let outer = product(grid)?;
    let only_grid = varied.is_empty() && !grid.is_empty();
    let base = Varied {
        name: BASE.to_owned(),
        set: Vec::new(),
        grid: Vec::new(),
    };
    let mut variations: Vec<Variation> = Vec::new();
    for one in [&base].into_iter().chain(varied) {
        check_name(&one.name)?;
        let axes = one
            .grid
            .iter()
            .map(|axis| axis.parse())
            .collect::<Result<Vec<Axis>>>();
        let named = |error: SweepError| SweepError::Refused(format!("variation \"{}\": {error}", one.name));
        for inner in product(&axes.map_err(named)?)? {
            for outer in &outer {
                let own = (!only_grid).then_some(one.name.as_str());
                let name = |own: Option<&str>, labels: &[&[String]]| {
                    let labels = labels.iter().copied().flatten().map(String::as_str);
                    own.into_iter()
                        .chain(labels)
                        .map(plain)
                        .collect::<Vec<_>>()
                        .join("-")
                };
                let name_of_base = name(Some(BASE), &[&outer.labels]);
                let name = name(own, &[&inner.labels, &outer.labels]);
                let reference = match variations.first() {
                    Some(first) if only_grid => first.name.clone(),
                    None => name.clone(),
                    Some(_) => name_of_base,
                };
                let settings = [&one.set, &inner.settings, &outer.settings];
                variations.push(Variation {
                    name,
                    settings: settings.into_iter().flatten().cloned().collect(),
                    reference,
                });
            }
        }
    }
    let mut names = BTreeSet::new();
    match variations.iter().find(|variation| !names.insert(&variation.name)) {
        Some(twice) => Err(SweepError::Refused(format!(
            "two variations are called \"{}\"; give one of them another name (\"{BASE}\" is the recipe without changes)",
            twice.name
        ))),
        None => Ok(variations),
    }
}

fn is_plain(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.' | '=' | '+')
}

/// A label as a folder's name: each run of other characters becomes `_`.
fn plain(label: &str) -> String {
    let mut name = String::new();
    for letter in label.chars() {
        match is_plain(letter) {
            true => name.push(letter),
            false if name.ends_with('_') => {}
            false => name.push('_'),
        }
    }
    name.trim_end_matches('_').to_owned()
}

fn check_name(name: &str) -> Result<()> {
    match name.is_empty() || name.starts_with('.') || !name.chars().all(is_plain) {
        true => Err(SweepError::Refused(format!(
            "\"{name}\" cannot name a variation: the folders of its runs take its name; write letters, digits, `-` and `_`"
        ))),
        false => Ok(()),
    }
}
