//! `smollm3 init`: its recipes can be planned and run unchanged; unusable data are refused with what was found.

mod checkpoint;

use std::fs;
use std::path::Path;

use checkpoint::{printed, refused};
use serde_json::{Value, json};
use smollm3_recipe::Recipe;

fn write(path: &Path, rows: impl Iterator<Item = Value>) {
    let text: String = rows.map(|row| format!("{row}\n")).collect();
    fs::write(path, text).unwrap();
}

fn chat(i: u64) -> Value {
    json!({"id": i, "messages": [
        {"role": "user", "content": format!("What is {i} + 1?")},
        {"role": "assistant", "content": (i + 1).to_string()},
    ]})
}

fn pair(i: u64) -> Value {
    json!({"prompt": format!("What is {i} + 1?"), "chosen": (i + 1).to_string(), "rejected": "None.".to_owned()})
}

#[test]
fn conversations_and_pairs_become_a_recipe_that_runs_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    checkpoint::write(&here.join("base"), 2_048);
    write(&here.join("chats.jsonl"), (0..150).map(chat));
    fs::write(
        here.join("pairs.json"),
        json!((0..40).map(pair).collect::<Vec<_>>()).to_string(),
    )
    .unwrap();
    let init = [
        "init",
        "fine-tune",
        "--data",
        "chats.jsonl",
        "--data",
        "pairs.json",
        "--checkpoint",
        "base",
        "--output",
        "mine",
        "--backend",
        "flex",
    ];
    let said = printed(here, &init);
    for words in [
        "chats.jsonl: conversations, read 150 rows; median length",
        "unused columns: id",
        "pairs.json: pairs of answers, read 40 rows",
        "wrote mine/recipe.toml",
        "smollm3 plan mine",
        "smollm3 run mine",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let recipe = fs::read_to_string(here.join("mine/recipe.toml")).unwrap();
    for words in [
        "kind = \"sft\"",
        "kind = \"apo\"",
        "from = \"sft\"",
        "sequence_length = 256",
        "held_out = \"5%\"",
    ] {
        assert!(recipe.contains(words), "{words}: {recipe}");
    }
    assert!(
        !recipe.contains("\nlora"),
        "a model of this size is trained whole: {recipe}"
    );
    printed(here, &["plan", "mine"]);
    printed(here, &["run", "mine"]);
    assert!(here.join("runs/mine/apo").is_dir());
    let again = refused(here, &init);
    assert!(again.contains("mine/recipe.toml exists"), "{again}");
    assert_eq!(fs::read_to_string(here.join("mine/recipe.toml")).unwrap(), recipe);
}

#[test]
fn what_the_memory_does_not_hold_is_made_smaller() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    checkpoint::write(&here.join("base"), 1 << 20);
    let long = |i| {
        json!({"messages": [
            {"role": "user", "content": format!("{i}{}", " What is 2 + 2?".repeat(20_000))},
            {"role": "assistant", "content": "4"},
        ]})
    };
    write(&here.join("chats.jsonl"), (0..2).map(long));
    let init = |output: &str, memory: &str| {
        let words = [
            "init",
            "fine-tune",
            "--data",
            "chats.jsonl",
            "--checkpoint",
            "base",
            "--backend",
            "flex",
        ];
        let said = printed(
            here,
            &[words.as_slice(), &["--output", output, "--memory", memory]].concat(),
        );
        (
            said,
            fs::read_to_string(here.join(output).join("recipe.toml")).unwrap(),
        )
    };
    let (_, large) = init("large", "100GB");
    assert!(large.contains("sequence_length = 262144"), "{large}");
    assert!(!large.contains("recompute"), "{large}");
    let (_, small) = init("small", "1GB");
    assert!(
        small.contains("recompute = \"layers\"") || !small.contains("sequence_length = 262144"),
        "{small}"
    );
    printed(here, &["plan", "small"]);
}

#[test]
fn text_becomes_a_recipe_for_pretraining_and_a_sweep() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let text =
        |i| json!({"content": format!("Number {i} is followed by {}. ", i + 1).repeat(40), "url": "x"});
    write(&here.join("texts.jsonl"), (0..300).map(text));
    let said = printed(
        here,
        &["init", "pretrain", "--data", "texts.jsonl", "--backend", "flex"],
    );
    for words in [
        "texts.jsonl: text, read 300 rows",
        "the text is in the column `content`",
        "smollm3 run pretrain",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    printed(here, &["plan", "pretrain"]);
    let short = ["--set", "stage.pretrain.phase.all.until=12 steps"];
    printed(here, &[["run", "pretrain"].as_slice(), &short].concat());

    let said = printed(
        here,
        &["init", "ablation", "--data", "texts.jsonl", "--backend", "flex"],
    );
    assert!(said.contains("smollm3 sweep ablation --dry-run"), "{said}");
    printed(here, &["plan", "ablation"]);
    let runs = printed(here, &["sweep", "ablation", "--dry-run"]);
    assert!(
        runs.contains("rope-everywhere") && runs.contains("rate-doubled"),
        "{runs}"
    );
    fs::remove_file(here.join("ablation/recipe.toml")).unwrap();
    let again = refused(here, &["init", "ablation", "--data", "texts.jsonl"]);
    assert!(again.contains("ablation/sweep.toml exists"), "{again}");
}

#[test]
fn malformed_rows_count_towards_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let rows = (0..25_000).map(|i| match i {
        0 => json!({"text": "A text."}),
        _ => json!({"text": 1}),
    });
    write(&here.join("rows.jsonl"), rows);
    let said = printed(
        here,
        &["init", "pretrain", "--data", "rows.jsonl", "--backend", "flex"],
    );
    assert!(said.contains("read the first 1 rows"), "{said}");
    assert!(said.contains("19999 rows are malformed"), "{said}");
}

#[test]
fn checkpoints_become_a_merge() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    for name in ["a", "b"] {
        checkpoint::write(&here.join(name), 256);
    }
    let error = refused(here, &["init", "merge", "--checkpoint", "a"]);
    assert!(error.contains("needs at least two checkpoints"), "{error}");
    printed(
        here,
        &[
            "init",
            "merge",
            "--checkpoint",
            "a",
            "--checkpoint",
            "b",
            "--output",
            "both",
            "--backend",
            "flex",
        ],
    );
    printed(here, &["plan", "both"]);
    printed(here, &["run", "both"]);
    assert!(here.join("runs/both/merged").is_dir());
}

#[test]
fn wrong_data_are_refused_with_what_was_found() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    checkpoint::write(&here.join("base"), 256);
    write(
        &here.join("texts.jsonl"),
        (0..3).map(|i| json!({"text": format!("Number {i}.")})),
    );
    write(&here.join("chats.jsonl"), (0..3).map(chat));
    write(
        &here.join("numbers.jsonl"),
        (0..3).map(|i| json!({"x": i, "y": [i]})),
    );
    write(
        &here.join("broken.jsonl"),
        (0..3).map(|_| json!({"messages": [{"role": "robot", "content": "x"}]})),
    );
    fs::write(here.join("none.jsonl"), "\n\n").unwrap();
    fs::write(here.join("rows.csv"), "a,b\n1,2\n").unwrap();
    for (kind, data, words) in [
        (
            "fine-tune",
            "texts.jsonl",
            vec![
                "the rows are text",
                "columns text",
                "needs conversations",
                "init pretrain",
            ],
        ),
        (
            "pretrain",
            "chats.jsonl",
            vec!["conversations (columns id, messages)", "init fine-tune"],
        ),
        (
            "fine-tune",
            "numbers.jsonl",
            vec![
                "line 1 of",
                "none of the columns is text (x, y)",
                "chosen and rejected",
            ],
        ),
        ("fine-tune", "broken.jsonl", vec!["line 1 of", "robot"]),
        ("fine-tune", "none.jsonl", vec!["none.jsonl has no rows"]),
        (
            "fine-tune",
            "rows.csv",
            vec!["rows.csv: tables are not read", "orient=\"records\""],
        ),
        ("fine-tune", "gone.jsonl", vec!["`gone.jsonl` does not exist"]),
    ] {
        let error = refused(
            here,
            &[
                "init",
                kind,
                "--data",
                data,
                "--checkpoint",
                "base",
                "--backend",
                "flex",
            ],
        );
        for word in words {
            assert!(error.contains(word), "{kind} {data}: {word}: {error}");
        }
        assert!(!here.join(kind).exists());
    }
    let error = refused(here, &["init", "fine-tune", "--checkpoint", "base"]);
    assert!(error.contains("--data is missing"), "{error}");
    let error = refused(
        here,
        &[
            "init",
            "fine-tune",
            "--data",
            "chats.jsonl",
            "--checkpoint",
            "./nothing",
        ],
    );
    assert!(
        error.contains("./nothing: there is no such file or folder"),
        "{error}"
    );
    // Offline, and nothing in the cache: without the checkpoint's tokenizer lengths are in characters.
    let said = printed(
        here,
        &["init", "fine-tune", "--data", "chats.jsonl", "--backend", "flex"],
    );
    assert!(
        said.contains("tokens at four characters each") && said.contains("SmolLM3-3B"),
        "{said}"
    );
}

fn init<'a>(kind: &'a str, options: &'a str) -> Vec<&'a str> {
    let mut words = vec!["init", kind, "--data", "chats.jsonl", "--checkpoint", "base"];
    words.extend(options.split(' '));
    words
}

/// Also where a path has a quotation mark in it.
#[test]
fn recipes_for_every_backend_can_be_read_and_have_the_same_rows() {
    let folder = tempfile::Builder::new().prefix("o'neil").tempdir().unwrap();
    let here = folder.path();
    checkpoint::write(&here.join("base"), 2_048);
    write(&here.join("chats.jsonl"), (0..20).map(chat));
    let mut shapes = Vec::new();
    for (name, options, precision) in [
        ("one", "--backend flex", "f32"),
        ("two", "--backend tch --device cpu", "f32"),
        ("three", "--backend tch --device cuda:1 --memory 8GB", "bf16"),
        ("four", "--backend wgpu --memory 8GB", "f32"),
    ] {
        let options = &format!("{options} --output {name}");
        printed(here, &init("fine-tune", options));
        let recipe = Recipe::load(&here.join(name), &[]).unwrap();
        assert!(options.contains(recipe.run.backend.name()), "{options}");
        let device = recipe.run.device.clone();
        assert_eq!(device.is_some(), options.contains("--device"), "{options}");
        assert!(options.contains(&device.unwrap_or_default()), "{options}");
        assert!(
            fs::read_to_string(here.join(name).join("recipe.toml"))
                .unwrap()
                .contains(precision)
        );
        let stage = recipe.stages[0].optimisation().unwrap();
        shapes.push((
            stage.sequence_length,
            stage.micro_batch,
            stage.lora.clone(),
            stage.recompute,
        ));
    }
    shapes.dedup();
    assert_eq!(shapes.len(), 1, "{shapes:?}");

    for (kind, options, words) in [
        ("fine-tune", "--backend cuda", "write flex, tch or wgpu"),
        ("fine-tune", "--backend tch --device cuda", "--memory is missing"),
        ("pretrain", "--backend flex --memory 8GB", "for fine-tuning only"),
    ] {
        let error = refused(here, &init(kind, options));
        assert!(error.contains(words), "{options}: {error}");
    }
}

#[test]
fn an_adapter_is_planned_as_its_base() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    checkpoint::write(&here.join("base"), 2_048);
    fs::create_dir(here.join("adapter")).unwrap();
    let config = r#"{"peft_type": "LORA", "base_model_name_or_path": "../base", "r": 2, "lora_alpha": 4}"#;
    fs::write(here.join("adapter/adapter_config.json"), config).unwrap();
    write(&here.join("chats.jsonl"), (0..20).map(chat));
    let stage = |checkpoint: &str| {
        let words = ["init", "fine-tune", "--data", "chats.jsonl", "--backend", "flex"];
        let said = printed(
            here,
            &[
                &words[..],
                &[
                    "--checkpoint",
                    checkpoint,
                    "--output",
                    &format!("of-{checkpoint}"),
                ],
            ]
            .concat(),
        );
        assert_eq!(
            said.contains("adapter is an adapter of"),
            checkpoint == "adapter",
            "{said}"
        );
        let text = fs::read_to_string(here.join(format!("of-{checkpoint}/recipe.toml"))).unwrap();
        text[text.find("[[stage]]").unwrap()..].to_owned()
    };
    assert_eq!(stage("adapter"), stage("base"));
}
