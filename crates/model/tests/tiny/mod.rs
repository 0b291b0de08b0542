//! A model that is small and does something: four layers, one without rotation, four heads on two.

use burn::tensor::Device;
use smollm3_model::{Init, ModelConfig, SmolLm3};

pub const VOCABULARY: u32 = 97;

pub fn model(device: &Device) -> SmolLm3 {
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
    let config = ModelConfig::from_toml_file(&file).unwrap();
    SmolLm3::new(&config, &Init::new(&config, 4), device).unwrap()
}
