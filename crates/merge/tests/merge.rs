//! Whole merges: mergekit's results, parents that come back, folders that are complete or not there.

mod support;

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::Value;
use smollm3_merge::mergekit::Configuration;
use smollm3_merge::{MergeError, MergeReport, MergeSettings, TokenizerFrom, merge};
use smollm3_model::hf::{Checkpoint, FileDtype, NamedTensor, TensorFiles, Values, to_f32};
use support::*;

fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// Merges the two reference models as the configuration of a reference run says, into `out`.
fn reference(run_name: &str, out: &Path) {
    let runs = json(&fixture("merge/merge.mergekit-0.1.5.json"));
    let text = runs["runs"][run_name]["config"].as_str().unwrap();
    let Configuration {
        mut parents,
        settings,
    } = Configuration::parse(text, Path::new(run_name)).unwrap();
    for (folder, _) in &mut parents {
        *folder = fixture(&folder.display().to_string());
    }
    run(&parents, &settings, out).unwrap();
}

/// blake3 of all tensors, joined in the order of their names.
fn digest(folder: &Path) -> (usize, String) {
    let tensors = read(folder);
    let mut hasher = blake3::Hasher::new();
    for (_, bytes) in tensors.values() {
        hasher.update(bytes);
    }
    (tensors.len(), hasher.finalize().to_hex().to_string())
}

/// A tensor of `small.mergekit-VERSION.safetensors`, with the name of its format.
fn small(version: &str, run_name: &str, tensor: &str) -> (String, Vec<u8>) {
    let bytes = fs::read(fixture(&format!("merge/small.mergekit-{version}.safetensors"))).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let view = file.tensor(&format!("{run_name}/{tensor}")).unwrap();
    (view.dtype().to_string(), view.data().to_vec())
}

const SMALL: [&str; 3] = [
    "model.norm.weight",
    "model.layers.0.self_attn.k_proj.weight",
    "model.layers.7.input_layernorm.weight",
];

#[test]
fn every_tensor_is_that_of_mergekit_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let digests = json(&fixture("merge/digests.json"));
    for name in ["f32", "bf16"] {
        let out = folder.path().join(name);
        reference(name, &out);
        let expected = &digests[format!("{name}.mergekit-0.1.5")];
        let (tensors, blake3) = digest(&out);
        assert_eq!(expected["tensors"], tensors);
        assert_eq!(expected["blake3"], blake3, "{name}");
    }
}

#[test]
fn other_settings_are_mergekits_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    for name in [
        "f32_out_bf16",
        "f32_unnormalized_0.6_0.6",
        "f32_weights_9_1",
        "bf16_weights_1_2",
    ] {
        let out = folder.path().join(name);
        reference(name, &out);
        let ours = read(&out);
        for tensor in SMALL {
            assert_eq!(ours[tensor], small("0.1.5", name, tensor), "{name} {tensor}");
        }
    }
}

/// mergekit 0.1.4 computed in the parents' format: its weights 1/3 and 2/3 were bf16 numbers.
#[test]
fn is_nearer_to_the_exact_value_than_mergekit_0_1_4() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    reference("bf16_weights_1_2", &out);
    let ours = read(&out);
    let [a, b] =
        ["model/a", "model/a_perturbed"].map(|name| TensorFiles::open(&fixture(name), "model").unwrap());
    let (mut our_worst, mut their_worst) = (0.0_f64, 0.0_f64);
    for tensor in SMALL {
        let values = |files: &TensorFiles| {
            let (info, bytes) = files.get(tensor).unwrap();
            to_f32(info.dtype, bytes).unwrap()
        };
        let bf16 = |bytes: &[u8]| to_f32(safetensors::Dtype::BF16, bytes).unwrap();
        let (our, their) = (
            bf16(&ours[tensor].1),
            bf16(&small("0.1.4", "bf16_weights_1_2", tensor).1),
        );
        for (place, (x, y)) in values(&a).into_iter().zip(values(&b)).enumerate() {
            // What both get to see are the parents in bf16.
            let [x, y] = [x, y].map(|value| f64::from(half::bf16::from_f32(value)));
            let exact = (x + 2.0 * y) / 3.0;
            let distance = |value: f32| (f64::from(value) - exact).abs() / exact.abs();
            our_worst = our_worst.max(distance(our[place]));
            their_worst = their_worst.max(distance(their[place]));
        }
    }
    // Half a unit in the last place of bf16 is the best there is.
    println!("relative distance at worst: ours {our_worst:.2e}, mergekit 0.1.4 {their_worst:.2e}");
    assert!(our_worst < 2.0_f64.powi(-8) * 1.001);
    assert!(their_worst > 1.4 * our_worst);
}

#[test]
fn a_parent_merged_with_nothing_comes_back_in_its_format() {
    let folder = tempfile::tempdir().unwrap();
    for (name, dtype) in [
        ("f32", FileDtype::F32),
        ("bf16", FileDtype::Bf16),
        ("f16", FileDtype::F16),
    ] {
        let at = |part: &str| folder.path().join(format!("{name}-{part}"));
        let signed = |tensor: &str, place: usize| match place % 5 {
            0 => -0.0,
            _ => number(1, tensor, place),
        };
        let parent = checkpoint(&at("a"), &config(), &tensors(&config(), dtype, signed));
        let other = seeded(&at("b"), 2, dtype);
        for (number, weights) in [[1.0, 0.0], [4.0, 0.0], [0.25, 0.0]].into_iter().enumerate() {
            let out = at(&format!("out{number}"));
            run(
                &[(parent.clone(), weights[0]), (other.clone(), weights[1])],
                &MergeSettings::default(),
                &out,
            )
            .unwrap();
            assert_eq!(read(&out), read(&parent));
        }
        let out = at("alone");
        run(&[(parent.clone(), 0.3)], &MergeSettings::default(), &out).unwrap();
        // 0.3·x / 0.3 may differ from x by a rounding in f32; in 16 bits that cannot be seen.
        if dtype != FileDtype::F32 {
            assert_eq!(read(&out), read(&parent));
        }
    }
}

#[test]
fn each_tensor_keeps_the_format_of_the_first_parent() {
    let folder = tempfile::tempdir().unwrap();
    let mut mixed = tensors(&config(), FileDtype::Bf16, |name, place| number(1, name, place));
    mixed.last_mut().unwrap().dtype = FileDtype::F32;
    let first = checkpoint(&folder.path().join("a"), &config(), &mixed);
    let second = seeded(&folder.path().join("b"), 2, FileDtype::F16);
    let out = folder.path().join("out");
    let report = run(&[(first, 1.0), (second, 1.0)], &MergeSettings::default(), &out).unwrap();
    let merged = read(&out);
    assert_eq!(merged["model.norm.weight"].0, "F32");
    assert_eq!(merged["model.embed_tokens.weight"].0, "BF16");
    assert_eq!(report.dtype, "bfloat16");
    assert_eq!(
        [&report.parents[0].dtype, &report.parents[1].dtype],
        ["bfloat16", "float16"]
    );
    assert_eq!(json(&out.join("config.json"))["torch_dtype"], "bfloat16");
    Checkpoint::open(&out).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Bit for bit where products are exact, as for a plain mean; within two roundings otherwise.
    #[test]
    fn two_parents_may_change_places(a in 0.01..2.0_f64, b in 0.01..2.0_f64, seed: u32) {
        let folder = tempfile::tempdir().unwrap();
        let first = seeded(&folder.path().join("a"), seed, FileDtype::F32);
        let second = seeded(&folder.path().join("b"), seed ^ 1, FileDtype::F32);
        let merged = |name: &str, parents: [(&PathBuf, f64); 2]| {
            let out = folder.path().join(name);
            let parents = parents.map(|(folder, weight)| (folder.clone(), weight));
            run(&parents, &MergeSettings::default(), &out).unwrap();
            read(&out)
        };
        prop_assert_eq!(merged("mean", [(&first, 0.5), (&second, 0.5)]), merged("naem", [(&second, 0.5), (&first, 0.5)]));
        let one = merged("one", [(&first, a), (&second, b)]);
        let other = merged("other", [(&second, b), (&first, a)]);
        for (name, (_, bytes)) in &one {
            let values = |bytes: &[u8]| to_f32(safetensors::Dtype::F32, bytes).unwrap();
            for (x, y) in values(bytes).into_iter().zip(values(&other[name].1)) {
                // Parents are within -1 and 1, so their weighted absolute values sum to 1 at most.
                prop_assert!((x - y).abs() <= 4.0 * 2.0_f32.powi(-24));
            }
        }
    }

    #[test]
    fn files_may_be_many(shard_bytes in 1..2000_u64, parent_bytes in 1..2000_usize) {
        let folder = tempfile::tempdir().unwrap();
        let first = seeded(&folder.path().join("a"), 1, FileDtype::Bf16);
        let second = folder.path().join("b");
        fs::create_dir_all(&second).unwrap();
        fs::write(second.join("config.json"), config().to_string()).unwrap();
        let values = tensors(&config(), FileDtype::F32, |name, place| number(2, name, place));
        smollm3_model::hf::write_shards(&second, "model", &values, parent_bytes).unwrap();

        let parents = [(first, 0.9), (second, 0.1)];
        let [one, many] = ["one", "many"].map(|name| folder.path().join(name));
        run(&parents, &MergeSettings::default(), &one).unwrap();
        let report = run(&parents, &MergeSettings { shard_bytes, ..MergeSettings::default() }, &many).unwrap();
        prop_assert_eq!(read(&one), read(&many));
        for file in &report.files {
            let bytes = many.join(file).metadata().unwrap().len();
            let header = u64::from_le_bytes(fs::read(many.join(file)).unwrap()[..8].try_into().unwrap());
            let tensors = bytes - 8 - header;
            // A single tensor may be larger than a file should be.
            prop_assert!(tensors <= shard_bytes.max(24 * 4 * 2));
        }
        let index = many.join("model.safetensors.index.json");
        prop_assert_eq!(index.exists(), report.files.len() > 1);
        if index.exists() {
            prop_assert_eq!(&json(&index)["metadata"]["total_size"], &Value::from(report.bytes));
        }
    }
}

#[test]
fn a_tied_head_stays_tied() {
    let folder = tempfile::tempdir().unwrap();
    let mut with_head = tensors(&config(), FileDtype::F32, |name, place| number(1, name, place));
    let head = with_head[0].read().to_vec();
    with_head.push(NamedTensor {
        name: "lm_head.weight".to_owned(),
        shape: vec![24, 4],
        dtype: FileDtype::F32,
        values: Values::Here(head),
    });
    let first = checkpoint(&folder.path().join("a"), &config(), &with_head);
    let second = seeded(&folder.path().join("b"), 2, FileDtype::F32);
    let out = folder.path().join("out");
    run(&[(first, 0.5), (second, 0.5)], &MergeSettings::default(), &out).unwrap();
    assert!(!read(&out).contains_key("lm_head.weight"));
    assert_eq!(json(&out.join("config.json"))["tie_word_embeddings"], true);
}

#[test]
fn an_untied_head_is_merged() {
    let folder = tempfile::tempdir().unwrap();
    let config = config_with("tie_word_embeddings", false);
    let parents = [1.0, 3.0].map(|value| {
        let all = tensors(&config, FileDtype::F32, |_, _| value);
        (
            checkpoint(&folder.path().join(value.to_string()), &config, &all),
            1.0,
        )
    });
    let out = folder.path().join("out");
    run(&parents, &MergeSettings::default(), &out).unwrap();
    let two: Vec<u8> = [2.0_f32; 96]
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    assert_eq!(read(&out)["lm_head.weight"].1, two);
}

/// Two parents with tokenizers of one vocabulary, told apart by their chat templates.
fn with_tokenizers(folder: &Path) -> [PathBuf; 2] {
    ["a", "b"].map(|name| {
        let parent = seeded(&folder.join(name), u32::from(name == "a"), FileDtype::F32);
        tokenizer(&parent, &[("x", 0), ("y", 1)], &[("<end>", 2)]);
        fs::write(parent.join("chat_template.jinja"), name).unwrap();
        fs::write(
            parent.join("generation_config.json"),
            format!("{{\"from\": \"{name}\"}}"),
        )
        .unwrap();
        fs::write(parent.join("optimizer.safetensors"), "not for the result").unwrap();
        parent
    })
}

#[test]
fn the_tokenizer_is_that_of_the_largest_weight_or_as_asked() {
    let folder = tempfile::tempdir().unwrap();
    let [a, b] = with_tokenizers(folder.path());
    let apart = folder.path().join("apart");
    fs::create_dir(&apart).unwrap();
    tokenizer(&apart, &[("y", 1), ("x", 0)], &[("<end>", 2)]);
    fs::write(apart.join("chat_template.jinja"), "apart").unwrap();
    let cases = [
        (TokenizerFrom::LargestWeight, 0.4, "b", "b"),
        (TokenizerFrom::LargestWeight, 0.5, "a", "a"),
        (TokenizerFrom::Parent(0), 0.1, "a", "a"),
        (TokenizerFrom::Folder(a.clone()), 0.1, "a", "a"),
        (TokenizerFrom::Folder(apart), 0.1, "apart", "b"),
    ];
    for (number, (tokenizer_from, weight, template, configuration)) in cases.into_iter().enumerate() {
        let out = folder.path().join(format!("out{number}"));
        let settings = MergeSettings {
            tokenizer_from,
            ..MergeSettings::default()
        };
        run(&[(a.clone(), weight), (b.clone(), 0.5)], &settings, &out).unwrap();
        assert_eq!(
            fs::read_to_string(out.join("chat_template.jinja")).unwrap(),
            template
        );
        assert_eq!(json(&out.join("generation_config.json"))["from"], configuration);
        let files = [
            "README.md",
            "chat_template.jinja",
            "config.json",
            "generation_config.json",
            "merge.json",
            "model.safetensors",
            "tokenizer.json",
        ];
        assert_eq!(listing(&out), files);
    }
}

#[test]
fn the_configuration_names_the_format_and_keeps_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let parent = seeded(&folder.path().join("a"), 1, FileDtype::F32);
    let cases = [
        ("torch_dtype", FileDtype::Bf16, "bfloat16"),
        ("dtype", FileDtype::F16, "float16"),
        ("dtype", FileDtype::F32, "float32"),
    ];
    for (number, (key, dtype, name)) in cases.into_iter().enumerate() {
        let mut written = config_with("transformers_version", "4.57.6");
        written.as_object_mut().unwrap().remove("torch_dtype");
        written[key] = "float32".into();
        fs::write(parent.join("config.json"), written.to_string()).unwrap();
        let out = folder.path().join(format!("out{number}"));
        let settings = MergeSettings {
            dtype: Some(dtype),
            ..MergeSettings::default()
        };
        run(&[(parent.clone(), 1.0)], &settings, &out).unwrap();
        written[key] = name.into();
        assert_eq!(json(&out.join("config.json")), written);
    }
}

#[test]
fn the_result_says_where_it_comes_from() {
    let folder = tempfile::tempdir().unwrap();
    let hub = folder.path().join("models--Some--Model-3B/snapshots/0123");
    let first = seeded(&hub, 1, FileDtype::F32);
    let second = seeded(&folder.path().join("b|c"), 2, FileDtype::Bf16);
    let out = folder.path().join("merged");
    let report = run(
        &[(first.clone(), 3.0), (second, 1.0)],
        &MergeSettings::default(),
        &out,
    )
    .unwrap();

    let read: MergeReport = serde_json::from_value(json(&out.join("merge.json"))).unwrap();
    assert_eq!(read, report);
    assert_eq!(report.parents[0].share, 0.75);
    assert_eq!((report.tensors, report.parameters, report.bytes), (11, 228, 912));
    assert_eq!(report.tokenizer_from, first);
    let files = &report.parents[0].files;
    assert_eq!(
        files.iter().map(|file| file.name.as_str()).collect::<Vec<_>>(),
        ["model.safetensors", "config.json"]
    );
    for file in files {
        let bytes = fs::read(first.join(&file.name)).unwrap();
        assert_eq!(file.bytes, bytes.len() as u64);
        assert_eq!(file.blake3, blake3::hash(&bytes).to_hex().to_string());
    }

    let card = fs::read_to_string(out.join("README.md")).unwrap();
    let front = "---\nbase_model:\n- \"Some/Model-3B\"\n- \"b|c\"\nlibrary_name: transformers\n\
                 pipeline_tag: text-generation\ntags:\n- merge\n---\n\n# merged\n";
    assert!(card.starts_with(front), "{card}");
    assert!(
        card.contains("| float32 | 3 | 0.75 |") && card.contains("| bfloat16 | 1 | 0.25 |"),
        "{card}"
    );
    assert!(
        card.contains("b\\|c") && card.contains(&files[0].blake3),
        "{card}"
    );
    assert!(card.contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn progress_grows_to_the_total_and_may_stop_the_merge() {
    let folder = tempfile::tempdir().unwrap();
    // More than one wave.
    let config = config_with("vocab_size", 9_000_000);
    let all = tensors(&config, FileDtype::Bf16, |_, place| (place % 7) as f32);
    let parents = [(checkpoint(&folder.path().join("a"), &config, &all), 1.0)];
    let out = folder.path().join("out");
    let mut seen = Vec::new();
    merge(&parents, &MergeSettings::default(), &out, &mut |done, total| {
        seen.push((done, total));
        ControlFlow::Continue(())
    })
    .unwrap();
    let total = seen[0].1;
    assert!(seen.len() > 1 && seen.is_sorted());
    assert_eq!(*seen.last().unwrap(), (total, total));

    let stopped = folder.path().join("stopped");
    let result = merge(&parents, &MergeSettings::default(), &stopped, &mut |_, _| {
        ControlFlow::Break(())
    });
    assert!(matches!(result, Err(MergeError::Stopped)));
    assert_eq!(listing(folder.path()), ["a", "out"]);
}
