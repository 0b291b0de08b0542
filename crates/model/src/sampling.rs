//! The next token from its scores.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::GenerateError;

/// How the next token is chosen. The steps and their order are those of transformers' logits processors: repetition
/// penalty, temperature, the `top_k` most probable, the most probable that make up `top_p`, those with at least `min_p`
/// of the most probable one's probability.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// 0 takes the most probable token; 1 leaves the model's probabilities as they are.
    pub temperature: f64,
    /// How many of the most probable are considered; 0 for all.
    pub top_k: usize,
    /// The share of the probability that is considered; 1 for all.
    pub top_p: f64,
    /// The least probability relative to the largest; 0 for any.
    pub min_p: f64,
    /// Scores of tokens in the row are divided by this, or multiplied if negative; 1 for none.
    pub repetition_penalty: f64,
    /// The same seed gives the same tokens.
    pub seed: u64,
}

impl Default for Sampling {
    /// The most probable token.
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            seed: 0,
        }
    }
}

impl Sampling {
    /// The first option that is out of its range: its name, its value, and what it must be.
    pub fn problem(&self) -> Option<(&'static str, f64, &'static str)> {
        let at_least_zero = self.temperature.is_finite() && self.temperature >= 0.0;
        let part = self.top_p > 0.0 && self.top_p <= 1.0;
        let positive = self.repetition_penalty.is_finite() && self.repetition_penalty > 0.0;
        [
            ("temperature", self.temperature, at_least_zero, "0 or more"),
            ("top_p", self.top_p, part, "more than 0, at most 1"),
            ("min_p", self.min_p, (0.0..=1.0).contains(&self.min_p), "0 to 1"),
            (
                "repetition_penalty",
                self.repetition_penalty,
                positive,
                "more than 0",
            ),
        ]
        .into_iter()
        .find(|(_, _, good, _)| !good)
        .map(|(name, value, _, due)| (name, value, due))
    }

    /// The random numbers of row `row`, independent of the other rows.
    pub fn rng(&self, row: u64) -> ChaCha8Rng {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(row);
        rng
    }

    /// The next token of a row that holds `seen`, from the scores of all tokens.
    ///
    /// # Errors
    /// [`GenerateError::NotFinite`] if a score is NaN or the largest is infinite; −∞ rules a token out.
    pub fn choose(&self, scores: &[f32], seen: &[u32], rng: &mut impl Rng) -> Result<u32, GenerateError> {
        let mut scores: Vec<f64> = scores.iter().map(|score| f64::from(*score)).collect();
        self.penalise(&mut scores, seen);
        let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if !largest.is_finite() || scores.iter().any(|score| score.is_nan()) {
            return Err(GenerateError::NotFinite);
        }
        // The most probable first; of equals the first.
        let mut order: Vec<usize> = (0..scores.len()).collect();
        let by_score = |a: &usize, b: &usize| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b));
        let most = match self.top_k {
            0 => order.len(),
            k => k.min(order.len()),
        };
        if self.temperature <= 0.0 {
            return Ok(order.into_iter().min_by(by_score).unwrap_or(0) as u32);
        }
        if most < order.len() {
            order.select_nth_unstable_by(most, by_score);
            order.truncate(most);
        }
        order.sort_unstable_by(by_score);
        let weights: Vec<f64> = order
            .iter()
            .map(|token| ((scores[*token] - largest) / self.temperature).exp())
            .collect();
        let kept = self.kept(&weights);
        let total: f64 = weights[..kept].iter().sum();
        let mut left = rng.random::<f64>() * total;
        for (token, weight) in order[..kept].iter().zip(&weights) {
            left -= weight;
            if left < 0.0 {
                return Ok(*token as u32);
            }
        }
        Ok(order.get(kept.saturating_sub(1)).map_or(0, |token| *token as u32))
    }

    fn penalise(&self, scores: &mut [f64], seen: &[u32]) {
        if self.repetition_penalty == 1.0 {
            return;
        }
        let mut seen = seen.to_vec();
        seen.sort_unstable();
        seen.dedup();
        for token in seen {
            if let Some(score) = scores.get_mut(token as usize) {
                *score = match *score < 0.0 {
                    true => *score * self.repetition_penalty,
                    false => *score / self.repetition_penalty,
                };
            }
        }
    }

    /// How many of the weights, the largest first, are considered: one at least.
    fn kept(&self, weights: &[f64]) -> usize {
        let total: f64 = weights.iter().sum();
        let mut before = 0.0;
        let mut kept = 0;
        for weight in weights {
            if kept > 0 && (before >= self.top_p * total || *weight < self.min_p * weights[0]) {
                break;
            }
            before += weight;
            kept += 1;
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Probabilities 0.5, 0.25, 0.15, 0.1.
    fn scores() -> Vec<f32> {
        [0.25f32, 0.5, 0.1, 0.15].iter().map(|p| p.ln()).collect()
    }

    fn drawn(sampling: &Sampling) -> [f64; 4] {
        const DRAWS: usize = 20_000;
        let mut rng = sampling.rng(0);
        let mut counts = [0.0; 4];
        for _ in 0..DRAWS {
            counts[sampling.choose(&scores(), &[], &mut rng).unwrap() as usize] += 1.0 / DRAWS as f64;
        }
        counts
    }

    #[track_caller]
    fn assert_drawn(sampling: &Sampling, expected: [f64; 4]) {
        let found = drawn(sampling);
        let close = found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 0.015);
        assert!(close, "{found:?} instead of {expected:?}");
    }

    #[test]
    fn tokens_come_with_their_probabilities() {
        let plain = Sampling {
            temperature: 1.0,
            ..Sampling::default()
        };
        assert_drawn(&plain, [0.25, 0.5, 0.1, 0.15]);
        assert_drawn(
            &Sampling {
                top_k: 2,
                ..plain.clone()
            },
            [1.0 / 3.0, 2.0 / 3.0, 0.0, 0.0],
        );
        // 0.5 and 0.25 are not yet 0.8; with 0.15 they are.
        assert_drawn(
            &Sampling {
                top_p: 0.8,
                ..plain.clone()
            },
            [0.25 / 0.9, 0.5 / 0.9, 0.0, 0.15 / 0.9],
        );
        assert_drawn(
            &Sampling {
                top_p: 0.0,
                ..plain.clone()
            },
            [0.0, 1.0, 0.0, 0.0],
        );
        assert_drawn(
            &Sampling {
                min_p: 0.4,
                ..plain.clone()
            },
            [1.0 / 3.0, 2.0 / 3.0, 0.0, 0.0],
        );
        // Squared and divided by their sum.
        let cold = Sampling {
            temperature: 0.5,
            ..plain
        };
        assert_drawn(
            &cold,
            [0.0625 / 0.345, 0.25 / 0.345, 0.01 / 0.345, 0.0225 / 0.345],
        );
    }

    #[test]
    fn a_penalty_turns_to_what_is_new() {
        let sampling = Sampling {
            repetition_penalty: 3.0,
            ..Sampling::default()
        };
        let choose =
            |scores: &[f32], seen: &[u32]| sampling.choose(scores, seen, &mut sampling.rng(0)).unwrap();
        assert_eq!(choose(&[1.0, 2.0, 0.5], &[]), 1);
        assert_eq!(choose(&[1.0, 2.0, 0.5], &[1, 1]), 0);
        // Negative scores are made worse, not better; twice in the row is penalised once.
        assert_eq!(choose(&[-1.0, -2.0, -3.5], &[0, 0]), 1);
    }

    #[test]
    fn scores_that_are_no_probabilities_are_refused() {
        for temperature in [0.0, 0.7] {
            let sampling = Sampling {
                temperature,
                ..Sampling::default()
            };
            let choose = |scores: &[f32]| sampling.choose(scores, &[], &mut sampling.rng(0));
            for scores in [
                &[1.0, f32::NAN, 2.0][..],
                &[f32::NAN, 0.0],
                &[f32::NAN; 3],
                &[1.0, f32::INFINITY],
                &[f32::NEG_INFINITY; 2],
                &[],
            ] {
                let refused = choose(scores);
                assert!(
                    matches!(refused, Err(GenerateError::NotFinite)),
                    "{scores:?}: {refused:?}"
                );
            }
            assert_eq!(choose(&[f32::NEG_INFINITY, 0.5, f32::NEG_INFINITY]).unwrap(), 1);
        }
    }

    proptest! {
        #[test]
        fn without_temperature_it_is_the_largest(scores in prop::collection::vec(-50f32..50.0, 1..60)) {
            let sampling = Sampling::default();
            let chosen = sampling.choose(&scores, &[], &mut sampling.rng(0)).unwrap() as usize;
            prop_assert!(scores.iter().all(|score| *score <= scores[chosen]));
        }

        #[test]
        fn the_same_seed_gives_the_same_tokens(scores in prop::collection::vec(-5f32..5.0, 1..60), seed: u64, row in 0u64..9) {
            let sampling = Sampling { temperature: 0.8, top_k: 30, top_p: 0.9, min_p: 0.01, seed, ..Sampling::default() };
            let stream = || {
                let mut rng = sampling.rng(row);
                (0..20).map(|_| sampling.choose(&scores, &[0], &mut rng).unwrap()).collect::<Vec<_>>()
            };
            prop_assert_eq!(stream(), stream());
        }
    }
}
