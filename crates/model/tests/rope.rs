//! Rotary frequencies, cosines and sines equal those of transformers, plain and with YaRN, at SmolLM3's head width.

mod fixture;

use burn::tensor::Tensor;
use fixture::{Values, devices, path};
use serde_json::{Value, json};
use smollm3_model::{ModelConfig, Rope, inverse_frequencies};

fn cases() -> Value {
    serde_json::from_str(&std::fs::read_to_string(path("model/yarn.json")).unwrap()).unwrap()
}

/// The rotary settings of a case in an otherwise small configuration.
fn config(case: &Value, head_dim: u64) -> Result<ModelConfig, String> {
    let text = json!({
        "model_type": "smollm3",
        "vocab_size": 64,
        "hidden_size": 2 * head_dim,
        "intermediate_size": 64,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": head_dim,
        "max_position_embeddings": case["max_position_embeddings"],
        "rope_theta": case["rope_theta"],
        "rope_scaling": case["rope_scaling"],
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.json");
    std::fs::write(&file, text.to_string()).unwrap();
    ModelConfig::from_hf_file(&file).map_err(|error| error.to_string())
}

#[test]
fn frequencies_and_angles_are_those_of_transformers() {
    let reference = cases();
    let values = Values::read("model/yarn.safetensors");
    let positions: Vec<u32> = reference["positions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|position| position.as_u64().unwrap() as u32)
        .collect();
    let mut checked = 0;
    for (name, case) in reference["cases"].as_object().unwrap() {
        let config = match config(case, reference["head_dim"].as_u64().unwrap()) {
            Ok(config) => config,
            Err(message) => {
                // Another kind of scaling is refused by its name, not taken for YaRN.
                assert!(
                    name.starts_with("linear") && message.contains("linear"),
                    "{name}: {message}"
                );
                continue;
            }
        };
        checked += 1;
        let (frequencies, factor) = inverse_frequencies(&config);
        let expected = values.f32(&format!("{name}.inv_freq"));
        assert_eq!(frequencies.len(), expected.len());
        for (found, expected) in frequencies.iter().zip(&expected) {
            // One unit in the last place of f32 either way.
            assert!(
                (found - expected).abs() <= 2.4e-7 * expected,
                "{name}: {found} {expected}"
            );
        }
        let expected_factor = case["attention_scaling"].as_f64().unwrap();
        assert!((factor - expected_factor).abs() < 1e-12, "{name}: {factor}");

        let half = frequencies.len();
        for (backend, device) in devices() {
            let rope = Rope::new(&config, config.max_position_embeddings, &device);
            let known = positions
                .iter()
                .filter(|position| (**position as usize) < rope.length());
            let known: Vec<u32> = known.copied().collect();
            assert!(known.len() >= 7, "{name}");
            let (cos, sin) = rope.at_positions(&known, 1);
            for (which, found) in [("cos", cos), ("sin", sin)] {
                let found: Vec<f32> = Tensor::into_data(found).iter().collect();
                // Both halves are the same in transformers' table.
                let expected = values.f32(&format!("{name}.{which}"));
                for (row, position) in known.iter().enumerate() {
                    for j in 0..half {
                        let (found, expected) = (found[row * half + j], expected[row * 2 * half + j]);
                        // What a last place of the frequency makes of the angle.
                        let tolerance = 1e-6 + 2.4e-7 * *position as f32 * frequencies[j];
                        assert!(
                            (found - expected).abs() <= tolerance,
                            "{backend}, {name}: {which} at {position}, {j}: {found} instead of {expected}"
                        );
                    }
                }
            }
        }
    }
    assert_eq!(checked, 8);
}

/// `scripts/verify/rope.py` has written the file and says with which versions.
#[test]
fn random_yarn_settings_give_the_numbers_of_transformers() {
    let text = std::fs::read_to_string(path("model/yarn_random.json")).unwrap();
    let reference: Value = serde_json::from_str(&text).unwrap();
    let cases = reference["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 48);
    for case in cases {
        let config = config(case, case["head_dim"].as_u64().unwrap()).unwrap();
        let (frequencies, factor) = inverse_frequencies(&config);
        let expected_factor = case["attention_scaling"].as_f64().unwrap();
        assert!(
            (factor - expected_factor).abs() < 1e-12,
            "{factor} instead of {expected_factor}: {case}"
        );
        let expected = case["inv_freq"].as_array().unwrap();
        assert_eq!(frequencies.len(), expected.len());
        for (found, expected) in frequencies.iter().zip(expected) {
            let expected = expected.as_f64().unwrap() as f32;
            // A few units in the last place of f32: transformers computes the ramp in f32, we in f64.
            assert!(
                (found - expected).abs() <= 1e-6 * expected,
                "{found} instead of {expected}: {case}"
            );
        }
    }
}
