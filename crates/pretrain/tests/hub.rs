//! Ranks that start from a model on the Hub: one fetches, and all take the commit that it took.

#[path = "../../hub/tests/hub/fake_hub.rs"]
mod fake_hub;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use burn::tensor::Device;
use fake_hub::{FakeHub, Files};
use smollm3_collective::{Collective, Threads};
use smollm3_corpus::Tokenizer;
use smollm3_corpus::text::Arithmetic;
use smollm3_engine::Run;
use smollm3_model::hf::{self, FileDtype};
use smollm3_model::{DeviceInit, ModelConfig, SmolLm3};
use smollm3_recipe::Recipe;
use smollm3_records::Listeners;

/// The folder that a process of its own, in which the Hub is the test's server, works in.
const FOLDER: &str = "SMOLLM3_TEST_HUB";

const RECIPE: &str = r#"
[run]
name = "tiny"
seed = 5
output = "out"

[model]
checkpoint = "owner/name"

[source.sums]
category = "math"
kind = "arithmetic"
documents = 60

[[stage]]
name = "pretrain"
kind = "pretrain"
sequence_length = 64
global_batch = "4 sequences"
micro_batch = "2 sequences"
optimizer = { learning_rate = 1e-2 }
schedule = { kind = "constant" }
phase = [{ name = "one", until = "2 steps", mixture = { sources = { sums = 1 } } }]
"#;

/// A model with random weights and its tokenizer, as the Hub has it.
fn model(folder: &Path) -> Files {
    let config = ModelConfig::from_toml(
        r#"
vocab_size = 320
hidden_size = 32
intermediate_size = 64
num_hidden_layers = 2
num_attention_heads = 4
num_key_value_heads = 2
max_position_embeddings = 64
rope_theta = 10000.0
"#,
        Path::new("model.toml"),
    )
    .unwrap();
    let device = smollm3_kernels::device("flex", None).unwrap();
    let model = random(&config, &device);
    hf::save(folder, &config, &model, FileDtype::F32).unwrap();
    let texts = (0..200).map(|index| Arithmetic::new(1, 200).text(index));
    Tokenizer::train(texts, 320)
        .unwrap()
        .save(folder.join("tokenizer.json"))
        .unwrap();
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read(path).unwrap())
        })
        .collect()
}

fn random(config: &ModelConfig, device: &Device) -> SmolLm3 {
    let source = DeviceInit::new(config, burn::tensor::DType::F32);
    SmolLm3::new(config, &source, device).unwrap()
}

/// Not a test by itself: the process that the test below starts.
#[test]
fn process() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let recipe = Recipe::load(
        Path::new(&folder),
        &[format!("run.output={}/out", Path::new(&folder).display())],
    )
    .unwrap();
    let found = Threads::run(2, Duration::from_secs(120), |rank| {
        let number = rank.rank();
        let run = Run::open_as(Arc::new(rank), None, recipe.clone(), &mut Listeners::default()).unwrap();
        let start = run
            .whole_checkpoint(&run.recipe.stages[0], &run.recipe.stages[0].from)
            .unwrap();
        assert!(start.join("model.safetensors").is_file(), "rank {number}");
        start
    });
    assert_eq!(found[0], found[1]);
}

#[test]
fn one_rank_fetches_for_all() {
    let folder = tempfile::tempdir().unwrap();
    let model = {
        let folder = folder.path().join("model");
        fs::create_dir(&folder).unwrap();
        model(&folder)
    };
    let fake = FakeHub::start(model);
    fs::write(folder.path().join("recipe.toml"), RECIPE).unwrap();
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "process", "--nocapture"])
        .env(FOLDER, folder.path())
        .env("HF_ENDPOINT", &fake.hub.address)
        .env("HF_HOME", folder.path().join("home"))
        .status()
        .unwrap();
    assert!(status.success());
    let asked = fake.asked();
    let listings = asked.iter().filter(|path| path.contains("/api/")).count();
    // The tokenizer and the weights are of one id.
    assert_eq!(listings, 1, "{asked:?}");
    assert_eq!(fake.store.requests().len(), 1);
    let pins = fs::read_to_string(folder.path().join("out/hub.json")).unwrap();
    assert_eq!(pins, format!("{{\n  \"owner/name\": \"{:040x}\"\n}}\n", 0xabc0));
}
