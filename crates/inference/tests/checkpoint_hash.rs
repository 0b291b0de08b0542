//! The hash of a checkpoint follows what decides its answers, and nothing else.

mod checkpoint;

use std::fs;

use checkpoint::checkpoint;
use smollm3_inference::{InferenceError, checkpoint_hash};

#[test]
fn a_checkpoint_is_known_by_what_decides_its_answers() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [one, other] = [&folders[0], &folders[1]].map(|folder| checkpoint(folder.path()));
    let hash = checkpoint_hash(&one).unwrap();
    assert_eq!(hash.len(), 64);
    // Wherever it lies, and whatever lies beside it.
    for file in ["optimizer.safetensors", "adapter_model.safetensors", "README.md"] {
        fs::write(other.join(file), "x").unwrap();
    }
    assert_eq!(checkpoint_hash(&other).unwrap(), hash);

    let mut seen = vec![hash];
    let mut weights = fs::read(other.join("model.safetensors")).unwrap();
    *weights.last_mut().unwrap() ^= 1;
    for (file, bytes) in [
        ("model.safetensors", weights.as_slice()),
        ("chat_template.jinja", &b"{{ messages }}"[..]),
        ("tokenizer_config.json", &b"{{ messages }}"[..]),
        ("config.json", &b"{}"[..]),
        ("generation_config.json", &b"{}"[..]),
        ("tokenizer.json", &b"{}"[..]),
    ] {
        fs::write(other.join(file), bytes).unwrap();
        let hash = checkpoint_hash(&other).unwrap();
        assert!(!seen.contains(&hash), "{file}");
        seen.push(hash);
    }

    fs::remove_file(other.join("config.json")).unwrap();
    let refused = checkpoint_hash(&other).unwrap_err();
    assert!(matches!(refused, InferenceError::NoModel { .. }), "{refused}");
    let nowhere = checkpoint_hash(&other.join("nowhere")).unwrap_err().to_string();
    assert!(nowhere.contains("nowhere"), "{nowhere}");
}
