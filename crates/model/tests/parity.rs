//! Logits, losses, gradients and greedy tokens equal those of transformers' SmolLM3, on every backend.
//!
//! Tolerances are those measured between transformers' own f32 and f64 runs, times about four.

mod fixture;

use std::ops::ControlFlow;

use burn::module::Param;
use burn::tensor::{Device, Gradients, Int, Tensor};
use fixture::{Values, assert_close, devices, path};
use serde_json::Value;
use smollm3_kernels::{Documents, Targets, linear_cross_entropy, token_log_probs};
use smollm3_model::hf::Checkpoint;
use smollm3_model::{Generation, NamedParameters, SmolLm3, generate, named_parameters};

const LOGITS: f32 = 2e-5;
const GRADIENTS: f32 = 2e-5;
const LOSS: f32 = 1e-5;

fn load(name: &str, device: &Device) -> SmolLm3 {
    Checkpoint::open(&path(&format!("model/{name}")))
        .unwrap()
        .model(device)
        .unwrap()
}

fn reference() -> Value {
    serde_json::from_slice(&std::fs::read(path("model/model.json")).unwrap()).unwrap()
}

fn number(value: &Value) -> f32 {
    value.as_f64().unwrap() as f32
}

/// Targets of `ids[:, 1:]`, the last position of each row without one.
fn next_tokens(ids: &[i64], seq: usize) -> Vec<Option<u32>> {
    let next = |i: usize| (!(i + 1).is_multiple_of(seq)).then(|| ids[i + 1] as u32);
    (0..ids.len()).map(next).collect()
}

/// The labels of transformers (already aligned with the inputs, −100 = none), shifted to targets.
fn shifted_labels(labels: &[i64], seq: usize) -> Vec<Option<u32>> {
    next_tokens(labels, seq)
        .into_iter()
        .map(|id| id.filter(|id| *id as i32 >= 0))
        .collect()
}

/// Mean loss of a batch as a graph.
fn mean_loss(model: &SmolLm3, ids: Tensor<2, Int>, documents: &Documents, targets: &Targets) -> Tensor<1> {
    let hidden = model.forward(ids, documents);
    let [batch, seq, width] = hidden.dims();
    let loss = linear_cross_entropy(hidden.reshape([batch * seq, width]), model.head(), targets);
    loss.sum.div_scalar(targets.count() as f64)
}

struct CompareGradients<'a> {
    what: &'a str,
    gradients: &'a Gradients,
    expected: &'a Values,
    compared: usize,
}

impl NamedParameters for CompareGradients<'_> {
    fn visit<const D: usize>(&mut self, name: &str, param: &Param<Tensor<D>>) {
        if !self.expected.names().iter().any(|expected| expected == name) {
            return;
        }
        let found: Vec<f32> = param
            .val()
            .grad(self.gradients)
            .unwrap()
            .into_data()
            .iter()
            .collect();
        let expected = self.expected.f32(name);
        let largest = expected.iter().fold(0f32, |max, x| max.max(x.abs()));
        assert_close(
            &format!("{}: gradient of {name}", self.what),
            &found,
            &expected,
            GRADIENTS * largest,
        );
        self.compared += 1;
    }
}

fn compare_gradients(what: &str, model: &SmolLm3, loss: Tensor<1>, file: &str) {
    let expected = Values::read(file);
    let gradients = loss.backward();
    let mut compare = CompareGradients {
        what,
        gradients: &gradients,
        expected: &expected,
        compared: 0,
    };
    named_parameters(model, &mut compare);
    assert_eq!(
        compare.compared,
        expected.names().len(),
        "{what}: every reference gradient is compared"
    );
}

fn check(name: &str) {
    for (backend, device) in devices() {
        let what = format!("model {name} on {backend}");
        let reference = &reference()["variants"][name];
        let io = Values::read(&format!("model/{name}/io.safetensors"));
        let device = device.autodiff();
        let model = load(name, &device);
        let documents = Documents::whole_rows(2, 48);
        let ids = io.ids("input_ids", &device);

        let logits: Vec<f32> = model.logits(ids.clone(), &documents).into_data().iter().collect();
        assert_close(&format!("{what}: logits"), &logits, &io.f32("logits"), LOGITS);

        let tokens = io.i64("input_ids");
        let targets = Targets::new(&next_tokens(&tokens, 48), &device);
        let hidden = model.forward(ids.clone(), &documents).reshape([96, 64]);
        let losses: Vec<f32> = token_log_probs(hidden, model.head(), &targets)
            .neg()
            .into_data()
            .iter()
            .collect();
        let losses: Vec<f32> = losses.chunks(48).flat_map(|row| row[..47].to_vec()).collect();
        assert_close(
            &format!("{what}: token losses"),
            &losses,
            &io.f32("token_nll"),
            LOGITS,
        );

        let masked = Targets::new(&shifted_labels(&io.i64("masked_labels"), 48), &device);
        assert_eq!(
            masked.count() as i64,
            reference["masked_label_count"].as_i64().unwrap()
        );
        let loss: f32 = mean_loss(&model, ids.clone(), &documents, &masked).into_scalar();
        assert_close(
            &format!("{what}: masked loss"),
            &[loss],
            &[number(&reference["loss_masked_mean"])],
            LOSS,
        );

        let loss = mean_loss(&model, ids, &documents, &targets);
        let value: f32 = loss.clone().into_scalar();
        assert_close(
            &format!("{what}: loss"),
            &[value],
            &[number(&reference["loss"])],
            LOSS,
        );
        compare_gradients(&what, &model, loss, &format!("model/{name}/grads.safetensors"));

        let prompt: Vec<u32> = io.i64("prompt_ids").into_iter().map(|id| id as u32).collect();
        let limits = Generation {
            max_new_tokens: 16,
            ..Generation::default()
        };
        let mut row = prompt.clone();
        let new = generate(&model, &[prompt], &limits, |_, token| {
            row.push(token);
            ControlFlow::Continue(())
        });
        assert_eq!(new.unwrap()[0], row[row.len() - 16..]);
        let expected: Vec<u32> = io.i64("greedy_ids").into_iter().map(|id| id as u32).collect();
        assert_eq!(row, expected, "{what}: greedy tokens");
    }
}

#[test]
fn grouped_queries_with_nope_layers() {
    check("a");
}

#[test]
fn yarn() {
    check("b");
}

#[test]
fn multi_head_untied_with_biases() {
    check("c");
}

#[test]
fn yarn_beyond_the_original_length() {
    for (backend, device) in devices() {
        let io = Values::read("model/b/io.safetensors");
        let model = load("b", &device);
        let logits = model.logits(io.ids("long_input_ids", &device), &Documents::whole_rows(1, 120));
        let last: Vec<f32> = logits.narrow(1, 112, 8).into_data().iter().collect();
        assert_close(
            &format!("{backend}: last logits"),
            &last,
            &io.f32("long_last8_logits"),
            LOGITS,
        );
    }
}

#[test]
fn packed_documents() {
    for (backend, device) in devices() {
        let what = format!("packed documents on {backend}");
        let reference = &reference()["variants"]["d"];
        let io = Values::read("model/d/io.safetensors");
        let device = device.autodiff();
        let model = load("a", &device);
        let documents = Documents::new(vec![vec![0, 17, 26]], 48).unwrap();
        let as_u32 = |name: &str| io.i64(name).into_iter().map(|id| id as u32).collect::<Vec<_>>();
        assert_eq!(documents.positions(), as_u32("position_ids"));
        assert_eq!(documents.document_ids(), as_u32("document_ids"));
        let ids = io.ids("input_ids", &device);

        let logits: Vec<f32> = model.logits(ids.clone(), &documents).into_data().iter().collect();
        assert_close(&format!("{what}: logits"), &logits, &io.f32("logits"), LOGITS);

        // `labels_within_document` is aligned with the inputs, as transformers' labels are.
        let labels = shifted_labels(&io.i64("labels_within_document"), 48);
        let targets = Targets::new(&labels, &device);
        assert_eq!(targets.count(), 45);
        let loss = mean_loss(&model, ids.clone(), &documents, &targets);
        let value: f32 = loss.clone().into_scalar();
        assert_close(
            &format!("{what}: loss"),
            &[value],
            &[number(&reference["loss"])],
            LOSS,
        );
        compare_gradients(&what, &model, loss, "model/d/grads.safetensors");

        let crossing = Targets::new(&next_tokens(&io.i64("input_ids"), 48), &device);
        let loss = mean_loss(&model, ids, &documents, &crossing);
        let value: f32 = loss.clone().into_scalar();
        let expected = number(&reference["loss_labels_cross_documents(47 labels)"]);
        assert_close(&format!("{what}: crossing loss"), &[value], &[expected], LOSS);
        compare_gradients(
            &what,
            &model,
            loss,
            "model/d/grads_cross_document_labels_some.safetensors",
        );
    }
}
