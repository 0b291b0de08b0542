//! Stages on conversations: what they may say, what they do where nothing is said, and what they are refused for.

mod fixture;

use fixture::Folder;
use smollm3_recipe::{
    Duration, FineTuning, Guards, Learned, LossAverage, Optimisation, OptimizerState, Packing, PreparedData,
    Recipe, RecipeError, Recompute, Span, StageData, Start, Steps, SumAnswers, Sums, TemplateChoice, Tokens,
    TooLong, Training,
};

const MID_TRAIN: &str = r#"
[[stage]]
name = "reason"
kind = "mid-train"
from = "pretrain"
sequence_length = 512
global_batch = "8 sequences"
micro_batch = "4 sequences"
epochs = 4

[stage.optimizer]
learning_rate = 2e-5

[stage.schedule]
kind = "cosine"
warmup = "3%"
min_ratio = 0.1

[[stage.data]]
name = "traces"
paths = ["traces/*.parquet"]
"#;

const SFT: &str = r#"
[[stage]]
name = "sft"
kind = "sft"
from = "reason"
sequence_length = 1024
global_batch = "8192 tokens"
micro_batch = "1 sequence"
until = "200 steps"
template = "smollm3"

[stage.optimizer]
learning_rate = 1e-5

[stage.schedule]
kind = "constant"

[[stage.data]]
name = "chats_1.2M"
paths = ["chats.jsonl", "hf://datasets/owner/name/SFT/chats-*.parquet"]
weight = 0.25

[[stage.data]]
name = "sums"
sums = { conversations = 500, think = true }
"#;

fn folder() -> Folder {
    let folder = Folder::new();
    folder.append("recipe.toml", MID_TRAIN);
    folder.append("recipe.toml", SFT);
    folder
}

/// The recipe with one thing of the stages on conversations written otherwise.
fn with(from: &str, to: &str) -> Result<Recipe, RecipeError> {
    let folder = folder();
    folder.replace("recipe.toml", from, to);
    folder.load(&[])
}

fn stage<'r>(recipe: &'r Recipe, name: &str) -> &'r FineTuning {
    recipe.stage(name).unwrap().fine_tuning().unwrap()
}

fn optimisation<'r>(recipe: &'r Recipe, name: &str) -> &'r Optimisation {
    recipe.stage(name).unwrap().optimisation().unwrap()
}

fn training(recipe: &Recipe, name: &str, rows: u64) -> Training {
    let data = PreparedData { rows, tokens: 0 };
    recipe.stage(name).unwrap().training_on(data).unwrap()
}

#[test]
fn what_a_stage_does_where_nothing_is_said() {
    let recipe = folder().load(&[]).unwrap();
    let (reason, sft) = (stage(&recipe, "reason"), stage(&recipe, "sft"));
    let built_in = |name: &str| TemplateChoice::BuiltIn(name.to_owned());
    assert_eq!(reason.chat.template, built_in("chatml"));
    assert_eq!(sft.chat.template, built_in("smollm3"));
    assert_eq!((reason.learned, sft.learned), (Learned::All, Learned::Assistant));
    assert_eq!(
        (reason.packing, reason.too_long),
        (Packing::Wrapped, TooLong::Split)
    );
    assert_eq!((sft.packing, sft.too_long), (Packing::Bfd, TooLong::Truncate));
    for (name, stage) in [("reason", reason), ("sft", sft)] {
        assert_eq!((stage.pack_group, stage.chat.date.as_deref()), (None, None));
        assert_eq!(stage.loss.average, LossAverage::Tokens);
        let own = optimisation(&recipe, name);
        let optimizer = &own.optimizer;
        assert_eq!((optimizer.betas, optimizer.epsilon), ([0.9, 0.999], 1e-8));
        assert_eq!((optimizer.weight_decay, optimizer.clip), (0.0, Some(0.2)));
        assert!(optimizer.no_decay.is_empty());
        assert_eq!(own.optimizer_state, OptimizerState::Fresh);
        assert_eq!(own.recompute, Recompute::None);
        assert_eq!((own.checkpoint.every, own.checkpoint.keep), (None, 3));
        assert_eq!(own.guards, Guards::default());
    }
    assert_eq!(reason.chat.data[0].weight, 1.0);
    assert_eq!(
        sft.chat.data[1].sums,
        Some(Sums {
            conversations: 500,
            seed: 0,
            think: true,
            answers: SumAnswers::Number,
        })
    );
}

#[test]
fn what_a_stage_says() {
    let folder = folder();
    folder.write("chat.jinja", "");
    let recipe = folder
        .load(&[
            "stage.reason.learned=last-turn",
            "stage.reason.packing=bfd",
            "stage.reason.too_long=drop",
            "stage.reason.pack_group=1000",
            "stage.reason.template=./chat.jinja",
            "stage.reason.date=2024-02-29",
            "stage.reason.optimizer.clip=false",
            "stage.reason.optimizer.betas=[0.8, 0.9]",
            "stage.reason.optimizer_state=keep",
            "stage.reason.recompute=layers",
            "stage.reason.loss.average=mean-of-means",
            "stage.sft.template=checkpoint",
            "stage.sft.packing=none",
        ])
        .unwrap();
    let reason = stage(&recipe, "reason");
    assert_eq!(reason.learned, Learned::LastTurn);
    let own = optimisation(&recipe, "reason");
    let settings = reason.packing(own);
    assert_eq!((settings.row, settings.packing), (512, Packing::Bfd));
    assert_eq!((settings.too_long, settings.group), (TooLong::Drop, Some(1_000)));
    let template = TemplateChoice::File("./chat.jinja".to_owned());
    assert_eq!(reason.chat.template, template);
    assert_eq!(reason.chat.date.as_deref(), Some("2024-02-29"));
    assert_eq!((own.optimizer.clip, own.optimizer.betas), (None, [0.8, 0.9]));
    assert_eq!(own.optimizer_state, OptimizerState::Keep);
    assert_eq!(own.recompute, Recompute::Layers);
    assert_eq!(reason.loss.average, LossAverage::MeanOfMeans);
    let sft = stage(&recipe, "sft");
    assert_eq!(sft.chat.template, TemplateChoice::Checkpoint);
    assert_eq!((sft.packing, sft.too_long), (Packing::None, TooLong::Truncate));
    assert_eq!(sft.chat.data[0].weight, 0.25);
    assert_eq!(
        sft.chat.data[0].paths,
        ["chats.jsonl", "hf://datasets/owner/name/SFT/chats-*.parquet"]
    );

    let (reason, sft) = (recipe.stage("reason").unwrap(), recipe.stage("sft").unwrap());
    assert_eq!((reason.kind_name(), sft.kind_name()), ("mid-train", "sft"));
    assert!(matches!(reason.data, StageData::MidTrain(_)));
    assert_eq!(sft.from, Start::Stage("reason".to_owned()));
    assert!(reason.training().is_none() && sft.training().is_none());
    let template = |text: &str| TemplateChoice::from(text.to_owned());
    assert_eq!(
        template("chat.jinja"),
        TemplateChoice::File("chat.jinja".to_owned())
    );
    for text in ["chatml", "checkpoint", "a/b.jinja"] {
        assert_eq!(String::from(template(text)), text);
    }
}

#[test]
fn steps_follow_from_the_rows_or_are_said() {
    let recipe = folder().load(&[]).unwrap();
    let duration = |recipe: &Recipe, name: &str| stage(recipe, name).chat.duration;
    assert_eq!(duration(&recipe, "reason"), Duration::Epochs(4.0));
    assert_eq!(duration(&recipe, "sft"), Duration::Until(Span::Steps(Steps(200))));
    assert!(recipe.stage("reason").unwrap().planned().is_none());

    // Four times 801 rows in steps of 8 are 400.5, which is rounded up.
    for (rows, steps) in [(800, 400), (801, 401), (802, 401), (8, 4), (1, 1), (0, 1)] {
        assert_eq!(
            training(&recipe, "reason", rows).total_steps(),
            steps,
            "{rows} rows"
        );
    }
    let reason = training(&recipe, "reason", 800);
    assert_eq!(reason.phases[0].name, "reason");
    assert_eq!(reason.tokens_per_step(), 8 * 512);
    assert_eq!(&reason.optimisation, optimisation(&recipe, "reason"));
    let schedule = reason.schedule().unwrap();
    assert_eq!(schedule.warmup, 12);
    assert_eq!(schedule.learning_rate(13), 2e-5);
    assert!((schedule.factor(400) - 0.1).abs() < 1e-12);

    let sft = recipe.stage("sft").unwrap().planned().unwrap();
    assert_eq!((sft.total_steps(), sft.sequences_per_step()), (200, 8));
    assert_eq!(training(&recipe, "sft", 7), sft);

    let half = with("epochs = 4", "epochs = 0.5").unwrap();
    assert_eq!(training(&half, "reason", 800).total_steps(), 50);
    let tokens = with("until = \"200 steps\"", "until = \"1M\"").unwrap();
    let of_tokens = Duration::Until(Span::Tokens(Tokens(1_000_000)));
    assert_eq!(duration(&tokens, "sft"), of_tokens);
    let planned = tokens.stage("sft").unwrap().planned();
    assert_eq!(planned.unwrap().total_steps(), 122);
}

/// The largest rows and batches of the original, whose steps are not known when the recipe is read.
#[test]
fn epochs_of_long_rows() {
    let folder = folder();
    let overrides = [
        "stage.reason.sequence_length=64k",
        "stage.reason.global_batch=128 sequences",
        "stage.reason.epochs=5",
        "stage.reason.schedule.warmup=2000 steps",
    ];
    let recipe = folder.load(&overrides).unwrap();
    assert_eq!(training(&recipe, "reason", 100_000).total_steps(), 3_906);
    // A warm-up that the stage turns out to be too short for.
    let short = training(&recipe, "reason", 1_000);
    let message = short.schedule().unwrap_err().to_string();
    assert!(message.contains("longer than the stage of 39"), "{message}");
}

#[test]
fn a_step_that_takes_more_rows_than_there_are_is_named() {
    let recipe = folder().load(&["stage.reason.epochs=1"]).unwrap();
    let (reason, sft) = (recipe.stage("reason").unwrap(), recipe.stage("sft").unwrap());
    let note =
        "reason: a step takes 8 rows, and there are 3; epochs = 1 becomes 2.7; write a smaller global_batch";
    assert_eq!(reason.few_rows(3).as_deref(), Some(note));
    // A length is rounded to steps, and a number of steps is what it says.
    assert_eq!(
        (reason.few_rows(6), reason.few_rows(800), sft.few_rows(3)),
        (None, None, None)
    );
}

/// Every mistake is answered with its place and with what to write.
#[test]
fn mistakes() {
    for (from, to, expected) in [
        (
            "epochs = 4",
            "",
            "`stage.reason`: a stage needs a length; write either epochs = 4 or until = \"200 steps\"",
        ),
        (
            "epochs = 4",
            "epochs = 4\nuntil = \"9 steps\"",
            "`stage.reason`: a stage needs a length; write either epochs = 4 or until",
        ),
        (
            "epochs = 4",
            "epochs = 0",
            "line 59: `stage.reason.epochs`: 0 epochs are not a length; write a positive number",
        ),
        (
            "epochs = 4",
            "epochs = -1.5",
            "`stage.reason.epochs`: -1.5 epochs are not a length",
        ),
        (
            "epochs = 4",
            "epochs = inf",
            "`stage.reason.epochs`: inf epochs are too many",
        ),
        (
            "epochs = 4",
            "epochs = nan",
            "`stage.reason.epochs`: NaN epochs are not a length",
        ),
        (
            "epochs = 4",
            "epochs = \"4\"",
            "`stage.reason.epochs`: string \"4\" is not allowed here; write a number",
        ),
        (
            "until = \"200 steps\"",
            "until = \"50%\"",
            "`stage.sft.until`: it cannot be a percentage; write \"200 steps\" or tokens",
        ),
        (
            "until = \"200 steps\"",
            "until = \"0 steps\"",
            "`stage.sft.until`: 0 steps are less than a step of 8192 tokens; write \"200 steps\"",
        ),
        (
            "until = \"200 steps\"",
            "until = \"4k\"",
            "`stage.sft.until`: 4k are less than a step of 8192 tokens",
        ),
        (
            "until = \"200 steps\"",
            "until = \"10000T\"",
            "`stage.sft.until`: a stage cannot have more than 9,007T tokens",
        ),
        (
            "weight = 0.25",
            "weight = 0",
            "`stage.sft.data.\"chats_1.2M\".weight`: 0 is not a fraction of the rows; write a number above 0, at most 1",
        ),
        (
            "weight = 0.25",
            "weight = -0.5",
            "-0.5 is not a fraction of the rows",
        ),
        (
            "weight = 0.25",
            "weight = 1.01",
            "1.01 is not a fraction of the rows",
        ),
        (
            "weight = 0.25",
            "weight = nan",
            "NaN is not a fraction of the rows",
        ),
        (
            "weight = 0.25",
            "fraction = 1.5",
            "`stage.sft.data.\"chats_1.2M\".fraction`: 1.5 is not a fraction of the rows; write a number above 0, at most 1",
        ),
        (
            "weight = 0.25",
            "fraction = 0",
            "fraction`: 0 is not a fraction of the rows",
        ),
        (
            "weight = 0.25",
            "fraction = nan",
            "fraction`: NaN is not a fraction of the rows",
        ),
        (
            "weight = 0.25",
            "weight = 0.25\nfraction = 0.25",
            "`stage.sft.data.\"chats_1.2M\".weight`: it is another name of `fraction`, which is written too; keep one",
        ),
        (
            "weight = 0.25",
            "fraction = 0.25\nrows = 100",
            "`stage.sft.data.\"chats_1.2M\".rows`: a number of rows contradicts a fraction of them; keep one",
        ),
        (
            "weight = 0.25",
            "weight = 0.25\nrows = 100",
            "contradicts a fraction of them; keep one",
        ),
        (
            "weight = 0.25",
            "fraction = 1.0\nrows = 100",
            "contradicts a fraction of them; keep one",
        ),
        (
            "weight = 0.25",
            "rows = 0",
            "0 conversations teach nothing; write a larger number",
        ),
        ("weight = 0.25", "rows = -1", "rows`"),
        (
            "epochs = 4",
            "epochs = 4\nvalidation = {}",
            "`stage.reason.validation`: it is empty; write paths",
        ),
        (
            "epochs = 4",
            "epochs = 4\nvalidation = { every = \"0 steps\" }",
            "`stage.reason.validation.every`: measurements cannot be 0 steps apart",
        ),
        (
            "epochs = 4",
            "epochs = 4\nvalidation = { paths = [\"dev.jsonl\"], rows = 0 }",
            "`stage.reason.validation.rows`: 0 rows measure nothing",
        ),
        (
            "epochs = 4",
            "epochs = 4\nvalidation = { rows = 5 }",
            "`stage.reason.validation.rows`: it counts rows of `paths`, which is missing",
        ),
        (
            "epochs = 4",
            "epochs = 4\nvalidation = { paths = [\"dev.jsonl\"], best = \"keep\" }",
            "`stage.reason.validation.best`: finding the best needs measurements; write every",
        ),
        (
            "epochs = 4",
            "epochs = 4\nvalidation = { paths = [\"dev.jsonl\"], stop_early = { patience = 2 } }",
            "`stage.reason.validation.stop_early`: stopping needs measurements; write every",
        ),
        (
            "epochs = 4",
            "epochs = 4\nvalidation = { paths = [\"dev.jsonl\"], every = \"5 steps\", stop_early = { patience = 0 } }",
            "`stage.reason.validation.stop_early`: patience cannot be 0",
        ),
        (
            "epochs = 4",
            "epochs = 4\nvalidation = { paths = [\"d\"], every = \"5 steps\", stop_early = { patience = 1, min_delta = -1 } }",
            "`stage.reason.validation.stop_early`: min_delta is a loss, 0 or more",
        ),
        (
            "epochs = 4",
            "epochs = 4\nvalidation = { every = \"5 steps\", bset = \"keep\" }",
            "unknown key `bset`; did you mean `best`?",
        ),
        (
            "epochs = 4",
            "epochs = 4\nvalidation = { paths = [\"dev.jsonl\"], best = \"first\" }",
            "first",
        ),
        (
            "weight = 0.25",
            "wieght = 0.25",
            "`stage.sft.data.\"chats_1.2M\".wieght`: unknown key `wieght`; did you mean `weight`?",
        ),
        (
            "name = \"sums\"",
            "name = \"chats_1.2M\"",
            "`chats_1.2M` is used twice; rename one",
        ),
        (
            "paths = [\"traces/*.parquet\"]",
            "",
            "`stage.reason.data.traces.paths`: conversations come from paths = [\"chats.jsonl\"], from sums",
        ),
        (
            "paths = [\"traces/*.parquet\"]",
            "paths = []",
            "line 71: `stage.reason.data.traces.paths`: conversations come from",
        ),
        (
            "sums = {",
            "paths = [\"x.jsonl\"]\nsums = {",
            "`stage.sft.data.sums.paths`: conversations come from paths = [\"chats.jsonl\"], from sums = { … } or from \
             passages = { … }; write one of them",
        ),
        (
            "sums = { conversations = 500, think = true }",
            "passages = { source = \"markdwon\", conversations = 5, think = true }",
            "`stage.sft.data.sums.passages.source`: unknown source of text `markdwon`; did you mean `markdown`?",
        ),
        (
            "sums = { conversations = 500, think = true }",
            "passages = { source = \"markdown\", conversations = 0, think = true }",
            "`stage.sft.data.sums.passages`: 0 conversations teach nothing",
        ),
        (
            "conversations = 500",
            "conversations = 0",
            "`stage.sft.data.sums.sums`: 0 conversations teach nothing",
        ),
        (
            "think = true",
            "thinks = true",
            "`stage.sft.data.sums.sums.thinks`: unknown key `thinks`; did you mean `think`?",
        ),
        (
            ", think = true",
            "",
            "`stage.sft.data.sums.sums`: `think` is missing",
        ),
        (
            "[[stage.data]]\nname = \"traces\"\npaths = [\"traces/*.parquet\"]",
            "",
            "`stage.reason.data`: there are no conversations; write [[stage.data]] with a name and paths",
        ),
        (
            "epochs = 4",
            "epochs = 4\ntoo_long = \"drop\"",
            "line 60: `stage.reason.too_long`: packing = \"wrapped\" splits long documents, which contradicts too_long = \
             \"drop\"",
        ),
        (
            "template = \"smollm3\"",
            "too_long = \"split\"",
            "`stage.sft.too_long`: packing = \"bfd\" keeps documents whole, which contradicts too_long = \"split\"",
        ),
        (
            "template = \"smollm3\"",
            "packing = \"bfd-split\"\ntoo_long = \"truncate\"",
            "`stage.sft.too_long`: packing = \"bfd-split\" splits long documents",
        ),
        (
            "template = \"smollm3\"",
            "packing = \"bdf\"",
            "`stage.sft.packing`: unknown name `bdf`; did you mean `bfd`?",
        ),
        (
            "template = \"smollm3\"",
            "packing = \"none\"\npack_group = 10",
            "`stage.sft.pack_group`: packing = \"none\" gives every document its own row",
        ),
        (
            "template = \"smollm3\"",
            "pack_group = 0",
            "`stage.sft.pack_group`: groups of 0 documents",
        ),
        (
            "sequence_length = 512",
            "sequence_length = 4294967808",
            "`stage.reason.sequence_length`: rows of 4294967295 tokens: write a length from 1 to 16777216",
        ),
        (
            "sequence_length = 512",
            "sequence_length = 0",
            "`stage.reason.sequence_length`: \"0\" is too short, a row cannot have 0 tokens",
        ),
        (
            "micro_batch = \"4 sequences\"\nepochs",
            "micro_batch = \"3 sequences\"\nepochs",
            "`stage.reason.micro_batch`: 3 sequences do not divide the global batch of 8",
        ),
        (
            "global_batch = \"8192 tokens\"",
            "global_batch = \"8000 tokens\"",
            "`stage.sft.global_batch`: 8000 tokens are not a whole number of rows of 1024",
        ),
        (
            "template = \"smollm3\"",
            "date = \"8 July 2025\"",
            "`stage.sft.date`: `8 July 2025` is not a date; write it as \"2025-07-08\"",
        ),
        (
            "template = \"smollm3\"",
            "date = \"2025-02-29\"",
            "`2025-02-29` is not a date",
        ),
        (
            "template = \"smollm3\"",
            "date = \"2025-13-01\"",
            "`2025-13-01` is not a date",
        ),
        (
            "template = \"smollm3\"",
            "date = \"2025-07-00\"",
            "`2025-07-00` is not a date",
        ),
        (
            "template = \"smollm3\"",
            "date = \"2025-7-8\"",
            "`2025-7-8` is not a date",
        ),
        (
            "template = \"smollm3\"",
            "tempalte = \"smollm3\"",
            "`stage.sft.tempalte`: unknown key `tempalte`; did you mean `template`?",
        ),
        (
            "micro_batch = \"1 sequence\"",
            "micro_bach = \"1 sequence\"",
            "`stage.sft.micro_bach`: unknown key `micro_bach`; did you mean `micro_batch`?",
        ),
        (
            "until = \"200 steps\"",
            "untl = \"200 steps\"",
            "`stage.sft.untl`: unknown key `untl`; did you mean `until`?",
        ),
        (
            "micro_batch = \"1 sequence\"",
            "",
            "`stage.sft`: `micro_batch` is missing; write micro_batch = \"1 sequence\"",
        ),
        (
            "template = \"smollm3\"",
            "phase = []",
            "`stage.sft.phase`: unknown key `phase`",
        ),
        (
            "template = \"smollm3\"",
            "learned = \"assistent\"",
            "`stage.sft.learned`: unknown name `assistent`; did you mean `assistant`?",
        ),
        (
            "template = \"smollm3\"",
            "rope_theta = 1e6",
            "`stage.sft.rope_theta`: unknown key `rope_theta`",
        ),
        (
            "learning_rate = 2e-5",
            "learning_rate = 0",
            "`stage.reason.optimizer.learning_rate`: 0 is not a valid learning_rate; write a positive number",
        ),
        (
            "learning_rate = 2e-5",
            "learning_rate = 2e-5\nclip = true",
            "the largest gradient norm, such as 1.0, or false",
        ),
        (
            "learning_rate = 2e-5",
            "learning_rate = 2e-5\nbeta = [0.9, 0.99]",
            "`stage.reason.optimizer.beta`: unknown key `beta`; did you mean `betas`?",
        ),
        (
            "min_ratio = 0.1",
            "min_ratio = 10",
            "`stage.reason.schedule.min_ratio`: 10 is not a fraction of the peak",
        ),
        (
            "kind = \"constant\"",
            "kind = \"constant\"\nwarmup = \"300 steps\"",
            "`stage.sft.schedule.warmup`: a warm-up of 300 steps is longer than the stage of 200",
        ),
        (
            "kind = \"constant\"",
            "kind = \"constant\"\n[stage.checkpoint]\nevery = \"0 steps\"",
            "`stage.sft.checkpoint.every`: checkpoints cannot be 0 steps apart",
        ),
        (
            "kind = \"constant\"",
            "kind = \"constant\"\n[stage.checkpoint]\nkeep = 0",
            "`stage.sft.checkpoint.keep`: without its newest checkpoint a stopped run starts over",
        ),
        (
            "from = \"reason\"",
            "",
            "`stage.sft`: conversations are taught to a trained model, but the stage has no `from`",
        ),
        (
            "from = \"pretrain\"",
            "",
            "`stage.reason`: conversations are taught to a trained model, but the stage has no `from`",
        ),
        (
            "from = \"reason\"",
            "from = \"raeson\"",
            "`stage.sft.from`: unknown earlier stage `raeson`; did you mean `reason`",
        ),
    ] {
        match with(from, to) {
            Ok(_) => panic!("{to} was accepted"),
            Err(error) => {
                let message = error.to_string();
                assert!(
                    message.contains(expected),
                    "{message}\nwhere this was expected: {expected}"
                );
                assert!(message.contains("recipe.toml, line "), "{message}");
            }
        }
    }
}

#[test]
fn the_part_of_the_rows_is_one_thing_under_two_names() {
    let (weight, fraction) = (
        with("", "").unwrap(),
        with("weight = 0.25", "fraction = 0.25").unwrap(),
    );
    assert_eq!(stage(&fraction, "sft").chat.data[0].weight, 0.25);
    assert_eq!(fraction.fingerprint(), weight.fingerprint());
}

#[test]
fn a_pretraining_stage_reads_no_conversations() {
    let folder = Folder::new();
    let message = folder
        .load(&["stage.pretrain.data=[{ name = \"x\", paths = [\"x\"] }]"])
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("`stage.pretrain.data`: unknown key `data`"),
        "{message}"
    );
}

#[test]
fn what_the_fingerprint_of_conversations_is_about() {
    let folder = folder();
    let recipe = folder.load(&[]).unwrap();
    for harmless in [
        "stage.sft.micro_batch=2 sequences",
        "stage.sft.checkpoint.every=10 steps",
        "stage.sft.checkpoint.keep=9",
        "stage.sft.recompute=layers",
        "stage.sft.packing=bfd",
        "stage.reason.template=chatml",
        "stage.sft.global_batch=8192 tokens",
        "stage.reason.data.traces.weight=1.0",
    ] {
        let changed = folder.load(&[harmless]).unwrap();
        assert_eq!(changed.fingerprint(), recipe.fingerprint(), "{harmless}");
    }
    for (change, key) in [
        ("stage.sft.packing=bfd-split", "stage.sft.packing"),
        ("stage.sft.too_long=drop", "stage.sft.too_long"),
        ("stage.sft.pack_group=1000", "stage.sft.pack_group"),
        ("stage.sft.template=chatml", "stage.sft.template"),
        ("stage.sft.date=2025-07-08", "stage.sft.date"),
        ("stage.sft.learned=all", "stage.sft.learned"),
        ("stage.sft.until=201 steps", "stage.sft.until"),
        ("stage.reason.epochs=5", "stage.reason.epochs"),
        ("stage.sft.sequence_length=512", "stage.sft.sequence_length"),
        ("stage.sft.optimizer.clip=false", "stage.sft.optimizer.clip"),
        ("stage.sft.loss.average=mean-of-means", "stage.sft.loss.average"),
        (
            "stage.sft.data.\"chats_1.2M\".weight=0.5",
            "stage.sft.data.\"chats_1.2M\".weight",
        ),
        (
            "stage.reason.data.traces.paths=[\"x\"]",
            "stage.reason.data.traces.paths",
        ),
        ("stage.sft.data.sums.sums.seed=1", "stage.sft.data.sums.sums.seed"),
    ] {
        let changed = folder.load(&[change]).unwrap();
        assert_ne!(changed.fingerprint(), recipe.fingerprint(), "{change}");
        let differences = changed.differences(&recipe.canonical().to_string()).unwrap();
        let keys: Vec<&str> = differences.iter().map(|one| one.key.as_str()).collect();
        assert!(keys.contains(&key), "{change}: {keys:?}");
        // A stage does not depend on those after it.
        let reason = |recipe: &Recipe| recipe.canonical_stage("reason").unwrap();
        assert_eq!(
            reason(&changed) == reason(&recipe),
            change.starts_with("stage.sft"),
            "{change}"
        );
    }
    // Averaged over micro-batches, their size matters.
    let means = "stage.sft.loss.average=mean-of-means";
    let smaller = folder
        .load(&[means, "stage.sft.micro_batch=2 sequences"])
        .unwrap();
    assert_ne!(
        smaller.fingerprint(),
        folder.load(&[means]).unwrap().fingerprint()
    );
}

const DATA_FILE: &str = r#"# Of the stage sft.
[[data]]
name = "chats_1.2M"
paths = ["chats.jsonl", "hf://datasets/owner/name/SFT/chats-*.parquet"]
weight = 0.25

[[data]]
name = "sums"
sums = { conversations = 500, think = true }
"#;

/// The recipe with the data of sft in `sft.toml`.
fn in_two_files() -> Folder {
    let folder = folder();
    let (_, data) = SFT.split_once("[[stage.data]]").unwrap();
    folder.replace("recipe.toml", &format!("[[stage.data]]{data}"), "");
    folder.replace(
        "recipe.toml",
        "template = \"smollm3\"",
        "template = \"smollm3\"\ndata = \"sft.toml\"",
    );
    folder.write("sft.toml", DATA_FILE);
    folder
}

#[test]
fn conversations_in_a_file_of_their_own() {
    let (one, two) = (folder(), in_two_files());
    let (whole, split) = (one.load(&[]).unwrap(), two.load(&[]).unwrap());
    assert_eq!(stage(&split, "sft"), stage(&whole, "sft"));
    assert_eq!(split.fingerprint(), whole.fingerprint());

    let set = ["stage.sft.data.\"chats_1.2M\".weight=0.5"];
    let changed = two.load(&set).unwrap();
    assert_eq!(stage(&changed, "sft").chat.data[0].weight, 0.5);
    assert_eq!(changed.fingerprint(), one.load(&set).unwrap().fingerprint());

    two.write("other.toml", "[[data]]\nname = \"other\"\npaths = [\"x\"]\n");
    for text in ["stage.sft.data=other.toml", "stage.reason.data=other.toml"] {
        let recipe = two.load(&[text]).unwrap();
        let name = text.split('.').nth(1).unwrap();
        assert_eq!(stage(&recipe, name).chat.data[0].name, "other");
    }
}

#[test]
fn mistakes_in_a_file_of_conversations() {
    for (from, to, expected) in [
        (
            "weight = 0.25",
            "weight = 2",
            "sft.toml, line 5: `stage.sft.data.\"chats_1.2M\".weight`: 2 is not a fraction of the rows",
        ),
        (
            "weight = 0.25",
            "wieght = 0.25",
            "sft.toml, line 5: `stage.sft.data.\"chats_1.2M\".wieght`: unknown key `wieght`; did you mean `weight`?",
        ),
        (
            "name = \"sums\"",
            "name = \"chats_1.2M\"",
            "sft.toml, line 8: `stage.sft.data.\"chats_1.2M\".name`: `chats_1.2M` is used twice",
        ),
        ("weight = 0.25", "weight = ", "sft.toml, line 5: "),
        (
            "# Of the stage sft.",
            "seed = 3",
            "sft.toml, line 1: `seed`: a file of conversations holds [[data]] tables",
        ),
    ] {
        let folder = in_two_files();
        folder.replace("sft.toml", from, to);
        let message = folder.load(&[]).unwrap_err().to_string();
        assert!(
            message.contains(expected),
            "{message}\nwhere this was expected: {expected}"
        );
    }
    for text in ["", "data = 3\n", "[data]\nname = \"x\"\n"] {
        let folder = in_two_files();
        folder.write("sft.toml", text);
        let message = folder.load(&[]).unwrap_err().to_string();
        assert!(
            message.contains("`data`: a file of conversations holds"),
            "{message}"
        );
    }
    let folder = in_two_files();
    folder.write("sft.toml", "data = []\n");
    let message = folder.load(&[]).unwrap_err().to_string();
    assert!(
        message.contains("sft.toml, line 1: `stage.sft.data`: there are no conversations"),
        "{message}"
    );
    let message = folder
        .load(&["stage.sft.data=none.toml"])
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("none.toml: cannot read the conversations"),
        "{message}"
    );
    let folder = in_two_files();
    let message = folder
        .load(&["stage.sft.data.sums.weight=3"])
        .unwrap_err()
        .to_string();
    assert!(
        message.starts_with(
            "--set stage.sft.data.sums.weight=3: `stage.sft.data.sums.weight`: 3 is not a fraction"
        ),
        "{message}"
    );
}
