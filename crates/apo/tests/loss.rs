//! The formulas: TRL's values, rewards and derivatives, and what must hold for any pair.

use proptest::prelude::*;
use serde::Deserialize;
use smollm3_apo::pair_loss;
use smollm3_recipe::{PreferenceKind, PreferenceLoss};

#[derive(Deserialize)]
struct Fixture {
    loss_only: LossOnly,
}

#[derive(Deserialize)]
struct LossOnly {
    policy_chosen_logps: Vec<f64>,
    policy_rejected_logps: Vec<f64>,
    ref_chosen_logps: Vec<f64>,
    ref_rejected_logps: Vec<f64>,
    results: Vec<Expected>,
}

#[derive(Deserialize)]
struct Expected {
    loss_type: String,
    beta: f64,
    losses: Vec<f64>,
    losses_float64: Vec<f64>,
    #[serde(rename = "d_mean_loss/d_policy_chosen_logps")]
    d_chosen: Vec<f64>,
    #[serde(rename = "d_mean_loss/d_policy_rejected_logps")]
    d_rejected: Vec<f64>,
}

fn kind(name: &str) -> PreferenceKind {
    match name {
        "apo_zero" => PreferenceKind::ApoZero,
        "apo_down" => PreferenceKind::ApoDown,
        "sigmoid" => PreferenceKind::Sigmoid,
        other => panic!("{other}"),
    }
}

const KINDS: [PreferenceKind; 3] = [
    PreferenceKind::ApoZero,
    PreferenceKind::ApoDown,
    PreferenceKind::Sigmoid,
];

#[test]
fn values_and_derivatives_are_those_of_trl() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/apo/apo.json");
    let text = std::fs::read_to_string(path).unwrap();
    let Fixture { loss_only: pairs } = serde_json::from_str(&text).unwrap();
    assert_eq!(pairs.results.len(), 6);
    for expected in pairs.results {
        let settings = PreferenceLoss {
            kind: kind(&expected.loss_type),
            beta: expected.beta,
            ..PreferenceLoss::default()
        };
        let count = expected.losses.len();
        assert_eq!(count, 24);
        for pair in 0..count {
            let found = pair_loss(
                &settings,
                pairs.policy_chosen_logps[pair] - pairs.ref_chosen_logps[pair],
                pairs.policy_rejected_logps[pair] - pairs.ref_rejected_logps[pair],
            );
            let what = format!("{} {} pair {pair}", expected.loss_type, expected.beta);
            let close = |name: &str, found: f64, expected: f64, tolerance: f64| {
                assert!(
                    (found - expected).abs() <= tolerance,
                    "{what}: {name} {found} {expected}"
                );
            };
            close(
                "loss",
                found.value,
                expected.losses[pair],
                2e-6 * expected.losses[pair].max(1.0),
            );
            close("loss in f64", found.value, expected.losses_float64[pair], 1e-12);
            close(
                "by the chosen",
                found.d_chosen / count as f64,
                expected.d_chosen[pair],
                3e-9,
            );
            close(
                "by the rejected",
                found.d_rejected / count as f64,
                expected.d_rejected[pair],
                3e-9,
            );
        }
    }
}

#[test]
fn a_model_that_is_its_reference_starts_where_the_formulas_say() {
    for (kind, value) in KINDS.into_iter().zip([1.0, 1.0, std::f64::consts::LN_2]) {
        let settings = PreferenceLoss {
            kind,
            ..PreferenceLoss::default()
        };
        assert_eq!(pair_loss(&settings, 0.0, 0.0).value, value);
    }
}

fn settings() -> impl Strategy<Value = PreferenceLoss> {
    (0..3usize, 0.01f64..2.0, 0.0f64..0.49).prop_map(|(kind, beta, label_smoothing)| PreferenceLoss {
        kind: KINDS[kind],
        beta,
        label_smoothing,
        sft_weight: 0.0,
    })
}

proptest! {
    /// What is given as derivative is the slope of the value.
    #[test]
    fn derivatives_are_slopes(settings in settings(), chosen in -40.0f64..40.0, rejected in -40.0f64..40.0) {
        let step = 1e-5;
        let value = |c, r| pair_loss(&settings, c, r).value;
        let found = pair_loss(&settings, chosen, rejected);
        let by_chosen = (value(chosen + step, rejected) - value(chosen - step, rejected)) / (2.0 * step);
        let by_rejected = (value(chosen, rejected + step) - value(chosen, rejected - step)) / (2.0 * step);
        prop_assert!((found.d_chosen - by_chosen).abs() < 1e-7 * (1.0 + settings.beta), "{} {by_chosen}", found.d_chosen);
        prop_assert!((found.d_rejected - by_rejected).abs() < 1e-7 * (1.0 + settings.beta), "{} {by_rejected}", found.d_rejected);
    }

    #[test]
    fn no_ratio_is_too_large(settings in settings(), chosen in -1e6f64..1e6, rejected in -1e6f64..1e6) {
        let found = pair_loss(&settings, chosen, rejected);
        prop_assert!(found.value.is_finite() && found.d_chosen.is_finite() && found.d_rejected.is_finite());
        prop_assert!(found.value >= 0.0);
        // The rejected answer never becomes likelier; under apo-zero and sigmoid the chosen one never less likely.
        if settings.label_smoothing == 0.0 {
            prop_assert!(found.d_rejected >= 0.0);
            if settings.kind != PreferenceKind::ApoDown {
                prop_assert!(found.d_chosen <= 0.0);
            }
        }
    }

    /// Half of the pairs the wrong way round says nothing, and apo-zero becomes flat.
    #[test]
    fn smoothing_mixes_both_ways_round(smoothing in 0.0f64..0.49, chosen in -40.0f64..40.0, rejected in -40.0f64..40.0) {
        let settings = PreferenceLoss { label_smoothing: smoothing, ..PreferenceLoss::default() };
        let plain = PreferenceLoss::default();
        let value = pair_loss(&settings, chosen, rejected).value;
        let expected = (1.0 - smoothing) * pair_loss(&plain, chosen, rejected).value
            + smoothing * pair_loss(&plain, rejected, chosen).value;
        prop_assert!((value - expected).abs() < 1e-12);
        let both = pair_loss(&plain, chosen, rejected).value + pair_loss(&plain, rejected, chosen).value;
        prop_assert!((both - 2.0).abs() < 1e-12);
    }
}
