//! A model that is small enough to train many times.

/// Its part of a recipe, with a tokenizer that is trained on the sources.
pub const MODEL_AND_DATA: &str = r#"
[model.config]
vocab_size = 320
hidden_size = 64
intermediate_size = 128
num_hidden_layers = 4
num_attention_heads = 4
num_key_value_heads = 2
max_position_embeddings = 64
rope_theta = 10000.0
no_rope_layer_interval = 4

[tokenizer.train]
vocab_size = 320
bytes = "20kB"

[data]
held_out = "5%"
max_epochs = 50
"#;
