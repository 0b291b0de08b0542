//! Adapters: nothing at first, then what merging them into the matrices gives.

#[path = "fixture/mod.rs"]
mod fixture;

use burn::tensor::{Device, Int, Tensor, TensorData};
use fixture::devices;
use smollm3_kernels::Documents;
use smollm3_model::{FreshAdapters, Init, ModelConfig, ParameterError, Parameters, SmolLm3};
use smollm3_recipe::Lora;

fn model(device: &Device) -> SmolLm3 {
    let text = r#"
vocab_size = 61
hidden_size = 32
intermediate_size = 48
num_hidden_layers = 4
num_attention_heads = 4
num_key_value_heads = 2
max_position_embeddings = 64
rope_theta = 1000.0
no_rope_layer_interval = 4
initializer_range = 0.3
"#;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.toml");
    std::fs::write(&file, text).unwrap();
    let config = ModelConfig::from_toml_file(&file).unwrap();
    SmolLm3::new(&config, &Init::new(&config, 4), device).unwrap()
}

fn logits(model: &SmolLm3, device: &Device) -> Vec<f32> {
    let ids: Vec<i32> = (0..20).map(|i| (i * 7 + 3) % 61).collect();
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
