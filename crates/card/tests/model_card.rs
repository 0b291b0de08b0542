//! What a card says of a run's folder, and of one that is none.

use std::fs;
use std::path::{Path, PathBuf};

use smollm3_card::{About, MARKER, card, publication};
use smollm3_hub::Content;

const CONFIG: &str = r#"{"model_type": "smollm3", "vocab_size": 1000, "hidden_size": 64, "intermediate_size": 128,
    "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true, "bos_token_id": 0, "eos_token_id": 0}"#;

const RECIPE: &str = r#"
[run]
name = "sums"
seed = 7
output = "/home/somebody/runs/sums"
backend = "flex"
license = "apache-2.0"
device = "cuda:1"
push = { repository = "owner/sums" }

[model]
checkpoint = "HuggingFaceTB/SmolLM3-3B"

[source.web]
category = "web"
kind = "hub"
dataset = "HuggingFaceFW/fineweb-edu"
subset = "sample-10BT"
license = "odc-by"

[source.mine]
category = "notes"
kind = "jsonl"
paths = [
    "/home/somebody/a.jsonl",
    "https://somebody:hunter2@host.example/b.jsonl?X-Amz-Signature=hunter3#part",
]

[[stage]]
name = "more"
kind = "pretrain"
optimizer = { learning_rate = 2e-4 }

[[stage]]
name = "aside"
kind = "pretrain"
from = "more"

[[stage]]
name = "sft"
kind = "sft"
from = "more"
optimizer = { learning_rate = 1e-5 }
[[stage.data]]
name = "chats"
paths = ["hf://datasets/HuggingFaceTB/smoltalk2/SFT/part-*.parquet"]
validation = { paths = ["HTTP://host.example/dev.jsonl?sig=hunter4"] }
license = "apache-2.0"
[[stage.data]]
name = "made-up"
sums = { conversations = 500, think = true }
"#;

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn checkpoint(folder: &Path) {
    write(&folder.join("config.json"), CONFIG);
    write(&folder.join("model.safetensors"), "");
    write(&folder.join("tokenizer.json"), "{}");
}

/// A run of which the stage `sft` is half done; returns its checkpoint.
fn run(folder: &Path) -> PathBuf {
    write(&folder.join("recipe.json"), "{}");
    write(&folder.join("recipe.toml"), RECIPE);
    let stage = |steps: u64, phases: &str| {
        format!(
            r#"{{"name": "x", "steps": {steps}, "tokens_per_step": 8192, "sequence_length": 256, "rope_theta": 1e4,
                "flops_per_token": 1e6, "peak_flops": null, "sources": [], "phases": {phases}}}"#
        )
    };
    let step_line = |step: u64, loss: &str| {
        format!(
            r#"{{"kind": "step", "step": {step}, "phase": "a", "tokens": 1, "loss": {loss}, "learning_rate": 1e-3, "grad_norm": 1.0,
                "seconds": 1.0, "data_seconds": 0.0}}"#
        )
        .replace('\n', " ")
            + "\n"
    };
    let phases = r#"[{"name": "a", "first": 1, "last": 300, "shares": {"web": 1.0}},
        {"name": "b", "first": 301, "last": 400, "shares": {"web": 0.6, "mine": 0.4}}]"#;
    write(&folder.join("more/stage.json"), &stage(400, phases));
    write(
        &folder.join("more/metrics.jsonl"),
        &[
            "cut off\": 1}\n",
            &step_line(398, "null"),
            &step_line(399, "2.0"),
            &step_line(400, "3.0"),
            r#"{"kind": "held-out", "step": 400, "phase": "b", "category": "web", "nats_per_token": 2.25, "bits_per_byte": 0.8, "tokens": 9}"#,
        ]
        .concat(),
    );
    let shares = r#"[{"name": "a", "first": 1, "last": 200, "shares": {"conversations": 1.0}}]"#;
    write(&folder.join("sft/stage.json"), &stage(200, shares));
    write(
        &folder.join("sft/metrics.jsonl"),
        &(step_line(100, "1.5") + &step_line(101, "9.0")),
    );
    write(
        &folder.join("sft/evaluation.json"),
        r#"{"checkpoint": "0a", "step": 100, "asked": {}, "held_out": {"web": {"nats_per_token": 2.5, "bits_per_byte": 0.9, "tokens": 10}},
            "exact_match": [{"think": true, "items": 100, "score": 0.61, "standard_error": 0.049}],
            "long_context": [{"task": "single", "length": 512, "items": 2, "score": 0.5, "standard_error": 0.3}],
            "preference": [],
            "loss_by_position": [{"from": 0, "to": 256, "loss": 2.5, "standard_error": 0.1, "documents": 3}]}"#,
    );
    let step = folder.join("sft/step-00000100");
    checkpoint(&step);
    write(&step.join("chat_template.jinja"), "{{ messages }}");
    write(
        &step.join("hub.json"),
        r#"{"HuggingFaceTB/SmolLM3-3B": "0123456789abcdef0123456789abcdef01234567"}"#,
    );
    write(
        &step.join("state.json"),
        r#"{"stage": "sft", "step": 100, "steps": 200, "tokens": 1, "updates": 1, "recipe": "f1f2", "data": {}, "version": "0.1.0"}"#,
    );
    write(&step.join("optimizer.safetensors"), "");
    step
}

#[test]
fn a_card_says_what_the_run_has_on_record() {
    let folder = tempfile::tempdir().unwrap();
    let step = run(folder.path());
    let about = About {
        repository: Some("owner/sums"),
        ..About::default()
    };
    let card = card(&step, &about).unwrap();
    let front = "---\nlicense: apache-2.0\nlibrary_name: transformers\npipeline_tag: text-generation\nbase_model:\n- \
                 HuggingFaceTB/SmolLM3-3B\nbase_model_relation: finetune\ndatasets:\n- HuggingFaceFW/fineweb-edu\n- \
                 HuggingFaceTB/smoltalk2\ntags:\n- smollm3\n---\n";
    assert!(card.starts_with(front), "{card}");
    for part in [
        MARKER,
        "# sums\n\nA decoder of SmolLM3's architecture with 212k parameters: 4 layers of width 64, 4 attention heads over 2 \
         key-value heads",
        "This is the checkpoint of stage `sft` after step 100 of 200 of the run `sums`.",
        "With transformers (4.53 or newer):",
        "apply_chat_template",
        "| more | pretrain | HuggingFaceTB/SmolLM3-3B (01234567) | 400 | 3.28M | 256 | 0.0002 | 2.500 |",
        "| sft | sft | more | 100 | 819k | 256 | 0.00001 | 1.500 |",
        "| more | web | 90.0 % | [HuggingFaceFW/fineweb-edu](https://huggingface.co/datasets/HuggingFaceFW/fineweb-edu), \
         sample-10BT | odc-by |",
        "| more | mine | 10.0 % | own files (2 paths) | not stated |",
        "| sft | chats |  | [HuggingFaceTB/smoltalk2](https://huggingface.co/datasets/HuggingFaceTB/smoltalk2) | \
         apache-2.0 |",
        "| sft | made-up |  | 500 generated questions about sums | not stated |",
        "| more | web | 2.250 |",
        "| web | 2.500 | 0.900 |",
        "| /think | 61.0 % ± 4.9 | 100 |",
        "| single | 512 | 50.0 % ± 30.0 |",
        "| 0 to 256 | 2.500 |",
        "Loss is the mean of the last 50 steps",
        "| smollm3 | 0.1.0 |",
        "| seed | 7 |",
        "| recipe's fingerprint | f1f2 |",
    ] {
        assert!(card.contains(part), "{part}\n{card}");
    }
    for absent in ["aside", "/home", "somebody", "hunter"] {
        assert!(!card.contains(absent), "{absent}\n{card}");
    }
    let files = publication(&step, &about).unwrap();
    let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "model.safetensors",
            "config.json",
            "tokenizer.json",
            "chat_template.jinja",
            "README.md",
            "recipe.toml"
        ]
    );
    let Content::Text(recipe) = &files[5].content else {
        panic!("{:?}", files[5]);
    };
    assert!(
        !recipe.contains("hunter") && recipe.contains("hf://datasets/"),
        "{recipe}"
    );
    let recipe: toml::Table = recipe.parse().unwrap();
    let paths = &recipe["source"]["mine"]["paths"];
    assert_eq!(paths[0].as_str(), Some("/home/somebody/a.jsonl"));
    assert_eq!(paths[1].as_str(), Some("https://host.example/b.jsonl#part"));
    let run = recipe["run"].as_table().unwrap();
    assert_eq!(run["output"].as_str(), Some("runs/sums"));
    assert!(!run.contains_key("push") && !run.contains_key("device"), "{run}");
    assert_eq!(recipe["stage"].as_array().unwrap().len(), 3);
}

#[test]
fn a_folder_of_no_run_has_a_short_card() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    checkpoint(&model);
    let about = About {
        repository: Some("owner/name"),
        revision: Some("next"),
        license: Some("mit"),
    };
    let text = card(&model, &about).unwrap();
    assert!(
        text.starts_with("---\nlicense: mit\n") && text.contains("vllm serve owner/name --revision next\n"),
        "{text}"
    );
    for absent in [
        "## Training",
        "## Evaluation",
        "## Made with",
        "base_model",
        "apply_chat_template",
    ] {
        assert!(!text.contains(absent), "{absent}\n{text}");
    }
    // Made from one of the Hub.
    write(
        &model.join("hub.json"),
        r#"{"owner/base@v2": "0123456789abcdef0123456789abcdef01234567"}"#,
    );
    assert!(
        card(&model, &about)
            .unwrap()
            .contains("base_model:\n- owner/base\n")
    );
}

#[test]
fn somebodys_own_card_stays() {
    let folder = tempfile::tempdir().unwrap();
    let step = run(folder.path());
    let readme = |text: &str| {
        write(&step.join("README.md"), text);
        let files = publication(&step, &About::default()).unwrap();
        files
            .into_iter()
            .find(|file| file.name == "README.md")
            .unwrap()
            .content
    };
    assert_eq!(readme("My words"), Content::Text("My words".to_owned()));
    for generated in [
        format!("# Old\n{MARKER}\n"),
        "# merged\n\nThe same as data: `merge.json`.\n".to_owned(),
    ] {
        assert!(matches!(readme(&generated), Content::Generated { text, .. } if text.contains("# sums")));
    }
}

#[test]
fn an_adapter_has_the_card_of_its_checkpoint_and_names_its_base() {
    let folder = tempfile::tempdir().unwrap();
    let step = run(folder.path());
    let adapter = step.join("adapter");
    let config = r#"{"peft_type": "LORA", "base_model_name_or_path": "HuggingFaceTB/SmolLM3-3B", "r": 12, "lora_alpha": 24}"#;
    write(&adapter.join("adapter_config.json"), config);
    write(&adapter.join("adapter_model.safetensors"), "");
    let about = About {
        repository: Some("owner/sums-lora"),
        ..About::default()
    };
    let text = card(&adapter, &about).unwrap();
    let front = "---\nlicense: apache-2.0\nlibrary_name: peft\npipeline_tag: text-generation\nbase_model:\n- \
                 HuggingFaceTB/SmolLM3-3B\nbase_model_relation: adapter\n";
    assert!(text.starts_with(front), "{text}");
    for part in [
        "# sums-lora\n\nA LoRA adapter of rank 12 (alpha 24) for HuggingFaceTB/SmolLM3-3B, a decoder of SmolLM3's architecture",
        "- lora\n",
        "AutoPeftModelForCausalLM.from_pretrained(\"owner/sums-lora\")",
        "vllm serve HuggingFaceTB/SmolLM3-3B --enable-lora --max-lora-rank 16 --lora-modules adapter=owner/sums-lora",
        "| sft | sft | more | 100 |",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let names: Vec<String> = publication(&adapter, &about)
        .unwrap()
        .into_iter()
        .map(|file| file.name)
        .collect();
    for name in [
        "adapter_model.safetensors",
        "tokenizer.json",
        "README.md",
        "recipe.toml",
    ] {
        assert!(names.iter().any(|found| found == name), "{name}: {names:?}");
    }
    assert!(!names.iter().any(|name| name == "model.safetensors"));

    // Outside a run there is nothing to make a card of, but its own can be uploaded.
    let alone = folder.path().join("alone");
    write(&alone.join("adapter_config.json"), config);
    write(&alone.join("adapter_model.safetensors"), "");
    let error = publication(&alone, &about).unwrap_err().to_string();
    assert!(error.contains("write a README.md there"), "{error}");
    write(&alone.join("README.md"), "Mine");
    assert_eq!(publication(&alone, &about).unwrap().len(), 3);
}

#[test]
fn damaged_records_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let step = run(folder.path());
    for name in [
        "recipe.toml",
        "sft/stage.json",
        "sft/evaluation.json",
        "sft/step-00000100/state.json",
    ] {
        let path = folder.path().join(name);
        let before = fs::read(&path).unwrap();
        fs::write(&path, "{ not").unwrap();
        let error = card(&step, &About::default()).unwrap_err().to_string();
        let file = path.file_name().unwrap().to_str().unwrap();
        assert!(error.contains(file), "{error}");
        fs::write(&path, before).unwrap();
    }
}

#[test]
fn the_version_of_the_tensor_library_is_the_workspaces() {
    let workspace = include_str!("../../../Cargo.toml");
    let line = workspace
        .lines()
        .find(|line| line.starts_with("burn = "))
        .unwrap();
    let version = line.split('"').nth(1).unwrap().trim_start_matches('=');
    let folder = tempfile::tempdir().unwrap();
    let card = card(&run(folder.path()), &About::default()).unwrap();
    assert!(card.contains(&format!("| burn | {version} |")), "{card}");
}
