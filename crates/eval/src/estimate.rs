//! A mean with its standard error.
//!
//! Standard errors are those of lm-evaluation-harness (`mean_stderr` in `api/metrics.py`): the standard deviation of
//! the items, divided by √n; of a ratio of sums, its linearisation around the ratio found (Cochran, Sampling
//! Techniques, 6.4).

use std::fmt;

use serde::{Deserialize, Serialize};

/// A figure measured on some items.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The figure.
    pub value: f64,
    /// Its standard error; unknown with one item.
    pub standard_error: Option<f64>,
}

impl Estimate {
    /// The mean of `values`; 0 of none.
    pub fn mean(values: impl IntoIterator<Item = f64>) -> Self {
        let pairs: Vec<(f64, f64)> = values.into_iter().map(|value| (value, 1.0)).collect();
        Self::ratio(&pairs)
    }

    /// The part of the items for which something holds.
    pub fn share(items: impl IntoIterator<Item = bool>) -> Self {
        Self::mean(items.into_iter().map(|holds| f64::from(u8::from(holds))))
    }

    /// Σ numerators / Σ denominators over items that come as pairs of the two.
    pub fn ratio(items: &[(f64, f64)]) -> Self {
        let sum: f64 = items.iter().map(|(_, below)| below).sum();
        if sum == 0.0 {
            return Self {
                value: 0.0,
                standard_error: None,
            };
        }
        let value = items.iter().map(|(above, _)| above).sum::<f64>() / sum;
        let count = items.len() as f64;
        let squares: f64 = items
            .iter()
            .map(|(above, below)| (above - value * below).powi(2))
            .sum();
        Self {
            value,
            standard_error: (items.len() > 1).then(|| (squares * count / (count - 1.0)).sqrt() / sum),
        }
    }

    /// The same in another unit.
    pub fn times(&self, factor: f64) -> Self {
        Self {
            value: factor * self.value,
            standard_error: self.standard_error.map(|error| factor * error),
        }
    }
}

impl fmt::Display for Estimate {
    /// `12.34 ± 0.56`, with as many decimals as asked for.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = f.precision().unwrap_or(2);
        write!(f, "{:.decimals$}", self.value)?;
        match self.standard_error {
            Some(error) => write!(f, " ± {error:.decimals$}"),
            None => Ok(()),
        }
    }
}
