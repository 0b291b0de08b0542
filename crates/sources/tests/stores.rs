//! Stores of a recipe: those made elsewhere, and those made here.

use std::fs;

use smollm3_recipe::Recipe;
use smollm3_records::Listeners;
use smollm3_sources::Data;

const RECIPE: &str = r#"
[run]
name = "stores"
seed = 1
output = "out"

[model.config]
vocab_size = 300
hidden_size = 16
intermediate_size = 32
num_hidden_layers = 1
num_attention_heads = 2
num_key_value_heads = 1
max_position_embeddings = 64
rope_theta = 10000.0

[tokenizer.train]
vocab_size = 300
bytes = "10kB"

[source.math]
category = "math"
kind = "arithmetic"
documents = 50

[source.web]
category = "web"
kind = "tokens"
folder = "./nowhere"

[[stage]]
name = "pretrain"
kind = "pretrain"
sequence_length = 64
global_batch = "2 sequences"
micro_batch = "2 sequences"
optimizer = { learning_rate = 1e-2 }
schedule = { kind = "constant" }
phase = [{ name = "one", until = "2 steps", mixture = { sources = { math = 1, web = 1 } } }]
"#;

#[test]
fn a_store_that_is_missing_is_found_before_any_text_is_tokenised() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("recipe.toml"), RECIPE).unwrap();
    let recipe = Recipe::load(folder.path(), &[]).unwrap();
    let output = folder.path().join("out");
    let error = match Data::prepare(&recipe, &output, &mut Listeners::default()) {
        Ok(_) => panic!("there is no such store"),
        Err(error) => error.to_string(),
    };
    assert!(error.contains("nowhere"), "{error}");
    assert!(!output.join("data").exists() && !output.join("tokenizer").exists());
}
