//! Every schedule against the reference implementations' own numbers, and as a curve.

use proptest::prelude::*;
use serde_json::Value;
use smollm3_recipe::{AfterWarmup, DecayShape, Schedule};

fn fixture() -> Value {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/fixtures/optim/lr_schedules.json"
    );
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn shape(name: &str) -> DecayShape {
    match name {
        "linear" => DecayShape::Linear,
        "cosine" => DecayShape::Cosine,
        "1-sqrt" => DecayShape::OneMinusSqrt,
        other => panic!("shape {other}"),
    }
}

/// The schedule that the arguments of a fixture entry describe.
fn schedule(entry: &Value) -> Schedule {
    let args = &entry["args"];
    let steps = |key: &str| args[key].as_u64();
    let kind = entry["kind"].as_str().unwrap();
    if kind.starts_with("nanotron") {
        let peak = args["learning_rate"].as_f64().unwrap();
        let warmup = steps("lr_warmup_steps").unwrap();
        let total = entry["total_training_steps"].as_u64().unwrap();
        Schedule {
            peak,
            warmup,
            initial_ratio: 0.0,
            after_warmup: AfterWarmup::Decay {
                start: steps("lr_decay_starting_step").unwrap_or(warmup),
                steps: steps("lr_decay_steps").unwrap_or(total - warmup),
                shape: shape(args["lr_decay_style"].as_str().unwrap()),
                min_ratio: args["min_decay_lr"].as_f64().unwrap() / peak,
            },
        }
    } else {
        let warmup = steps("num_warmup_steps").unwrap();
        let total = steps("num_training_steps").unwrap();
        let is_wsd = kind.ends_with("get_wsd_schedule");
        let min_ratio = args["min_lr_rate"]
            .as_f64()
            .or(args["min_lr_ratio"].as_f64())
            .unwrap();
        Schedule {
            peak: args["lr"].as_f64().unwrap(),
            warmup,
            // transformers' wsd warms up from the minimum, its cosine from 0.
            initial_ratio: if is_wsd { min_ratio } else { 0.0 },
            after_warmup: if is_wsd {
                let decay = steps("num_decay_steps").unwrap();
                AfterWarmup::Decay {
                    start: total - decay,
                    steps: decay,
                    shape: shape(args["decay_type"].as_str().unwrap_or("cosine")),
                    min_ratio,
                }
            } else {
                AfterWarmup::Cosine { total, min_ratio }
            },
        }
    }
}

#[test]
fn every_entry_of_the_fixture() {
    let fixture = fixture();
    let entries = fixture["schedules"].as_object().unwrap();
    assert_eq!(entries.len(), 10);
    let mut compared = 0;
    for (name, entry) in entries {
        let schedule = schedule(entry);
        let mut check = |index: u64, expected: f64| {
            // The update of step k uses index k − 1.
            let ours = schedule.learning_rate(index + 1);
            let tolerance = 1e-14 * schedule.peak + 1e-12 * expected;
            assert!(
                (ours - expected).abs() <= tolerance,
                "{name} at {index}: {ours} against {expected}"
            );
            compared += 1;
        };
        if let Some(rates) = entry["lr_used_by_step_0.."].as_array() {
            for (index, rate) in rates.iter().enumerate() {
                check(index as u64, rate.as_f64().unwrap());
            }
        }
        if let Some(rates) = entry["lr_at_step"].as_object() {
            for (index, rate) in rates {
                check(index.parse().unwrap(), rate.as_f64().unwrap());
            }
        }
    }
    assert!(compared > 300, "{compared} rates compared");
}

#[test]
fn the_landmarks_of_the_released_schedule() {
    let schedule = Schedule {
        peak: 2e-4,
        warmup: 2_000,
        initial_ratio: 0.0,
        after_warmup: AfterWarmup::Decay {
            start: 4_198_001,
            steps: 522_000,
            shape: DecayShape::Linear,
            min_ratio: 0.0,
        },
    };
    let factor = |step: u64| schedule.learning_rate(step) / 2e-4;
    assert_eq!(schedule.learning_rate(1), 0.0);
    assert_eq!(factor(2), 1.0 / 2_000.0);
    assert_eq!(factor(2_001), 1.0);
    assert_eq!(factor(4_198_001), 1.0);
    assert_eq!(factor(4_198_002), 1.0);
    assert_eq!(factor(4_198_003), 521_999.0 / 522_000.0);
    assert!((factor(4_720_000) - 2.0 / 522_000.0).abs() < 1e-15);
}

#[test]
fn the_landmarks_of_the_released_long_context_schedules() {
    for (decay, middle) in [(19_000, 10_501), (21_000, 11_501)] {
        let schedule = Schedule {
            peak: 2e-5,
            warmup: 1_000,
            initial_ratio: 0.0,
            after_warmup: AfterWarmup::Decay {
                start: 1_000,
                steps: decay,
                shape: DecayShape::Cosine,
                min_ratio: 0.0,
            },
        };
        assert_eq!(schedule.factor(1_000), 1.0);
        assert!((schedule.learning_rate(middle) / 2e-5 - 0.5).abs() < 1e-12);
        let last = schedule.factor(1_000 + decay - 1);
        assert!((5e-9..7e-9).contains(&last), "{last}");
    }
}

#[test]
fn no_warmup_gives_the_first_step_the_peak() {
    let schedule = Schedule {
        peak: 3e-4,
        warmup: 0,
        initial_ratio: 0.0,
        after_warmup: AfterWarmup::Constant,
    };
    assert_eq!(schedule.learning_rate(1), 3e-4);
    assert_eq!(schedule.learning_rate(0), 3e-4);
}

fn any_schedule() -> impl Strategy<Value = (Schedule, u64)> {
    let shapes = prop_oneof![
        Just(DecayShape::Linear),
        Just(DecayShape::Cosine),
        Just(DecayShape::OneMinusSqrt)
    ];
    (
        0_u64..50,
        0_u64..50,
        1_u64..200,
        0.0..=1.0_f64,
        0.0..=1.0_f64,
        shapes,
        0..3_u8,
    )
        .prop_map(|(warmup, stable, decay, initial_ratio, min_ratio, shape, kind)| {
            let total = warmup + stable + decay;
            let after_warmup = match kind {
                0 => AfterWarmup::Constant,
                1 => AfterWarmup::Cosine { total, min_ratio },
                _ => AfterWarmup::Decay {
                    start: warmup + stable,
                    steps: decay,
                    shape,
                    min_ratio,
                },
            };
            let schedule = Schedule {
                peak: 1e-3,
                warmup,
                initial_ratio,
                after_warmup,
            };
            (schedule, total)
        })
}

proptest! {
    #[test]
    fn bounded_by_the_peak((schedule, total) in any_schedule()) {
        for step in 1..=total + 1 {
            let rate = schedule.learning_rate(step);
            prop_assert!((0.0..=schedule.peak * (1.0 + 1e-12)).contains(&rate), "{rate} at {step}");
        }
    }

    /// No jump between two steps is larger than the steepest part of the curves: 1/√n for 1 − √x, at most
    /// π/2 over n for the others.
    #[test]
    fn continuous((schedule, total) in any_schedule()) {
        let after = match schedule.after_warmup {
            AfterWarmup::Constant => f64::INFINITY,
            AfterWarmup::Cosine { total, .. } => (total - schedule.warmup) as f64,
            AfterWarmup::Decay { steps, .. } => steps as f64,
        };
        let steepest = match schedule.after_warmup {
            AfterWarmup::Decay { shape: DecayShape::OneMinusSqrt, .. } => 1.0 / after.sqrt(),
            _ => 1.0_f64.min(1.6 / after),
        };
        for done in 0..total {
            let step = (schedule.factor(done + 1) - schedule.factor(done)).abs();
            let limit = if done < schedule.warmup { 1.0 / schedule.warmup as f64 } else { steepest };
            prop_assert!(step <= limit + 1e-12, "a jump of {step} after {done}");
        }
    }

    #[test]
    fn never_rises_after_the_warmup((schedule, total) in any_schedule()) {
        for done in schedule.warmup..total {
            prop_assert!(schedule.factor(done + 1) <= schedule.factor(done) + 1e-15);
        }
    }
}
