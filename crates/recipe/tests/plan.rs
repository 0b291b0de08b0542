//! The plan: its numbers against hand-worked ones, its JSON, and what it refuses.

mod fixture;

use std::collections::BTreeMap;

use fixture::Folder;
use proptest::prelude::*;
use smollm3_recipe::{
    ConversationPlan, DataPlan, Facts, Learned, MeasuredRate, Memory, ModelConfig, Packing, Plan, Precision,
    PreparedData, Recipe, RowsPlan, Spelling, TokenizerFacts, TooLong, cost,
};

fn plan(folder: &Folder, overrides: &[&str]) -> Plan {
    folder.load(overrides).unwrap().plan(&Facts::default()).unwrap()
}

fn refusal(folder: &Folder, overrides: &[&str], facts: &Facts) -> String {
    folder
        .load(overrides)
        .unwrap()
        .plan(facts)
        .unwrap_err()
        .to_string()
}

fn smollm3_3b() -> ModelConfig {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/smollm3-3b.toml");
    ModelConfig::from_toml_file(path.as_ref()).unwrap()
}

#[test]
fn steps_tokens_and_shares() {
    let plan = plan(&Folder::new(), &[]);
    assert_eq!(plan.total_tokens, 110 * 8_192);
    let [stage] = plan.stages.as_slice() else { panic!() };
    assert_eq!(
        (stage.steps, stage.tokens, stage.tokens_before),
        (110, 901_120, 0)
    );
    assert_eq!(
        (
            stage.sequences_per_step,
            stage.sequence_length,
            stage.tokens_per_step
        ),
        (8, 1_024, 8_192)
    );
    assert_eq!((stage.devices, stage.micro_batch, stage.accumulation), (1, 4, 2));
    assert_eq!((stage.rope_theta, stage.context), (50_000.0, 1_024));
    let [first, second] = stage.phases.as_slice() else {
        panic!()
    };
    assert_eq!(
        (
            first.start_step,
            first.end_step,
            first.start_token,
            first.end_token
        ),
        (1, 80, 0, 655_360)
    );
    assert_eq!((second.start_step, second.end_step), (81, 110));
    assert_eq!((second.start_token, second.end_token), (655_360, 901_120));
    assert_eq!(
        (first.until.as_str(), second.until.as_str()),
        ("80 steps", "900k")
    );
    // 640 rows in 85 / 12 / 3 are 544, 76.8 and 19.2.
    let rows: Vec<(&str, u64)> = first
        .sources
        .iter()
        .map(|source| (source.name.as_str(), source.sequences))
        .collect();
    assert_eq!(rows, [("markdown", 544), ("rust", 77), ("sums", 19)]);
    assert_eq!(first.sources[1].tokens, 77 * 1_024);
    assert!((first.shares_asked["code"] - 0.12).abs() < 1e-15);
    assert_eq!(first.shares["code"], 77.0 / 640.0);
    assert_eq!(
        second.shares,
        BTreeMap::from([("web".to_owned(), 0.75), ("math".to_owned(), 0.25)])
    );
}

#[test]
fn landmarks_of_the_learning_rate() {
    let plan = plan(&Folder::new(), &[]);
    let landmarks: Vec<(&str, u64, f64)> = plan.stages[0]
        .learning_rate
        .iter()
        .map(|landmark| (landmark.name.as_str(), landmark.step, landmark.learning_rate))
        .collect();
    // Warm-up 10, decay 11 of 110 steps; step k uses the index k − 1.
    let rate = |factor: f64| 1e-3 * factor;
    assert_eq!(
        landmarks,
        [
            ("first", 1, 0.0),
            ("warm-up ends", 11, rate(1.0)),
            ("second begins", 81, rate(1.0)),
            ("decay begins", 101, rate(10.0 / 11.0)),
            ("halfway down", 106, rate(5.0 / 11.0)),
            ("last", 110, rate(1.0 / 11.0)),
        ]
    );
}

#[test]
fn flops_of_the_3b_model() {
    let config = smollm3_3b();
    // 73 norms of 2,048 are in no product; the tied embedding is the head's.
    let in_products = 3_075_098_624 - 73 * 2_048;
    let attention = 36 * 2_048 * 4_096_u64;
    let expected = 6 * in_products + 6 * attention;
    assert_eq!(cost::training_flops_per_token(&config, 4_096), expected as f64);
    let untied = ModelConfig {
        tie_word_embeddings: false,
        ..config.clone()
    };
    // The head takes the embedding's place in the products.
    assert_eq!(cost::training_flops_per_token(&untied, 4_096), expected as f64);
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
    assert_eq!((plan.stages[0].devices, plan.stages[0].micro_batch), (4, 2));
    for (text, expected) in [
        ("plan.devices=0", "0 devices compute nothing"),
        ("plan.mfu=1.5", "1.5 is no part of the peak"),
        ("plan.peak_tflops=-1", "a positive number of TFLOP/s"),
        (
            "plan.stage_devices.pretran=2",
            "unknown stage `pretran`; did you mean `pretrain`?",
        ),
        ("plan.stage_devices.pretrain=0", "0 devices compute nothing"),
    ] {
        let message = folder.load(&[text]).unwrap_err().to_string();
        assert!(message.contains(expected), "{text}: {message}");
    }
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
    let page = folder.load(&[]).unwrap().plan(&facts).unwrap().to_string();
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
            cores: Some(2),
            ..Facts::default()
        };
        recipe.plan(&facts).unwrap()
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

#[test]
fn epochs_are_counted_over_all_phases() {
    let folder = Folder::new();
    let with = |tokens: u64| Facts {
        stores: BTreeMap::from([("sums".to_owned(), tokens)]),
        ..Facts::default()
    };
    // 19 rows in the first phase and 60 in the second; a row takes 1,025 tokens of its store.
    let enough = with(79 * 1_025);
    let recipe = folder.load(&[]).unwrap();
    let plan = recipe.plan(&enough).unwrap();
    assert_eq!(plan.stages[0].phases[1].sources[1].epochs, Some(60.0 / 79.0));
    let message = refusal(&folder, &[], &with(79 * 1_025 - 1));
    assert!(
        message.starts_with("`source.sums.max_epochs`: the stages draw 80896 tokens"),
        "{message}"
    );
    assert!(message.contains("1.01 epochs where 1 are allowed"), "{message}");
    assert!(message.contains("or allow 2"), "{message}");
    assert!(
        folder
            .load(&["source.sums.max_epochs=2"])
            .unwrap()
            .plan(&with(40 * 1_025))
            .is_ok()
    );
    let message = refusal(&folder, &[], &with(1_024));
    assert!(message.contains("do not fill one row of 1024"), "{message}");
}

#[test]
fn a_batch_that_the_devices_cannot_divide() {
    let folder = Folder::new();
    let message = refusal(&folder, &["plan.devices=3"], &Facts::default());
    assert_eq!(
        message,
        "`stage.pretrain.global_batch`: 8 sequences cannot be divided among 3 devices; \
         write \"9 sequences\", or take 2 devices"
    );
    let message = refusal(&folder, &["plan.stage_devices.pretrain=16"], &Facts::default());
    assert!(
        message.contains("write \"16 sequences\", or take 8 devices"),
        "{message}"
    );
    let twelve = [
        "stage.pretrain.phase.second.until=2M",
        "stage.pretrain.global_batch=12 sequences",
        "plan.devices=2",
    ];
    let message = refusal(&folder, &twelve, &Facts::default());
    assert!(
        message.contains("4 sequences do not divide the 6 that each of 2 devices gets"),
        "{message}"
    );
    assert!(message.contains("write \"3 sequences\""), "{message}");
}

#[test]
fn rows_longer_than_the_context() {
    let folder = Folder::new();
    let mut overrides = vec![
        "stage.pretrain.phase.second.until=2M",
        "stage.pretrain.sequence_length=2k",
    ];
    let message = refusal(&folder, &overrides, &Facts::default());
    let expected =
        "`stage.pretrain.sequence_length`: rows of 2048 tokens are longer than the 1024 that theta 50000";
    assert!(message.starts_with(expected), "{message}");
    // YaRN stretches the context.
    overrides.push("model.config.rope_scaling={ factor = 2, original_max_position_embeddings = 1024 }");
    assert_eq!(plan(&folder, &overrides).stages[0].context, 2_048);
}

/// A folder with the `config.json` of the small model, but for its context.
fn write_checkpoint(folder: &Folder, name: &str, context: usize) {
    let config = ModelConfig {
        max_position_embeddings: context,
        ..folder.load(&[]).unwrap().architecture().unwrap()
    };
    std::fs::create_dir(folder.path(name)).unwrap();
    let json = config.to_hf_json(Spelling::default(), "float32");
    folder.write(&format!("{name}/config.json"), &json.to_string());
}

#[test]
fn rows_longer_than_the_context_of_a_checkpoint() {
    let folder = Folder::new();
    write_checkpoint(&folder, "short", 512);
    write_checkpoint(&folder, "long", 4_096);
    let overrides = ["stage.pretrain.from=./short"];
    let message = refusal(&folder, &overrides, &Facts::default());
    let expected =
        "`stage.pretrain.sequence_length`: rows of 1024 tokens are longer than the 512 that theta 50000";
    assert!(message.starts_with(expected), "{message}");
    // A longer one takes longer rows than [model] says.
    let overrides = [
        "stage.pretrain.from=./long",
        "stage.pretrain.phase.second.until=4M",
        "stage.pretrain.sequence_length=4k",
    ];
    assert_eq!(plan(&folder, &overrides).stages[0].context, 4_096);
}

#[test]
fn rows_longer_than_the_context_of_a_reference() {
    let folder = Folder::new();
    write_checkpoint(&folder, "short", 512);
    folder.append(
        "recipe.toml",
        r#"
[[stage]]
name = "apo"
kind = "apo"
from = "pretrain"
reference_from = "./short"
sequence_length = 1024
global_batch = "32 pairs"
epochs = 1
optimizer = { learning_rate = 1e-6 }
schedule = { kind = "cosine" }
data = [{ name = "tulu", paths = ["pairs.jsonl"] }]
"#,
    );
    let message = refusal(&folder, &[], &Facts::default());
    let expected =
        "`stage.apo.reference_from`: rows of 1024 tokens are longer than the 512 that the reference";
    assert!(message.starts_with(expected), "{message}");
    plan(&folder, &["stage.apo.sequence_length=512"]);
}

const LONG: &str = r#"
[[stage]]
name = "long"
kind = "long-context"
from = "pretrain"
rope_theta = 1.5e6
sequence_length = "4k"
global_batch = "2 sequences"
micro_batch = "1 sequence"
optimizer = { learning_rate = 1e-4 }
schedule = { kind = "cosine" }
phase = [{ name = "only", until = "20 steps", mixture = "first.toml" }]

[[stage]]
name = "after"
kind = "pretrain"
from = "long"
sequence_length = "4k"
global_batch = "2 sequences"
micro_batch = "1 sequence"
optimizer = { learning_rate = 1e-4 }
schedule = { kind = "constant" }
phase = [{ name = "only", until = "5 steps", mixture = "first.toml" }]
"#;

#[test]
fn theta_and_context_are_passed_on() {
    let folder = Folder::new();
    folder.append("recipe.toml", LONG);
    let whole = plan(&folder, &[]);
    let passed: Vec<(f64, u64, u64)> = whole
        .stages
        .iter()
        .map(|stage| (stage.rope_theta, stage.context, stage.tokens_before))
        .collect();
    assert_eq!(
        passed,
        [
            (5e4, 1_024, 0),
            (1.5e6, 4_096, 901_120),
            (1.5e6, 4_096, 901_120 + 163_840)
        ]
    );
    for (text, expected) in [
        (
            "stage.long.rope_theta=1e4",
            "`stage.long.rope_theta`: 10000 is less than the 50000",
        ),
        (
            "stage.long.sequence_length=1k",
            "`stage.long.sequence_length`: rows of 1024 tokens are within the 1024",
        ),
        (
            "stage.after.from=pretrain",
            "`stage.after.sequence_length`: rows of 4096 tokens are longer than the 1024",
        ),
        (
            "stage.after.sequence_length=8k",
            "longer than the 4096 that theta 1500000",
        ),
        ("stage.long.from=./elsewhere", ""),
    ] {
        match folder.load(&[text]).unwrap().plan(&Facts::default()) {
            Err(error) => assert!(
                !expected.is_empty() && error.to_string().contains(expected),
                "{error}"
            ),
            Ok(plan) => assert!(expected.is_empty(), "{text}: {plan}"),
        }
    }
    let yarn = "model.config.rope_scaling={ factor = 2, original_max_position_embeddings = 1024 }";
    let message = refusal(&folder, &[yarn, "stage.long.from=./elsewhere"], &Facts::default());
    assert!(message.contains("remove rope_scaling"), "{message}");
}

#[test]
fn tokenizers_that_disagree() {
    let folder = Folder::new();
    let message = refusal(&folder, &["tokenizer.train.vocab_size=513"], &Facts::default());
    assert!(
        message.starts_with("`tokenizer.train.vocab_size`: 513 entries do not fit"),
        "{message}"
    );
    let tokenizer = |vocab_size, bos_token_id, eos_token_id| TokenizerFacts {
        vocab_size,
        bos_token_id,
        eos_token_id,
        end_of_turn: None,
    };
    let with = |tokenizer| Facts {
        tokenizer: Some(tokenizer),
        ..Facts::default()
    };
    let ids = ["model.config.bos_token_id=1", "model.config.eos_token_id=2"];
    let recipe = folder.load(&ids).unwrap();
    assert!(recipe.plan(&with(tokenizer(512, Some(1), Some(2)))).is_ok());
    // An embedding may have spare rows, and a tokenizer no token of one kind.
    assert!(recipe.plan(&with(tokenizer(500, None, Some(2)))).is_ok());
    // A model of conversations ends with its turn.
    let of_turns = TokenizerFacts {
        end_of_turn: Some(2),
        ..tokenizer(512, Some(1), Some(3))
    };
    assert!(recipe.plan(&with(of_turns)).is_ok());
    for (facts, expected) in [
        (
            tokenizer(513, Some(1), Some(2)),
            "its 513 entries do not fit the model's embedding of 512",
        ),
        (tokenizer(512, Some(0), Some(2)), "bos_token_id is 0 and 1"),
        (tokenizer(512, Some(1), Some(3)), "eos_token_id is 3 and 2"),
    ] {
        let message = refusal(&folder, &ids, &with(facts));
        assert!(message.contains(expected), "{message}");
    }
    let between = |other| Facts {
        checkpoint_tokenizers: BTreeMap::from([("pretrain".to_owned(), other)]),
        ..with(tokenizer(512, Some(1), Some(2)))
    };
    assert!(recipe.plan(&between(tokenizer(512, Some(1), Some(2)))).is_ok());
    for (other, expected) in [
        (
            tokenizer(511, Some(1), Some(2)),
            "the vocabulary has 512 and 511 entries",
        ),
        (tokenizer(512, Some(1), Some(0)), "eos_token_id is 2 and 0"),
    ] {
        let message = refusal(&folder, &ids, &between(other));
        assert!(
            message.starts_with("`stage.pretrain.from`") && message.contains(expected),
            "{message}"
        );
    }
}

#[test]
fn a_checkpoint_that_is_not_here() {
    let folder = Folder::new();
    folder.replace(
        "recipe.toml",
        "config = \"model.toml\"",
        "checkpoint = \"owner/model\"",
    );
    let message = refusal(&folder, &[], &Facts::default());
    assert!(message.contains("is not on this machine"), "{message}");
    let facts = Facts {
        architecture: Some(ModelConfig {
            max_position_embeddings: 1_024,
            ..smollm3_3b()
        }),
        ..Facts::default()
    };
    let plan = folder.load(&[]).unwrap().plan(&facts).unwrap();
    assert_eq!(plan.parameters, 3_075_098_624);
    assert_eq!(plan.stages[0].from, "owner/model on the Hub");
}

/// A recipe whose only phase draws `rows` rows from sources of these weights.
fn drawing(weights: &[f64], rows: u64) -> Recipe {
    let folder = Folder::new();
    let mut sources = folder.read("sources.toml");
    let mut mixture = String::from("[sources]\n");
    for (index, weight) in weights.iter().enumerate() {
        sources += &format!("[source.s{index:03}]\ncategory = \"web\"\nkind = \"tokens\"\nfolder = \"x\"\n");
        mixture += &format!("s{index:03} = {weight:?}\n");
    }
    folder.write("sources.toml", &sources);
    folder.write("first.toml", &mixture);
    let batch = format!("stage.pretrain.global_batch={rows} sequences");
    let overrides = [
        batch.as_str(),
        "stage.pretrain.micro_batch=1 sequence",
        "stage.pretrain.schedule={ kind = \"constant\" }",
        "stage.pretrain.phase.first.until=1 steps",
        "stage.pretrain.phase.second.until=2 steps",
    ];
    folder.load(&overrides).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whole_rows_add_up_and_are_within_one_of_their_weight(
        weights in prop::collection::vec(1e-6..1.0_f64, 1..40),
        rows in 1..10_000_000_u64,
    ) {
        let plan = drawing(&weights, rows).plan(&Facts::default()).unwrap();
        let phase = &plan.stages[0].phases[0];
        let given: u64 = phase.sources.iter().map(|source| source.sequences).sum();
        prop_assert_eq!(given, rows);
        for source in &phase.sources {
            let exact = source.weight * rows as f64;
            prop_assert!((source.sequences as f64 - exact).abs() < 1.0 + 1e-6);
        }
        prop_assert!((phase.shares.values().sum::<f64>() - 1.0).abs() < 1e-9);
    }
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
    let [_, stage] = whole.stages.as_slice() else {
        panic!()
    };
    assert_eq!(
        (stage.kind.as_str(), stage.from.as_str()),
        ("sft", "stage pretrain")
    );
    assert_eq!(
        (stage.steps, stage.tokens, stage.tokens_before),
        (40, 40 * 8_192, 901_120)
    );
    assert_eq!((stage.accumulation, stage.micro_batch), (4, 2));
    assert!(stage.phases.iter().all(|phase| phase.sources.is_empty()));
    let rates: Vec<(&str, u64)> = stage
        .learning_rate
        .iter()
        .map(|landmark| (landmark.name.as_str(), landmark.step))
        .collect();
    assert_eq!(
        rates,
        [
            ("first", 1),
            ("warm-up ends", 5),
            ("decay begins", 6),
            ("last", 40)
        ]
    );

    let [conversations] = whole.conversations.as_slice() else {
        panic!()
    };
    assert_eq!(
        conversations,
        &ConversationPlan {
            name: "sft".to_owned(),
            kind: "sft".to_owned(),
            from: "stage pretrain".to_owned(),
            sequence_length: 1_024,
            global_batch: "8 sequences".to_owned(),
            duration: "until 40 steps".to_owned(),
            template: "smollm3".to_owned(),
            rows: RowsPlan::Packed {
                learned: Learned::Assistant,
                packing: Packing::Bfd,
                too_long: TooLong::Truncate,
            },
            data: [("chats", 0.125), ("more", 1.0)]
                .map(|(name, fraction)| DataPlan {
                    name: name.to_owned(),
                    fraction,
                    rows: None,
                })
                .to_vec(),
            validation: None,
            adapters: None,
            unplanned: None,
        }
    );
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
    let unplanned = whole.conversations[0].unplanned.as_ref().unwrap();
    let other = Folder::new();
    other.append("recipe.toml", CONVERSATIONS);
    assert_eq!(unplanned.memory, plan(&other, &[]).stages[1].memory);
    let message = refusal(&folder, &["plan.stage_devices.sft=3"], &Facts::default());
    assert_eq!(
        message,
        "`stage.sft.global_batch`: 8 sequences cannot be divided among 3 devices; write \"9 sequences\", or take 2 \
         devices"
    );
    let message = refusal(&folder, &["stage.sft.sequence_length=2k"], &Facts::default());
    assert!(
        message.starts_with("`stage.sft.sequence_length`: rows of 2048 tokens are longer"),
        "{message}"
    );
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
    let whole = recipe.plan(&prepared()).unwrap();
    let [_, sft, apo] = whole.stages.as_slice() else {
        panic!("{:?}", whole.stages)
    };
    // Two times 100 rows in steps of 8; 82 pairs of 300 tokens in steps of 8.
    assert_eq!(
        (sft.steps, sft.tokens, sft.tokens_before),
        (25, 25 * 8_192, 901_120)
    );
    assert_eq!(
        (apo.steps, apo.sequence_length, apo.tokens),
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

    let unknown = recipe.plan(&Facts::default()).unwrap();
    assert_eq!(unknown.stages.len(), 1);
    let apo = unknown.conversations[1].unplanned.as_ref().unwrap();
    assert_eq!(apo.memory, row);
    let page = unknown.to_string();
    assert!(page.contains("TFLOP/s a device, without sft, apo\n"), "{page}");

    // On devices too.
    let device = "cpu,peak=1TFLOP/s,memory=1GB,bandwidth=100GB/s".parse().unwrap();
    let estimate = recipe.estimate(&prepared(), 1, &device).unwrap();
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
            [&[][..], &[lora]].map(|overrides| folder.load(overrides).unwrap().plan(&facts).unwrap());
        let memory = |plan: &Plan| match plan.stages.get(1) {
            Some(stage) => stage.memory,
            None => plan.conversations[0].unplanned.as_ref().unwrap().memory,
        };
        // 8 · (64 + 64) and 8 · (64 + 160) in each of four layers.
        let numbers = 4 * 8 * (64 + 64 + 64 + 160);
        assert_eq!(
            adapted.conversations[0].adapters.as_ref().unwrap().parameters,
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
        let plan = folder.load(overrides).unwrap().plan(&prepared()).unwrap();
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
        let estimate = folder
            .load(&[])
            .unwrap()
            .estimate(&Facts::default(), 1, &device)
            .unwrap();
        let page = estimate.to_string();
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
    let facts = Facts {
        measured: names.into_iter().map(|name| (name, rate.clone())).collect(),
        ..Facts::default()
    };
    let plan = recipe.plan(&facts).unwrap();
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
