//! The mixture of a phase: the fraction of its sequences that each source contributes.
//!
//! A mixture is flat (weights of sources) or two-level (shares of categories, and weights of the sources inside each
//! category). Two levels keep "85 / 12 / 3" readable and true while sources come and go. Weights and shares are on any
//! positive scale and are divided by their sum, because the original's own weights add up to 1.00005 and 1.00565 in two
//! of its phases.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Problem, ensure};
use crate::section::unknown;
use crate::source::Source;

/// `mixture` of a phase, in its own file or inline.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mixture {
    /// The weight of each source.
    pub sources: IndexMap<String, f64>,
    /// The share of each category.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shares: Option<IndexMap<String, f64>>,
    #[serde(skip)]
    parts: Vec<MixturePart>,
}

/// One source's share of a mixture.
#[derive(Debug, Clone, PartialEq)]
pub struct MixturePart {
    /// The name of the source.
    pub source: String,
    /// The category of the source.
    pub category: String,
    /// Its fraction of the mixture's sequences; the weights of all parts add up to 1.
    pub weight: f64,
}

impl Mixture {
    /// A mixture of `sources`, two-level when there are `shares`; `known` gives the category of each source.
    ///
    /// # Errors
    /// A source that is not known, a weight or a share that is negative, not finite or without effect.
    pub(crate) fn resolve(&mut self, known: &BTreeMap<String, Source>) -> Result<(), Problem> {
        check_scale("sources", &self.sources)?;
        let mut parts = Vec::new();
        for (name, weight) in &self.sources {
            let Some(source) = known.get(name) else {
                let names: Vec<&str> = known.keys().map(String::as_str).collect();
                return Err(Problem::at(name, unknown("source", name, &names)).below("sources"));
            };
            parts.push(MixturePart {
                source: name.clone(),
                category: source.category.clone(),
                weight: *weight,
            });
        }
        match &self.shares {
            None => normalise(&mut parts),
            Some(shares) => apply_shares(&mut parts, shares)?,
        }
        parts.retain(|part| part.weight > 0.0);
        self.parts = parts;
        Ok(())
    }

    /// Sorts the sources by name, so that their order does not depend on how they are written.
    pub(crate) fn sort(&mut self) {
        self.sources.sort_keys();
        self.parts.sort_by(|a, b| a.source.cmp(&b.source));
    }

    /// The sources with a positive weight; their weights add up to 1.
    pub fn parts(&self) -> &[MixturePart] {
        &self.parts
    }

    /// The name and the weight of each source with a positive weight; the weights add up to 1.
    pub fn weights(&self) -> Vec<(String, f64)> {
        self.parts
            .iter()
            .map(|part| (part.source.clone(), part.weight))
            .collect()
    }

    /// Divides `rows` among the parts by their weights: each gets its share rounded down, and the remaining rows go to
    /// those with the largest remainders, one each.
    pub(crate) fn apportion(&self, rows: u64) -> Vec<u64> {
        let exact = |part: &MixturePart| part.weight * rows as f64;
        let mut given: Vec<u64> = self.parts.iter().map(|part| exact(part) as u64).collect();
        let mut by_loss: Vec<usize> = (0..given.len()).collect();
        let loss = |index: &usize| self.parts.get(*index).map_or(0.0, |part| exact(part).fract());
        by_loss.sort_by(|a, b| loss(b).total_cmp(&loss(a)).then(a.cmp(b)));
        let missing = rows.saturating_sub(given.iter().sum());
        for index in by_loss.into_iter().cycle().take(missing as usize) {
            if let Some(count) = given.get_mut(index) {
                *count += 1;
            }
        }
        given
    }

    /// The share of each category; the shares add up to 1.
    pub fn category_shares(&self) -> BTreeMap<String, f64> {
        let mut shares = BTreeMap::new();
        for part in &self.parts {
            *shares.entry(part.category.clone()).or_default() += part.weight;
        }
        shares
    }
}

/// Refuses invalid weights.
fn check_scale(table: &str, weights: &IndexMap<String, f64>) -> Result<(), Problem> {
    for (name, weight) in weights {
        if !(weight.is_finite() && *weight >= 0.0) {
            let message = format!("{weight} is not a weight; write 0 or a positive number");
            return Err(Problem::at(name, message).below(table));
        }
    }
    let sum: f64 = weights.values().sum();
    let is_drawn = sum > 0.0;
    ensure!(
        is_drawn,
        table,
        "all numbers are zero, so nothing would be drawn; write a positive number"
    );
    ensure!(
        sum.is_finite(),
        table,
        "the numbers are too large to be added up; write smaller ones, only their ratios count"
    );
    Ok(())
}

fn normalise(parts: &mut [MixturePart]) {
    let sum: f64 = parts.iter().map(|part| part.weight).sum();
    for part in parts {
        part.weight /= sum;
    }
}

fn apply_shares(parts: &mut [MixturePart], shares: &IndexMap<String, f64>) -> Result<(), Problem> {
    check_scale("shares", shares)?;
    let total: f64 = shares.values().sum();
    let mut categories: BTreeMap<String, f64> = BTreeMap::new();
    for part in parts.iter() {
        *categories.entry(part.category.clone()).or_default() += part.weight;
    }
    for part in parts.iter_mut().filter(|part| part.weight > 0.0) {
        let category = &part.category;
        let Some(share) = shares.get(category) else {
            let message = format!(
                "its category `{category}` has no share; add {category} to shares, or remove the source"
            );
            return Err(Problem::at(&part.source, message).below("sources"));
        };
        part.weight = share / total * (part.weight / categories[category]);
    }
    for (category, share) in shares {
        if *share > 0.0 && categories.get(category).is_none_or(|weight| *weight == 0.0) {
            let message = format!(
                "no source of category `{category}` has a weight; add one to sources, or remove the share"
            );
            return Err(Problem::at(category, message).below("shares"));
        }
    }
    // The sum is 1 but for rounding.
    normalise(parts);
    Ok(())
}
