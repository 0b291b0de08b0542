//! End tokens and sampling of `generation_config.json` are read as transformers reads them.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use smollm3_model::hf::{GenerationConfig, generation_json};
use smollm3_model::{ModelConfig, Sampling};

fn read(config: Value, generation: Option<Value>) -> Result<GenerationConfig, String> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    if let Some(generation) = generation {
        fs::write(
            folder.path().join("generation_config.json"),
            generation.to_string(),
        )
        .unwrap();
    }
    GenerationConfig::of_checkpoint(folder.path()).map_err(|error| error.to_string())
}

#[test]
fn every_end_token_is_read_from_either_file() {
    let ends = |config: Value, generation: Option<Value>| read(config, generation).unwrap().end_tokens;
    let config = || json!({"eos_token_id": [0, 5]});
    assert_eq!(ends(config(), None), [0, 5]);
    assert_eq!(ends(config(), Some(json!({"eos_token_id": 7}))), [7]);
    assert_eq!(
        ends(config(), Some(json!({"eos_token_id": [7, 8, 9]}))),
        [7, 8, 9]
    );
    // A file that names none leaves those of the model.
    assert_eq!(ends(config(), Some(json!({"eos_token_id": null}))), [0, 5]);
    assert_eq!(ends(config(), Some(json!({"pad_token_id": -1}))), [0, 5]);
    assert_eq!(ends(json!({"eos_token_id": 3}), None), [3]);
    assert_eq!(ends(json!({"eos_token_id": null}), None), Vec::<u32>::new());
    assert_eq!(ends(json!({"eos_token_id": -1}), None), Vec::<u32>::new());
    assert_eq!(ends(json!({}), None), Vec::<u32>::new());
}

#[test]
fn a_trained_model_keeps_the_settings_that_it_began_with() {
    let folder = tempfile::tempdir().unwrap();
    let config = json!({
        "model_type": "llama", "vocab_size": 16, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1,
        "num_attention_heads": 2, "max_position_embeddings": 32, "eos_token_id": 2,
    });
    let config = ModelConfig::from_hf_json(&config.to_string(), Path::new("config.json")).unwrap();
    let json = |from: Option<&Path>| generation_json(&config, from).unwrap();
    let alone = json!({"bos_token_id": null, "eos_token_id": 2, "pad_token_id": null});
    assert_eq!(json(None), alone);
    // Nothing to keep.
    assert_eq!(json(Some(folder.path())), alone);
    let write = |name: &str, value: Value| fs::write(folder.path().join(name), value.to_string()).unwrap();
    write("config.json", json!({"eos_token_id": [0, 5]}));
    assert_eq!(json(Some(folder.path()))["eos_token_id"], json!([2, 0, 5]));
    write(
        "generation_config.json",
        json!({"eos_token_id": [5, 2], "pad_token_id": 7, "temperature": 0.6, "do_sample": true}),
    );
    assert_eq!(
        json(Some(folder.path())),
        json!({"bos_token_id": null, "eos_token_id": [2, 5], "pad_token_id": 7, "temperature": 0.6, "do_sample": true})
    );
    // Sampling that another program understands is none of training's business.
    write(
        "generation_config.json",
        json!({"do_sample": true, "top_k": -1, "top_p": 0}),
    );
    assert_eq!(json(Some(folder.path()))["top_k"], -1);
}

#[test]
fn tokens_are_drawn_as_the_checkpoint_says() {
    let sampling = |generation: Value| read(json!({}), Some(generation)).unwrap().sampling;
    assert_eq!(
        sampling(json!({"do_sample": true, "temperature": 0.6, "top_p": 0.95, "top_k": 20, "min_p": 0.1})),
        Sampling {
            temperature: 0.6,
            top_p: 0.95,
            top_k: 20,
            min_p: 0.1,
            ..Sampling::default()
        }
    );
    assert_eq!(
        sampling(json!({"do_sample": true})),
        Sampling {
            temperature: 1.0,
            top_k: 50,
            ..Sampling::default()
        }
    );
    // transformers takes the most probable token unless the file says do_sample.
    assert_eq!(
        sampling(json!({"temperature": 0.6, "top_p": 0.95, "repetition_penalty": 1.1})),
        Sampling {
            repetition_penalty: 1.1,
            ..Sampling::default()
        }
    );
}

#[test]
fn only_an_absent_top_k_has_a_default() {
    let top_k = |generation: Value| read(json!({}), Some(generation)).unwrap().sampling.top_k;
    assert_eq!(top_k(json!({"do_sample": true, "temperature": 0.6})), 50);
    assert_eq!(top_k(json!({"do_sample": true, "top_k": null})), 0);
    assert_eq!(top_k(json!({"do_sample": true, "top_k": 0})), 0);
    assert_eq!(top_k(json!({"do_sample": false})), 0);
}

#[test]
fn broken_files_are_refused_by_key() {
    for (generation, words) in [
        (
            json!({"do_sample": true, "temperature": -1.0}),
            "temperature = -1",
        ),
        (json!({"do_sample": true, "top_p": 0.0}), "top_p = 0"),
        (json!({"repetition_penalty": 0.0}), "repetition_penalty = 0"),
        (
            json!({"eos_token_id": "end"}),
            "a token id must be a whole number",
        ),
        (json!({"temperature": "hot"}), "invalid type"),
    ] {
        let message = read(json!({}), Some(generation)).unwrap_err();
        assert!(
            message.contains(words) && message.contains("generation_config.json"),
            "{message}"
        );
    }
}
