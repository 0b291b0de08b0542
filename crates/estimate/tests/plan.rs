//! The plan with its costs: figures against hand-worked ones, its JSON, its page.

#[path = "../../recipe/tests/fixture/mod.rs"]
mod fixture;

use std::collections::BTreeMap;
use std::path::Path;

use fixture::Folder;
use smollm3_estimate::{Machine, MeasuredRate, Memory, RunCost, Unplanned, estimate};
use smollm3_recipe::{BestCheckpoint, Facts, ModelConfig, Precision, PreparedData, Recipe};

fn cost(recipe: &Recipe, facts: &Facts) -> RunCost {
    smollm3_estimate::plan(recipe, facts, &Machine::default()).unwrap()
}

fn plan(folder: &Folder, overrides: &[&str]) -> RunCost {
    cost(&folder.load(overrides).unwrap(), &Facts::default())
}

fn unplanned(plan: &RunCost, stage: usize) -> &Unplanned {
    plan.conversations[stage].unplanned.as_ref().unwrap()
}

fn load(name: &str) -> Recipe {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../recipes")
        .join(name);
    Recipe::load(&folder, &[]).unwrap()
}

fn smollm3_3b() -> ModelConfig {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/smollm3-3b.toml");
    ModelConfig::from_toml_file(path.as_ref()).unwrap()
}

#[test]
fn memory_of_the_3b_model() {
    let config = smollm3_3b();
    let n = 3_075_098_624_u64;
    let memory = Memory::of_device(&config, Precision::Bf16, 4_096, 3, false, 192);
    assert_eq!((memory.weights, memory.gradients), (2 * n, 4 * n));
    assert_eq!((memory.masters, memory.moments), (4 * n, 8 * n.div_ceil(192)));
    // Per position and layer: 2·2048 + 2·2048 + 2·512 + 3·11008 numbers of 2 bytes, and 2·2048 + 16 + 2 of 4.
    let layer = 2 * (4_096 + 4_096 + 1_024 + 33_024) + 4 * (4_096 + 18);
    let ends = (4 + 2 * 2) * 2_048;
    let backward = 12 * 2_048 + 3 * 2 * 11_008;
    assert_eq!(memory.activations, 3 * 4_096 * (36 * layer + ends + backward));
    assert_eq!(memory.logits, 2 * 4 * 1_024 * 128_256);
    let sum = memory.weights + memory.masters + memory.gradients + memory.moments;
    assert_eq!(memory.total, sum + memory.activations + memory.logits);

    let recomputed = Memory::of_device(&config, Precision::Bf16, 4_096, 3, true, 192);
    assert_eq!(
        recomputed.activations,
        3 * 4_096 * (36 * 4 * 2_048 + layer + ends)
    );
    let single = Memory::of_device(&config, Precision::F32, 4_096, 3, false, 1);
    assert_eq!(
        (single.weights, single.masters, single.moments),
        (4 * n, 0, 8 * n)
    );
}

#[test]
fn days_of_the_cluster() {
    let folder = Folder::new();
    assert_eq!(plan(&folder, &[]).days, None);
    let plan = plan(
        &folder,
        &["plan.peak_tflops=0.001", "plan.mfu=0.5", "plan.devices=4"],
    );
    let expected = plan.flops / (1e9 * 0.5 * 4.0) / 86_400.0;
    assert!((plan.days.unwrap() / expected - 1.0).abs() < 1e-12);
    assert_eq!(
        (plan.stages[0].plan.devices, plan.stages[0].plan.micro_batch),
        (4, 2)
    );
}

#[test]
fn the_json_has_its_documented_shape() {
    let plan = plan(&Folder::new(), &[]);
    let json = serde_json::to_value(&plan).unwrap();
    assert_eq!(json["total_tokens"], 901_120);
    let phase = &json["stages"][0]["phases"][0];
    for (key, value) in [
        ("start_step", 1),
        ("end_step", 80),
        ("start_token", 0),
        ("end_token", 655_360),
    ] {
        assert_eq!(phase[key], value, "{key}");
    }
    assert_eq!(phase["name"], "first");
    assert_eq!(phase["shares"]["web"], 0.85);
    let source = &phase["sources"][0];
    assert_eq!(source["name"], "markdown");
    assert_eq!(source["category"], "web");
    assert_eq!(source["tokens"], 544 * 1_024);
    assert!((source["weight"].as_f64().unwrap() - 0.85).abs() < 1e-15);
    assert!(source.get("epochs").is_none());
}

#[test]
fn the_page_is_narrow_and_says_what_matters() {
    let folder = Folder::new();
    folder.replace(
        "recipe.toml",
        "name = \"second\"",
        "name = \"a-second-phase-with-quite-a-long-name-for-it\"",
    );
    folder.replace("recipe.toml", "name = \"small\"", "name = \"small-recipe\"");
    let facts = Facts {
        stores: BTreeMap::from([("markdown".to_owned(), 1_000_000), ("sums".to_owned(), 900_000)]),
        ..Facts::default()
    };
    let page = cost(&folder.load(&[]).unwrap(), &facts).to_string();
    for line in page.lines() {
        assert!(line.chars().count() <= 100, "{line}");
        assert_eq!(line.trim_end(), line);
    }
    for expected in [
        "small-recipe: ",
        "110 steps",
        "theta 50,000, context 1,024",
        "12.03 %",
        "×0.6",
        "asked for",
    ] {
        assert!(page.contains(expected), "{expected} in\n{page}");
    }
}

#[test]
fn text_without_a_store_is_to_be_tokenised() {
    let folder = Folder::new();
    let recipe = folder.load(&[]).unwrap();
    let prepare = |stores: &[&str]| {
        let facts = Facts {
            stores: stores
                .iter()
                .map(|name| ((*name).to_owned(), 10_000_000))
                .collect(),
            ..Facts::default()
        };
        let machine = Machine {
            cores: Some(2),
            ..Machine::default()
        };
        smollm3_estimate::plan(&recipe, &facts, &machine).unwrap()
    };
    let plan = prepare(&[]);
    let preparation = plan.preparation.clone().unwrap();
    assert_eq!(preparation.tokens, 110 * 8_192);
    assert_eq!(
        (preparation.text_bytes, preparation.store_bytes),
        (4 * 901_120, 2 * 901_120)
    );
    assert_eq!(preparation.core_hours, 4.0 * 901_120.0 / 35e6 / 3600.0);
    let line = "to tokenise: 3.6 MB of text to 1.8 MB of tokens; 0.1 seconds on a core, 0.1 seconds on 2\n";
    assert!(plan.to_string().contains(line), "{plan}");
    // 19 rows of the first phase and 60 of the second are sums.
    assert_eq!(
        prepare(&["markdown", "rust"]).preparation.unwrap().tokens,
        79 * 1_024
    );
    let plan = prepare(&["markdown", "rust", "sums"]);
    assert_eq!(plan.preparation, None);
    assert!(!plan.to_string().contains("to tokenise"));
}

const CONVERSATIONS: &str = r#"
[[stage]]
name = "sft"
kind = "sft"
from = "pretrain"
sequence_length = "1k"
global_batch = "8 sequences"
micro_batch = "2 sequences"
until = "40 steps"
optimizer = { learning_rate = 1e-4 }
schedule = { kind = "cosine", warmup = "10%", min_ratio = 0.1 }
data = [{ name = "chats", paths = ["chats.jsonl"], weight = 0.125 }, { name = "more", paths = ["more.jsonl"] }]
"#;

#[test]
fn a_stage_on_conversations() {
    let folder = Folder::new();
    folder.append("recipe.toml", CONVERSATIONS);
    let whole = plan(&folder, &[]);
    let json = serde_json::to_value(&whole).unwrap();
    assert_eq!(
        json["conversations"][0]["data"][0],
        serde_json::json!({"name": "chats", "fraction": 0.125})
    );
    assert_eq!(json["conversations"][0]["packing"], "bfd");

    let page = whole.to_string();
    let (before, after) = page.split_once("── sft (sft) ").unwrap();
    assert!(before.contains("  source"));
    // It has no mixture, so there is no table of one.
    assert!(
        !after.contains("  source") && !after.contains("  phase"),
        "{after}"
    );
    let (_, conversations) = after.split_once("── sft (sft): conversations ").unwrap();
    let lines: Vec<&str> = conversations.lines().skip(1).collect();
    assert_eq!(
        lines,
        [
            "  from           stage pretrain",
            "  length         until 40 steps",
            "  step           8 sequences, rows of 1,024",
            "  packing        bfd; longer than a row: truncate",
            "  template       smollm3; loss on the assistant's tokens",
            "  data           chats (12.5 % of the rows)",
            "                 more",
        ]
    );
}

#[test]
fn a_stage_of_epochs_has_no_steps_yet_but_is_checked() {
    let folder = Folder::new();
    folder.append(
        "recipe.toml",
        &CONVERSATIONS.replace("until = \"40 steps\"", "epochs = 1"),
    );
    let whole = plan(&folder, &[]);
    assert_eq!((whole.stages.len(), whole.conversations.len()), (1, 1));
    assert_eq!(whole.total_tokens, 901_120);
    let page = whole.to_string();
    for expected in [
        "  length         1 epoch\n",
        "  missing        steps, tokens and time:\n",
        "                 known once `smollm3 data prepare` has tokenised its rows\n",
        "  memory         ",
    ] {
        assert!(page.contains(expected), "{expected} in\n{page}");
    }
    // Whose steps are known has its memory there.
    let unplanned = unplanned(&whole, 0);
    let other = Folder::new();
    other.append("recipe.toml", CONVERSATIONS);
    assert_eq!(unplanned.memory, plan(&other, &[]).stages[1].memory);
}

/// Stages of epochs on rows and on pairs.
fn of_epochs() -> Folder {
    let folder = Folder::new();
    folder.append(
        "recipe.toml",
        &CONVERSATIONS.replace("until = \"40 steps\"", "epochs = 2"),
    );
    folder.append("recipe.toml", PAIRS);
    folder
}

const PAIRS: &str = r#"
[[stage]]
name = "apo"
kind = "apo"
from = "sft"
sequence_length = 256
row_length = 1024
global_batch = "8 pairs"
epochs = 1
template = "smollm3"
optimizer = { learning_rate = 1e-6 }
schedule = { kind = "cosine", warmup = "10%", min_ratio = 0.1 }
data = [{ name = "pairs", paths = ["pairs.jsonl"] }]
"#;

fn prepared() -> Facts {
    let rows = PreparedData {
        rows: 100,
        tokens: 90_000,
    };
    let pairs = PreparedData {
        rows: 82,
        tokens: 82 * 300,
    };
    Facts {
        prepared: BTreeMap::from([("sft".to_owned(), rows), ("apo".to_owned(), pairs)]),
        ..Facts::default()
    }
}

#[test]
fn prepared_data_give_steps_tokens_and_days() {
    let recipe = of_epochs().load(&["plan.peak_tflops=1"]).unwrap();
    let whole = cost(&recipe, &prepared());
    let [_, sft, apo] = whole.stages.as_slice() else {
        panic!("{:?}", whole.stages)
    };
    // Two times 100 rows in steps of 8; 82 pairs of 300 tokens in steps of 8.
    assert_eq!(
        (sft.plan.steps, sft.plan.tokens, sft.plan.tokens_before),
        (25, 25 * 8_192, 901_120)
    );
    assert_eq!(
        (apo.plan.steps, apo.plan.sequence_length, apo.plan.tokens),
        (10, 300, 10 * 8 * 300)
    );
    assert_eq!(whole.total_tokens, 901_120 + 25 * 8_192 + 24_000);
    assert!(apo.days.unwrap() > 0.0);
    // One row of up to 1,024 tokens at once, however long a pair is.
    let config = recipe.architecture().unwrap();
    let row = Memory::of_device(&config, Precision::F32, 1_024, 1, false, 1);
    assert_eq!(apo.memory, row);
    assert!(whole.conversations.iter().all(|stage| stage.unplanned.is_none()));
    let page = whole.to_string();
    assert!(page.contains("8 pairs of about 300 = 2,400 tokens"), "{page}");
    assert!(!page.contains("missing") && !page.contains("without"), "{page}");

    let unknown = cost(&recipe, &Facts::default());
    assert_eq!(unknown.stages.len(), 1);
    assert_eq!(unplanned(&unknown, 1).memory, row);
    let page = unknown.to_string();
    assert!(page.contains("TFLOP/s a device, without sft, apo\n"), "{page}");

    // On devices too.
    let device = "cpu,peak=1TFLOP/s,memory=1GB,bandwidth=100GB/s".parse().unwrap();
    let estimate = estimate(&recipe, &prepared(), 1, &device).unwrap();
    let steps: Vec<_> = estimate.stages.iter().map(|stage| stage.steps).collect();
    assert_eq!(steps, [Some(110), Some(25), Some(10)]);
    let days: f64 = estimate.stages.iter().map(|stage| stage.days.unwrap()).sum();
    assert!((days / estimate.days - 1.0).abs() < 1e-12);
    let seconds = |stage: usize| estimate.stages[stage].whole.as_ref().unwrap().seconds;
    assert!(seconds(2) < seconds(1));
}

#[test]
fn a_template_that_a_run_has_yet_to_make_is_waited_for() {
    let folder = of_epochs();
    let page = plan(&folder, &["stage.apo.template=checkpoint"]).to_string();
    assert!(
        page.contains("known once `smollm3 run` has come to it, for its template is that of sft\n"),
        "{page}"
    );
}

#[test]
fn adapters_are_shown_with_their_memory() {
    let folder = of_epochs();
    let lora = "stage.sft.lora={ rank = 8, alpha = 16, targets = [\"q_proj\", \"up_proj\"] }";
    for facts in [Facts::default(), prepared()] {
        let [whole, adapted] =
            [&[][..], &[lora]].map(|overrides| cost(&folder.load(overrides).unwrap(), &facts));
        let memory = |plan: &RunCost| match plan.stages.get(1) {
            Some(stage) => stage.memory,
            None => unplanned(plan, 0).memory,
        };
        // 8 · (64 + 64) and 8 · (64 + 160) in each of four layers.
        let numbers = 4 * 8 * (64 + 64 + 64 + 160);
        assert_eq!(
            adapted.conversations[0]
                .plan
                .adapters
                .as_ref()
                .unwrap()
                .parameters,
            numbers
        );
        let (found, full) = (memory(&adapted), memory(&whole));
        assert_eq!((found.gradients, found.moments), (4 * numbers, 8 * numbers));
        assert_eq!(found.weights, full.weights + 4 * numbers);
        assert_eq!(
            (found.activations, found.logits, found.masters),
            (full.activations, full.logits, 0)
        );
        let page = adapted.to_string();
        assert!(
            page.contains("  adapters       rank 8, alpha 16: 11,264 numbers are trained, of\n                 q_proj, up_proj\n"),
            "{page}"
        );
    }
    // A frozen matrix has no gradient: 4 FLOPs a number and token in the place of 6.
    let flops = |overrides: &[&str]| {
        let plan = cost(&folder.load(overrides).unwrap(), &prepared());
        plan.stages[1].flops_per_token
    };
    let matrices = 4 * (2 * 64 * 64 + 2 * 32 * 64 + 3 * 160 * 64);
    let numbers = 4 * 8 * (64 + 64 + 64 + 160);
    assert_eq!(
        flops(&[lora]),
        flops(&[]) - 2.0 * f64::from(matrices) + 6.0 * f64::from(numbers)
    );
}

#[test]
fn memory_close_to_the_devices_is_warned_of() {
    let folder = of_epochs();
    let total = plan(&folder, &[]).stages[0].memory.total;
    for (part, word) in [
        (1.2, None),
        (1.12, None),
        (1.1, Some("CLOSE")),
        (1.0, Some("CLOSE")),
        (0.99, Some("TOO MUCH")),
    ] {
        // Rounded up, so that the whole is the whole.
        let bytes = (total as f64 * part).ceil() as u64;
        let memory = format!("plan.memory={bytes} bytes");
        let page = plan(&folder, &[&memory]).to_string();
        let (_, stage) = page.split_once("── pretrain").unwrap();
        let (stage, _) = stage.split_once("\n\n").unwrap();
        for known in ["CLOSE", "TOO MUCH"] {
            assert_eq!(stage.contains(known), word == Some(known), "{part}: {stage}");
        }
        // The same on a device of that memory.
        let device = format!("cpu,peak=1TFLOP/s,memory={bytes}B,bandwidth=100GB/s")
            .parse()
            .unwrap();
        let recipe = folder.load(&[]).unwrap();
        let page = estimate(&recipe, &Facts::default(), 1, &device)
            .unwrap()
            .to_string();
        let (_, stage) = page.split_once("── pretrain").unwrap();
        let (stage, _) = stage.split_once("\n\n").unwrap();
        for known in ["CLOSE", "TOO MUCH"] {
            assert_eq!(stage.contains(known), word == Some(known), "{part}: {stage}");
        }
    }
}

#[test]
fn long_names_of_data_keep_to_the_page() {
    let folder = Folder::new();
    folder.append(
        "recipe.toml",
        &CONVERSATIONS.replace("\"chats\"", &format!("{:?}", "long-".repeat(30))),
    );
    for line in plan(&folder, &[]).to_string().lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
}

#[test]
fn a_rate_that_was_measured_gives_the_time() {
    let folder = of_epochs();
    let rate = MeasuredRate {
        flops_per_second: 2e9,
        tokens_per_second: 1_234_567.0,
        sequence_length: 131_072,
        date: "2026-11-28".to_owned(),
    };
    let recipe = folder.load(&[]).unwrap();
    let names: Vec<String> = recipe.stages.iter().map(|stage| stage.name.clone()).collect();
    let machine = Machine {
        rates: names.into_iter().map(|name| (name, rate.clone())).collect(),
        ..Machine::default()
    };
    let plan = smollm3_estimate::plan(&recipe, &Facts::default(), &machine).unwrap();
    let planned = &plan.stages[0];
    let days = planned.flops / 2e9 / 86_400.0;
    assert!((planned.days.unwrap() / days - 1.0).abs() < 1e-12);
    let page = plan.to_string();
    assert!(
        page.contains("at the rate that `smollm3 bench step` measured here"),
        "{page}"
    );
    assert!(page.contains("rows of 131,072: measured 2026-11-28"), "{page}");
    // Of a stage whose steps are not known yet, what there is to know.
    let unplanned = plan
        .conversations
        .iter()
        .find_map(|stage| stage.unplanned.as_ref());
    let expected = unplanned.unwrap().tokens_per_second.unwrap();
    assert!(
        expected > 0.0 && page.contains("from what `smollm3 bench step` measured here"),
        "{page}"
    );
    for line in page.lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
}

#[test]
fn a_time_says_of_which_stages_the_rate_was_measured() {
    let folder = Folder::new();
    folder.append("recipe.toml", CONVERSATIONS);
    let rate = MeasuredRate {
        flops_per_second: 2e9,
        tokens_per_second: 1e6,
        sequence_length: 1_024,
        date: "2026-11-28".to_owned(),
    };
    let page = |measured: &[&str], overrides: &[&str]| {
        let rates = measured.iter().map(|name| ((*name).to_owned(), rate.clone()));
        let machine = Machine {
            rates: rates.collect(),
            ..Machine::default()
        };
        let overrides = [&["stage.sft.recompute=layers"], overrides].concat();
        let recipe = folder.load(&overrides).unwrap();
        let plan = smollm3_estimate::plan(&recipe, &Facts::default(), &machine).unwrap();
        plan.to_string()
    };
    let peak = "plan.peak_tflops=1";
    let here = "at the rate that `smollm3 bench step` measured here\n";
    let both = "no time: run `smollm3 bench step` with and without --recompute, or write plan.peak_tflops\n";
    let with = "no time: no rate was measured for sft;\nrun `smollm3 bench step --recompute`, or write";
    let without = "for pretrain;\nrun `smollm3 bench step` without --recompute, or write";
    let partly = " TFLOP/s a device;\nrun `smollm3 bench step --recompute`\n";
    for (measured, overrides, expected) in [
        (&["pretrain", "sft"][..], &[][..], here),
        (&["pretrain", "sft"], &[peak], here),
        (&[], &[peak], " % of 1 TFLOP/s a device\n"),
        (&[], &[], both),
        (&["pretrain"], &[], with),
        (&["sft"], &[], without),
        (&["pretrain"], &[peak], partly),
    ] {
        let page = page(measured, overrides);
        assert!(page.contains(expected), "{expected} in\n{page}");
        assert!(page.lines().all(|line| line.chars().count() <= 100), "{page}");
    }
}

#[test]
fn a_stage_that_may_end_early_takes_at_most_its_steps() {
    let folder = Folder::new();
    folder.append("recipe.toml", CONVERSATIONS);
    let stop = "{ paths = [\"dev.jsonl\"], every = \"5 steps\", stop_early = { patience = 1 } }";
    let validation = format!("stage.sft.validation={stop}");
    for (overrides, most) in [(&[][..], ""), (&[validation.as_str()], "at most ")] {
        let overrides = [&["plan.peak_tflops=1"], overrides].concat();
        let page = plan(&folder, &overrides).to_string();
        let (head, stages) = page.split_once("\n\n").unwrap();
        assert!(head.contains(&format!("\n{most}0.0 days at")), "{head}");
        let lengths = stages.lines().filter(|line| line.starts_with("  length"));
        let lengths: Vec<&str> = lengths.take(2).collect();
        assert!(
            lengths[0].starts_with("  length         110 steps"),
            "{lengths:?}"
        );
        let expected = format!("  length         {most}40 steps, ");
        assert!(lengths[1].starts_with(&expected), "{lengths:?}");
    }
}

#[test]
fn the_documented_recipe_fits_its_devices() {
    let plan = cost(&load("smollm3-3b"), &Facts::default());
    // BLOG: 24 days on 384 H100s, which plan takes to be 0.29 of their peak.
    let seconds = 384.0 * 989e12 * 24.0 * 86_400.0;
    assert_eq!(format!("{:.2}", plan.stages[0].flops / seconds), "0.29");
    for stage in &plan.stages {
        assert!(
            stage.memory.total < 80_000_000_000,
            "{} does not fit",
            stage.plan.name
        );
    }
}

#[test]
fn the_plan_tells_of_conversations_what_is_known_before_they_are_read() {
    let plan = cost(&load("smollm3-3b"), &Facts::default());
    let names: Vec<(&str, usize)> = plan
        .conversations
        .iter()
        .map(|stage| (stage.plan.name.as_str(), stage.plan.data.len()))
        .collect();
    assert_eq!(names, [("mid-train", 2), ("sft", 25), ("apo", 2)]);
    let page = plan.to_string();
    for expected in [
        "  length         4 epochs\n",
        "known once `smollm3 data prepare` has tokenised its rows",
        "128 sequences, rows of 65,536",
        "OpenThoughts3_1.2M_think (2 % of the rows)",
    ] {
        assert!(page.contains(expected), "{expected} in\n{page}");
    }
    for line in page.lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
}

#[test]
fn fine_tuning_the_released_checkpoint_fits_a_gpu_of_24_gigabytes() {
    let recipe = load("fine-tune");
    let facts = Facts {
        architecture: Some(smollm3_3b()),
        ..Facts::default()
    };
    let plan = cost(&recipe, &facts);
    assert_eq!(plan.conversations.len(), 2);
    let begin = "fine-tune: 3.075B parameters, 0 tokens, 0.000e0 FLOPs\n\
                 no time yet: the steps of sft, apo are not known\n";
    assert!(plan.to_string().starts_with(begin), "{plan}");
    for stage in &plan.conversations {
        let adapters = stage.plan.adapters.as_ref().unwrap();
        assert_eq!((adapters.rank, adapters.parameters), (16, 30_228_480));
        // Allocators take some 10 % more.
        let total = stage.unplanned.as_ref().unwrap().memory.total as f64;
        assert!(total * 1.1 < 24e9, "{}: {total:e}", stage.plan.name);
    }
    assert_eq!(recipe.stages[0].validation().unwrap().best, BestCheckpoint::Load);
}

const STAGES: &str = r#"
[[stage]]
name = "apo"
kind = "apo"
from = "pretrain"
sequence_length = 512
global_batch = "32 pairs"
epochs = 1

[stage.optimizer]
learning_rate = 1e-6

[stage.schedule]
kind = "cosine"
warmup = "10%"
min_ratio = 0.1

[[stage.data]]
name = "tulu"
paths = ["pairs.jsonl"]
weight = 0.5

[[stage]]
name = "merged"
kind = "merge"
from = "apo"
dtype = "bf16"
[[stage.model]]
checkpoint = "apo"
weight = 1.8
last = 3
[[stage.model]]
checkpoint = "./elsewhere"
weight = 0.2
"#;

#[test]
fn the_page_tells_of_pairs_and_of_the_merge() {
    let folder = Folder::new();
    folder.append("recipe.toml", STAGES);
    let page = plan(&folder, &[]).to_string();
    for line in [
        "  length         1 epoch",
        "  step           32 pairs, an answer with its prompt at most 512",
        "  loss           apo-zero, beta 0.05",
        "  reference      log-probabilities computed once before training",
        "  template       checkpoint; longer: drop",
        "  data           tulu (50 % of the rows)",
        "  missing        steps, tokens and time:",
        "                 known once `smollm3 run` has come to it, for its template is that of pretrain",
        "  from           tokenizer and template of stage apo",
        "  mean of        0.900 × the newest 3 checkpoints of stage apo",
        "                 0.100 × ./elsewhere",
    ] {
        assert!(page.lines().any(|found| found == line), "no `{line}` in\n{page}");
    }
}
