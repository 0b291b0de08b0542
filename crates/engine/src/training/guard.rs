//! Which updates are made: losses and norms that are not finite, or far above those of earlier steps, are detected before
//! anything has changed.

use std::collections::VecDeque;

use smollm3_recipe::{Guards, Spikes};
use smollm3_records::{Fault, GuardState};

use crate::StepResult;

/// Judges steps.
#[derive(Debug, Clone)]
pub struct Guard {
    settings: Guards,
    /// Its memory.
    pub state: GuardState,
}

impl Guard {
    /// A guard that resumes from `state`.
    pub fn new(settings: Guards, state: GuardState) -> Self {
        Self { settings, state }
    }

    /// The fault of a step, if it has one.
    pub fn fault(&self, result: &StepResult) -> Option<Fault> {
        if !(result.loss.is_finite() && result.grad_norm.is_finite()) {
            return Some(Fault::NotFinite);
        }
        let above = |window: &VecDeque<f64>, value: f64| {
            let enough = window.len() as u64 * 2 >= self.settings.spike_window.0;
            let sigma = if enough { sigma(window, value) } else { 0.0 };
            (sigma > self.settings.spike_sigma).then_some(sigma)
        };
        let loss = above(&self.state.losses, result.loss).map(|sigma| Fault::LossSpike { sigma });
        loss.or_else(|| {
            above(&self.state.grad_norms, result.grad_norm).map(|sigma| Fault::NormSpike { sigma })
        })
    }

    /// Whether a step of this fault is trained on.
    pub fn accepts(&self, fault: Option<Fault>) -> bool {
        match fault {
            None => true,
            Some(Fault::NotFinite) => false,
            Some(Fault::LossSpike { .. } | Fault::NormSpike { .. }) => self.settings.spikes == Spikes::Log,
        }
    }

    /// Remembers a step. Returns whether too many in a row had no update, so that the run must go back.
    pub fn remember(&mut self, result: &StepResult) -> bool {
        if !result.updated {
            self.state.bad += 1;
            return self.state.bad >= self.settings.patience.0;
        }
        self.state.bad = 0;
        let most = self.settings.spike_window.0 as usize;
        for (window, value) in [
            (&mut self.state.losses, result.loss),
            (&mut self.state.grad_norms, result.grad_norm),
        ] {
            window.push_back(value);
            while window.len() > most {
                window.pop_front();
            }
        }
        false
    }

    /// Forgets earlier steps: those of another mixture need not resemble them.
    pub fn forget(&mut self) {
        self.state.losses.clear();
        self.state.grad_norms.clear();
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.get(middle.wrapping_sub(1)), values.get(middle)) {
        (Some(below), Some(above)) if values.len().is_multiple_of(2) => (below + above) / 2.0,
        (_, Some(value)) => *value,
        _ => 0.0,
    }
}

/// How far `value` is above the median of the window, in robust standard deviations (Iglewicz and Hoaglin 1993). A window
/// without any spread is given a millionth of its median.
fn sigma(window: &VecDeque<f64>, value: f64) -> f64 {
    /// Of a normal distribution, the standard deviation over the median distance from the median.
    const SCALE: f64 = 1.4826;
    let center = median(window.iter().copied().collect());
    let spread = median(window.iter().map(|value| (value - center).abs()).collect());
    (value - center) / (SCALE * spread).max(center.abs() * 1e-6).max(f64::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use smollm3_recipe::Steps;

    use super::*;

    fn step(loss: f64, grad_norm: f64) -> StepResult {
        StepResult {
            loss,
            targets: 1,
            grad_norm,
            sources: BTreeMap::new(),
            observed: BTreeMap::new(),
            updated: true,
        }
    }

    fn guard(spikes: Spikes) -> Guard {
        let settings = Guards {
            spikes,
            spike_window: Steps(10),
            patience: Steps(3),
            ..Guards::default()
        };
        let mut guard = Guard::new(settings, GuardState::default());
        for i in 0..20 {
            guard.remember(&step(2.0 + f64::from(i % 3) * 0.01, 1.0 + f64::from(i % 5) * 0.1));
        }
        guard
    }

    #[test]
    fn spikes_are_above_and_never_below() {
        for spikes in [Spikes::Log, Spikes::Skip] {
            let guard = guard(spikes);
            assert_eq!(guard.state.losses.len(), 10);
            assert_eq!(guard.fault(&step(2.02, 1.3)), None);
            assert_eq!(guard.fault(&step(0.1, 0.0)), None);
            let loss = guard.fault(&step(3.0, 1.0));
            assert!(
                matches!(loss, Some(Fault::LossSpike { sigma }) if sigma > 60.0),
                "{loss:?}"
            );
            let norm = guard.fault(&step(2.0, 9.0));
            assert!(matches!(norm, Some(Fault::NormSpike { .. })), "{norm:?}");
            assert_eq!(guard.accepts(loss), spikes == Spikes::Log);
            assert!(guard.accepts(None) && !guard.accepts(Some(Fault::NotFinite)));
        }
    }

    #[test]
    fn half_a_window_is_needed() {
        let mut guard = guard(Spikes::Skip);
        guard.forget();
        for n in 0..5 {
            assert_eq!(guard.fault(&step(100.0, 1.0)), None, "after {n}");
            guard.remember(&step(1.0, 1.0));
        }
        assert!(guard.fault(&step(100.0, 1.0)).is_some());
    }

    #[test]
    fn only_steps_in_a_row_count() {
        let mut guard = guard(Spikes::Skip);
        let bad = StepResult {
            updated: false,
            ..step(f64::NAN, 1.0)
        };
        assert_eq!(guard.fault(&bad), Some(Fault::NotFinite));
        assert!(!guard.remember(&bad) && !guard.remember(&bad));
        assert!(!guard.remember(&step(2.0, 1.0)));
        assert!(!guard.remember(&bad) && !guard.remember(&bad) && guard.remember(&bad));
        assert!(guard.state.losses.iter().all(|loss| loss.is_finite()));
    }

    proptest! {
        /// Shifting and stretching all numbers leaves the measure as it is.
        #[test]
        fn sigma_has_no_unit(values in prop::collection::vec(0.0f64..10.0, 8..40), value in 0.0f64..20.0, by in 0.1f64..50.0) {
            let window: VecDeque<f64> = values.iter().copied().collect();
            let other: VecDeque<f64> = values.iter().map(|value| value * by).collect();
            let (a, b) = (sigma(&window, value), sigma(&other, value * by));
            prop_assert!((a - b).abs() <= 1e-6 * a.abs().max(1.0), "{a} {b}");
        }

        #[test]
        fn what_a_checkpoint_keeps_is_what_was_remembered(losses in prop::collection::vec(any::<f64>().prop_filter("", |x| x.is_finite()), 0..20)) {
            let state = GuardState { losses: losses.into(), bad: 2, left_out: vec![(3, 9)], ..GuardState::default() };
            let text = serde_json::to_string(&state).unwrap();
            prop_assert_eq!(serde_json::from_str::<GuardState>(&text).unwrap(), state);
        }
    }
}
