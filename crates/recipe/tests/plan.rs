//! The plan: its numbers against hand-worked ones, and what it refuses.

mod fixture;

use std::collections::BTreeMap;

use fixture::Folder;
use proptest::prelude::*;
use smollm3_recipe::{
    ConversationPlan, DataPlan, Facts, Learned, ModelConfig, Packing, Plan, Recipe, RowsPlan, Spelling,
    TokenizerFacts, TooLong, training_flops_per_token,
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
    assert_eq!(training_flops_per_token(&config, 4_096), expected as f64);
    let untied = ModelConfig {
        tie_word_embeddings: false,
        ..config.clone()
    };
    // The head takes the embedding's place in the products.
    assert_eq!(training_flops_per_token(&untied, 4_096), expected as f64);
}

#[test]
fn what_devices_cannot_be() {
    let folder = Folder::new();
    for (text, expected) in [
        ("plan.devices=0", "0 devices compute nothing"),
        ("plan.mfu=1.5", "1.5 is not a fraction of the peak"),
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
            Ok(plan) => assert!(expected.is_empty(), "{text}: {plan:?}"),
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
            pending: None,
        }
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
    let pending = whole.conversations[0].pending.as_deref();
    assert_eq!(
        pending,
        Some("known once `smollm3 data prepare` has tokenised its rows")
    );
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
