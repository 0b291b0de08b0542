//! Weights as given, and as the numbers that elements are multiplied and divided by.

use std::path::PathBuf;

use crate::{MergeError, Result};

/// Checked weights.
#[derive(Debug)]
pub(crate) struct Coefficients {
    /// What each parent is multiplied by: its weight rounded to `f32`.
    pub factors: Vec<f32>,
    /// What the sum is divided by; 1 without normalisation.
    pub divisor: f32,
    /// Each parent's part in the result, in full precision, for people.
    pub shares: Vec<f64>,
}

impl Coefficients {
    /// The divisor is the sum of the rounded factors, formed in `f64` and rounded once, so that it does not depend
    /// on the order of the parents.
    ///
    /// # Errors
    /// There are no parents, a weight is not finite, or normalisation would divide by what is zero but for rounding.
    pub fn new(parents: &[(PathBuf, f64)], normalise: bool) -> Result<Self> {
        if parents.is_empty() {
            return Err(MergeError::NoParents);
        }
        if let Some((folder, weight)) = parents.iter().find(|(_, weight)| !(*weight as f32).is_finite()) {
            return Err(MergeError::Weight(folder.clone(), *weight));
        }
        let factors: Vec<f32> = parents.iter().map(|(_, weight)| *weight as f32).collect();
        if !normalise {
            return Ok(Self {
                factors,
                divisor: 1.0,
                shares: parents.iter().map(|(_, weight)| *weight).collect(),
            });
        }
        let sum: f64 = parents.iter().map(|(_, weight)| weight).sum();
        let size: f64 = parents.iter().map(|(_, weight)| weight.abs()).sum();
        let divisor = factors.iter().map(|factor| f64::from(*factor)).sum::<f64>() as f32;
        let usable = divisor.is_normal() && sum.abs() > size * f64::from(f32::EPSILON);
        if !usable {
            let weights: Vec<String> = parents.iter().map(|(_, weight)| weight.to_string()).collect();
            return Err(MergeError::ZeroSum(weights.join(", "), sum));
        }
        Ok(Self {
            factors,
            divisor,
            shares: parents.iter().map(|(_, weight)| weight / sum).collect(),
        })
    }

    /// Number of the parent with the largest weight, the first of several.
    pub fn largest(&self) -> usize {
        let factors = self.factors.iter().enumerate().rev();
        let largest = factors.max_by(|(_, a), (_, b)| a.total_cmp(b));
        largest.map_or(0, |(number, _)| number)
    }
}
