//! Adapters: nothing at first, then what merging them into the matrices gives.

#[path = "fixture/mod.rs"]
mod fixture;
#[path = "tiny/mod.rs"]
mod tiny;

use burn::tensor::{Device, Int, Tensor, TensorData};
use fixture::devices;
use smollm3_kernels::Documents;
use smollm3_model::{FreshAdapters, ParameterError, Parameters, SmolLm3};
use smollm3_recipe::{Lora, LoraInit};
use tiny::{VOCABULARY, model};

fn logits(model: &SmolLm3, device: &Device) -> Vec<f32> {
    let ids: Vec<i32> = (0..20).map(|i| (i * 7 + 3) % VOCABULARY as i32).collect();
    let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [1, 20]), device);
    model
        .logits(ids, &Documents::whole_rows(1, 20))
        .into_data()
        .iter()
        .collect()
}

/// Adapters that do something.
struct Trained;

impl Parameters for Trained {
    fn parameter(&self, name: &str, shape: &[usize]) -> Result<TensorData, ParameterError> {
        let like_a = name.replace("lora_B", "lora_A");
        FreshAdapters { seed: 3 }.parameter(&like_a, shape)
    }
}

#[test]
fn fresh_adapters_change_nothing_and_trained_ones_are_what_they_are_merged_to() {
    let lora = Lora {
        rank: 3,
        alpha: 6.0,
        targets: ["q_proj", "o_proj", "up_proj", "down_proj"]
            .map(str::to_owned)
            .to_vec(),
        rslora: false,
        init: LoraInit::Fresh,
    };
    for (backend, device) in devices() {
        let plain = model(&device);
        let expected = logits(&plain, &device);
        let fresh = plain
            .clone()
            .with_adapters(&lora, &FreshAdapters { seed: 1 }, &device)
            .unwrap();
        assert!(fresh.is_adapted() && !plain.is_adapted());
        assert_eq!(logits(&fresh, &device), expected, "{backend}");
        assert_eq!(fresh.adapters().len(), 4 * 4 * 2);

        let trained = plain.with_adapters(&lora, &Trained, &device).unwrap();
        let adapted = logits(&trained, &device);
        let merged = trained.merged();
        assert!(!merged.is_adapted());
        let worst = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst(&adapted, &expected) > 0.1, "{backend}");
        let off = worst(&logits(&merged, &device), &adapted);
        assert!(off < 2e-4, "{backend}: off by {off:e}");
    }
}
