//! Statistics of a few seeds: means, their spread, and differences paired by seed.
//!
//! Pairing removes what a seed does to both sides alike (the order of data, the tokenizer, the initial weights), which is
//! most of the spread; the standard error is that of the mean difference.

use std::f64::consts::PI;

use serde::Serialize;

/// The mean over seeds, and how far single seeds are from it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// Seeds.
    pub n: usize,
    /// Their mean.
    pub mean: f64,
    /// Standard deviation, with n − 1; `None` for one seed.
    pub deviation: Option<f64>,
}

impl Spread {
    /// The spread of `values`; `None` if there are none.
    pub fn of(values: &[f64]) -> Option<Self> {
        if values.is_empty() {
            return None;
        }
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        Some(Self {
            n: values.len(),
            mean,
            deviation: (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt()),
        })
    }
}

/// The mean difference of two variations, over the seeds that both have.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Change {
    /// Pairs.
    pub n: usize,
    /// The mean of this one minus the other.
    pub mean: f64,
    /// Standard error of that mean; `None` for one pair.
    pub standard_error: Option<f64>,
}

impl Change {
    /// The change over pairs (this one, the other); `None` if there are none.
    pub fn of(pairs: &[(f64, f64)]) -> Option<Self> {
        let differences: Vec<f64> = pairs.iter().map(|(ours, theirs)| ours - theirs).collect();
        let spread = Spread::of(&differences)?;
        Some(Self {
            n: spread.n,
            mean: spread.mean,
            standard_error: spread
                .deviation
                .map(|deviation| deviation / (spread.n as f64).sqrt()),
        })
    }

    /// Whether the mean is larger than twice its standard error; `None` for one pair.
    pub fn exceeds_twice_its_error(&self) -> Option<bool> {
        self.standard_error.map(|error| self.mean.abs() > 2.0 * error)
    }
}

/// How often a mean of `n` differences exceeds twice its standard error although there is no difference: the two tails of
/// Student's t with n − 1 degrees of freedom beyond 2 (Abramowitz and Stegun 1964, 26.7.3 and 26.7.4). `None` for one pair.
///
/// Differences are assumed to be normally distributed, which few seeds cannot show.
pub fn exceeded_by_chance(n: usize) -> Option<f64> {
    let freedom = n.checked_sub(1).filter(|freedom| *freedom > 0)?;
    let theta = (2.0 / (freedom as f64).sqrt()).atan();
    let square = theta.cos().powi(2);
    // cosᵏθ·(2·4·…)/(3·5·…) or its even counterpart, summed.
    let is_odd = freedom % 2 == 1;
    let mut term = if is_odd { theta.cos() } else { 1.0 };
    let mut sum = 0.0;
    let mut k = if is_odd { 1 } else { 0 };
    while k + 2 <= freedom {
        sum += term;
        let next = (k + 1) as f64 / (k + 2) as f64;
        term *= next * square;
        k += 2;
    }
    let within = match is_odd {
        true => 2.0 / PI * (theta + theta.sin() * sum),
        false => theta.sin() * sum,
    };
    Some(1.0 - within)
}
