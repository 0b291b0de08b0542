//! Stages that start from an adapter: merged into its base, or trained on.

#[path = "../../engine/tests/support/mod.rs"]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use serde_json::{Value, json};
use smollm3_engine::Run;
use smollm3_model::Parameters;
use smollm3_model::hf::{Checkpoint, TensorFiles};
use smollm3_pretrain::pretrain;
use smollm3_recipe::Recipe;
use smollm3_records::{Event, Listeners, checkpoint};
use smollm3_sft::fine_tune;
use support::{Recorder, recipe};

const LORA: &str = r#"{ rank = 4, alpha = 8, targets = ["q_proj", "down_proj"], rslora = true }"#;
const TRAINED_ON: &str =
    r#"{ rank = 4, alpha = 8, targets = ["down_proj", "q_proj"], rslora = true, init = "adapter" }"#;

fn stage(name: &str, from: &str, lora: &str, steps: u64, rate: &str) -> String {
    let from = match from {
        "" => String::new(),
        from => format!("from = '{from}'"),
    };
    format!(
        r#"
[[stage]]
name = "{name}"
kind = "sft"
{from}
sequence_length = 64
global_batch = "4 sequences"
micro_batch = "2 sequences"
until = "{steps} steps"
template = "chatml-masked"
lora = {lora}
optimizer = {{ learning_rate = {rate}, weight_decay = 0.0 }}
schedule = {{ kind = "constant" }}
data = [{{ name = "sums", sums = {{ conversations = 100, seed = 2, think = false }} }}]
"#
    )
}

/// A run of a base and adapters of it, and of what `more` does after them.
fn trained(folder: &Path, more: &str) -> smollm3_conversations::Result<()> {
    recipe(folder, "flex", &[]);
    let file = folder.join("recipe.toml");
    let text = fs::read_to_string(&file).unwrap() + &stage("sft", "pretrain", LORA, 6, "2e-2") + more;
    fs::write(&file, text).unwrap();
    run(folder).map(|_| ())
}

fn run(folder: &Path) -> smollm3_conversations::Result<(Run, Vec<Event>)> {
    let events = Recorder::default();
    let mut listener = Listeners::default().with(Recorder(events.0.clone()));
    let stop = AtomicBool::new(false);
    let run = Run::open(Recipe::load(folder, &[]).unwrap(), &mut listener)?;
    for stage in &run.recipe.stages {
        match stage.fine_tuning() {
            Some(fine_tuning) => fine_tune(&run, stage, fine_tuning, &stop, &mut listener)?,
            None => pretrain(&run, stage, &stop, &mut listener)?,
        }
    }
    drop(listener);
    let events = events.0.take();
    Ok((run, events))
}

/// A recipe of its own that starts from `checkpoint`.
fn from_outside(folder: &Path, checkpoint: &Path, stages: &str) {
    fs::create_dir_all(folder).unwrap();
    let text = format!(
        "[run]\nname = \"on\"\nseed = 5\noutput = '{}/out'\n[model]\ncheckpoint = '{}'\n{stages}",
        folder.display(),
        checkpoint.display()
    );
    fs::write(folder.join("recipe.toml"), text).unwrap();
}

fn last(folder: &Path, stage: &str) -> PathBuf {
    checkpoint::list(&folder.join("out").join(stage))
        .unwrap()
        .pop()
        .unwrap()
        .1
}

fn adapter(folder: &Path) -> Vec<(String, Vec<u32>)> {
    let files = TensorFiles::open(folder, "adapter_model").unwrap();
    let names: Vec<String> = files.names().map(str::to_owned).collect();
    let bits = |name: &str| {
        let shape = files.get(name).unwrap().0.shape.clone();
        let data = files.parameter(name, &shape).unwrap();
        data.iter::<f32>().map(f32::to_bits).collect()
    };
    names
        .into_iter()
        .map(|name| (name.clone(), bits(&name)))
        .collect()
}

fn weights(folder: &Path) -> Vec<f32> {
    let checkpoint = Checkpoint::open(folder).unwrap();
    let shapes = checkpoint.config.parameter_shapes();
    let values = shapes.iter().flat_map(|(name, shape)| {
        let data = checkpoint.tensors.parameter(name, shape).unwrap();
        data.iter::<f32>().collect::<Vec<_>>()
    });
    values.collect()
}

fn worst(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn an_adapter_is_merged_into_its_base_or_trained_on() {
    let folder = tempfile::tempdir().unwrap();
    trained(folder.path(), &stage("more", "sft", TRAINED_ON, 1, "1e-30")).unwrap();
    let step = last(folder.path(), "sft");
    let own = step.join("adapter");
    let config: Value = serde_json::from_slice(&fs::read(own.join("adapter_config.json")).unwrap()).unwrap();
    assert_eq!(
        config["base_model_name_or_path"],
        "../../../pretrain/step-00000006"
    );
    assert_eq!(
        (&config["use_rslora"], &config["lora_alpha"]),
        (&json!(true), &json!(8))
    );
    assert!(!step.join("adapter_config.json").exists());
    let manifest = fs::read_to_string(step.join("manifest.json")).unwrap();
    assert!(
        manifest.contains("adapter/adapter_model.safetensors"),
        "{manifest}"
    );

    // A stage of the same run that trains them on, by nothing: the weights under them are those of the beginning.
    let more = last(folder.path(), "more");
    assert_eq!(adapter(&more.join("adapter")), adapter(&own));
    assert_eq!(weights(&more), weights(&step));
    let config: Value =
        serde_json::from_slice(&fs::read(more.join("adapter/adapter_config.json")).unwrap()).unwrap();
    assert_eq!(
        config["base_model_name_or_path"],
        "../../../pretrain/step-00000006"
    );

    // Another run.
    let on = folder.path().join("on");
    let both = stage("on", "", TRAINED_ON, 1, "1e-30")
        + &stage("fresh", &own.display().to_string(), LORA, 1, "1e-30");
    from_outside(&on, &own, &both);
    let (run_on, events) = run(&on).unwrap();
    let told = |event: &Event| matches!(event, Event::Note(text) if text.contains("an adapter of"));
    assert_eq!(events.iter().filter(|event| told(event)).count(), 1);
    assert_eq!(adapter(&last(&on, "on").join("adapter")), adapter(&own));
    // Python looks for a relative path from its working directory.
    let config = fs::read(last(&on, "on").join("adapter/adapter_config.json")).unwrap();
    let config: Value = serde_json::from_slice(&config).unwrap();
    let base = fs::canonicalize(last(folder.path(), "pretrain")).unwrap();
    assert_eq!(config["base_model_name_or_path"], base.display().to_string());
    // What is under fresh adapters, which are nothing yet, is both.
    let merged = run_on
        .recipe
        .checkpoint_folder(&run_on.recipe.stages[1].from)
        .unwrap();
    assert!(
        merged.starts_with(on.join("out/adapters")),
        "{}",
        merged.display()
    );
    assert!(worst(&weights(&merged), &weights(&step)) < 1e-6);
    assert_eq!(weights(&last(&on, "fresh")), weights(&merged));
    assert!(worst(&weights(&merged), &weights(&last(folder.path(), "pretrain"))) > 1e-2);
    drop(run_on);
    // Again: nothing is merged a second time.
    let (_, events) = run(&on).unwrap();
    assert_eq!(events.iter().filter(|event| told(event)).count(), 0);
}

#[test]
fn what_cannot_be_trained_on_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let error = trained(folder.path(), &stage("more", "pretrain", TRAINED_ON, 1, "1e-3")).unwrap_err();
    assert!(
        error.to_string().contains("the stage \"pretrain\" trains none"),
        "{error}"
    );
    let step = last(folder.path(), "sft");
    let on = folder.path().join("on");
    for (start, lora, words) in [
        (step.clone(), TRAINED_ON.to_owned(), "is none"),
        (
            step.join("adapter"),
            TRAINED_ON.replace("rank = 4", "rank = 2"),
            "write lora = { rank = 4, alpha = 8, targets = [\"down_proj\", \"q_proj\"], rslora = true, init = \"adapter\" }",
        ),
        (
            step.join("adapter"),
            TRAINED_ON.replace("\"down_proj\", ", ""),
            "is another than `lora` says",
        ),
    ] {
        from_outside(&on, &start, &stage("on", "", &lora, 1, "1e-3"));
        let error = run(&on).err().unwrap().to_string();
        assert!(error.contains(words), "{error}");
        fs::remove_dir_all(&on).unwrap();
    }
    // A base that has gone, and one that is not named.
    let config = step.join("adapter/adapter_config.json");
    let text = fs::read_to_string(&config).unwrap();
    for (base, words) in [
        ("\"./gone\"", "where there is no model"),
        ("null", "base_model_name_or_path is empty"),
    ] {
        let other = text.replace("\"../../../pretrain/step-00000006\"", base);
        assert_ne!(other, text);
        fs::write(&config, other).unwrap();
        from_outside(&on, &step.join("adapter"), &stage("on", "", LORA, 1, "1e-3"));
        let error = run(&on).err().unwrap().to_string();
        assert!(
            error.contains(words) && error.contains("`model.checkpoint`"),
            "{error}"
        );
        fs::remove_dir_all(&on).unwrap();
    }
    // One that is damaged leaves nothing half-merged.
    fs::write(&config, &text).unwrap();
    fs::write(step.join("adapter/adapter_model.safetensors"), "short").unwrap();
    from_outside(&on, &step.join("adapter"), &stage("on", "", LORA, 1, "1e-3"));
    let error = run(&on).err().unwrap().to_string();
    assert!(error.contains("adapter_model.safetensors"), "{error}");
    assert_eq!(fs::read_dir(on.join("out/adapters")).unwrap().count(), 0);
}
