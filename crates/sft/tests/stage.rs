//! Stages on conversations, run, stopped and gone on with; rows that are none.

mod stopped;
#[path = "../../engine/tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use smollm3_conversations::{ConversationEncoder, Prepared};
use smollm3_engine::{Run, checkpoint};
use smollm3_model::Parameters;
use smollm3_model::hf::{Checkpoint, TensorFiles};
use smollm3_recipe::Recipe;
use smollm3_records::{Event, HeldOutRecord, Listeners, Record, read_metrics};
use smollm3_sft::{PackedRows, prepared_data};
use support::{Recorder, recipe};

const STEPS: u64 = 8;

const STAGE: &str = r#"
[[stage]]
name = "sft"
kind = "sft"
from = "pretrain"
sequence_length = 64
global_batch = "4 sequences"
micro_batch = "2 sequences"
until = "8 steps"
template = "chatml-masked"
optimizer = { learning_rate = 3e-3 }
schedule = { kind = "cosine", warmup = "1 steps", min_ratio = 0.1 }
checkpoint = { every = "1 steps", keep = 20 }
data = [{ name = "chats", paths = ["chats.jsonl"] }, { name = "few", paths = ["few.jsonl"], weight = 0.25 }]
"#;

fn row(question: &str, answer: &str) -> Value {
    json!({"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]})
}

fn write_rows(path: &Path, rows: &[Value]) {
    let text: String = rows.iter().map(|row| format!("{row}\n")).collect();
    fs::write(path, text).unwrap();
}

/// The tiny recipe, with conversations and a stage on them.
fn talking(folder: &Path, overrides: &[&str]) -> Recipe {
    recipe(folder, "flex", &[]);
    let chats: Vec<Value> = (0..200)
        .map(|i| row(&format!("Is {i} even?"), if i % 2 == 0 { "yes" } else { "no" }))
        .collect();
    write_rows(&folder.join("chats.jsonl"), &chats);
    let few: Vec<Value> = (0..21)
        .map(|i| row(&format!("Say {i}."), &i.to_string()))
        .collect();
    write_rows(&folder.join("few.jsonl"), &few);
    let file = folder.join("recipe.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text + STAGE).unwrap();
    let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
    Recipe::load(folder, &overrides).unwrap()
}

fn run(recipe: Recipe, stop_after: u64) -> smollm3_conversations::Result<()> {
    stopped::run(recipe, stop_after, usize::MAX)
}

fn files(folder: &Path, step: u64) -> BTreeMap<String, Vec<u8>> {
    let last = folder.join("out/sft").join(checkpoint::folder_name(step));
    let mut found = BTreeMap::new();
    for folder in [last.clone(), last.join("adapter")]
        .iter()
        .filter(|folder| folder.is_dir())
    {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let name = path.strip_prefix(&last).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read(path).unwrap());
            }
        }
    }
    found
}

fn held_out(folder: &Path) -> Vec<HeldOutRecord> {
    let records = read_metrics(&folder.join("out/sft")).unwrap().into_iter();
    records
        .filter_map(|record| match record {
            Record::HeldOut(record) => Some(record),
            Record::Step(_) | Record::Measured(_) => None,
        })
        .collect()
}

#[test]
fn a_stage_learns_answers_and_leaves_a_checkpoint_that_can_talk() {
    let folder = tempfile::tempdir().unwrap();
    run(
        talking(
            folder.path(),
            &["stage.sft.until=40 steps", "stage.sft.checkpoint.keep=1"],
        ),
        0,
    )
    .unwrap();
    let losses = held_out(folder.path());
    let [before, after] = losses.as_slice() else {
        panic!("{losses:?}")
    };
    assert_eq!((before.phase.as_str(), before.step, after.step), ("start", 0, 40));
    // "yes" or "no" and the end of the turn: all but one bit of it can be learnt.
    assert!(after.nats_per_token < 0.5 * before.nats_per_token, "{losses:?}");

    let found = files(folder.path(), 40);
    let json = |name: &str| -> Value { serde_json::from_slice(&found[name]).unwrap() };
    let tokenizer: Value = json("tokenizer.json");
    let added = tokenizer["added_tokens"].as_array().unwrap();
    let end = added
        .iter()
        .find(|token| token["content"] == "<|im_end|>")
        .unwrap();
    assert_eq!(json("config.json")["eos_token_id"], end["id"]);
    let generation = json("generation_config.json");
    let ends = generation["eos_token_id"].as_array().unwrap();
    let document_end = added
        .iter()
        .find(|token| token["content"] == "<|end_of_text|>")
        .unwrap();
    assert_eq!(ends, &[end["id"].clone(), document_end["id"].clone()]);
    assert_eq!(json("tokenizer_config.json")["eos_token"], "<|im_end|>");
    let template = String::from_utf8(found["chat_template.jinja"].clone()).unwrap();
    assert!(
        template.contains("{% generation %}") || template.contains("generation"),
        "{template}"
    );
    let ledger: Value =
        serde_json::from_str(&fs::read_to_string(folder.path().join("out/sft/ledger.json")).unwrap())
            .unwrap();
    let recipe = talking(folder.path(), &[]);
    let found = prepared_data(&recipe, &recipe.stages[1]).unwrap().unwrap();
    assert_eq!(
        (json!(found.rows), json!(found.tokens)),
        (ledger["packing"]["rows"].clone(), ledger["input"].clone())
    );
    assert_eq!(prepared_data(&recipe, &recipe.stages[0]).unwrap(), None);
    let part = |name: &str| ledger[name].as_u64().unwrap();
    assert!(part("trained") > 0 && part("masked") > 0);
    assert_eq!(
        part("input"),
        part("trained") + part("masked") + part("truncated") + part("dropped")
    );
}

#[test]
fn a_stop_after_any_step_changes_no_bit() {
    let whole = tempfile::tempdir().unwrap();
    run(talking(whole.path(), &[]), 0).unwrap();
    for stop in [1, 3, 7] {
        let broken = tempfile::tempdir().unwrap();
        run(talking(broken.path(), &[]), stop).unwrap_err();
        run(talking(broken.path(), &[]), 0).unwrap();
        assert!(
            files(whole.path(), STEPS) == files(broken.path(), STEPS),
            "stopped after {stop}"
        );
        assert_eq!(held_out(whole.path()), held_out(broken.path()));
    }
}

fn prepared(recipe: Recipe, notes: &Recorder) -> smollm3_conversations::Result<(Prepared, u64)> {
    let mut listener = Listeners::default().with(Recorder(notes.0.clone()));
    let run = Run::open(recipe, &mut listener)?;
    let stage = run.recipe.stages.last().unwrap();
    let fine_tuning = stage.fine_tuning().unwrap();
    let encoder = ConversationEncoder::of(&run.recipe, &run.data.tokenizer, stage, fine_tuning)?;
    let data = &fine_tuning.chat.data;
    let prepared = Prepared::of(&run.recipe, &run.data, stage, data, &encoder, &mut listener)?;
    let told = |event: &&Event| matches!(event, Event::Note(text) if text.starts_with("chats"));
    let made = notes.0.borrow().iter().filter(told).count() as u64;
    Ok((prepared, made))
}

#[test]
fn rows_are_tokenised_once_and_again_when_anything_about_them_changes() {
    let folder = tempfile::tempdir().unwrap();
    let notes = Recorder::default();
    let (first, made) = prepared(talking(folder.path(), &[]), &notes).unwrap();
    assert_eq!(made, 1);
    let (chats, few) = (&first.reports["chats"], &first.reports["few"]);
    assert_eq!((chats.rows, chats.kept, few.rows), (200, 200, 21));
    // A quarter of 21, rounded down as the original does.
    assert_eq!(few.kept, 5);
    assert_eq!(first.train.len() + first.held_out.as_ref().unwrap().len(), 205);
    assert!(!first.held_out.as_ref().unwrap().is_empty());
    drop(first);
    assert_eq!(
        prepared(talking(folder.path(), &[]), &notes).unwrap().1,
        1,
        "again: nothing to do"
    );

    recipe(folder.path(), "flex", &[]);
    let changed = talking(folder.path(), &[]);
    let mut rows = fs::read_to_string(folder.path().join("chats.jsonl")).unwrap();
    rows.push_str(&format!("{}\n", row("One more?", "yes")));
    fs::write(folder.path().join("chats.jsonl"), rows).unwrap();
    let (more, made) = prepared(changed, &notes).unwrap();
    assert_eq!((made, more.reports["chats"].rows), (2, 201));
}

/// Most tokenizers are encoded fast; with the others a long wait has a reason that is told.
#[test]
fn a_tokenizer_that_encodes_slowly_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let notes = Recorder::default();
    let (first, _) = prepared(talking(folder.path(), &[]), &notes).unwrap();
    let slowly = |event: &Event| matches!(event, Event::Note(text) if text.contains("slowly"));
    assert!(!notes.0.borrow().iter().any(slowly));
    drop(first);
    let file = folder.path().join("out/tokenizer/tokenizer.json");
    let mut json: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    json["normalizer"] = json!({"type": "NFC"});
    let tokenizer = folder.path().join("normalized");
    fs::create_dir(&tokenizer).unwrap();
    fs::write(tokenizer.join("tokenizer.json"), json.to_string()).unwrap();
    let other = [
        "tokenizer={ pretrained = \"./normalized\" }".to_owned(),
        format!("run.output='{}'", folder.path().join("other").display()),
    ];
    let other: Vec<&str> = other.iter().map(String::as_str).collect();
    prepared(talking(folder.path(), &other), &notes).unwrap();
    let events = notes.0.borrow();
    let told: Vec<&str> = events
        .iter()
        .filter_map(|event| match event {
            Event::Note(text) if slowly(event) => Some(text.as_str()),
            _ => None,
        })
        .collect();
    let note = "conversations are encoded slowly, by tokenizers 0.22: tokenizers 1.0 could give other ids for the normalizer NFC";
    assert_eq!(told, [note]);
}

#[test]
fn rows_without_anything_to_learn_are_left_out_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = talking(folder.path(), &[]);
    let mut rows: Vec<Value> = (0..10).map(|i| row(&format!("{i}?"), "yes")).collect();
    rows.push(json!({"messages": [{"role": "user", "content": "Nobody answers."}]}));
    write_rows(&folder.path().join("chats.jsonl"), &rows);
    let (found, _) = prepared(recipe, &Recorder::default()).unwrap();
    assert_eq!(
        (
            found.reports["chats"].kept,
            found.reports["chats"].left_out["with nothing to learn"]
        ),
        (11, 1)
    );
}

#[test]
fn a_row_that_is_no_conversation_is_named_with_its_file_and_line() {
    let good = row("Yes?", "yes").to_string();
    for (bad, words) in [
        ("{\"messages\": [", vec!["chats.jsonl", "3"]),
        (
            r#"{"messages": [{"role": "robot", "content": "x"}]}"#,
            vec!["line 3", "chats.jsonl", "robot"],
        ),
        (r#"{"messages": [{"role": "user"}]}"#, vec!["line 3", "content"]),
        (r#"{"text": "no conversation"}"#, vec!["line 3", "messages"]),
        (r#"{"messages": []}"#, vec!["line 3", "chats.jsonl"]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let recipe = talking(folder.path(), &[]);
        fs::write(folder.path().join("chats.jsonl"), format!("{good}\n\n{bad}\n")).unwrap();
        let message = prepared(recipe, &Recorder::default()).unwrap_err().to_string();
        for word in words {
            assert!(message.contains(word), "{bad}: {message}");
        }
        assert!(!folder.path().join("out/conversations/sft/report.json").exists());
    }
}

#[test]
fn what_the_recipe_cannot_have_is_said() {
    let folder = tempfile::tempdir().unwrap();
    for (change, words) in [
        ("stage.sft.template=chatml", vec!["chatml", "chatml-masked"]),
        ("stage.sft.template=llama", vec!["llama", "smollm3"]),
        ("stage.sft.template=./none.jinja", vec!["none.jinja"]),
        ("stage.sft.template=checkpoint", vec!["no checkpoint", "pretrain"]),
    ] {
        let message = prepared(talking(folder.path(), &[change]), &Recorder::default());
        let message = message.unwrap_err().to_string();
        for word in words {
            assert!(message.contains(word), "{change}: {message}");
        }
        fs::remove_dir_all(folder.path().join("out")).unwrap();
    }
}

const LORA: &str =
    "stage.sft.lora={ rank = 4, alpha = 8, targets = [\"q_proj\", \"v_proj\", \"down_proj\"] }";

#[test]
fn adapters_are_trained_kept_and_merged() {
    let folder = tempfile::tempdir().unwrap();
    let longer = [
        "stage.sft.until=60 steps",
        "stage.sft.checkpoint.keep=1",
        "stage.sft.optimizer.learning_rate=2e-2",
        LORA,
    ];
    run(talking(folder.path(), &longer), 0).unwrap();
    let losses = held_out(folder.path());
    // The head is frozen and nearly untrained: its rows are so short that no token can get much more than the others.
    assert!(
        losses[1].nats_per_token < losses[0].nats_per_token - 0.3,
        "{losses:?}"
    );

    // What is not adapted is as it was, what is has changed by a matrix of the adapters' rank.
    let out = folder.path().join("out");
    let open =
        |stage: &str, step| Checkpoint::open(&out.join(stage).join(checkpoint::folder_name(step))).unwrap();
    let (before, after) = (open("pretrain", support::STEPS), open("sft", 60));
    let mut changed: Vec<String> = Vec::new();
    for (name, shape) in before.config.parameter_shapes() {
        let values = |checkpoint: &Checkpoint| -> Vec<f32> {
            checkpoint
                .tensors
                .parameter(&name, &shape)
                .unwrap()
                .iter()
                .collect()
        };
        if values(&before) != values(&after) {
            changed.push(name.rsplit('.').nth(1).unwrap().to_owned());
        }
    }
    changed.sort();
    changed.dedup();
    assert_eq!(changed, ["down_proj", "q_proj", "v_proj"]);

    let adapters = TensorFiles::open(
        &out.join("sft").join(checkpoint::folder_name(60)).join("adapter"),
        "adapter_model",
    )
    .unwrap();
    let names: Vec<&str> = adapters.names().collect();
    assert_eq!(names.len(), 4 * 3 * 2);
    assert!(
        names.contains(&"base_model.model.model.layers.3.mlp.down_proj.lora_B.weight"),
        "{names:?}"
    );
    let config = fs::read(
        out.join("sft")
            .join(checkpoint::folder_name(60))
            .join("adapter/adapter_config.json"),
    );
    let config: Value = serde_json::from_slice(&config.unwrap()).unwrap();
    assert_eq!(
        (config["r"].as_u64(), config["lora_alpha"].as_f64()),
        (Some(4), Some(8.0))
    );
}

#[test]
fn a_stop_while_adapters_are_trained_changes_no_bit() {
    let whole = tempfile::tempdir().unwrap();
    run(talking(whole.path(), &[LORA, "stage.sft.recompute=layers"]), 0).unwrap();
    let broken = tempfile::tempdir().unwrap();
    run(talking(broken.path(), &[LORA, "stage.sft.recompute=layers"]), 3).unwrap_err();
    run(talking(broken.path(), &[LORA, "stage.sft.recompute=layers"]), 0).unwrap();
    assert!(files(whole.path(), STEPS) == files(broken.path(), STEPS));
}

#[test]
fn a_stage_resumes_only_on_the_rows_that_it_was_trained_on() {
    let folder = tempfile::tempdir().unwrap();
    let report = || fs::read(folder.path().join("out/conversations/sft/report.json")).unwrap();
    let changed = || {
        let recipe = talking(folder.path(), &[]);
        write_rows(&folder.path().join("chats.jsonl"), &[row("Is 1 even?", "no")]);
        recipe
    };
    run(talking(folder.path(), &[]), 3).unwrap_err();
    let tokenised = report();
    let error = run(changed(), 0).unwrap_err().to_string();
    assert!(
        error.contains("stage \"sft\" cannot resume after step 3: its data changed")
            && error.contains("run.output"),
        "{error}"
    );
    assert_eq!(report(), tokenised);
    // Restored, it goes on; once it has ended, its rows are read no more.
    run(talking(folder.path(), &[]), 0).unwrap();
    run(changed(), 0).unwrap();
}

#[test]
fn adapters_are_trained_on_over_the_same_weights_only() {
    let folder = tempfile::tempdir().unwrap();
    stopped::run(talking(folder.path(), &[]), 0, 1).unwrap();
    // A checkpoint as others write them, without a manifest.
    let pretrained = folder.path().join("out/pretrain");
    let made = pretrained.join(checkpoint::folder_name(support::STEPS));
    let base = folder.path().join("base");
    fs::create_dir(&base).unwrap();
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        fs::copy(made.join(file), base.join(file)).unwrap();
    }
    let talking = || talking(folder.path(), &[LORA, "stage.sft.from=./base"]);
    run(talking(), 3).unwrap_err();
    let weights = fs::read(base.join("model.safetensors")).unwrap();
    let mut others = weights.clone();
    // The lowest bit of the last number.
    let low = others.len() - 4;
    others[low] ^= 1;
    fs::write(base.join("model.safetensors"), others).unwrap();
    let error = run(talking(), 0).unwrap_err().to_string();
    assert!(
        error.contains("cannot resume after step 3: \"frozen weights\" changed"),
        "{error}"
    );
    fs::write(base.join("model.safetensors"), weights).unwrap();
    run(talking(), 0).unwrap();
}

#[test]
fn rows_are_counted_from_one() {
    let batch = smollm3_conversations::RowBatch::Generated("sum", 1_000, vec![Value::Null; 2]);
    assert_eq!(
        (batch.place(0), batch.place(1)),
        ("sum 1001".to_owned(), "sum 1002".to_owned())
    );
}

#[test]
fn bad_rows_are_left_out_where_the_recipe_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = talking(folder.path(), &["data.bad_rows=skip"]);
    let mut rows: Vec<Value> = (0..10).map(|i| row(&format!("{i}?"), "yes")).collect();
    rows.insert(4, json!({"text": "no conversation"}));
    rows.insert(7, json!({"messages": [{"role": "robot", "content": "x"}]}));
    write_rows(&folder.path().join("chats.jsonl"), &rows);
    let (found, _) = prepared(recipe, &Recorder::default()).unwrap();
    let chats = &found.reports["chats"];
    assert_eq!(
        (chats.rows, chats.kept, chats.left_out["that could not be read"]),
        (12, 12, 2)
    );
    let held_out = found.held_out.as_ref().map_or(0, |store| store.len());
    assert_eq!(found.train.len() + held_out, 10 + found.reports["few"].kept);
}

#[test]
fn rows_without_a_target_are_left_out_by_reason_and_no_step_is_made_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = |overrides: &[&str]| talking(folder.path(), &[&["data.held_out=0%"], overrides].concat());
    let long = "Please read this first. ".repeat(12);
    let mut rows: Vec<Value> = (0..3).map(|i| row(&format!("{i}?"), "yes")).collect();
    rows.extend([row(&long, "yes"), row("Silent?", ""), row("Blank?", " \n")]);
    let fresh = |rows: &[Value], overrides: &[&str]| {
        let _ = fs::remove_dir_all(folder.path().join("out"));
        let recipe = recipe(overrides);
        write_rows(&folder.path().join("chats.jsonl"), rows);
        prepared(recipe, &Recorder::default())
    };
    let (found, _) = fresh(&rows, &[]).unwrap();
    let chats = &found.reports["chats"];
    let left_out: Vec<(&str, u64)> = chats
        .left_out
        .iter()
        .map(|(reason, rows)| (reason.as_str(), *rows))
        .collect();
    assert_eq!(
        left_out,
        [("too long before the first answer", 1), ("with empty answers", 2)]
    );
    assert_eq!((chats.trained, chats.kept), (3, 6));

    let few = "stage.sft.data=[{ name = \"chats\", paths = [\"chats.jsonl\"] }]";
    let error = fresh(&[row(&long, "yes"), row("Silent?", "")], &[few])
        .unwrap_err()
        .to_string();
    for words in [
        "nothing is left to train on",
        "1 too long before the first answer",
        "1 with empty answers",
    ] {
        assert!(error.contains(words), "{error}");
    }
    // A stream that is cut has rows between a question and its answer. They are no steps.
    let streamed = ["stage.sft.packing=wrapped", few];
    let rows: Vec<Value> = (0..8).map(|i| row(&format!("{i} {long}"), "yes")).collect();
    let (found, _) = fresh(&rows, &streamed).unwrap();
    let recipe = recipe(&streamed);
    let stage = recipe.stages.last().unwrap();
    let settings = stage
        .fine_tuning()
        .unwrap()
        .packing(stage.optimisation().unwrap());
    let packed = PackedRows::new(found.train, &settings, recipe.run.seed).unwrap();
    // The plan counts steps as the stage makes them.
    let planned = prepared_data(&recipe, stage).unwrap().unwrap();
    assert_eq!(planned.rows, packed.len());
    let learned = |number| packed.row(number).unwrap().targets.iter().flatten().count() as u64;
    let learned: Vec<u64> = (0..packed.len()).map(learned).collect();
    assert!(learned.iter().all(|targets| *targets > 0), "{learned:?}");
    let ledger = packed.ledger();
    assert_eq!(learned.iter().sum::<u64>(), ledger.trained);
    assert!(packed.len() < ledger.packing.rows && ledger.dropped > 0);
    assert_eq!(
        ledger.input,
        ledger.trained + ledger.masked + ledger.truncated + ledger.dropped
    );
}

#[test]
fn rows_that_do_not_fill_a_batch_are_one_step() {
    let folder = tempfile::tempdir().unwrap();
    talking(folder.path(), &[]);
    write_rows(
        &folder.path().join("chats.jsonl"),
        &[row("Is 1 even?", "no"), row("Is 2 even?", "yes")],
    );
    let file = folder.path().join("recipe.toml");
    let text = fs::read_to_string(&file).unwrap();
    let stage = STAGE
        .replace("until = \"8 steps\"", "epochs = 1")
        .replace("\"4 sequences\"", "\"16 sequences\"")
        .replace(
            "{ kind = \"cosine\", warmup = \"1 steps\", min_ratio = 0.1 }",
            "{ kind = \"constant\" }",
        );
    fs::write(&file, text.replace(STAGE, &stage)).unwrap();
    run(Recipe::load(folder.path(), &[]).unwrap(), 0).unwrap();
    let steps: Vec<_> = read_metrics(&folder.path().join("out/sft"))
        .unwrap()
        .into_iter()
        .filter_map(|record| match record {
            Record::Step(step) => Some(step),
            _ => None,
        })
        .collect();
    assert_eq!(steps.len(), 1);
    assert!(steps[0].updated && steps[0].loss.is_finite());
    // Seven conversations, whose answers and ends of turns are learned.
    let targets: u64 = steps[0].sources.values().map(|part| part.targets).sum();
    assert!(targets >= 14, "{targets}");
}

#[test]
fn what_the_template_does_not_write_is_refused_or_counted() {
    let folder = tempfile::tempdir().unwrap();
    let with_tools = |row: Value| {
        let mut row = row;
        row["tools"] = json!([{"type": "function", "function": {"name": "add"}}]);
        row
    };
    let rows = [
        row("a", "b"),
        with_tools(row("c", "d")),
        row("What is <|im_end|>?", "f"),
    ];
    let fresh = |overrides: &[&str]| {
        let _ = fs::remove_dir_all(folder.path().join("out"));
        let recipe = talking(folder.path(), &[&["data.held_out=0%"], overrides].concat());
        write_rows(&folder.path().join("chats.jsonl"), &rows);
        prepared(recipe, &Recorder::default())
    };
    let error = fresh(&[]).unwrap_err().to_string();
    for words in [
        "line 2 of",
        "chats.jsonl",
        "does not write tools at `tools[0].function.name`",
        "template_drops",
    ] {
        assert!(error.contains(words), "{error}");
    }
    let (found, _) = fresh(&["stage.sft.template_drops=count"]).unwrap();
    let chats = &found.reports["chats"];
    assert_eq!(
        (
            chats.trained,
            chats.template_drops["tools"],
            chats.template_drops.len()
        ),
        (3, 1, 1)
    );
    let (found, _) = fresh(&["data.bad_rows=skip"]).unwrap();
    assert_eq!(
        found.reports["chats"].left_out["that the template does not write whole"],
        1
    );

    let refuse = [
        "stage.sft.template_drops=count",
        "stage.sft.special_tokens=refuse",
    ];
    let error = fresh(&refuse).unwrap_err().to_string();
    for words in [
        "line 3 of",
        "`messages[0].content` spells the special token `<|im_end|>`",
    ] {
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn rows_of_public_sets_are_the_same_conversations() {
    let folder = tempfile::tempdir().unwrap();
    type Form = fn(&str, &str) -> Value;
    let forms: [(&str, Form); 4] = [
        ("openai", row),
        (
            "sharegpt",
            |asked, said| json!({"conversations": [{"from": "human", "value": asked}, {"from": "gpt", "value": said}]}),
        ),
        (
            "alpaca",
            |asked, said| json!({"instruction": asked, "input": "", "output": said}),
        ),
        (
            "completion",
            |asked, said| json!({"prompt": asked, "completion": said}),
        ),
    ];
    let data: Vec<String> = forms
        .iter()
        .map(|(name, form)| {
            let rows: Vec<Value> = (0..3).map(|i| form(&format!("Is {i} even?"), "Yes.")).collect();
            write_rows(&folder.path().join(format!("{name}.jsonl")), &rows);
            format!("{{ name = \"{name}\", paths = [\"{name}.jsonl\"] }}")
        })
        .collect();
    let data = format!("stage.sft.data=[{}]", data.join(", "));
    let (found, _) = prepared(
        talking(folder.path(), &["data.held_out=0%", &data]),
        &Recorder::default(),
    )
    .unwrap();
    let document = |index| found.train.conversation(index).unwrap();
    for index in 3..12 {
        assert_eq!(document(index), document(index % 3), "{index}");
    }
    assert_eq!(
        (found.train.len(), found.reports["alpaca"].learned),
        (12, found.reports["openai"].learned)
    );
}
