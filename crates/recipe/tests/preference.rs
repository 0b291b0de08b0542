//! Stages on pairs of answers and merges: what they may say, what they do where nothing is said, what they are refused for.

mod fixture;

use fixture::Folder;
use smollm3_recipe::{
    BatchSize, ContextLength, Duration, Facts, MergedModel, NumberFormat, Pairs, PreferenceKind,
    PreparedData, Recipe, RecipeError, Recompute, Reference, StageData, Start, TemplateChoice,
    TemplateKwargs, TooLongPair, Training,
};

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

fn load(overrides: &[&str], change: impl Fn(String) -> String) -> Result<Recipe, RecipeError> {
    let folder = Folder::new();
    folder.append("recipe.toml", &change(STAGES.to_owned()));
    folder.load(overrides)
}

fn training(recipe: &Recipe, rows: u64, tokens: u64) -> Training {
    let stage = recipe.stage("apo").unwrap();
    stage.training_on(PreparedData { rows, tokens }).unwrap()
}

fn same(text: String) -> String {
    text
}

#[test]
fn a_stage_on_pairs_says_little_and_means_the_originals_loss() {
    let recipe = load(&[], same).unwrap();
    let stage = recipe.stage("apo").unwrap();
    let StageData::Apo(apo) = &stage.data else {
        panic!("{stage:?}")
    };
    let own = stage.optimisation().unwrap();
    assert_eq!(stage.preference(), Some(apo));
    assert!(stage.training().is_none() && stage.fine_tuning().is_none() && stage.planned().is_none());
    assert_eq!(
        (own.sequence_length, apo.row_length),
        (ContextLength(512), ContextLength(1_024))
    );
    assert_eq!(
        (own.global_batch, apo.chat.duration),
        (BatchSize::Pairs(Pairs(32)), Duration::Epochs(1.0))
    );
    let loss = apo.loss;
    assert_eq!((loss.kind, loss.beta), (PreferenceKind::ApoZero, 0.05));
    assert_eq!((loss.label_smoothing, loss.sft_weight), (0.0, 0.0));
    assert_eq!((apo.reference, &apo.reference_from), (Reference::Cached, &None));
    assert_eq!(apo.chat.template, TemplateChoice::Checkpoint);
    // None of what the original's trainer did unasked.
    assert_eq!((apo.template_kwargs, apo.extra_eos), (TemplateKwargs::Row, false));
    assert_eq!((apo.prompt_limit, apo.too_long), (None, TooLongPair::Drop));
    let optimizer = &own.optimizer;
    assert_eq!(
        (optimizer.betas, optimizer.weight_decay, optimizer.clip),
        ([0.9, 0.999], 0.0, Some(0.2))
    );
    assert_eq!(stage.recompute(), Recompute::None);
    assert_eq!(stage.sequence_length(), Some(ContextLength(512)));
}

#[test]
fn steps_follow_from_the_pairs() {
    let recipe = load(&[], same).unwrap();
    // 100 pairs of 300 tokens on average, 32 a step.
    let apo = training(&recipe, 100, 29_950);
    assert_eq!((apo.total_steps(), apo.sequence_length), (3, ContextLength(300)));
    assert_eq!((apo.sequences_per_step(), apo.tokens_per_step()), (32, 9_600));
    assert_eq!(training(&recipe, 3, 900).total_steps(), 1);
    let rate = apo.schedule().unwrap();
    assert_eq!(rate.learning_rate(1), 1e-6);
    let until = load(&["stage.apo.until=7 steps"], |text| {
        text.replace("epochs = 1\n", "")
    })
    .unwrap();
    assert_eq!(training(&until, 100, 300).total_steps(), 7);
}

#[test]
fn a_merge_names_its_models_and_their_weights() {
    let recipe = load(&[], same).unwrap();
    let stage = recipe.stage("merged").unwrap();
    let StageData::Merge(merge) = &stage.data else {
        panic!("{stage:?}")
    };
    let model = |checkpoint, weight, last| MergedModel {
        checkpoint,
        weight,
        last,
    };
    assert_eq!(
        merge.models,
        [
            model(Start::Stage("apo".to_owned()), 1.8, 3),
            model(Start::Folder("./elsewhere".into()), 0.2, 1)
        ]
    );
    assert_eq!((merge.normalise, merge.dtype), (true, Some(NumberFormat::Bf16)));
    assert_eq!((stage.sequence_length(), stage.kind_name()), (None, "merge"));
    assert!(stage.is_conversational());
}

#[test]
fn the_plan_refuses_pairs_that_do_not_fit() {
    let longer = load(&["stage.apo.sequence_length=2k"], same).unwrap();
    let error = longer.plan(&Facts::default()).unwrap_err().to_string();
    assert!(error.contains("stage.apo.sequence_length"), "{error}");
    let ranks = load(&["plan.devices=3"], |text| text).unwrap();
    assert!(ranks.plan(&Facts::default()).is_err());
}

#[test]
fn what_changes_no_result_is_not_in_the_fingerprint() {
    let plain = load(&[], same).unwrap().fingerprint();
    for same_results in [
        "stage.apo.row_length=4k",
        "stage.apo.reference=online",
        "stage.apo.recompute=layers",
    ] {
        assert_eq!(
            load(&[same_results], same).unwrap().fingerprint(),
            plain,
            "{same_results}"
        );
    }
    for other in [
        "stage.apo.loss.beta=0.1",
        "stage.apo.extra_eos=true",
        "stage.merged.normalise=false",
    ] {
        assert_ne!(load(&[other], same).unwrap().fingerprint(), plain, "{other}");
    }
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let refused = |overrides: &[&str], change: &dyn Fn(String) -> String| {
        load(overrides, change).unwrap_err().to_string()
    };
    for (overrides, says) in [
        (
            "stage.apo.global_batch=32 sequences",
            "write pairs as \"32 pairs\"",
        ),
        ("stage.apo.global_batch=0 pairs", "cannot have 0 pairs"),
        ("stage.apo.row_length=600", "2 × sequence_length = 1024"),
        ("stage.apo.prompt_limit=512", "is not below sequence_length"),
        ("stage.apo.loss.beta=-1.0", "beta"),
        ("stage.apo.loss.sft_weight=-1.0", "sft_weight"),
        ("stage.apo.loss.average=tokens", "average"),
        ("stage.apo.packing=bfd", "packing"),
        ("stage.apo.date=July", "write it as \"2025-07-08\""),
        ("stage.apo.epochs=0", "positive number"),
        ("stage.apo.until=9 steps", "either epochs = 4 or until"),
    ] {
        let message = refused(&[overrides], &same);
        assert!(message.contains(says), "{overrides}: {message}");
    }
    let message = refused(&[], &|text| text.replacen("from = \"pretrain\"\n", "", 1));
    assert!(
        message.contains("preferences are taught to a trained model"),
        "{message}"
    );
    let paths = "paths = [\"pairs.jsonl\"]";
    for (data, says) in [
        (
            "sums = { conversations = 5, think = true, answers = \"mixed\" }",
            "pairs prefer one form of answer",
        ),
        (
            "passages = { source = \"web-a\", conversations = 5, think = true }",
            "passages are not pairs",
        ),
    ] {
        let message = refused(&[], &|text| text.replace(paths, data));
        assert!(message.contains(says), "{message}");
    }
    let evaluation =
        |answers: &str| format!("{STAGES}[evaluation.preference]\nitems = 5\nanswers = \"{answers}\"\n");
    let message = refused(&[], &|_| evaluation("mixed"));
    assert!(
        message.contains("`evaluation.preference.answers`: pairs prefer one form"),
        "{message}"
    );
    assert!(load(&[], |_| evaluation("sentence")).is_ok());
    let message = refused(&[], &|text| text.replace("last = 3", "last = 3.5"));
    assert!(message.contains("stage.merged.model"), "{message}");
    let message = refused(&[], &|text| text.replace("dtype = \"bf16\"", "dtype = \"int4\""));
    assert!(message.contains("bf16"), "{message}");
}
