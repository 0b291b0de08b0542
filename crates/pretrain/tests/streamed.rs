//! Token stores behind HTTP: several ranks read them through one cache, and train as one does.

#[path = "../../corpus/tests/corpus/server.rs"]
mod server;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use server::{Answer, Server};
use smollm3_collective::{Collective, Threads};
use smollm3_corpus::text::Arithmetic;
use smollm3_corpus::{StoreWriter, Tokenizer};
use smollm3_engine::Run;
use smollm3_pretrain::pretrain;
use smollm3_recipe::Recipe;
use smollm3_records::{Listeners, Metrics, Record, read_metrics};

const FILES: u32 = 4;
const STEPS: usize = 6;

/// A tokenizer, and a store of four files of eight windows each.
fn write_data(folder: &Path) {
    let texts = (0..200).map(|index| Arithmetic::new(1, 200).text(index));
    let tokenizer = Tokenizer::train(texts, 320).unwrap();
    tokenizer.save(folder.join("tokenizer.json")).unwrap();
    for file in 0..FILES {
        let path = folder.join(format!("store/{file}.ds"));
        let mut writer = StoreWriter::create(path, "tiny", 320).unwrap();
        for document in 0..20 {
            let tokens: Vec<u32> = (0..26)
                .map(|i| (file * 77 + document * 13 + i * i) % 320)
                .collect();
            writer.push_document(&tokens).unwrap();
        }
        writer.finish().unwrap();
    }
}

/// A recipe that reads `store`; its cache has room for two of the four files.
fn recipe(folder: &Path, name: &str) -> Recipe {
    let text = format!(
        r#"
[run]
name = "{name}"
seed = 5
output = "{name}-out"

[model.config]
vocab_size = 320
hidden_size = 32
intermediate_size = 64
num_hidden_layers = 2
num_attention_heads = 4
num_key_value_heads = 2
max_position_embeddings = 64
rope_theta = 10000.0

[tokenizer]
pretrained = "../tokenizer.json"

[data]
cache_size = "3kB"

[source.web]
category = "web"
kind = "tokens"
folder = "hf://datasets/o/n"

[[stage]]
name = "pretrain"
kind = "pretrain"
sequence_length = 64
global_batch = "4 sequences"
micro_batch = "2 sequences"
optimizer = {{ learning_rate = 1e-2 }}
schedule = {{ kind = "constant" }}
phase = [{{ name = "one", until = "{STEPS} steps", mixture = {{ sources = {{ web = 1 }} }} }}]
"#
    );
    let folder = folder.join(name);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("recipe.toml"), text).unwrap();
    Recipe::load(&folder, &[format!("run.output={}", folder.join("out").display())]).unwrap()
}

/// The loss of every step on `world` ranks.
fn losses(recipe: &Recipe, world: usize) -> Vec<f64> {
    Threads::run(world, Duration::from_secs(120), |rank| {
        let mut listeners = Listeners::default();
        if rank.rank() == 0 {
            listeners = listeners.with(Metrics::default());
        }
        let run = Run::open_as(Arc::new(rank), None, recipe.clone(), &mut listeners).unwrap();
        let stop = AtomicBool::new(false);
        pretrain(&run, &run.recipe.stages[0], &stop, &mut listeners).unwrap();
    });
    let records = read_metrics(&recipe.run.output.join("pretrain"))
        .unwrap()
        .into_iter();
    records
        .filter_map(|record| match record {
            Record::Step(step) => Some(step.loss),
            Record::HeldOut(_) | Record::Measured(_) => None,
        })
        .collect()
}

/// The folder that a process of its own, in which the Hub is the test's server, trains in.
const FOLDER: &str = "SMOLLM3_TEST_STREAMED";

/// Not a test by itself: the process that the test below starts.
#[test]
fn training_process() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let folder = Path::new(&folder);
    let [one, two] = [("one", 1), ("two", 2)].map(|(name, world)| losses(&recipe(folder, name), world));
    assert_eq!((one.len(), two.len()), (STEPS, STEPS));
    for (one, two) in one.iter().zip(&two) {
        assert!((one - two).abs() <= 1e-6 * one, "{one} and {two}");
    }
}

#[test]
fn two_ranks_train_on_a_streamed_store_as_one_does() {
    let folder = tempfile::tempdir().unwrap();
    write_data(folder.path());
    let store = folder.path().join("store");
    let server = Server::start(move |request, _| match request.path.as_str() {
        "/api/datasets/o/n/revision/main" => Answer::body(r#"{"sha": "c0ffee"}"#),
        "/api/datasets/o/n/tree/c0ffee?recursive=true" => {
            let entries = fs::read_dir(&store).unwrap().map(Result::unwrap).map(|entry| {
                let (name, bytes) = (
                    entry.file_name().into_string().unwrap(),
                    entry.metadata().unwrap().len(),
                );
                serde_json::json!({"type": "file", "path": name, "size": bytes, "oid": name})
            });
            Answer::body(serde_json::to_string(&entries.collect::<Vec<_>>()).unwrap())
        }
        path => match path.rsplit_once('/').map(|(_, name)| fs::read(store.join(name))) {
            Some(Ok(bytes)) => Answer::ranged(&bytes, request),
            _ => Answer::status(404),
        },
    });
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "training_process", "--nocapture"])
        .env(FOLDER, folder.path())
        .env("HF_ENDPOINT", &server.address)
        .status()
        .unwrap();
    assert!(status.success());
    let fetched = |file: u32| {
        let name = format!("/{file}.ds");
        server
            .requests()
            .iter()
            .filter(|request| request.path.ends_with(&name))
            .count()
    };
    assert!(
        (0..FILES).map(fetched).sum::<usize>() >= 3,
        "it was read over the network"
    );
}
