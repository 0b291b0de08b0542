//! Whole pairs through a model: TRL's log-probabilities, losses, metrics and gradients, on every backend.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use proptest::prelude::*;
use safetensors::SafeTensors;
use serde::Deserialize;
use smollm3_apo::{
    PairBatch, PairLimits, PairRow, Preferred, ReferenceLogProbs, ReferenceSource, answer_log_probs,
    pack_pairs,
};
use smollm3_conversations::Document;
use smollm3_engine::{AccumulatedGradients, Objective, ObjectiveLoss};
use smollm3_model::SmolLm3;
use smollm3_model::hf::Checkpoint;
use smollm3_recipe::{PreferenceKind, PreferenceLoss, TooLongPair};

#[derive(Deserialize)]
struct Fixture {
    end_to_end: EndToEnd,
    truncation: Vec<Case>,
}

#[derive(Deserialize)]
struct EndToEnd {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    loss_type: String,
    beta: f64,
    settings: Settings,
    rows: Vec<Ids>,
    policy_chosen_logps: Vec<f64>,
    policy_rejected_logps: Vec<f64>,
    ref_chosen_logps: Vec<f64>,
    ref_rejected_logps: Vec<f64>,
    losses: Vec<f64>,
    #[serde(default)]
    metrics: BTreeMap<String, f64>,
}

#[derive(Deserialize)]
struct Settings {
    max_prompt_length: Option<usize>,
    max_length: Option<usize>,
    truncation_mode: Option<String>,
}

#[derive(Deserialize)]
struct Ids {
    prompt_input_ids: Vec<u32>,
    chosen_input_ids: Vec<u32>,
    rejected_input_ids: Vec<u32>,
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures")
        .join(name)
}

fn fixture() -> Fixture {
    serde_json::from_str(&std::fs::read_to_string(path("apo/apo.json")).unwrap()).unwrap()
}

fn devices() -> Vec<Device> {
    let device = |name| smollm3_kernels::device(name, None).unwrap();
    smollm3_kernels::compiled_backends()
        .into_iter()
        .map(device)
        .collect()
}

fn model(name: &str, device: &Device) -> SmolLm3 {
    Checkpoint::open(&path(name)).unwrap().model(device).unwrap()
}

impl Case {
    fn loss(&self) -> PreferenceLoss {
        PreferenceLoss {
            kind: match self.loss_type.as_str() {
                "apo_zero" => PreferenceKind::ApoZero,
                "apo_down" => PreferenceKind::ApoDown,
                "sigmoid" => PreferenceKind::Sigmoid,
                other => panic!("{other}"),
            },
            beta: self.beta,
            ..PreferenceLoss::default()
        }
    }

    fn pairs(&self) -> Vec<(u64, usize, [Document; 2])> {
        let limits = PairLimits {
            length: self.settings.max_length.unwrap_or(64),
            prompt: self.settings.max_prompt_length,
            too_long: match self.settings.truncation_mode.as_deref() {
                Some("keep_end") => TooLongPair::KeepEnd,
                Some("keep_start") => TooLongPair::Truncate,
                _ => TooLongPair::Drop,
            },
        };
        let row = |(pair, ids): (usize, &Ids)| {
            let answers = [ids.chosen_input_ids.clone(), ids.rejected_input_ids.clone()];
            let documents = limits
                .cut(ids.prompt_input_ids.clone(), answers)
                .unwrap()
                .unwrap();
            (pair as u64, 0, documents)
        };
        self.rows.iter().enumerate().map(row).collect()
    }
}

#[track_caller]
fn assert_close(what: &str, found: f64, expected: f64, tolerance: f64) {
    assert!(
        (found - expected).abs() <= tolerance,
        "{what}: {found} instead of {expected}"
    );
}

/// Log-probabilities by pair.
fn log_probs(model: &SmolLm3, rows: &[PairRow], device: &Device) -> BTreeMap<u64, [f64; 2]> {
    let of_row = |row: &PairRow| {
        let values = answer_log_probs(model, row.clone(), device).unwrap();
        let numbers: Vec<u64> = row.pairs.iter().map(|pair| pair.pair).collect();
        numbers.into_iter().zip(values)
    };
    rows.iter().flat_map(of_row).collect()
}

/// The objective; the batches of these tests bring the reference's log-probabilities.
fn preferred(loss: PreferenceLoss) -> Preferred {
    Preferred {
        loss,
        reference: ReferenceSource::Cached(ReferenceLogProbs::default()),
    }
}

fn check(case: &Case, device: &Device, row_length: u64) -> (ObjectiveLoss, AccumulatedGradients) {
    let what = format!("{} {} on {device:?}", case.loss_type, case.beta);
    let device_with_graph = device.clone().autodiff();
    let policy = model("model/a", &device_with_graph);
    let reference = model("model/a_perturbed", device);
    let rows = pack_pairs(&case.pairs(), row_length).unwrap();
    let of_reference = log_probs(&reference, &rows, device);
    for (pair, values) in &of_reference {
        assert_close(&what, values[0], case.ref_chosen_logps[*pair as usize], 5e-5);
        assert_close(&what, values[1], case.ref_rejected_logps[*pair as usize], 5e-5);
    }
    assert_eq!(rows.len(), 1);
    let row = rows[0].clone();
    let known = row.pairs.iter().map(|pair| of_reference[&pair.pair]).collect();
    let numbers: Vec<usize> = row.pairs.iter().map(|pair| pair.pair as usize).collect();
    let batch = PairBatch::new(row, known, device).unwrap();
    let objective = preferred(case.loss());
    let (ids, documents) = objective.inputs(&batch);
    let loss = objective.loss(policy.forward(ids, documents), policy.head(), &batch);

    let losses: Vec<f64> = loss.losses.clone().into_data().iter().collect();
    for (pair, loss) in numbers.iter().zip(losses) {
        assert_close(&what, loss, case.losses[*pair], 1e-5);
    }
    let pairs = loss.losses.dims()[0] as f64;
    assert_close(
        &what,
        f64::from(loss.sum.clone().into_scalar::<f32>()),
        case.losses.iter().sum(),
        2e-5,
    );
    let mut compared = 0;
    for (name, sum) in Preferred::OBSERVED.iter().zip(&loss.observed) {
        if let Some(expected) = case.metrics.get(*name) {
            assert_close(&format!("{what} {name}"), sum / pairs, *expected, 5e-5);
            compared += 1;
        }
    }
    assert_eq!(compared, if case.metrics.is_empty() { 0 } else { 6 });
    let names = Preferred::OBSERVED.iter().copied();
    let observed: BTreeMap<&str, f64> = names.zip(loss.observed.iter().copied()).collect();
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    assert_close(
        &what,
        observed["logps/chosen"] / pairs,
        mean(&case.policy_chosen_logps),
        5e-5,
    );
    assert_close(
        &what,
        observed["logps/rejected"] / pairs,
        mean(&case.policy_rejected_logps),
        5e-5,
    );
    let mut gradients = AccumulatedGradients::default();
    gradients.add(&policy, loss.sum.clone().mul_scalar(1.0 / pairs).backward());
    (loss, gradients)
}

#[test]
fn losses_metrics_and_gradients_are_those_of_trl() {
    let expected = std::fs::read(path("apo/grads.safetensors")).unwrap();
    let expected = SafeTensors::deserialize(&expected).unwrap();
    for device in devices() {
        let mut compared = 0;
        for case in fixture().end_to_end.cases {
            let (_, mut gradients) = check(&case, &device, 128);
            if case.beta != 0.05 {
                continue;
            }
            let prefix = format!("{}.", case.loss_type);
            for name in expected
                .names()
                .into_iter()
                .filter_map(|name| name.strip_prefix(&prefix))
            {
                let tensor = expected.tensor(&format!("{prefix}{name}")).unwrap();
                let wanted: Vec<f32> = tensor
                    .data()
                    .as_chunks::<4>()
                    .0
                    .iter()
                    .map(|b| f32::from_le_bytes(*b))
                    .collect();
                let found: Vec<f32> = gradients.remove(name).unwrap().into_data().iter().collect();
                assert_eq!(found.len(), wanted.len());
                let largest = wanted.iter().fold(0.0f32, |most, value| most.max(value.abs()));
                let off = found
                    .iter()
                    .zip(&wanted)
                    .fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
                assert!(
                    off <= 2e-5 * largest,
                    "{name} of {prefix}: off by {off:e} at {largest:e}"
                );
                compared += 1;
            }
        }
        assert_eq!(compared, expected.names().len());
    }
}

#[test]
fn pairs_that_are_too_long_are_cut_as_by_trl() {
    for device in devices() {
        for case in fixture().truncation {
            check(&case, &device, 128);
        }
    }
}

#[test]
fn the_sft_term_is_the_mean_loss_of_the_chosen_answer() {
    for device in devices() {
        let case = fixture().end_to_end.cases.swap_remove(0);
        let rows = pack_pairs(&case.pairs(), 128).unwrap();
        let policy = model("model/a", &device);
        let values = log_probs(&policy, &rows, &device);
        let settings = PreferenceLoss {
            sft_weight: 0.7,
            ..case.loss()
        };
        let batch = PairBatch::new(
            rows[0].clone(),
            rows[0].pairs.iter().map(|pair| values[&pair.pair]).collect(),
            &device,
        );
        let (batch, objective) = (batch.unwrap(), preferred(settings));
        let (ids, documents) = objective.inputs(&batch);
        let loss = objective.loss(policy.forward(ids, documents), policy.head(), &batch);
        let losses: Vec<f64> = loss.losses.into_data().iter().collect();
        for (pair, loss) in rows[0].pairs.iter().zip(losses) {
            // The model is its own reference, so the rest of the loss is 1.
            let tokens = case.rows[pair.pair as usize].chosen_input_ids.len() as f64;
            assert_close("loss", loss, 1.0 - 0.7 * values[&pair.pair][0] / tokens, 1e-5);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    /// Packed beside others, every answer has the log-probability that it has alone, and every pair is in one row.
    #[test]
    fn packing_changes_nothing(
        pairs in prop::collection::vec((1usize..9, 1usize..9, 1usize..9), 1..9),
        seed in 0u32..1000,
    ) {
        let device = devices().remove(0);
        let policy = model("model/a", &device);
        let mut next = seed;
        let mut tokens = |count: usize| -> Vec<u32> {
            (0..count).map(|_| { next = next.wrapping_mul(1_103_515_245).wrapping_add(12_345); 3 + (next >> 8) % 500 }).collect()
        };
        let limits = PairLimits { length: 32, prompt: None, too_long: TooLongPair::Error };
        let pairs: Vec<(u64, usize, [Document; 2])> = pairs
            .into_iter()
            .enumerate()
            .map(|(pair, (prompt, chosen, rejected))| {
                let documents = limits.cut(tokens(prompt), [tokens(chosen), tokens(rejected)]).unwrap().unwrap();
                (pair as u64, pair % 2, documents)
            })
            .collect();
        let rows = pack_pairs(&pairs, 64).unwrap();
        prop_assert!(rows.iter().all(|row| row.row.ids.len() <= 64));
        let packed = log_probs(&policy, &rows, &device);
        prop_assert_eq!(packed.len(), pairs.len());
        for row in &rows {
            for span in &row.pairs {
                let (_, source, documents) = &pairs[span.pair as usize];
                prop_assert_eq!(span.source, *source);
                for (positions, document) in span.answers.iter().zip(documents) {
                    let wanted: Vec<u32> = row.row.targets[positions.clone()].iter().map(|id| id.unwrap()).collect();
                    let answer = document.learned.iter().filter(|learned| **learned).count();
                    prop_assert_eq!(&wanted, &document.ids[document.ids.len() - answer..]);
                }
            }
            let answers: usize = row.pairs.iter().flat_map(|span| &span.answers).map(ExactSizeIterator::len).sum();
            prop_assert_eq!(row.row.targets.iter().flatten().count(), answers);
        }
        for pair in pairs {
            let number = pair.0;
            let alone = log_probs(&policy, &pack_pairs(&[pair], 64).unwrap(), &device);
            for side in [0, 1] {
                prop_assert!((alone[&number][side] - packed[&number][side]).abs() < 2e-5);
            }
        }
    }
}
