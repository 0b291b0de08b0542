//! Stores of a recipe: those made elsewhere, and those made here.

use std::fs;
use std::path::Path;

use smollm3_corpus::store::StoreWriter;
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

/// Prepares [`RECIPE`] with `web` as the folder of its tokens, in `folder`.
fn prepare(folder: &Path, web: &str) -> Result<Data, String> {
    fs::write(folder.join("recipe.toml"), RECIPE.replace("./nowhere", web)).unwrap();
    let recipe = Recipe::load(folder, &[]).unwrap();
    let data = Data::prepare(&recipe, &folder.join("out"), &mut Listeners::default());
    data.map_err(|error| error.to_string())
}

#[test]
fn a_store_that_is_missing_is_found_before_any_text_is_tokenised() {
    let folder = tempfile::tempdir().unwrap();
    let error = prepare(folder.path(), "./nowhere").unwrap_err();
    assert!(error.contains("nowhere"), "{error}");
    let output = folder.path().join("out");
    assert!(!output.join("data").exists() && !output.join("tokenizer").exists());
}

#[test]
fn a_file_url_is_a_folder_on_this_machine() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("tokens");
    let mut writer = StoreWriter::create(store.join("a.ds"), "any", 300).unwrap();
    writer.push_document(&[1; 200]).unwrap();
    writer.finish().unwrap();
    let data = prepare(folder.path(), &format!("file://{}", store.display())).unwrap();
    assert_eq!(data.store("web").unwrap().tokens, 200);
    assert!(data.reader("web", 64).is_ok());
}
