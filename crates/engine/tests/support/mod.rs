//! A run small enough to be repeated many times: generated arithmetic as sources.

// Each test file is a program of its own and uses what it needs.
#![allow(dead_code)]

use std::fs;
use std::path::Path;

use smollm3_recipe::Recipe;
use smollm3_records::{Event, Listener, Result};

pub const STEPS: u64 = 6;

/// A recipe in `folder` that writes to `folder/out`, on a backend.
pub fn recipe(folder: &Path, backend: &str, overrides: &[&str]) -> Recipe {
    let out = folder.join("out");
    let text = format!(
        r#"
[run]
name = "tiny"
seed = 5
output = '{out}'
backend = "{backend}"

[model.config]
vocab_size = 320
hidden_size = 32
intermediate_size = 64
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

[source.first]
category = "web"
kind = "arithmetic"
documents = 60
seed = 1

[source.second]
category = "math"
kind = "arithmetic"
documents = 60
seed = 2

[[stage]]
name = "pretrain"
kind = "pretrain"
sequence_length = 64
global_batch = "4 sequences"
micro_batch = "2 sequences"

[stage.optimizer]
learning_rate = 1e-2

[stage.schedule]
kind = "wsd"
warmup = "2 steps"
decay = "2 steps"

[stage.checkpoint]
every = "1 steps"
keep = 2

[[stage.phase]]
name = "one"
until = "4 steps"
mixture = {{ sources = {{ first = 3, second = 1 }} }}

[[stage.phase]]
name = "two"
until = "{STEPS} steps"
mixture = {{ sources = {{ first = 1, second = 1 }} }}
"#,
        out = out.display()
    );
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("recipe.toml"), text).unwrap();
    let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
    Recipe::load(folder, &overrides).unwrap()
}

/// Keeps every event.
#[derive(Default)]
pub struct Recorder(pub std::rc::Rc<std::cell::RefCell<Vec<Event>>>);

impl Listener for Recorder {
    fn on(&mut self, event: &Event) -> Result<()> {
        self.0.borrow_mut().push(event.clone());
        Ok(())
    }
}
