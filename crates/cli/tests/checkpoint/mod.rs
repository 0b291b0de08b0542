//! A checkpoint with random weights and a tokenizer with chat tokens, small enough to train in seconds.

#![allow(dead_code)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use smollm3_corpus::Tokenizer;
use smollm3_corpus::text::Arithmetic;
use smollm3_model::hf::{self, FileDtype};
use smollm3_model::{Init, ModelConfig, SmolLm3};

/// Writes it into `folder`, with room for rows of `context` tokens.
pub fn write(folder: &Path, context: usize) {
    fs::create_dir_all(folder).unwrap();
    let config = format!(
        r#"
vocab_size = 320
hidden_size = 32
intermediate_size = 64
num_hidden_layers = 2
num_attention_heads = 4
num_key_value_heads = 2
max_position_embeddings = {context}
rope_theta = 10000.0
"#
    );
    let config = ModelConfig::from_toml(&config, Path::new("model.toml")).unwrap();
    let device = smollm3_kernels::device("flex", None).unwrap();
    let model = SmolLm3::new(&config, &Init::new(&config, 4), &device).unwrap();
    hf::save(folder, &config, &model, FileDtype::F32).unwrap();
    let texts = (0..200).map(|index| Arithmetic::new(1, 200).text(index));
    let tokenizer = Tokenizer::train(texts, 320).unwrap();
    tokenizer.save(folder.join("tokenizer.json")).unwrap();
}

/// The program, in `folder`, with a cache of its own.
pub fn smollm3(folder: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_smollm3"))
        .args(words)
        .current_dir(folder)
        .env("XDG_CACHE_HOME", folder.join("cache"))
        .env("HF_HOME", folder.join("hf"))
        .env("HF_HUB_OFFLINE", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// The output of a command that must succeed.
pub fn printed(folder: &Path, words: &[&str]) -> String {
    let output = smollm3(folder, words);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// The error of a command that must fail.
pub fn refused(folder: &Path, words: &[&str]) -> String {
    let output = smollm3(folder, words);
    assert!(!output.status.success(), "{words:?}");
    String::from_utf8(output.stderr).unwrap()
}
