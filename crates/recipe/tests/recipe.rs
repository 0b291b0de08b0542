//! Loading whole recipes: values, overrides, the fingerprint, and what each mistake is answered with.

mod fixture;

use fixture::Folder;
use smollm3_recipe::{
    Backend, Mixture, Model, Order, Precision, PushEvery, Recipe, SourceKind, StageData, Start, Steps,
    Tokenizer,
};

fn weights(mixture: &Mixture) -> Vec<(String, f64)> {
    mixture.weights()
}

#[test]
fn a_recipe_in_several_files() {
    let folder = Folder::new();
    let recipe = folder.load(&[]).unwrap();
    assert_eq!(recipe.run.name, "small");
    assert_eq!(recipe.run.seed, 42);
    assert_eq!(recipe.run.backend, Backend::Flex);
    assert_eq!(recipe.run.precision, Precision::F32);
    assert_eq!(recipe.data.order, Order::Even);
    assert_eq!(recipe.data.held_out.fraction(), 0.01);
    let Model::Config(config) = &recipe.model else {
        panic!("{:?}", recipe.model)
    };
    assert_eq!((config.hidden_size, config.head_dim), (64, 16));
    let Tokenizer::Train(train) = &recipe.tokenizer else {
        panic!("{:?}", recipe.tokenizer)
    };
    assert_eq!((train.vocab_size, train.bytes.0), (512, 1_000_000));
    assert_eq!(
        recipe.sources.keys().collect::<Vec<_>>(),
        ["markdown", "rust", "sums"]
    );
    assert_eq!(recipe.sources["markdown"].max_epochs, 4);
    assert_eq!(recipe.sources["rust"].max_epochs, 1);
    assert_eq!(recipe.sources["rust"].kind, SourceKind::CargoRust);

    let stage = recipe.stage("pretrain").unwrap();
    assert_eq!(stage.from, Start::Random);
    assert!(matches!(stage.data, StageData::Pretrain(_)));
    let training = stage.training().unwrap();
    assert_eq!(training.sequence_length.0, 1_024);
    assert_eq!(training.sequences_per_step(), 8);
    assert_eq!(training.tokens_per_step(), 8_192);
    assert_eq!(training.optimizer.learning_rate, 1e-3);
    assert_eq!(training.optimizer.betas, [0.9, 0.95]);
    assert_eq!(training.optimizer.epsilon, 1e-8);
    assert_eq!(training.optimizer.clip, Some(1.0));
    assert_eq!(training.checkpoint.every, Some(Steps(50)));
    // 900k tokens are 109.86 steps.
    assert_eq!(training.phase_steps(), [1..=80, 81..=110]);
    assert_eq!(training.total_steps(), 110);
    let schedule = training.schedule().unwrap();
    assert_eq!(schedule.warmup, 10);
    assert_eq!(schedule.factor(110 - 11), 1.0);
    assert_eq!(schedule.factor(110), 0.0);

    let first = weights(&training.phases[0].mixture);
    assert_eq!(
        first.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        ["markdown", "rust", "sums"]
    );
    for ((_, weight), expected) in first.iter().zip([0.85, 0.12, 0.03]) {
        assert!((weight - expected).abs() < 1e-15);
    }
    // A source without weight is left out, a flat mixture is divided by its sum.
    assert_eq!(
        weights(&training.phases[1].mixture),
        [("markdown".to_owned(), 0.75), ("sums".to_owned(), 0.25)]
    );
}

#[test]
fn a_recipe_is_found_by_folder_or_file() {
    let folder = Folder::new();
    let by_file = Recipe::load(&folder.path("recipe.toml"), &[]).unwrap();
    assert_eq!(by_file, folder.load(&[]).unwrap());
    let missing = Recipe::load(&folder.path("nowhere"), &[])
        .unwrap_err()
        .to_string();
    assert!(missing.contains("nowhere: cannot read the recipe"), "{missing}");
}

#[test]
fn overrides_reach_every_file() {
    let folder = Folder::new();
    let recipe = folder
        .load(&[
            "run.seed=3",
            "run.backend=tch",
            "run.output=elsewhere",
            "stage.pretrain.optimizer.learning_rate=5e-4",
            "stage.pretrain.optimizer.clip=false",
            "stage.pretrain.phase.first.until=20 steps",
            "stage.pretrain.phase.first.mixture.shares.web = 88",
            "stage.pretrain.checkpoint.keep=7",
            "source.rust.max_epochs=2",
            "model.config.num_key_value_heads=4",
        ])
        .unwrap();
    assert_eq!(recipe.run.seed, 3);
    assert_eq!(recipe.run.backend, Backend::Tch);
    assert_eq!(recipe.run.output.to_str(), Some("elsewhere"));
    assert_eq!(recipe.sources["rust"].max_epochs, 2);
    let Model::Config(config) = &recipe.model else {
        panic!()
    };
    assert_eq!(config.num_key_value_heads, 4);
    let training = recipe.stages[0].training().unwrap();
    assert_eq!(training.optimizer.learning_rate, 5e-4);
    assert_eq!(training.optimizer.clip, None);
    assert_eq!(training.phase_steps()[0], 1..=20);
    assert_eq!(training.checkpoint.keep, 7);
    let share = weights(&training.phases[0].mixture)[0].1;
    assert!((share - 88.0 / 103.0).abs() < 1e-15);
}

#[test]
fn an_override_can_name_another_file() {
    let folder = Folder::new();
    folder.write("other.toml", "[sources]\nrust = 1\n");
    let recipe = folder
        .load(&["stage.pretrain.phase.first.mixture=other.toml"])
        .unwrap();
    let training = recipe.stages[0].training().unwrap();
    assert_eq!(weights(&training.phases[0].mixture), [("rust".to_owned(), 1.0)]);
}

#[test]
fn overrides_that_cannot_be_applied() {
    let folder = Folder::new();
    for (text, expected) in [
        ("run.seed", "there is no `="),
        ("=3", "not a dotted key"),
        ("run..seed=3", "not a dotted key"),
        (
            "run.sed=3",
            "--set run.sed=3: `run.sed`: unknown key `sed`; did you mean `seed`?",
        ),
        ("rum.seed=3", "unknown key `rum`; did you mean `run`?"),
        (
            "stage.pretrian.kind=x",
            "unknown name `pretrian`; did you mean `pretrain`?",
        ),
        (
            "stage.pretrain.phase.third.until=8T",
            "unknown name `third`; write one of `first`, `second`",
        ),
        ("run.seed.x=3", "is below a value that is not a table"),
        (
            "run.seed=abc",
            "--set run.seed=abc: `run.seed`: string \"abc\" is not allowed here; write a whole number",
        ),
        (
            "run.backend=tcj",
            "`run.backend`: unknown name `tcj`; did you mean `tch`?",
        ),
        (
            "stage.pretrain.micro_batch=2",
            "write sequences as \"576 sequences\"",
        ),
        (
            "source.markdown.kind=pdf",
            "unknown kind of source `pdf`; write one of `cargo-markdown`",
        ),
        (
            "stage.pretrain.kind=rlhf",
            "unknown kind of stage `rlhf`; write one of `pretrain`, `long-context`, `mid-train`, `sft`",
        ),
        (
            "evaluation.long_context={lengths=[\"4k\"], tasks=[], documents=0}",
            "`evaluation.long_context.documents`: nothing is measured; write documents = 64",
        ),
        (
            "evaluation.long_context={lengths=[\"4k\"], items=0}",
            "`evaluation.long_context.items`: nothing is measured; write items = 20",
        ),
        (
            "evaluation.exact_match={items=0}",
            "`evaluation.exact_match.items`: nothing is measured; write items = 100",
        ),
    ] {
        let message = folder.load(&[text]).unwrap_err().to_string();
        assert!(message.contains(expected), "{text}: {message}");
    }
}

/// Every mistake is answered with its place and with what to write.
#[test]
fn mistakes() {
    for (file, from, to, expected) in [
        (
            "recipe.toml",
            "seed = 42",
            "sed = 42",
            "recipe.toml, line 4: `run.sed`: unknown key `sed`; did you mean `seed`?",
        ),
        (
            "recipe.toml",
            "seed = 42\n",
            "",
            "line 2: `run`: `seed` is missing",
        ),
        (
            "recipe.toml",
            "seed = 42",
            "seed = -1",
            "line 4: `run.seed`: integer -1 is not allowed here; write a whole number that is not negative",
        ),
        ("recipe.toml", "seed = 42", "seed = ", "recipe.toml, line 4: "),
        (
            "recipe.toml",
            "output = \"runs/small\"",
            "output = \"\"",
            "line 5: `run.output`: it is empty; write a folder, such as \"runs/NAME\"",
        ),
        ("recipe.toml", "[run]", "[ruin]", "`run`: `name` is missing"),
        (
            "recipe.toml",
            "backend = \"flex\"",
            "backend = \"felx\"",
            "line 6: `run.backend`: unknown name `felx`; did you mean `flex`?",
        ),
        (
            "recipe.toml",
            "config = \"model.toml\"",
            "confg = \"model.toml\"",
            "`model.confg`: unknown key `confg`; did you mean `config`?",
        ),
        (
            "recipe.toml",
            "config = \"model.toml\"",
            "config = \"none.toml\"",
            "none.toml: cannot read the architecture",
        ),
        (
            "recipe.toml",
            "config = \"model.toml\"",
            "",
            "line 8: `model`: a model comes from",
        ),
        (
            "recipe.toml",
            "vocab_size = 512",
            "vocab_size = \"512\"",
            "`tokenizer.train.vocab_size`: string \"512\" is not allowed here; write a whole number",
        ),
        (
            "recipe.toml",
            "bytes = \"1MB\"",
            "bytes = 1000000",
            "write a size as \"20MB\"",
        ),
        (
            "recipe.toml",
            "[tokenizer.train]",
            "[tokenizer]\nfile = \"t.json\"\n[tokenizer.train]",
            "keep one of them",
        ),
        (
            "recipe.toml",
            "held_out = \"1%\"",
            "held_out = 0.01",
            "write a part as \"10%\"",
        ),
        (
            "recipe.toml",
            "sources = \"sources.toml\"",
            "sources = \"gone.toml\"",
            "gone.toml: cannot read the sources",
        ),
        (
            "recipe.toml",
            "kind = \"pretrain\"",
            "kind = \"pretran\"",
            "line 23: `stage.pretrain.kind`: unknown kind of stage `pretran`; did you mean `pretrain`?",
        ),
        (
            "recipe.toml",
            "name = \"pretrain\"",
            "name = \"pre/train\"",
            "write letters, digits",
        ),
        (
            "recipe.toml",
            "sequence_length = \"1k\"",
            "sequence_length = 0",
            "cannot have 0 tokens",
        ),
        (
            "recipe.toml",
            "sequence_length = \"1k\"",
            "sequence_length = \"1K\"",
            "write a context length as \"4k\"",
        ),
        (
            "recipe.toml",
            "global_batch = \"8 sequences\"",
            "global_batch = 8",
            "`stage.pretrain.global_batch`: \"8\" has no unit; write a batch as \"576 sequences\"",
        ),
        (
            "recipe.toml",
            "global_batch = \"8 sequences\"",
            "global_batch = \"5000 tokens\"",
            "not a whole number of rows of 1024; write \"5 sequences\"",
        ),
        (
            "recipe.toml",
            "global_batch = \"8 sequences\"",
            "global_batch = \"0 sequences\"",
            "cannot have 0 sequences",
        ),
        (
            "recipe.toml",
            "micro_batch = \"4 sequences\"",
            "micro_batch = \"3 sequences\"",
            "do not divide the global batch of 8",
        ),
        (
            "recipe.toml",
            "learning_rate = 1e-3",
            "learning_rate = -1e-3",
            "line 29: `stage.pretrain.optimizer.learning_rate`: -0.001 is not a valid learning_rate",
        ),
        (
            "recipe.toml",
            "learning_rate = 1e-3",
            "learning_rate = 1e-3\nbetas = [0.9, 1.0]",
            "each must be at least 0 and less than 1",
        ),
        (
            "recipe.toml",
            "learning_rate = 1e-3",
            "learning_rate = 1e-3\nepsilon = 0",
            "is not a valid epsilon",
        ),
        (
            "recipe.toml",
            "learning_rate = 1e-3",
            "learning_rate = 1e-3\nweight_decay = nan",
            "is not a weight decay",
        ),
        (
            "recipe.toml",
            "learning_rate = 1e-3",
            "learning_rate = 1e-3\nclip = true",
            "the largest gradient norm, such as 1.0, or false",
        ),
        (
            "recipe.toml",
            "learning_rate = 1e-3",
            "learning_rat = 1e-3",
            "`stage.pretrain.optimizer.learning_rat`: unknown key `learning_rat`; did you mean `learning_rate`?",
        ),
        (
            "recipe.toml",
            "warmup = \"10 steps\"",
            "warmup = 10",
            "`stage.pretrain.schedule.warmup`: \"10\" has no unit",
        ),
        (
            "recipe.toml",
            "warmup = \"10 steps\"",
            "warmup = \"200 steps\"",
            "longer than the stage of 110",
        ),
        (
            "recipe.toml",
            "warmup = \"10 steps\"",
            "warmup = \"105 steps\"",
            "within the warm-up of 105",
        ),
        (
            "recipe.toml",
            "decay = \"10%\"",
            "decay = \"0%\"",
            "does not fit a stage of 110",
        ),
        ("recipe.toml", "decay = \"10%\"", "", "write decay = \"10%\""),
        (
            "recipe.toml",
            "decay = \"10%\"",
            "decay = \"10%\"\ndecay_start = \"111 steps\"",
            "past the end of the stage, step 110",
        ),
        (
            "recipe.toml",
            "decay = \"10%\"",
            "decay = \"10%\"\nmin_ratio = 1.5",
            "a number from 0 to 1",
        ),
        (
            "recipe.toml",
            "kind = \"wsd\"",
            "kind = \"constant\"",
            "`stage.pretrain.schedule.decay`: this kind of schedule has no such setting",
        ),
        (
            "recipe.toml",
            "until = \"80 steps\"",
            "until = \"110 steps\"",
            "`stage.pretrain.phase.second.until`: it ends with step 110, but the phase before ends with step 110",
        ),
        (
            "recipe.toml",
            "until = \"80 steps\"",
            "until = \"50%\"",
            "write tokens (\"8T\") or \"2000 steps\"",
        ),
        (
            "recipe.toml",
            "until = \"80 steps\"",
            "until = \"0 steps\"",
            "it ends with step 0",
        ),
        (
            "recipe.toml",
            "name = \"second\"",
            "name = \"first\"",
            "an earlier phase is called `first` too",
        ),
        (
            "recipe.toml",
            "mixture = \"first.toml\"",
            "mixture = \"fist.toml\"",
            "fist.toml: cannot read the mixture",
        ),
        (
            "recipe.toml",
            "every = \"50 steps\"",
            "every = \"0 steps\"",
            "`stage.pretrain.checkpoint.every`: checkpoints cannot be 0 steps apart",
        ),
        (
            "recipe.toml",
            "every = \"50 steps\"",
            "every = \"50 steps\"\nkeep = 0",
            "`stage.pretrain.checkpoint.keep`: without its newest checkpoint a stopped run starts over; write keep = 1",
        ),
        (
            "recipe.toml",
            "every = \"50 steps\"",
            "evry = \"50 steps\"",
            "`stage.pretrain.checkpoint.evry`: unknown key `evry`; did you mean `every`?",
        ),
        (
            "sources.toml",
            "documents = 100",
            "documents = 9007199254740992",
            "`source.sums.documents`: 9007199254740992 documents are too many to generate; write at most 268435456",
        ),
        (
            "recipe.toml",
            "global_batch = \"8 sequences\"",
            "global_batch = \"16777217 sequences\"",
            "`stage.pretrain.global_batch`: a step of 16777217 rows is too large to be listed; write at most \"16777216",
        ),
        (
            "sources.toml",
            "kind = \"arithmetic\"",
            "kind = \"arithmetics\"",
            "sources.toml, line 12: `source.sums.kind`: unknown kind of source `arithmetics`; did you mean `arithmetic`?",
        ),
        (
            "sources.toml",
            "documents = 100",
            "document = 100",
            "sources.toml, line 13: `source.sums.document`: unknown key `document`; did you mean `documents`?",
        ),
        (
            "sources.toml",
            "documents = 100",
            "",
            "`source.sums`: `documents` is missing",
        ),
        (
            "sources.toml",
            "documents = 100",
            "documents = 100\ncolum = \"text\"",
            "`source.sums.colum`: unknown key `colum`",
        ),
        (
            "sources.toml",
            "category = \"math\"",
            "",
            "`source.sums`: `category` is missing; write the group it counts to",
        ),
        (
            "sources.toml",
            "max_epochs = 4",
            "max_epochs = 0",
            "0 epochs read nothing",
        ),
        (
            "sources.toml",
            "[source.sums]",
            "[sources.sums]",
            "a file of sources holds [source.NAME] tables and nothing else",
        ),
        (
            "first.toml",
            "web = 85",
            "web = -85",
            "first.toml, line 1: `stage.pretrain.phase.first.mixture.shares.web`: -85 is not a weight",
        ),
        ("first.toml", "web = 85", "web = nan", "NaN is not a weight"),
        (
            "first.toml",
            "{ web = 85, code = 12, math = 3 }",
            "{ web = 0, code = 0, math = 0 }",
            "all numbers are zero",
        ),
        (
            "first.toml",
            "web = 85",
            "web = 85, law = 3",
            "`stage.pretrain.phase.first.mixture.shares.law`: no source of category `law` has a weight",
        ),
        (
            "first.toml",
            ", math = 3",
            "",
            "mixture.sources.sums`: its category `math` has no share",
        ),
        (
            "first.toml",
            "rust = 1",
            "rusty = 1",
            "first.toml, line 4: `stage.pretrain.phase.first.mixture.sources.rusty`: unknown source `rusty`; did you mean `rust`?",
        ),
        ("first.toml", "rust = 1", "rust = inf", "inf is not a weight"),
        (
            "first.toml",
            "shares",
            "share",
            "first.toml, line 1: `stage.pretrain.phase.first.mixture.share`: unknown key `share`; did you mean `shares`?",
        ),
        (
            "model.toml",
            "num_attention_heads = 4",
            "num_attention_heads = 3",
            "model.toml: ",
        ),
    ] {
        let folder = Folder::new();
        folder.replace(file, from, to);
        let message = folder.load(&[]).unwrap_err().to_string();
        assert!(
            message.contains(expected),
            "{from} -> {to}:\n  {message}\n  {expected}"
        );
    }
}

#[test]
fn stages_that_start_from_something() {
    let folder = Folder::new();
    let second = |from: &str, kind: &str| {
        format!(
            "\n[[stage]]\nname = \"second\"\n{from}\n{kind}\nsequence_length = \"2k\"\n\
             global_batch = \"4 sequences\"\nmicro_batch = \"1 sequence\"\n\
             optimizer = {{ learning_rate = 1e-4 }}\nschedule = {{ kind = \"cosine\" }}\n\
             phase = [{{ name = \"only\", until = \"20 steps\", mixture = \"first.toml\" }}]\n"
        )
    };
    let long = "kind = \"long-context\"\nrope_theta = 1.5e6";
    let with = |text: &str| {
        let folder = Folder::new();
        folder.append("recipe.toml", text);
        folder.load(&[])
    };
    let recipe = with(&second("from = \"pretrain\"", long)).unwrap();
    assert_eq!(recipe.stages[1].from, Start::Stage("pretrain".to_owned()));
    let StageData::LongContext(long_context) = &recipe.stages[1].data else {
        panic!()
    };
    assert_eq!(long_context.rope_theta, 1.5e6);
    assert_eq!(recipe.stages[1].training().unwrap().total_steps(), 20);

    let hub = with(&second("from = \"HuggingFaceTB/SmolLM3-3B\"", long)).unwrap();
    assert_eq!(
        hub.stages[1].from,
        Start::Hub("HuggingFaceTB/SmolLM3-3B".to_owned())
    );
    let local = with(&second("from = \"./checkpoints/a\"", long)).unwrap();
    assert_eq!(local.stages[1].from, Start::Folder("./checkpoints/a".into()));

    for (from, kind, expected) in [
        (
            "from = \"pretran\"",
            long,
            "did you mean `pretrain`; a folder begins with",
        ),
        ("from = \"second\"", long, "unknown earlier stage `second`"),
        ("", long, "the stage has no `from`"),
        (
            "from = \"pretrain\"",
            "kind = \"long-context\"",
            "`rope_theta` is missing",
        ),
        (
            "from = \"pretrain\"",
            "kind = \"long-context\"\nrope_theta = 0",
            "not a base of frequencies",
        ),
        (
            "",
            "kind = \"pretrain\"\noptimizer_state = \"keep\"",
            "needs a checkpoint",
        ),
        (
            "",
            "kind = \"pretrain\"\nrope_theta = 1e6",
            "unknown key `rope_theta`",
        ),
    ] {
        let message = with(&second(from, kind)).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
        assert!(message.contains("`stage.second"), "{message}");
    }
    drop(folder);
}

#[test]
fn a_checkpoint_instead_of_an_architecture() {
    let folder = Folder::new();
    folder.replace(
        "recipe.toml",
        "config = \"model.toml\"",
        "checkpoint = \"./start\"",
    );
    let recipe = folder.load(&[]).unwrap();
    assert_eq!(recipe.model, Model::Checkpoint(Start::Folder("./start".into())));
    assert_eq!(recipe.stages[0].from, Start::Folder("./start".into()));
    let message = recipe.architecture().unwrap_err().to_string();
    assert!(message.contains("config.json: cannot read"), "{message}");
    folder.replace("recipe.toml", "\"./start\"", "\"start\"");
    let message = folder.load(&[]).unwrap_err().to_string();
    assert!(
        message.contains("`model.checkpoint`: `start` is not a checkpoint"),
        "{message}"
    );
}

#[test]
fn an_architecture_inline_or_as_config_json() {
    let folder = Folder::new();
    let from_file = folder.load(&[]).unwrap();
    let table = folder.read("model.toml");
    folder.replace(
        "recipe.toml",
        "config = \"model.toml\"",
        &format!("[model.config]\n{table}"),
    );
    let inline = folder.load(&[]).unwrap();
    assert_eq!(inline.model, from_file.model);
    let json = inline
        .architecture()
        .unwrap()
        .to_hf_json(smollm3_recipe::Spelling::Transformers4, "float32");
    folder.write("config.json", &json.to_string());
    let from_json = folder.load(&["model.config=config.json"]).unwrap();
    assert_eq!(from_json.model, from_file.model);
    let message = folder.load(&["model.config=3"]).unwrap_err().to_string();
    let expected = "--set model.config=3: `model.config`: this is of type integer; write a file of configs/";
    assert_eq!(message, expected);
    for (text, header) in [
        ("stage=3", "[[stage]]"),
        ("data=3", "[data]"),
        ("source.rust=3", "[source.rust]"),
    ] {
        let message = folder.load(&[text]).unwrap_err().to_string();
        assert!(
            message.ends_with(&format!("this is of type integer; write a table {header}")),
            "{message}"
        );
    }
}

#[test]
fn a_pretrained_tokenizer_is_a_path_or_a_hub_id() {
    let load = |place: &str| {
        let folder = Folder::new();
        let text = format!("[tokenizer]\npretrained = \"{place}\"\n");
        folder.replace(
            "recipe.toml",
            "[tokenizer.train]\nvocab_size = 512\nbytes = \"1MB\"\n",
            &text,
        );
        folder.load(&[]).map(|recipe| recipe.tokenizer)
    };
    for path in ["/a/folder", "./folder", "../folder/tokenizer.json"] {
        assert_eq!(load(path).unwrap(), Tokenizer::File(path.into()));
    }
    for id in [
        "owner/name",
        "owner/name@v1.0",
        "owner/name@refs%2Fpr%2F1",
        "hf://owner/name@v1.0/folder",
    ] {
        assert_eq!(load(id).unwrap(), Tokenizer::Pretrained(id.into()));
    }
    for other in ["", "gpt2", "a/b/c", "hf://datasets/owner/name", "@main"] {
        let message = load(other).unwrap_err().to_string();
        assert!(
            message.contains("`tokenizer.pretrained`: `") && message.contains("begins with `./` or `/`"),
            "{message}"
        );
    }
}

#[test]
fn pushes_and_licences() {
    let folder = Folder::new();
    assert_eq!(folder.load(&[]).unwrap().run.push, None);
    let push = folder
        .load(&["run.push={ repository = \"owner/name\" }"])
        .unwrap()
        .run
        .push
        .unwrap();
    assert_eq!((push.every, push.private), (PushEvery::Stage, true));
    assert_eq!(push.branch_of("sft", 7).to_string(), "owner/name@sft");
    let each = ["run.push={ repository = \"owner/name\", every = \"checkpoint\", private = false }"];
    let push = folder.load(&each).unwrap().run.push.unwrap();
    assert_eq!(push.branch_of("sft", 7).to_string(), "owner/name@sft-step-7");
    for (change, message) in [
        (
            "run.push={ repository = \"name\" }",
            "`run.push.repository`: `name` is not a model on the Hub; write repository = \"owner/name\"",
        ),
        (
            "run.push={ repository = \"owner/name@v2\" }",
            "`owner/name@v2` is not a model on the Hub",
        ),
        (
            "run.push={ repository = \"owner/name\", every = \"step\" }",
            "`run.push.every`: unknown name `step`",
        ),
        (
            "run.license=Apache 2",
            "`run.license`: `Apache 2` is not a licence name on the Hub; write it as \"apache-2.0\"",
        ),
        (
            "source.sums.license=My own",
            "`source.sums.license`: `My own` is not a licence name",
        ),
    ] {
        let error = folder.load(&[change]).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn a_recipe_as_one_file_is_the_same_recipe() {
    let folder = Folder::new();
    let recipe = folder.load(&["run.seed=3"]).unwrap();
    let one = Folder::new();
    one.write("recipe.toml", &recipe.text);
    assert_eq!(one.load(&[]).unwrap().canonical(), recipe.canonical());
    for file in ["sources.toml", "first.toml", "model.toml"] {
        assert!(!recipe.text.contains(file), "{}", recipe.text);
    }
}
