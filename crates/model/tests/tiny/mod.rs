//! A model that is small and does something: four layers, one without rotation, four heads on two.

#![allow(dead_code)]

use burn::tensor::{Device, TensorData};
use smollm3_model::{Init, ModelConfig, ParameterError, Parameters, SmolLm3};

pub const VOCABULARY: u32 = 97;

pub fn model(device: &Device) -> SmolLm3 {
    let config = config();
    SmolLm3::new(&config, &Init::new(&config, 4), device).unwrap()
}

/// The same with one NaN, in the embedding of token 0, which is also its row of the head.
pub fn broken(device: &Device) -> SmolLm3 {
    struct Broken(Init);
    impl Parameters for Broken {
        fn parameter(&self, name: &str, shape: &[usize]) -> Result<TensorData, ParameterError> {
            let mut values: Vec<f32> = self.0.parameter(name, shape)?.iter().collect();
            if name == "model.embed_tokens.weight" {
                values[0] = f32::NAN;
            }
            Ok(TensorData::new(values, shape.to_vec()))
        }
    }
    let config = config();
    SmolLm3::new(&config, &Broken(Init::new(&config, 4)), device).unwrap()
}

fn config() -> ModelConfig {
    let text = format!(
        r#"
vocab_size = {VOCABULARY}
hidden_size = 32
intermediate_size = 48
num_hidden_layers = 4
num_attention_heads = 4
num_key_value_heads = 2
max_position_embeddings = 64
rope_theta = 1000.0
no_rope_layer_interval = 4
initializer_range = 0.3
"#
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.toml");
    std::fs::write(&file, text).unwrap();
    ModelConfig::from_toml_file(&file).unwrap()
}
