//! What a checkpoint must have to be asked.

mod checkpoint;

use std::fs;
use std::ops::ControlFlow;

use burn::tensor::DType;
use checkpoint::checkpoint;
use smollm3_corpus::Tokenizer;
use smollm3_corpus::text::Arithmetic;
use smollm3_inference::{Continuation, TextModel};
use smollm3_kernels::{compiled_backends, device};
use smollm3_model::{Generation, generate};

#[test]
fn a_tokenizer_of_another_model_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = checkpoint(folder.path());
    let texts = Arithmetic::new(1, 200);
    let larger = Tokenizer::train((0..200).map(|index| texts.text(index)), 513).unwrap();
    larger.save(checkpoint.join("tokenizer.json")).unwrap();
    let device = device(compiled_backends()[0], None).unwrap();
    let refused = TextModel::open(&checkpoint, DType::F32, &device)
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("512 rows") && refused.contains("ids up to 512"),
        "{refused}"
    );
}

/// Whichever of the listed tokens comes first ends the text, from either file.
#[test]
fn any_token_of_a_list_ends_a_text() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = checkpoint(folder.path());
    let device = device(compiled_backends()[0], None).unwrap();
    let how = Continuation {
        max_new_tokens: 12,
        ..Continuation::default()
    };
    let open = || TextModel::open(&checkpoint, DType::F32, &device).unwrap();
    let model = open();
    let prompt = model.tokenizer.encode("Question: What is 1 + 2?\n").unwrap();
    let settings = Generation {
        max_new_tokens: how.max_new_tokens,
        ..Generation::default()
    };
    let ids = generate(&model.model, std::slice::from_ref(&prompt), &settings, |_, _| {
        ControlFlow::Continue(())
    })
    .unwrap();
    let ids = &ids[0];
    let end = ids[ids.len() - 1];
    let at = ids.iter().position(|id| *id == end).unwrap();
    let expected = model.tokenizer.decode(&ids[..=at], true).unwrap();
    let write = |name: &str, text: String| fs::write(checkpoint.join(name), text).unwrap();
    write(
        "generation_config.json",
        format!(r#"{{"eos_token_id": [0, {end}]}}"#),
    );
    assert_eq!(open().continue_text(&prompt, &how, |_| Ok(())).unwrap(), expected);
    fs::remove_file(checkpoint.join("generation_config.json")).unwrap();
    let config = fs::read_to_string(checkpoint.join("config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&config).unwrap();
    config["eos_token_id"] = serde_json::json!([0, end]);
    write("config.json", config.to_string());
    assert_eq!(open().continue_text(&prompt, &how, |_| Ok(())).unwrap(), expected);
}
