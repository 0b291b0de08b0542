//! The fingerprint changes with whatever can change a result, and with nothing else.

mod fixture;

use fixture::Folder;
use smollm3_recipe::{Difference, Recipe};

#[test]
fn comments_order_and_files_do_not_count() {
    let folder = Folder::new();
    let fingerprint = folder.load(&[]).unwrap().fingerprint();
    assert_eq!(fingerprint.len(), 64);

    folder.replace("recipe.toml", "# The only stage.", "# A stage, and more words.");
    folder.replace(
        "recipe.toml",
        "name = \"small\"\nseed = 42\n",
        "seed = 42 # first\nname = \"small\"\n",
    );
    folder.replace(
        "recipe.toml",
        "learning_rate = 1e-3",
        "betas = [0.9, 0.95]\nlearning_rate = 0.001",
    );
    folder.replace("recipe.toml", "\"1k\"", "1024");
    folder.replace("recipe.toml", "\"900k\"", "\"0.9M tokens\"");
    folder.replace(
        "first.toml",
        "markdown = 1\nrust = 1\n",
        "rust = 1\nmarkdown = 1.0\n",
    );
    assert_eq!(folder.load(&[]).unwrap().fingerprint(), fingerprint);

    // The files put into one.
    let sources = folder.read("sources.toml");
    folder.replace("recipe.toml", "sources = \"sources.toml\"\n", &sources);
    let mixture = "mixture = { shares = { web = 85, code = 12, math = 3 }, \
                   sources = { markdown = 1, rust = 1, sums = 2 } }";
    folder.replace("recipe.toml", "mixture = \"first.toml\"", mixture);
    let model = format!("[model.config]\n{}", folder.read("model.toml"));
    folder.replace("recipe.toml", "config = \"model.toml\"", &model);
    assert_eq!(folder.load(&[]).unwrap().fingerprint(), fingerprint);
}

#[test]
fn what_cannot_change_a_result_does_not_count() {
    let folder = Folder::new();
    let fingerprint = folder.load(&[]).unwrap().fingerprint();
    for harmless in [
        "run.name=other",
        "run.output=elsewhere",
        "run.backend=tch",
        "run.backend=wgpu",
        "run.device=cuda:1",
        "run.deterministic=false",
        "run.push={ repository = \"owner/name\", every = \"checkpoint\" }",
        "run.license=apache-2.0",
        "source.sums.license=odc-by",
        "data.held_out_rows=1",
        "stage.pretrain.checkpoint.keep=9",
        "stage.pretrain.checkpoint.every=10 steps",
        "stage.pretrain.micro_batch=2 sequences",
        "stage.pretrain.recompute=layers",
        "plan.devices=8",
    ] {
        assert_eq!(
            folder.load(&[harmless]).unwrap().fingerprint(),
            fingerprint,
            "{harmless}"
        );
    }
    folder.append(
        "sources.toml",
        "\n[source.unused]\ncategory = \"web\"\nkind = \"tokens\"\nfolder = \"x\"\n",
    );
    folder.replace(
        "recipe.toml",
        "bytes = \"1MB\"",
        "bytes = \"1MB\"\nsources = [\"markdown\", \"sums\"]",
    );
    let with_unused = folder.load(&[]).unwrap();
    folder.replace("sources.toml", "folder = \"x\"", "folder = \"y\"");
    assert_eq!(folder.load(&[]).unwrap().fingerprint(), with_unused.fingerprint());
}

#[test]
fn what_can_change_a_result_counts() {
    let folder = Folder::new();
    let recipe = folder.load(&[]).unwrap();
    for (change, key) in [
        ("run.seed=43", "run.seed"),
        ("run.precision=bf16", "run.precision"),
        ("model.config.rope_theta=1e4", "model.config.rope_theta"),
        ("tokenizer.train.vocab_size=500", "tokenizer.train.vocab_size"),
        ("data.held_out=2%", "data.held_out"),
        ("source.sums.documents=101", "source.sums.documents"),
        ("source.rust.max_epochs=2", "source.rust.max_epochs"),
        (
            "stage.pretrain.sequence_length=512",
            "stage.pretrain.sequence_length",
        ),
        (
            "stage.pretrain.global_batch=4 sequences",
            "stage.pretrain.global_batch",
        ),
        (
            "stage.pretrain.optimizer.weight_decay=0.2",
            "stage.pretrain.optimizer.weight_decay",
        ),
        (
            "stage.pretrain.optimizer.clip=false",
            "stage.pretrain.optimizer.clip",
        ),
        (
            "stage.pretrain.schedule.warmup=11 steps",
            "stage.pretrain.schedule.warmup",
        ),
        (
            "stage.pretrain.phase.first.until=81 steps",
            "stage.pretrain.phase.first.until",
        ),
        (
            "stage.pretrain.phase.first.mixture.shares.web=86",
            "stage.pretrain.phase.first.mixture.shares.web",
        ),
        (
            "stage.pretrain.loss.average=mean-of-means",
            "stage.pretrain.loss.average",
        ),
    ] {
        let changed = folder.load(&[change]).unwrap();
        assert_ne!(changed.fingerprint(), recipe.fingerprint(), "{change}");
        let differences = changed.differences(&recipe.canonical().to_string()).unwrap();
        let keys: Vec<String> = differences.into_iter().map(|one| one.key).collect();
        assert!(keys.iter().any(|one| one == key), "{change}: {keys:?}");
    }
}

#[test]
fn differences_name_the_key_and_both_values() {
    let folder = Folder::new();
    let recipe = folder.load(&[]).unwrap();
    assert_eq!(recipe.differences(&recipe.canonical().to_string()).unwrap(), []);
    let other = folder
        .load(&["run.seed=7", "stage.pretrain.schedule.shape=cosine"])
        .unwrap();
    assert_eq!(
        recipe.differences(&other.canonical().to_string()).unwrap(),
        [
            Difference {
                key: "run.seed".to_owned(),
                ours: Some("42".to_owned()),
                theirs: Some("7".to_owned()),
            },
            Difference {
                key: "stage.pretrain.schedule.shape".to_owned(),
                ours: None,
                theirs: Some("\"cosine\"".to_owned()),
            },
        ]
    );
    let message = recipe.differences("{\"run.seed\": 4").unwrap_err().to_string();
    assert!(message.contains("damaged"), "{message}");
}

#[test]
fn the_greedy_order_depends_on_how_sources_are_listed() {
    let folder = Folder::new();
    let greedy = |folder: &Folder| folder.load(&["data.order=greedy"]).unwrap();
    let before = greedy(&folder);
    folder.replace(
        "first.toml",
        "markdown = 1\nrust = 1\n",
        "rust = 1\nmarkdown = 1\n",
    );
    let after = greedy(&folder);
    assert_ne!(before.fingerprint(), after.fingerprint());
    let names = |recipe: &Recipe| -> Vec<String> {
        let training = recipe.stages[0].training().unwrap();
        training.phases[0]
            .mixture
            .weights()
            .into_iter()
            .map(|(name, _)| name)
            .collect()
    };
    assert_eq!(names(&before), ["markdown", "rust", "sums"]);
    assert_eq!(names(&after), ["rust", "markdown", "sums"]);
}

#[test]
fn a_stage_depends_on_what_it_comes_from_only() {
    let folder = Folder::new();
    let before = folder.load(&[]).unwrap().canonical_stage("pretrain").unwrap();
    let added = |name: &str, from: &str, seed: u32| {
        format!(
            "\n[source.{name}]\ncategory = \"math\"\nkind = \"arithmetic\"\ndocuments = 9\nseed = {seed}\n\
             [[stage]]\nname = \"{name}\"\nkind = \"pretrain\"\nfrom = \"{from}\"\nsequence_length = 512\n\
             global_batch = \"4 sequences\"\nmicro_batch = \"1 sequence\"\n\
             optimizer = {{ learning_rate = 1e-4 }}\nschedule = {{ kind = \"constant\" }}\n\
             phase = [{{ name = \"only\", until = \"20 steps\", mixture = {{ sources = {{ {name} = 1 }} }} }}]\n"
        )
    };
    folder.replace(
        "recipe.toml",
        "bytes = \"1MB\"",
        "bytes = \"1MB\"\nsources = [\"markdown\", \"rust\", \"sums\"]",
    );
    let listed = folder.load(&[]).unwrap().canonical_stage("pretrain").unwrap();
    assert_ne!(before.fingerprint(), listed.fingerprint());

    folder.append("recipe.toml", &added("second", "pretrain", 1));
    folder.append("recipe.toml", &added("other", "pretrain", 2));
    folder.append("recipe.toml", &added("third", "second", 3));
    let recipe = folder.load(&[]).unwrap();
    let stage = |recipe: &Recipe, name| recipe.canonical_stage(name).unwrap();
    assert_eq!(stage(&recipe, "pretrain"), listed);
    assert_eq!(
        recipe.canonical(),
        recipe.canonical().to_string().parse().unwrap()
    );

    let changed = folder
        .load(&["source.second.seed=7", "stage.second.schedule.warmup=2 steps"])
        .unwrap();
    for (name, same) in [
        ("pretrain", true),
        ("other", true),
        ("second", false),
        ("third", false),
    ] {
        assert_eq!(stage(&recipe, name) == stage(&changed, name), same, "{name}");
    }
    let differences = stage(&changed, "third").differences(&stage(&recipe, "third"));
    let keys: Vec<&str> = differences.iter().map(|one| one.key.as_str()).collect();
    assert_eq!(keys, ["source.second.seed", "stage.second.schedule.warmup"]);
    assert!(
        recipe
            .canonical_stage("secnd")
            .unwrap_err()
            .to_string()
            .contains("did you mean `second`?")
    );
}

/// A merge depends on all that it averages, a stage on pairs on its reference, whatever it starts from.
#[test]
fn a_stage_depends_on_every_checkpoint_that_it_reads() {
    let folder = Folder::new();
    let more = |name: &str| {
        format!(
            "[[stage]]\nname = \"{name}\"\nkind = \"pretrain\"\nfrom = \"pretrain\"\nsequence_length = 512\n\
             global_batch = \"4 sequences\"\nmicro_batch = \"1 sequence\"\noptimizer = {{ learning_rate = 1e-4 }}\n\
             schedule = {{ kind = \"constant\" }}\n\
             phase = [{{ name = \"only\", until = \"20 steps\", mixture = {{ sources = {{ sums = 1 }} }} }}]\n"
        )
    };
    folder.append(
        "recipe.toml",
        &format!("\n{}{}{}", more("one"), more("two"), more("other")),
    );
    folder.append(
        "recipe.toml",
        "[[stage]]\nname = \"mean\"\nkind = \"merge\"\nfrom = \"one\"\n\
         model = [{ checkpoint = \"one\", weight = 1.0 }, { checkpoint = \"two\", weight = 1.0 }]\n",
    );
    let recipe = folder.load(&[]).unwrap();
    let mean = |recipe: &Recipe| recipe.canonical_stage("mean").unwrap();
    for (change, same) in [
        ("stage.two.optimizer.learning_rate=1e-5", false),
        ("stage.one.optimizer.learning_rate=1e-5", false),
        ("stage.pretrain.optimizer.learning_rate=1e-5", false),
        ("stage.other.optimizer.learning_rate=1e-5", true),
    ] {
        assert_eq!(
            mean(&folder.load(&[change]).unwrap()) == mean(&recipe),
            same,
            "{change}"
        );
    }
    let names: Vec<&str> = recipe
        .with_parents(["mean"])
        .into_iter()
        .map(|stage| stage.name.as_str())
        .collect();
    assert_eq!(names, ["pretrain", "one", "two", "mean"]);
}

#[test]
fn differences_in_some_stages_are_of_what_those_depend_on() {
    let folder = Folder::new();
    folder.replace(
        "recipe.toml",
        "bytes = \"1MB\"",
        "bytes = \"1MB\"\nsources = [\"markdown\", \"rust\"]",
    );
    let alone = folder.load(&[]).unwrap();
    // Names that need quotes, and one that begins as another.
    let stage = "[source.\"sums.1\"]\ncategory = \"math\"\nkind = \"arithmetic\"\ndocuments = 9\n\
                 [[stage]]\nname = \"pretrain.2\"\nkind = \"pretrain\"\nfrom = \"pretrain\"\nsequence_length = 512\n\
                 global_batch = \"4 sequences\"\nmicro_batch = \"1 sequence\"\noptimizer = { learning_rate = 1e-4 }\n\
                 schedule = { kind = \"constant\" }\n\
                 phase = [{ name = \"only\", until = \"20 steps\", mixture = { sources = { \"sums.1\" = 1 } } }]\n";
    folder.append("recipe.toml", &format!("\n{stage}"));
    let more = folder.load(&[]).unwrap();
    let keys = |ours: &Recipe, theirs: &Recipe, names: &[&str]| -> Vec<String> {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let found = ours.differences_in(&theirs.canonical(), &names);
        found.into_iter().map(|one| one.key).collect()
    };
    assert!(more.canonical().has_stage("pretrain.2") && !alone.canonical().has_stage("pretrain.2"));
    assert!(!more.canonical().has_stage("pretrai") && !more.canonical().has_stage("2"));
    let none: Vec<String> = Vec::new();
    assert_eq!(keys(&more, &alone, &["pretrain"]), none);
    assert_eq!(keys(&alone, &more, &["pretrain"]), none);
    // What one of the two does not have at all differs in every key.
    let all = keys(&more, &alone, &["pretrain.2"]);
    assert!(all.contains(&"source.\"sums.1\".documents".to_owned()), "{all:?}");
    assert!(
        all.iter()
            .all(|key| key.contains("\"pretrain.2\"") || key.contains("\"sums.1\"")),
        "{all:?}"
    );
    assert!(!keys(&alone, &more, &["pretrain.2"]).is_empty());
    // A stage depends on those that it comes from.
    let changed = folder
        .load(&["stage.pretrain.optimizer.learning_rate=0.5"])
        .unwrap();
    assert_eq!(
        keys(&changed, &more, &["pretrain.2"]),
        ["stage.pretrain.optimizer.learning_rate"]
    );
    let later = folder
        .load(&["stage.\"pretrain.2\".optimizer.learning_rate=0.5"])
        .unwrap();
    assert_eq!(keys(&later, &more, &["pretrain"]), none);
    // Where the tokenizer is trained on all sources, each counts.
    folder.replace("recipe.toml", "\nsources = [\"markdown\", \"rust\"]", "");
    let trained_on_all = folder.load(&[]).unwrap();
    folder.replace("recipe.toml", stage, "");
    let fewer = folder.load(&[]).unwrap();
    assert!(!keys(&trained_on_all, &fewer, &["pretrain"]).is_empty());
    assert!(!keys(&fewer, &trained_on_all, &["pretrain"]).is_empty());
}

/// A run's folder refuses to go on with a recipe of another hash. Only a recipe that is changed itself may have a new one here.
#[test]
fn the_recipes_of_this_repository_keep_their_fingerprints() {
    let model = [
        "model={ config = \"../../configs/smollm3-3b.toml\" }",
        "tokenizer={ train = { vocab_size = 1000, bytes = \"1MB\" } }",
        "stage.sft.from=./x",
    ];
    for (name, overrides, fingerprint) in [
        (
            "demo",
            &[][..],
            "09d1b781a41409efd572adcf5c31e01560f0c0b462cf1be08e7765e90607dd6a",
        ),
        (
            "smollm3-3b",
            &[],
            "8789f158d5ca2bc379797c4ca7492774d70e5b3355d7ff0b86b9655ec4530183",
        ),
        (
            "smollm3-3b-released",
            &[],
            "82a29a76710bec07d00667207af23887d7932784d62da2e344b98c21f8d44d08",
        ),
        (
            "repro-small",
            &[],
            "d62b7b308d68135261a37080129a019d94c36d87989d231d6b3705f2da71a538",
        ),
        // It starts from a model on the Hub; here from an architecture.
        (
            "fine-tune",
            &model,
            "10e0d27c1300ff4fb08c6e52df2e9a126f6049a466425609c692952534abde4e",
        ),
    ] {
        let folder = format!("{}/../../recipes/{name}", env!("CARGO_MANIFEST_DIR"));
        let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
        let recipe = Recipe::load(folder.as_ref(), &overrides).unwrap();
        assert_eq!(recipe.fingerprint(), fingerprint, "{name}");
    }
    let every_kind = Folder::whole().load(&[]).unwrap();
    assert_eq!(
        every_kind.fingerprint(),
        "836c9268f510ad5ab6833ab6ae0793263dbabd52039f9988157b35a775dadf02"
    );
}
