//! What cannot be merged is refused with the first reason, and leaves nothing behind.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::{Value, json};
use smollm3_files::FilesError;
use smollm3_merge::{MergeError, MergeSettings, TokenizerFrom};
use smollm3_model::hf::FileDtype;
use support::*;
use tempfile::TempDir;

/// A folder with a checkpoint `a`.
fn start() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let a = seeded(&folder.path().join("a"), 1, FileDtype::F32);
    (folder, a)
}

/// The refusal of a merge with these weights.
fn refused(folder: &TempDir, parents: &[(PathBuf, f64)]) -> MergeError {
    refused_with(folder, parents, &MergeSettings::default())
}

fn refused_with(folder: &TempDir, parents: &[(PathBuf, f64)], settings: &MergeSettings) -> MergeError {
    let before = listing(folder.path());
    let error = run(parents, settings, &folder.path().join("out")).unwrap_err();
    assert_eq!(listing(folder.path()), before);
    error
}

#[test]
fn another_architecture_by_its_first_field() {
    let (folder, a) = start();
    let yarn = json!({ "rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 32 });
    let cases: [(&str, Value, &str); 9] = [
        ("vocab_size", 32.into(), "24"),
        ("hidden_size", 8.into(), "4"),
        ("rope_theta", 2e6.into(), "50000.0"),
        ("rope_scaling", yarn, "null"),
        ("no_rope_layers", json!([0]), "[1]"),
        ("rms_norm_eps", 1e-5.into(), "1e-6"),
        ("tie_word_embeddings", false.into(), "true"),
        ("attention_bias", true.into(), "false"),
        ("max_position_embeddings", 128.into(), "64"),
    ];
    for (key, value, first) in cases {
        let mut config = config_with(key, value.clone());
        if key == "hidden_size" {
            config["head_dim"] = 2.into();
        }
        let all = tensors(&config, FileDtype::F32, |_, _| 1.0);
        let b = checkpoint(&folder.path().join("b"), &config, &all);
        let error = refused(&folder, &[(a.clone(), 1.0), (a.clone(), 1.0), (b.clone(), 1.0)]);
        let MergeError::ConfigDiffers {
            field,
            first: in_first,
            first_value,
            other,
            ..
        } = &error
        else {
            panic!("{error}");
        };
        assert_eq!((field.as_str(), first_value.as_str()), (key, first), "{error}");
        assert_eq!((in_first, other), (&a, &b));
        fs::remove_dir_all(b).unwrap();
    }
}

#[test]
fn another_family() {
    let (folder, a) = start();
    let config = config_with("model_type", "llama");
    let b = checkpoint(
        &folder.path().join("b"),
        &config,
        &tensors(&config, FileDtype::F32, |_, _| 1.0),
    );
    let error = refused(&folder, &[(a, 1.0), (b, 1.0)]).to_string();
    assert!(
        error.contains("SmolLM3ForCausalLM") && error.contains("LlamaForCausalLM"),
        "{error}"
    );
}

#[test]
fn what_training_started_from_may_differ() {
    let (folder, a) = start();
    let mut config = config_with("eos_token_id", 5);
    config["initializer_range"] = 0.5.into();
    let b = checkpoint(
        &folder.path().join("b"),
        &config,
        &tensors(&config, FileDtype::F32, |_, _| 1.0),
    );
    run(
        &[(a, 1.0), (b, 1.0)],
        &MergeSettings::default(),
        &folder.path().join("out"),
    )
    .unwrap();
}

#[test]
fn tensors_that_are_not_those_of_the_architecture() {
    let (folder, a) = start();
    let all = || tensors(&config(), FileDtype::F32, |_, _| 1.0);
    let write = |name: &str, change: &dyn Fn(&mut Vec<smollm3_model::hf::NamedTensor>)| {
        let mut tensors = all();
        change(&mut tensors);
        checkpoint(&folder.path().join(name), &config(), &tensors)
    };
    let missing = write("missing", &|tensors| drop(tensors.remove(3)));
    let renamed = write("renamed", &|tensors| tensors[3].name += "s");
    let reshaped = write("reshaped", &|tensors| tensors[1].shape.reverse());
    let turned = write("turned", &|tensors| tensors[2].shape = vec![4, 2]);
    for (parent, said) in [(missing, "v_proj"), (renamed, "v_proj"), (turned, "k_proj")] {
        let error = refused(&folder, &[(a.clone(), 1.0), (parent.clone(), 1.0)]).to_string();
        assert!(
            error.contains(said) && error.contains(&parent.display().to_string()),
            "{error}"
        );
    }
    // A square matrix turned around has its own shape.
    run(
        &[(a, 1.0), (reshaped, 1.0)],
        &MergeSettings::default(),
        &folder.path().join("out"),
    )
    .unwrap();
}

#[test]
fn weights_that_cannot_be_used() {
    let (folder, a) = start();
    for bad in [f64::NAN, f64::INFINITY, -f64::INFINITY, 1e300] {
        let error = refused(&folder, &[(a.clone(), 1.0), (a.clone(), bad)]);
        assert!(matches!(error, MergeError::Weight(_, weight) if weight.to_bits() == bad.to_bits()));
    }
    for zero in [
        vec![0.0],
        vec![1.0, -1.0],
        vec![0.1, 0.2, -0.3],
        vec![1e8, 1.0, -1e8],
        vec![1e-40, 1e-40],
    ] {
        let parents: Vec<_> = zero.iter().map(|weight| (a.clone(), *weight)).collect();
        let error = refused(&folder, &parents);
        assert!(matches!(error, MergeError::ZeroSum { .. }), "{zero:?}: {error}");
    }
    assert!(matches!(refused(&folder, &[]), MergeError::NoParents));
    // A difference of checkpoints is a use of weights that sum to nothing.
    let plain = MergeSettings {
        normalise: false,
        ..MergeSettings::default()
    };
    run(&[(a.clone(), 1.0), (a, -1.0)], &plain, &folder.path().join("out")).unwrap();
}

#[test]
fn numbers_that_are_not_finite_by_tensor_and_place() {
    let (folder, a) = start();
    for dtype in [FileDtype::F32, FileDtype::Bf16, FileDtype::F16] {
        for bad in [f32::NAN, f32::INFINITY] {
            let tensors = tensors(&config(), dtype, |name, place| {
                if name.ends_with("o_proj.weight") && place >= 6 {
                    bad
                } else {
                    1.0
                }
            });
            let b = checkpoint(&folder.path().join("b"), &config(), &tensors);
            let error = refused(&folder, &[(a.clone(), 1.0), (b.clone(), 0.0)]);
            let MergeError::NotFinite {
                folder: named,
                tensor,
                index,
                value,
            } = error
            else {
                panic!("{error}");
            };
            assert_eq!(named, b);
            assert_eq!(tensor, "model.layers.0.self_attn.o_proj.weight");
            assert_eq!(index, [1, 2]);
            assert_eq!(value.is_nan(), bad.is_nan());
        }
    }
}

#[test]
fn results_beyond_their_format() {
    let (folder, a) = start();
    let huge = tensors(&config(), FileDtype::F32, |name, place| {
        if name == "model.norm.weight" && place == 3 {
            1e6
        } else {
            1.0
        }
    });
    let b = checkpoint(&folder.path().join("b"), &config(), &huge);
    let half = MergeSettings {
        dtype: Some(FileDtype::F16),
        ..MergeSettings::default()
    };
    let error = refused_with(&folder, &[(a, 1.0), (b, 1.0)], &half);
    assert!(
        matches!(&error, MergeError::Overflow { tensor, index, .. } if tensor == "model.norm.weight" && *index == [3])
    );
    assert!(error.to_string().contains("float16"), "{error}");
}

#[test]
fn folders_that_are_there_or_not() {
    let (folder, a) = start();
    let missing = folder.path().join("missing");
    let error = refused(&folder, &[(a.clone(), 1.0), (missing.clone(), 1.0)]);
    assert!(matches!(error, MergeError::ParentMissing(folder) if folder == missing));

    let taken = folder.path().join("taken");
    fs::write(&taken, "a file").unwrap();
    for out in [&a, &taken] {
        let error = run(&[(a.clone(), 1.0)], &MergeSettings::default(), out).unwrap_err();
        assert!(matches!(error, MergeError::Files(FilesError::Exists { .. })));
    }
    let error = run(
        &[(a.clone(), 1.0)],
        &MergeSettings::default(),
        &folder.path().join("none/.."),
    );
    assert!(matches!(error, Err(MergeError::Files(FilesError::NoName { .. }))));

    // What a killed process left is in nobody's way.
    let left = folder.path().join(".out.part");
    fs::create_dir(&left).unwrap();
    fs::write(left.join("stale"), "").unwrap();
    let out = folder.path().join("out");
    run(&[(a, 1.0)], &MergeSettings::default(), &out).unwrap();
    assert!(!left.exists() && !out.join("stale").exists());
}

#[test]
fn formats_without_floats() {
    let (folder, a) = start();
    let b = seeded(&folder.path().join("b"), 2, FileDtype::F32);
    let file = b.join("model.safetensors");
    // The header's formats, changed to integers of the same width.
    let bytes = fs::read(&file).unwrap();
    let text = String::from_utf8_lossy(&bytes[..1500]).replace("\"F32\"", "\"I32\"");
    let mut changed = text.into_bytes();
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    changed.truncate(header);
    changed.splice(..8, bytes[..8].iter().copied());
    changed.extend(&bytes[header..]);
    fs::write(&file, changed).unwrap();
    let error = refused(&folder, &[(a, 1.0), (b.clone(), 1.0)]);
    assert!(
        matches!(&error, MergeError::Format { folder, format, .. } if *folder == b && format == "I32"),
        "{error}"
    );
}

#[test]
fn tokenizers_that_give_an_id_to_two_tokens() {
    let (folder, a) = start();
    let b = seeded(&folder.path().join("b"), 2, FileDtype::F32);
    let parents = [(a.clone(), 0.9), (b.clone(), 0.1)];
    let merges = |number: usize| {
        let out = folder.path().join(format!("out{number}"));
        run(&parents, &MergeSettings::default(), &out)
    };
    // One tokenizer alone, then the same vocabulary in two spellings.
    tokenizer(&a, &[("x", 0), ("y", 1)], &[("<reserved>", 2)]);
    merges(0).unwrap();
    tokenizer(&b, &[("<reserved>", 2), ("x", 0), ("y", 1)], &[]);
    merges(1).unwrap();

    tokenizer(&b, &[("x", 0), ("y", 1)], &[("<think>", 2)]);
    let error = merges(2).unwrap_err();
    let MergeError::VocabularyDiffers {
        id,
        first_token,
        other_token,
        ..
    } = &error
    else {
        panic!("{error}");
    };
    assert_eq!(
        (*id, first_token.as_str(), other_token.as_str()),
        (2, "\"<reserved>\"", "\"<think>\"")
    );
    assert!(
        error
            .to_string()
            .contains("put one tokenizer.json into both folders"),
        "{error}"
    );

    tokenizer(&b, &[("x", 0)], &[("<reserved>", 2)]);
    let error = merges(3).unwrap_err();
    assert!(
        matches!(error, MergeError::VocabularyDiffers { id: 1, other_token, .. } if other_token == "nothing")
    );

    fs::write(b.join("tokenizer.json"), "{}").unwrap();
    assert!(matches!(merges(4), Err(MergeError::Content { .. })));
}

#[test]
fn tokenizers_with_ids_beyond_the_embedding() {
    let (folder, a) = start();
    let b = seeded(&folder.path().join("b"), 2, FileDtype::F32);
    let parents = [(a, 0.9), (b.clone(), 0.1)];
    // The embedding has 24 rows.
    tokenizer(&b, &[("x", 0), ("y", 1)], &[("<think>", 24)]);
    let error = refused(&folder, &parents);
    assert!(
        matches!(&error, MergeError::Vocabulary { path, highest: 24, rows: 24 } if path.starts_with(&b)),
        "{error}"
    );
    tokenizer(&b, &[("x", 0), ("y", 1)], &[("<think>", 23)]);
    run(&parents, &MergeSettings::default(), &folder.path().join("out")).unwrap();
}

#[test]
fn tokenizers_that_are_not_there() {
    let (folder, a) = start();
    let with = |tokenizer_from| MergeSettings {
        tokenizer_from,
        ..MergeSettings::default()
    };
    let error = refused_with(&folder, &[(a.clone(), 1.0)], &with(TokenizerFrom::Parent(1)));
    assert!(matches!(
        error,
        MergeError::NoSuchParent {
            number: 1,
            parents: 1
        }
    ));
    let nowhere = TokenizerFrom::Folder(folder.path().to_owned());
    let error = refused_with(&folder, &[(a.clone(), 1.0)], &with(nowhere));
    assert!(matches!(error, MergeError::Files(FilesError::Io { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// A damaged parent is an error or, where the damage is in a number, a merge; never a panic or half a folder.
    #[test]
    fn damage_is_an_error(file in prop_oneof![Just("model.safetensors"), Just("config.json")], cut: prop::sample::Index,
                          flip: prop::sample::Index, value: u8, truncate: bool) {
        let (folder, a) = start();
        let b = seeded(&folder.path().join("b"), 2, FileDtype::Bf16);
        let path = b.join(file);
        let mut bytes = fs::read(&path).unwrap();
        if truncate {
            bytes.truncate(cut.index(bytes.len()));
        } else {
            let place = flip.index(bytes.len());
            bytes[place] = value;
        }
        fs::write(&path, bytes).unwrap();
        let out = folder.path().join("out");
        let result = run(&[(a, 0.5), (b, 0.5)], &MergeSettings::default(), &out);
        prop_assert_eq!(result.is_ok(), out.exists());
        prop_assert!(!Path::new(&folder.path().join(".out.part")).exists());
        prop_assert!(!(truncate && result.is_ok() && file == "model.safetensors"));
    }
}
