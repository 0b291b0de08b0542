//! The training step follows PyTorch's AdamW step by step: losses, norms, weights and moments.

#[path = "../../model/tests/fixture/mod.rs"]
mod fixture;

use burn::module::Param;
use burn::tensor::{DType, Device, Tensor};
use fixture::{Values, assert_close, devices, path};
use serde_json::Value;
use smollm3_collective::Single;
use smollm3_engine::{
    AdamW, CrossEntropy, GlobalBatch, MicroBatch, Row, StepMode, StepResult, TrainState, token_losses,
    train_step,
};
use smollm3_kernels::{Transfers, computes_bf16};
use smollm3_model::hf::Checkpoint;
use smollm3_model::{NamedParameters, SmolLm3, named_parameters};
use smollm3_recipe::{LossAverage, Optimizer, Recompute, Sharding};

const ROWS: usize = 2;
const SEQ: usize = 32;

fn reference() -> Value {
    serde_json::from_slice(&std::fs::read(path("optim/optim.json")).unwrap()).unwrap()
}

fn state(settings: Optimizer, device: &Device) -> TrainState {
    let checkpoint = Checkpoint::open(&path("model/a")).unwrap();
    let model = checkpoint.model(&device.clone().autodiff()).unwrap();
    TrainState {
        model,
        optimizer: AdamW::new(settings),
    }
}

fn optimizer(run: &Value) -> Optimizer {
    let number = |key: &str| run[key].as_f64().unwrap();
    Optimizer {
        learning_rate: number("peak_lr"),
        betas: [
            run["betas"][0].as_f64().unwrap(),
            run["betas"][1].as_f64().unwrap(),
        ],
        epsilon: number("eps"),
        weight_decay: number("weight_decay"),
        no_decay: run["no_decay"]
            .as_array()
            .unwrap()
            .iter()
            .map(|name| name.as_str().unwrap().to_owned())
            .collect(),
        clip: Some(number("clip")),
    }
}

/// Batch `k` of the reference; targets before position `from` of each row are left out.
fn batch(k: usize, from: usize, device: &Device) -> MicroBatch {
    let ids = Values::read("optim/batches.safetensors").i64("batches");
    let rows: Vec<Row> = ids[k * ROWS * SEQ..(k + 1) * ROWS * SEQ]
        .chunks(SEQ)
        .map(|row| Row {
            ids: row.iter().map(|id| *id as u32).collect(),
            targets: (0..SEQ)
                .map(|i| row.get(i + 1).filter(|_| i + 1 >= from).map(|id| *id as u32))
                .collect(),
            starts: vec![0],
            source: k,
        })
        .collect();
    MicroBatch::new(&rows, device).unwrap()
}

struct Norms(Vec<(String, f64)>);

impl NamedParameters for Norms {
    fn visit<const D: usize>(&mut self, name: &str, param: &Param<Tensor<D>>) {
        let values: Vec<f32> = param.val().into_data().iter().collect();
        self.0.push((
            name.to_owned(),
            values.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt(),
        ));
    }
}

fn weight_norms(model: &SmolLm3) -> Vec<(String, f64)> {
    let mut norms = Norms(Vec::new());
    named_parameters(model, &mut norms);
    norms.0
}

#[track_caller]
fn assert_relative(what: &str, found: f64, expected: f64, tolerance: f64) {
    let off = (found - expected).abs() / expected.abs().max(1e-12);
    assert!(
        off <= tolerance,
        "{what}: {found} instead of {expected}, off by {off:e}"
    );
}

/// A step of one rank.
fn step_alone(
    state: TrainState,
    own: &[MicroBatch],
    mode: StepMode,
    learning_rate: f64,
    accept: impl FnOnce(&StepResult) -> bool,
) -> smollm3_engine::Result<(TrainState, StepResult)> {
    let alone = Single::default();
    let batch = GlobalBatch::gather(&CrossEntropy, own, false, &alone)?;
    train_step(state, &CrossEntropy, batch, mode, learning_rate, accept)
}

fn follow(name: &str, device: &Device) -> TrainState {
    let run = &reference()["runs"][name];
    let mut state = state(optimizer(run), device);
    for (k, log) in run["log"].as_array().unwrap().iter().enumerate() {
        let what = format!("{name}, step {k}");
        let rate = log["lr"].as_f64().unwrap();
        let micro = [batch(k, 0, device)];
        let result;
        (state, result) = step_alone(state, &micro, LossAverage::Tokens.into(), rate, |_| true).unwrap();
        assert_relative(
            &format!("{what}: loss"),
            result.loss,
            log["loss"].as_f64().unwrap(),
            1e-5,
        );
        let norm = log["grad_norm_before_clip"].as_f64().unwrap();
        assert_relative(&format!("{what}: gradient norm"), result.grad_norm, norm, 1e-4);
        let expected = log["weight_norms_after"].as_object().unwrap();
        for (parameter, found) in weight_norms(&state.model)
            .iter()
            .filter(|(name, _)| expected.contains_key(name))
        {
            assert_relative(
                &format!("{what}: {parameter}"),
                *found,
                expected[parameter].as_f64().unwrap(),
                1e-5,
            );
        }
    }
    let (_, after) = step_alone(
        state.clone(),
        &[batch(5, 0, device)],
        LossAverage::Tokens.into(),
        0.0,
        |_| true,
    )
    .unwrap();
    let expected = run["loss_of_batch_5_after"].as_f64().unwrap();
    assert_relative(&format!("{name}: loss afterwards"), after.loss, expected, 1e-5);
    state
}

struct CompareFinal<'a> {
    expected: &'a Values,
    compared: usize,
}

impl NamedParameters for CompareFinal<'_> {
    fn visit<const D: usize>(&mut self, name: &str, param: &Param<Tensor<D>>) {
        let found: Vec<f32> = param.val().into_data().iter().collect();
        let expected = self.expected.f32(&format!("final.{name}"));
        let largest = expected.iter().fold(0f32, |max, x| max.max(x.abs()));
        assert_close(&format!("final {name}"), &found, &expected, 1e-4 * largest);
        self.compared += 1;
    }
}

#[test]
fn warmup_stable_decay_with_clip_and_decay() {
    for (backend, device) in devices() {
        let state = follow("main", &device);
        let expected = Values::read("optim/final_main.safetensors");
        let mut compare = CompareFinal {
            expected: &expected,
            compared: 0,
        };
        named_parameters(&state.model, &mut compare);
        assert_eq!(compare.compared, 74, "{backend}: every parameter is compared");
        let names: Vec<_> = expected
            .names()
            .into_iter()
            .filter(|name| name.starts_with("exp_avg"))
            .collect();
        assert_eq!(names.len(), 6);
        for tensor in state
            .optimizer
            .state()
            .iter()
            .filter(|tensor| names.contains(&tensor.name))
        {
            let reference = expected.f32(&tensor.name);
            let largest = reference.iter().fold(0f32, |max, x| max.max(x.abs()));
            assert_close(
                &format!("{backend}: {}", tensor.name),
                &tensor.read(),
                &reference,
                1e-4 * largest,
            );
        }
    }
}

#[test]
fn other_settings() {
    for (_, device) in devices() {
        for name in [
            "hf_wsd_clip1",
            "constant_lr_clip0.2_wd0 (post-training style)",
            "constant_lr_no_clip(1e9)",
            "main_but_embeddings_decayed (must differ from main)",
        ] {
            follow(name, &device);
        }
    }
}

fn accumulate(average: LossAverage, device: &Device) -> StepResult {
    let reference = reference();
    let state = state(optimizer(&reference["runs"]["main"]), device);
    // In the reference the first 20 labels of the first batch are ignored; a label is the target of the position
    // before it.
    let micro = [batch(6, 20, device), batch(7, 0, device)];
    step_alone(state, &micro, average.into(), 0.0, |_| true)
        .unwrap()
        .1
}

#[test]
fn accumulation_weighs_tokens_or_micro_batches() {
    let reference = &reference()["gradient_accumulation"];
    for (backend, device) in devices() {
        let tokens = accumulate(LossAverage::Tokens, &device);
        let means = accumulate(LossAverage::MeanOfMeans, &device);
        assert_eq!(tokens.targets as u64, reference["total_labels"].as_u64().unwrap());
        let expected = |key: &str| reference[key].as_f64().unwrap();
        let by_tokens = "grad_norm_token_weighted (average_tokens_across_devices / num_items_in_batch)";
        assert_relative(
            &format!("{backend}: by tokens"),
            tokens.grad_norm,
            expected(by_tokens),
            1e-4,
        );
        assert_relative(
            &format!("{backend}: by means"),
            means.grad_norm,
            expected("grad_norm_mean_of_means"),
            1e-4,
        );
    }
}

#[test]
fn a_norm_that_is_not_finite_changes_nothing() {
    for (_, device) in devices() {
        let run = &reference()["runs"]["main"];
        let mut state = state(optimizer(run), &device);
        let weight = state.model.model.norm.weight.clone();
        state.model.model.norm.weight =
            weight.map(|weight| weight.mul_scalar(f32::NAN).detach().require_grad());
        let before = weight_norms(&state.model);
        let (state, result) = step_alone(
            state,
            &[batch(0, 0, &device)],
            LossAverage::Tokens.into(),
            1e-3,
            |_| unreachable!("not asked about what is not finite"),
        )
        .unwrap();
        assert!(!result.loss.is_finite());
        assert_eq!(state.optimizer.updates(), 0);
        assert!(state.optimizer.state().is_empty());
        let after = weight_norms(&state.model);
        assert_eq!(before.len(), after.len());
        assert!(
            before
                .iter()
                .zip(&after)
                .all(|(a, b)| a.1.to_bits() == b.1.to_bits())
        );
    }
}

/// Recomputation changes what is kept, not what is computed: the same bits in weights and moments after some steps of
/// several micro-batches, in both precisions.
#[test]
fn recomputed_layers_give_the_same_bits() {
    let run = &reference()["runs"]["main"];
    for (backend, device) in devices() {
        for precision in [DType::F32, DType::BF16] {
            if !computes_bf16(backend) && precision == DType::BF16 {
                continue;
            }
            let train = |recompute| {
                let mut state = state(optimizer(run), &device);
                state.model = state.model.with_precision(precision);
                let mode = StepMode {
                    average: LossAverage::Tokens,
                    recompute,
                    sharding: Sharding::default(),
                };
                let mut results = Vec::new();
                for step in 0..3 {
                    let micro = [batch(2 * step, 0, &device), batch(2 * step + 1, 7, &device)];
                    let result;
                    (state, result) = step_alone(state, &micro, mode, 1e-3, |_| true).unwrap();
                    results.push((result.loss.to_bits(), result.grad_norm.to_bits()));
                }
                (results, weight_norms(&state.model), moments(&state))
            };
            let same = train(Recompute::Layers) == train(Recompute::None);
            assert!(same, "{backend} {precision:?}");
        }
    }
}

#[test]
fn shorter_rows_are_padded_and_lose_nothing() {
    let document = |from: u32, tokens: u32| -> (Vec<u32>, Vec<bool>) {
        let ids = (from..from + tokens).map(|id| 3 + id * id % 90);
        (ids.collect(), (0..tokens).map(|place| place % 3 != 2).collect())
    };
    let row = |lengths: &[u32]| {
        let mut row = Row::default();
        for (from, tokens) in (0..).zip(lengths) {
            let (ids, learned) = document(from, *tokens);
            row.append(&ids, &learned);
        }
        row
    };
    let rows = [row(&[9, 1, 6]), row(&[5, 4]), row(&[2])];
    assert_eq!(
        (rows[0].starts.as_slice(), rows[0].targets.len()),
        (&[0, 9, 10][..], 16)
    );
    assert_eq!(rows[0].targets[8..10], [None, None]);
    for (_, device) in devices() {
        let model = state(optimizer(&reference()["runs"]["main"]), &device).model;
        let losses = |rows: &[Row]| token_losses(&model, &MicroBatch::new(rows, &device).unwrap());
        let together = losses(&rows);
        for (row, padded) in rows.iter().zip(together.chunks(16)) {
            let alone = losses(std::slice::from_ref(row));
            assert!(padded[alone.len()..].iter().all(|loss| *loss == 0.0));
            for (place, (loss, expected)) in padded.iter().zip(&alone).enumerate() {
                assert!((loss - expected).abs() < 1e-4, "{place}: {loss} {expected}");
                assert_eq!(row.targets[place].is_some(), *loss > 0.0);
            }
        }
    }
}

/// A device that computes in the background is waited for twice a step, however many micro-batches there are: for all
/// losses, and for the norm.
#[test]
fn losses_are_read_once_a_step() {
    for (backend, device) in devices() {
        for recompute in [Recompute::None, Recompute::Layers] {
            let state = state(optimizer(&reference()["runs"]["main"]), &device);
            let mode = StepMode {
                recompute,
                ..LossAverage::Tokens.into()
            };
            let micro = [0, 1, 2].map(|k| batch(k, 0, &device));
            let before = Transfers::so_far().read_backs;
            let (_, result) = step_alone(state, &micro, mode, 1e-3, |_| true).unwrap();
            assert_eq!(
                Transfers::so_far().read_backs,
                before + 2,
                "{backend} {recompute:?}"
            );
            assert_eq!(result.sources.keys().copied().collect::<Vec<_>>(), [0, 1, 2]);
            let sum: f64 = result.sources.values().map(|source| source.sum).sum();
            let of_sources = sum / result.targets as f64;
            assert_relative("loss by source", of_sources, result.loss, 1e-6);
        }
    }
}

fn moments(state: &TrainState) -> Vec<(String, Vec<u32>)> {
    let entry = |tensor: smollm3_model::hf::NamedTensor| {
        let bits = tensor.read().iter().map(|value| value.to_bits()).collect();
        (tensor.name, bits)
    };
    state.optimizer.state().into_iter().map(entry).collect()
}
