//! The recipes of this repository: their totals, shares and steps, against the figures they follow.

use std::collections::BTreeMap;
use std::path::PathBuf;

use smollm3_recipe::{
    Duration, Facts, Learned, LossAverage, Packing, Plan, PreferenceKind, PreparedData, Recipe, Recompute,
    Stage, StageData, Start, TemplateChoice, TemplateKwargs, TooLong, TooLongPair, Training,
};

fn load(name: &str) -> Recipe {
    let folder: PathBuf = [env!("CARGO_MANIFEST_DIR"), "..", "..", "recipes", name]
        .iter()
        .collect();
    Recipe::load(&folder, &[]).unwrap_or_else(|error| panic!("{error}"))
}

fn plan(recipe: &Recipe) -> Plan {
    recipe
        .plan(&Facts::default())
        .unwrap_or_else(|error| panic!("{error}"))
}

/// Per cent of each category, to two decimals.
fn percent(shares: &BTreeMap<String, f64>) -> BTreeMap<&str, String> {
    shares
        .iter()
        .map(|(name, share)| (name.as_str(), format!("{:.2}", share * 100.0)))
        .collect()
}

const PER_STEP: u64 = 2_359_296;

#[test]
fn the_documented_recipe() {
    let recipe = load("smollm3-3b");
    let plan = plan(&recipe);
    assert_eq!(plan.parameters, 3_075_098_624);
    assert_eq!(format!("{:.1}T", plan.total_tokens as f64 / 1e12), "11.2T");
    assert_eq!(plan.total_tokens, (4_704_793 + 2 * 21_193) * PER_STEP);

    let [pretrain, to_32k, to_64k] = plan.stages.as_slice() else {
        panic!("{} stages", plan.stages.len())
    };
    assert_eq!(
        pretrain
            .phases
            .iter()
            .map(|phase| phase.end_step)
            .collect::<Vec<_>>(),
        [3_390_842, 4_238_553, 4_704_793]
    );
    for (phase, tokens) in pretrain.phases.iter().zip([8e12, 10e12, 11.1e12]) {
        assert!(
            (phase.end_token as f64 - tokens).abs() <= PER_STEP as f64 / 2.0,
            "{}",
            phase.name
        );
    }
    for (phase, [web, code, math]) in pretrain.phases.iter().zip([
        ["85.00", "12.00", "3.00"],
        ["75.00", "15.00", "10.00"],
        ["63.00", "24.00", "13.00"],
    ]) {
        let expected = BTreeMap::from([
            ("web", web.to_owned()),
            ("code", code.to_owned()),
            ("math", math.to_owned()),
        ]);
        assert_eq!(percent(&phase.shares), expected);
        assert_eq!(percent(&phase.shares_asked), expected);
    }
    // The other languages are 12 points of the first phase.
    let languages = pretrain.phases[0]
        .sources
        .iter()
        .filter(|source| source.name.starts_with("fw2-"));
    let share: f64 = languages.map(|source| source.weight).sum();
    assert_eq!(format!("{:.1}", share * 100.0), "12.0");

    for (stage, length, theta, batch, shares) in [
        (to_32k, 32_768, 1.5e6, 72, ["51.87", "22.68", "25.45"]),
        (to_64k, 65_536, 5e6, 36, ["51.53", "19.82", "28.66"]),
    ] {
        assert_eq!((stage.steps, stage.tokens_per_step), (21_193, PER_STEP));
        assert_eq!(
            (stage.context, stage.sequence_length, stage.rope_theta),
            (length, length, theta)
        );
        assert_eq!(stage.sequences_per_step, batch);
        let [web, code, math] = shares.map(str::to_owned);
        let expected = BTreeMap::from([("web", web), ("code", code), ("math", math)]);
        assert_eq!(percent(&stage.phases[0].shares), expected);
    }
    let counts: Vec<usize> = plan
        .stages
        .iter()
        .flat_map(|stage| &stage.phases)
        .map(|phase| phase.sources.len())
        .collect();
    assert_eq!(counts, [41, 46, 56, 56, 57]);
}

#[test]
fn inside_a_category_the_documented_recipe_has_the_released_weights() {
    let (documented, released) = (load("smollm3-3b"), load("smollm3-3b-released"));
    let phases = |recipe: &Recipe| {
        let all = recipe.stages.iter().flat_map(|stage| stage.phases().to_vec());
        all.collect::<Vec<_>>()
    };
    for (ours, theirs) in phases(&documented).iter().zip(phases(&released)) {
        assert_eq!(ours.mixture.sources, theirs.mixture.sources, "{}", ours.name);
    }
    assert_eq!(documented.sources.len(), 77);
    for (name, source) in &released.sources {
        let category = match source.category.as_str() {
            "multilingual" => "web",
            "reasoning" => "math",
            same => same,
        };
        let ours = &documented.sources[name];
        assert_eq!(ours.category, category, "{name}");
        assert_eq!(ours.kind, source.kind, "{name}");
    }
}

#[test]
fn the_released_recipe() {
    let recipe = load("smollm3-3b-released");
    let plan = plan(&recipe);
    let steps: Vec<u64> = plan.stages.iter().map(|stage| stage.steps).collect();
    assert_eq!(steps, [4_720_000, 20_000, 22_000]);
    let tokens: Vec<u64> = plan.stages.iter().map(|stage| stage.tokens).collect();
    assert_eq!(tokens, [11_135_877_120_000, 47_185_920_000, 51_904_512_000]);
    assert_eq!(plan.total_tokens, 11_234_967_552_000);

    let phases: Vec<_> = plan.stages.iter().flat_map(|stage| &stage.phases).collect();
    let counts: Vec<usize> = phases.iter().map(|phase| phase.sources.len()).collect();
    assert_eq!(counts, [41, 46, 56, 56, 57]);
    let bounds: Vec<(u64, u64)> = phases
        .iter()
        .map(|phase| (phase.start_step, phase.end_step))
        .collect();
    assert_eq!(
        bounds,
        [
            (1, 3_450_000),
            (3_450_001, 4_198_000),
            (4_198_001, 4_720_000),
            (1, 20_000),
            (1, 22_000)
        ]
    );
    assert_eq!(phases[1].start_token, 3_450_000 * PER_STEP);
    assert_eq!(format!("{:.5}T", phases[0].end_token as f64 / 1e12), "8.13957T");
    assert_eq!(format!("{:.5}T", phases[1].end_token as f64 / 1e12), "9.90432T");

    // In per cent, to the digits of the figures that were worked out from the files: web, other languages, code,
    // mathematics, reasoning and instruction.
    let expected: [[f64; 5]; 5] = [
        [72.80, 12.00, 12.50, 2.70, 0.0],
        [64.897, 11.699, 14.324, 9.080, 0.0],
        [51.231, 12.335, 23.199, 11.435, 1.800],
        [40.762, 11.108, 22.682, 12.089, 13.358],
        [40.719, 10.808, 19.817, 9.298, 19.358],
    ];
    let categories = ["web", "multilingual", "code", "math", "reasoning"];
    for (phase, expected) in phases.iter().zip(expected) {
        for (category, share) in categories.iter().zip(expected) {
            let got = 100.0 * phase.shares_asked.get(*category).copied().unwrap_or(0.0);
            assert!(
                (got - share).abs() <= 0.00051,
                "{} {category}: {got} for {share}",
                phase.name
            );
        }
    }
    // Only the first list adds up to 1.
    let sums: Vec<String> = recipe
        .stages
        .iter()
        .flat_map(|stage| stage.phases())
        .map(|phase| format!("{:.7}", phase.mixture.sources.values().sum::<f64>()))
        .collect();
    assert_eq!(
        sums,
        ["1.0000000", "1.0000500", "1.0056500", "1.0000002", "1.0000002"]
    );
}

#[test]
fn the_released_schedules() {
    let recipe = load("smollm3-3b-released");
    let rate = |stage: &str, step: u64| {
        let training = recipe.stage(stage).unwrap().training().unwrap();
        training.schedule().unwrap().learning_rate(step)
    };
    let close = |rate: f64, expected: f64| (rate - expected).abs() <= 1e-12 * expected.abs() + 1e-24;
    assert_eq!(rate("pretrain", 1), 0.0);
    assert!(close(rate("pretrain", 2), 1e-7));
    assert!(close(rate("pretrain", 2_001), 2e-4));
    assert!(close(rate("pretrain", 4_198_002), 2e-4));
    assert!(close(rate("pretrain", 4_198_003), 2e-4 * 521_999.0 / 522_000.0));
    assert!(close(rate("pretrain", 4_720_000), 2e-4 * 2.0 / 522_000.0));
    assert!(close(rate("long-context-32k", 10_501), 1e-5));
    assert!(close(rate("long-context-64k", 11_501), 1e-5));
    assert!((rate("long-context-32k", 20_000) / 2e-5 / 6.8e-9 - 1.0).abs() < 0.01);
    assert!((rate("long-context-64k", 22_000) / 2e-5 / 5.6e-9 - 1.0).abs() < 0.01);
    for training in recipe.stages.iter().filter_map(|stage| stage.training()) {
        assert_eq!(training.loss.average, LossAverage::MeanOfMeans);
        assert_eq!(training.optimizer.betas, [0.9, 0.95]);
        assert_eq!(training.optimizer.weight_decay, 0.1);
        assert!(!training.optimizer.decays("model.embed_tokens.weight"));
        assert!(training.optimizer.decays("model.norm.weight"));
    }
    let thetas: Vec<f64> = recipe
        .stages
        .iter()
        .filter_map(|stage| match &stage.data {
            StageData::LongContext(long_context) => Some(long_context.rope_theta),
            _ => None,
        })
        .collect();
    assert_eq!(thetas, [2e6, 5e6]);
}

/// The splits of sft.yaml and the part of each that is kept.
const SFT_SPLITS: [(&str, f64); 25] = [
    ("smoltalk_smollm3_everyday_conversations_no_think", 1.0),
    ("smoltalk_smollm3_systemchats_30k_no_think", 1.0),
    ("tulu_3_sft_personas_instruction_following_no_think", 1.0),
    ("hermes_function_calling_v1_no_think", 1.0),
    ("smoltalk_smollm3_smol_magpie_ultra_no_think", 0.5),
    ("smoltalk_multilingual_8languages_lang_5_no_think", 1.0),
    ("table_gpt_no_think", 1.0),
    ("OpenHermes_2.5_no_think", 0.5),
    ("OpenThoughts3_1.2M_no_think_no_think", 0.4),
    ("Mixture_of_Thoughts_science_no_think", 1.0),
    ("smoltalk_smollm3_explore_instruct_rewriting_no_think", 1.0),
    ("smoltalk_smollm3_smol_rewrite_no_think", 1.0),
    ("smoltalk_smollm3_smol_summarize_no_think", 1.0),
    ("LongAlign_64k_context_lang_annotated_lang_6_no_think", 1.0),
    ("multi_turn_reasoning_if_think", 1.0),
    ("smoltalk_everyday_convs_reasoning_Qwen3_32B_think", 1.0),
    ("smoltalk_systemchats_Qwen3_32B_think", 1.0),
    ("xlam_traces_no_think", 1.0),
    ("smolagents_toolcalling_traces_think", 1.0),
    ("s1k_1.1_think", 1.0),
    ("LongAlign_64k_Qwen3_32B_yarn_131k_think", 1.0),
    ("aya_dataset_Qwen3_32B_think", 1.0),
    ("smoltalk_multilingual8_Qwen3_32B_think", 0.3),
    ("OpenThoughts3_1.2M_think", 0.02),
    ("table_gpt_Qwen3_32B_think", 1.0),
];

const MID_SPLITS: [(&str, f64); 2] = [
    ("Llama_Nemotron_Post_Training_Dataset_reasoning_r1", 1.0),
    ("OpenThoughts3_1.2M", 1.0),
];

fn stage<'r>(recipe: &'r Recipe, name: &str) -> &'r Stage {
    recipe.stage(name).unwrap()
}

/// The training of a stage on conversations or on pairs.
fn training(recipe: &Recipe, name: &str, rows: u64, tokens: u64) -> Training {
    let data = PreparedData { rows, tokens };
    stage(recipe, name).training_on(data).unwrap()
}

/// What the two recipes have in common, which is what mid.yaml and sft.yaml say and their documents do not contradict.
#[test]
fn conversations_as_the_files_have_them() {
    for name in ["smollm3-3b", "smollm3-3b-released"] {
        let recipe = load(name);
        for (kind, from, rows, template, learned, subset, splits) in [
            (
                "mid-train",
                "long-context-64k",
                32_768,
                "chatml",
                Learned::All,
                "Mid",
                &MID_SPLITS[..],
            ),
            (
                "sft",
                "mid-train",
                65_536,
                "smollm3",
                Learned::Assistant,
                "SFT",
                &SFT_SPLITS[..],
            ),
        ] {
            let start = Start::Stage(from.to_owned());
            let stage = stage(&recipe, kind);
            assert_eq!(stage.from, start, "{name}");
            assert_eq!(stage.sequence_length().unwrap().0, rows);
            let tuning = stage.fine_tuning().unwrap();
            assert_eq!(tuning.chat.template, TemplateChoice::BuiltIn(template.to_owned()));
            assert_eq!(tuning.learned, learned);
            assert_eq!(stage.recompute(), Recompute::Layers);
            assert_eq!(tuning.loss.average, LossAverage::Tokens);
            let optimizer = &stage.optimisation().unwrap().optimizer;
            assert_eq!((optimizer.learning_rate, optimizer.clip), (2e-5, Some(0.2)));
            assert_eq!((optimizer.betas, optimizer.epsilon), ([0.9, 0.999], 1e-8));
            assert_eq!(optimizer.weight_decay, 0.0);

            // 8 nodes of 8 GPUs with one row each, twice.
            let training = training(&recipe, kind, 128 * 1_000, 0);
            assert_eq!((training.sequences_per_step(), training.micro_batch.0), (128, 1));
            assert_eq!(recipe.plan.devices_of("mid-train"), 64);
            assert_eq!(recipe.plan.devices_of("sft"), 64);
            let schedule = training.schedule().unwrap();
            let total = training.total_steps();
            assert_eq!(schedule.warmup, total * 3 / 100);
            assert_eq!(schedule.learning_rate(1), 0.0);
            assert_eq!(schedule.learning_rate(schedule.warmup + 1), 2e-5);
            assert!((schedule.factor(total) - 0.1).abs() < 1e-12);

            let data: Vec<(&str, f64)> = stage
                .rows()
                .iter()
                .map(|data| (data.name.as_str(), data.weight))
                .collect();
            assert_eq!(data, splits, "{name}");
            for data in stage.rows() {
                let path = format!(
                    "hf://datasets/HuggingFaceTB/smoltalk2/{subset}/{}-*.parquet",
                    data.name
                );
                assert_eq!(data.paths, [path]);
            }
        }
        let date = |name| stage(&recipe, name).chat().unwrap().date.as_deref();
        let dates = ["mid-train", "sft"].map(date);
        assert_eq!(dates, [None, Some("2025-07-08")]);
    }
    let think = SFT_SPLITS.iter().filter(|(name, _)| !name.ends_with("_no_think"));
    assert_eq!(think.count(), 10);
}

#[test]
fn conversations_where_document_and_files_differ() {
    let (documented, released) = (load("smollm3-3b"), load("smollm3-3b-released"));
    for (name, packing, too_long) in [
        ("mid-train", Packing::Wrapped, TooLong::Split),
        ("sft", Packing::Bfd, TooLong::Truncate),
    ] {
        let ours = stage(&documented, name).fine_tuning().unwrap();
        assert_eq!(ours.chat.duration, Duration::Epochs(4.0));
        assert_eq!(
            (ours.packing, ours.too_long, ours.pack_group),
            (packing, too_long, None)
        );
        let theirs = stage(&released, name).fine_tuning().unwrap();
        assert_eq!(theirs.chat.duration, Duration::Epochs(5.0));
        assert_eq!(
            (theirs.packing, theirs.too_long, theirs.pack_group),
            (Packing::Bfd, TooLong::Truncate, Some(1_000))
        );
    }
    // 35B tokens in full rows, four times.
    let rows = 35_000_000_000 / 32_768;
    let training = training(&documented, "mid-train", rows, 0);
    let tokens = (training.total_steps() * training.tokens_per_step()) as f64;
    assert_eq!(format!("{:.1}B", tokens / 1e9), "140.0B");
}

#[test]
fn sources_that_the_files_link_have_their_dataset() {
    let recipe = load("smollm3-3b");
    for (name, dataset) in [
        ("fineweb-edu", "HuggingFaceFW/fineweb-edu"),
        ("dclm", "mlfoundations/dclm-baseline-1.0"),
        ("pes2o", "allenai/dolmino-mix-1124"),
        ("fw2-fra", "epfml/FineWeb2-HQ"),
        ("fw2-hin", "HuggingFaceFW/fineweb-2"),
        ("finemath-3plus", "HuggingFaceTB/finemath"),
        ("stack-v2-Rust", "bigcode/the-stack-v2"),
        ("kaggle", "bigcode/the-stack-v2"),
    ] {
        assert_eq!(recipe.sources[name].dataset(), Some(dataset), "{name}");
    }
    let unnamed: Vec<&str> = recipe
        .sources
        .iter()
        .filter(|(_, source)| source.dataset().is_none())
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(
        unnamed,
        [
            "code-sft-tulu-nemotron",
            "mwiki",
            "reasoning-4k-to-32k",
            "reasoning-tulu-chatml",
            "stack-edu-HTML",
            "wiki-mcq"
        ]
    );
}

#[test]
fn the_demo_keeps_the_proportions_and_shares_of_the_original() {
    let plan = plan(&load("demo"));
    let stage = &plan.stages[0];
    let documented = [
        (8.0 / 11.1, [85.0, 12.0, 3.0]),
        (10.0 / 11.1, [75.0, 15.0, 10.0]),
        (1.0, [63.0, 24.0, 13.0]),
    ];
    assert_eq!(stage.phases.len(), documented.len());
    for (phase, (end, shares)) in stage.phases.iter().zip(documented) {
        let off = phase.end_step as f64 - end * stage.steps as f64;
        assert!(off.abs() <= 0.5, "{} ends at {}", phase.name, phase.end_step);
        let sequences = (phase.end_step + 1 - phase.start_step) * stage.sequences_per_step;
        for (category, share) in ["web", "code", "math"].into_iter().zip(shares) {
            let off = phase.shares[category] - share / 100.0;
            assert!(off.abs() * sequences as f64 <= 1.0, "{} {category}", phase.name);
        }
    }
}

#[test]
fn the_demo_grows_as_the_original_does() {
    let rows_and_thetas: Vec<_> = load("demo")
        .stages
        .iter()
        .filter_map(|stage| match &stage.data {
            StageData::LongContext(long) => Some((stage.sequence_length()?.0, long.rope_theta)),
            _ => None,
        })
        .collect();
    assert_eq!(rows_and_thetas, [(512, 1.5e6), (1024, 5e6)]);
}

/// Figures of recipes/smollm3/dpo/apo.yaml of the alignment-handbook (925acdf), and the article's weights of the merge.
#[test]
fn preferences_and_the_merge_have_the_originals_figures() {
    for (name, released) in [("smollm3-3b", false), ("smollm3-3b-released", true)] {
        let recipe = load(name);
        let stage = recipe.stage("apo").unwrap();
        let apo = stage.preference().unwrap();
        let own = stage.optimisation().unwrap();
        assert_eq!((own.sequence_length.0, own.sequences_per_step()), (24_576, 32));
        assert_eq!((apo.loss.kind, apo.loss.beta), (PreferenceKind::ApoZero, 0.05));
        assert_eq!(
            (own.optimizer.learning_rate, own.optimizer.clip),
            (1e-6, Some(0.2))
        );
        let data: Vec<(&str, f64)> = stage
            .rows()
            .iter()
            .map(|data| (data.name.as_str(), data.weight))
            .collect();
        assert_eq!(
            data,
            [
                ("llama_3.1_tulu_3_8b_preference_mixture_no_think", 0.5),
                ("tulu_3_8b_pref_mix_Qwen3_32B_Qwen3_0.6B_think", 0.25)
            ]
        );
        let training = training(&recipe, "apo", 64_000, 64_000_000);
        assert_eq!(training.total_steps(), 2_000);
        let schedule = training.schedule().unwrap();
        assert_eq!((schedule.warmup, schedule.learning_rate(201)), (200, 1e-6));
        assert_eq!(apo.extra_eos, released);
        assert_eq!(apo.prompt_limit.map(|limit| limit.0), released.then_some(512));
        assert_eq!(apo.too_long == TooLongPair::KeepEnd, released);
        assert_eq!(apo.template_kwargs == TemplateKwargs::Ignore, released);
        let StageData::Merge(merge) = &recipe.stage("merged").unwrap().data else {
            panic!()
        };
        let weights: Vec<f64> = merge.models.iter().map(|model| model.weight).collect();
        assert_eq!(weights, [0.9, 0.1]);
        assert_eq!(
            merge.models[1].checkpoint,
            Start::Stage("long-context-64k".to_owned())
        );
    }
}
