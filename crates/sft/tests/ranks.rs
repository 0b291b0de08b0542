//! Several ranks fine-tune as one does.

#[path = "../../engine/tests/support/mod.rs"]
mod support;

#[path = "../../corpus/tests/corpus/server.rs"]
mod server;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde_json::json;
use server::{Answer, Server};
use smollm3_chat::Template;
use smollm3_collective::{Collective, Threads};
use smollm3_conversations::{ConversationEncoder, Prepared, stage_tokenizer};
use smollm3_engine::Run;
use smollm3_pretrain::pretrain;
use smollm3_recipe::Recipe;
use smollm3_records::{Listeners, Metrics, Record, read_metrics};
use smollm3_sft::fine_tune;
use support::recipe;

/// At ten times the rate, a step with tokens that have been seen once is off by 5e-6: what is a rounding apart in the gradient of
/// a token is divided by its own size in the first updates.
const STAGE: &str = r#"
[[stage]]
name = "sft"
kind = "sft"
from = "pretrain"
sequence_length = 64
global_batch = "8 sequences"
micro_batch = "2 sequences"
until = "50 steps"
template = "chatml-masked"
optimizer = { learning_rate = 1e-4 }
schedule = { kind = "cosine", warmup = "1 steps", min_ratio = 0.1 }
data = [{ name = "chats", paths = ["chats.jsonl"] }]
"#;

/// Adapters on two kinds of matrices.
const LORA: &str = "lora = { rank = 4, alpha = 8, targets = [\"q_proj\", \"down_proj\"] }\n";

fn talking(folder: &Path, more: &str) -> Recipe {
    recipe(folder, "flex", &[]);
    let chats: String = (0..200)
        .map(|i| {
            let answer = if i % 2 == 0 { "yes" } else { "no" };
            let row = json!({"messages": [
                {"role": "user", "content": format!("Is {i} even?")},
                {"role": "assistant", "content": answer},
            ]});
            format!("{row}\n")
        })
        .collect();
    fs::write(folder.join("chats.jsonl"), chats).unwrap();
    let file = folder.join("recipe.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text + STAGE + more).unwrap();
    Recipe::load(folder, &[]).unwrap()
}

/// Runs the stages with these numbers on `world` ranks.
fn run(recipe: &Recipe, world: usize, stages: std::ops::Range<usize>) {
    Threads::run(world, Duration::from_secs(120), |rank| {
        let mut listeners = Listeners::default();
        if rank.rank() == 0 {
            listeners = listeners.with(Metrics::default());
        }
        let run = Run::open_as(Arc::new(rank), None, recipe.clone(), &mut listeners).unwrap();
        let stop = AtomicBool::new(false);
        for stage in &run.recipe.stages[stages.clone()] {
            match stage.fine_tuning() {
                Some(tuning) => fine_tune(&run, stage, tuning, &stop, &mut listeners).unwrap(),
                None => pretrain(&run, stage, &stop, &mut listeners).unwrap(),
            }
        }
    });
}

fn losses(stage: &Path) -> Vec<(f64, u64)> {
    let steps = read_metrics(stage).unwrap().into_iter();
    steps
        .filter_map(|record| match record {
            Record::Step(step) => Some((step.loss, step.sources.values().map(|part| part.targets).sum())),
            Record::HeldOut(_) | Record::Measured(_) => None,
        })
        .collect()
}

#[test]
fn any_number_of_ranks_has_the_losses_of_one() {
    any_number_of_ranks("");
}

#[test]
fn adapters_too() {
    any_number_of_ranks(LORA);
}

fn any_number_of_ranks(more: &str) {
    let folder = tempfile::tempdir().unwrap();
    let recipe = talking(folder.path(), more);
    let stage = folder.path().join("out/sft");
    run(&recipe, 1, 0..2);
    let expected = losses(&stage);
    assert_eq!(expected.len(), 50);
    let has_adapters = || {
        stage
            .join("step-00000050/adapter/adapter_model.safetensors")
            .is_file()
    };
    assert_eq!(has_adapters(), !more.is_empty());
    for world in [2, 4] {
        // From the same checkpoint, and from what has been tokenised anew.
        for made in [stage.clone(), folder.path().join("out/conversations")] {
            fs::remove_dir_all(made).unwrap();
        }
        run(&recipe, world, 1..2);
        let found = losses(&stage);
        assert_eq!(found.len(), 50);
        assert_eq!(has_adapters(), !more.is_empty());
        for (step, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let off = (found.0 - expected.0).abs() / expected.0;
            assert!(
                off <= 1e-6,
                "{world} ranks, step {step}: {} and {}, off by {off:e}",
                found.0,
                expected.0
            );
            assert_eq!(found.1, expected.1);
        }
    }
}

#[test]
fn ranks_share_conversations_that_come_over_http() {
    let [local, remote] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let here = talking(local.path(), "");
    let chats = fs::read(local.path().join("chats.jsonl")).unwrap();
    let server = Server::start(move |request, _| Answer::ranged(&chats, request));
    talking(remote.path(), "");
    let file = remote.path().join("recipe.toml");
    let text = fs::read_to_string(&file).unwrap();
    let address = format!("{}/chats.jsonl", server.address);
    fs::write(&file, text.replace("chats.jsonl", &address)).unwrap();
    let there = Recipe::load(remote.path(), &[]).unwrap();
    for recipe in [&here, &there] {
        run(recipe, 4, 0..2);
    }
    let [here, there] = [local, remote].map(|folder| losses(&folder.path().join("out/sft")));
    assert_eq!(here.len(), 50);
    assert_eq!(here, there);
    let fetched = server
        .requests()
        .iter()
        .filter(|request| request.method == "GET")
        .count();
    assert_eq!(fetched, 1, "rank 0 fetches and prepares, the others find it");
}

#[test]
fn what_ranks_share_on_disk_is_written_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = talking(folder.path(), "");
    Threads::run(4, Duration::from_secs(120), |rank| {
        let run = Run::open_as(Arc::new(rank), None, recipe.clone(), &mut Listeners::default()).unwrap();
        let stage = &run.recipe.stages[1];
        let template = Template::chatml();
        for _ in 0..20 {
            let (files, _) = stage_tokenizer(&run, stage, &template).unwrap();
            assert!(files.join("tokenizer_config.json").is_file());
        }
    });
}

#[test]
fn a_rank_that_reads_other_rows_rewrites_nothing() {
    let [folder, other] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let recipe = talking(folder.path(), "");
    talking(other.path(), "");
    let row = "{\"prompt\": \"1?\", \"completion\": \"no\"}\n";
    fs::write(other.path().join("chats.jsonl"), row).unwrap();
    let output = format!("run.output='{}'", recipe.run.output.display());
    let recipes = [recipe, Recipe::load(other.path(), &[output]).unwrap()];
    let prepared = Threads::run(2, Duration::from_secs(120), |rank| {
        let recipe = recipes[rank.rank()].clone();
        let mut silent = Listeners::default();
        let run = Run::open_as(Arc::new(rank), None, recipe, &mut silent).unwrap();
        let stage = &run.recipe.stages[1];
        let tuning = stage.fine_tuning().unwrap();
        let encoder = ConversationEncoder::of(&run.recipe, &run.data.tokenizer, stage, tuning).unwrap();
        let made = Prepared::on_ranks(&run, stage, &tuning.chat.data, &encoder, &mut silent);
        made.map(|made| made.reports["chats"].rows)
            .map_err(|error| error.to_string())
    });
    assert_eq!(prepared[0], Ok(200));
    let refused = prepared[1].as_ref().unwrap_err();
    assert!(
        refused.contains("thread 1 does not read the rows that rank 0 has prepared"),
        "{refused}"
    );
    let report = fs::read_to_string(folder.path().join("out/conversations/sft/report.json")).unwrap();
    assert!(report.contains("\"rows\": 200"), "{report}");
}
