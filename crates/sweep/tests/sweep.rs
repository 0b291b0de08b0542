//! Sweep files and plans: those of this repository, and broken ones.

mod support;

use std::fs;
use std::path::Path;

use smollm3_sweep::{Measure, Request, Sweep};
use support::{ablations, recipes};

#[test]
fn the_ablations_change_what_their_names_say() {
    for (name, mha) in [("ablations", 0.000_5), ("ablations-gpu", 0.0)] {
        let request = Request {
            path: recipes(name),
            ..Request::default()
        };
        let sweep = Sweep::plan(&request).unwrap_or_else(|error| panic!("{error}"));
        let base = sweep.run_of("base", 1).unwrap();
        let canonical = base.recipe.canonical().to_string();
        for (variation, changed) in [
            (
                "mha",
                vec![
                    "model.config.intermediate_size",
                    "model.config.num_key_value_heads",
                ],
            ),
            ("rope-everywhere", vec!["model.config.rope_layers"]),
            ("no-document-mask", vec!["data.documents"]),
            (
                "embedding-decay",
                vec!["stage.long.optimizer.no_decay", "stage.short.optimizer.no_decay"],
            ),
            ("theta-kept", vec!["stage.long.rope_theta"]),
        ] {
            let run = sweep.run_of(variation, 1).unwrap();
            let differences = run.recipe.differences(&canonical).unwrap();
            let keys: Vec<&str> = differences.iter().map(|one| one.key.as_str()).collect();
            assert_eq!(keys, changed, "{name} {variation}");
            assert_eq!(run.tokens, base.tokens);
            let most = if variation == "mha" { mha } else { 0.0 };
            assert!(
                run.parameters_relative_to(base).abs() <= most,
                "{name} {variation}: {}",
                run.parameters_relative_to(base)
            );
        }
        assert_eq!((sweep.variations.len(), sweep.runs.len()), (6, 18));
        let heads = &sweep.run_of("mha", 1).unwrap().recipe.architecture().unwrap();
        assert_eq!(heads.num_key_value_heads, heads.num_attention_heads);
        let decayed = sweep.run_of("embedding-decay", 1).unwrap();
        for stage in &decayed.recipe.stages {
            assert!(
                stage
                    .training()
                    .unwrap()
                    .optimizer
                    .decays("model.embed_tokens.weight")
            );
        }
    }
}

#[test]
fn the_size_for_one_gpu() {
    let request = Request {
        path: recipes("ablations-gpu"),
        ..Request::default()
    };
    let sweep = Sweep::plan(&request).unwrap();
    let base = sweep.run_of("base", 1).unwrap();
    assert_eq!(base.parameters, 134_515_008);
    assert_eq!(base.tokens, 5_000 * 256 * 2_048 + 500 * 64 * 8_192);
}

#[test]
fn runs_come_seed_by_seed_each_with_its_folder() {
    let request = Request {
        path: ablations(),
        seeds: vec![7, 5],
        output: Some("out".into()),
        settings: vec!["stage.short.optimizer.learning_rate=1e-3".to_owned()],
        only: vec!["mha".to_owned()],
        ..Request::default()
    };
    let sweep = Sweep::plan(&request).unwrap();
    let asked: Vec<&str> = sweep.asked().map(|run| run.name.as_str()).collect();
    assert_eq!(asked, ["mha-7", "mha-5"]);
    let run = sweep.run_of("mha", 5).unwrap();
    assert_eq!(run.recipe.run.seed, 5);
    assert_eq!(run.recipe.run.name, "mha-5");
    assert_eq!(run.recipe.run.output, Path::new("out/mha-5"));
    let rate = run.recipe.stages[0].training().unwrap().optimizer.learning_rate;
    assert_eq!(rate, 1e-3);
    let overview = sweep.overview().unwrap();
    for part in ["+0.03 %", "mha-7", "to run", "num_key_value_heads=6", "tokens"] {
        assert!(overview.contains(part), "{part} in\n{overview}");
    }
    assert!(!overview.contains("base-7"));
    assert!(!Path::new("out").exists());
}

#[test]
fn a_recipe_without_a_sweep_file() {
    let request = Request {
        path: recipes("demo"),
        grid: vec![
            "stage.pretrain.optimizer.learning_rate=1e-3,2e-3"
                .parse()
                .unwrap(),
        ],
        seeds: vec![1, 2],
        ..Request::default()
    };
    let sweep = Sweep::plan(&request).unwrap();
    assert_eq!(sweep.output, Path::new("runs/demo-sweep"));
    assert_eq!(sweep.measures, Measure::all());
    let runs: Vec<&str> = sweep.runs.iter().map(|run| run.name.as_str()).collect();
    assert_eq!(
        runs,
        [
            "learning_rate=1e-3-1",
            "learning_rate=2e-3-1",
            "learning_rate=1e-3-2",
            "learning_rate=2e-3-2"
        ]
    );
    // Without a word about seeds, the recipe's own.
    let one = Request {
        path: recipes("demo"),
        ..Request::default()
    };
    assert_eq!(Sweep::plan(&one).unwrap().seeds, [42]);
}

#[test]
fn settings_that_a_sweep_gives_its_runs_are_refused() {
    let seed = || vec!["run.seed=1".to_owned()];
    let grid = |text: &str| vec![text.parse().unwrap()];
    let with = |change: &dyn Fn(&mut Request)| {
        let mut request = Request {
            path: recipes("demo"),
            ..Request::default()
        };
        change(&mut request);
        Sweep::plan(&request).map_err(|error| error.to_string())
    };
    for (refused, part) in [
        (with(&|request| request.grid = grid("run.seed=1,2")), "--seeds"),
        (
            with(&|request| request.grid = grid("run . \"name\"=a,b")),
            "leave it out",
        ),
        (with(&|request| request.grid = grid("run.output=a,b")), "--output"),
        (
            with(&|request| (request.settings, request.seeds) = (seed(), vec![2])),
            "--seeds",
        ),
        (
            with(&|request| {
                request.settings = vec!["run.output=a".to_owned()];
                request.output = Some("b".into());
            }),
            "--output",
        ),
    ] {
        let message = refused.unwrap_err();
        assert!(message.starts_with("run") && message.contains(part), "{message}");
    }
    // Of all runs they have an effect where nothing else is written.
    let own = with(&|request| {
        request.settings = ["run.seed=1", "run.output=a", "run.name=b"]
            .map(str::to_owned)
            .to_vec();
    });
    let sweep = own.unwrap();
    assert_eq!((sweep.name.as_str(), sweep.seeds), ("b", vec![1]));
    assert_eq!(sweep.output, Path::new("a-sweep"));
}

/// Plans a sweep file with this text, and expects a refusal with every part.
#[track_caller]
fn refused(text: &str, parts: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let base = ablations().join("recipe.toml").canonicalize().unwrap();
    let text = text.replace("BASE", base.to_str().unwrap());
    fs::write(folder.path().join("sweep.toml"), text).unwrap();
    let request = Request {
        path: folder.path().to_owned(),
        ..Request::default()
    };
    let message = Sweep::plan(&request).unwrap_err().to_string();
    for part in parts {
        assert!(message.contains(part), "{message:?} should contain {part:?}");
    }
}

#[test]
fn broken_files_are_refused() {
    const HEAD: &str = "base = \"BASE\"\nseeds = [1]\n";
    let with = |text: &str| format!("{HEAD}{text}");
    refused("base = \"BASE\"\nseed = [1]\n", &["sweep.toml", "seed", "seeds"]);
    refused("base = \"BASE\"\n", &["sweep.toml", "seeds"]);
    refused("base = \"BASE\"\nseeds = []\n", &["`seeds` is empty"]);
    refused("base = \"BASE\"\nseeds = [3, 3]\n", &["twice"]);
    refused(
        "base = \"nowhere.toml\"\nseeds = [1]\n",
        &["nowhere.toml", "does not exist"],
    );
    refused("seeds = [1]\n", &["recipe.toml", "does not exist"]);
    refused("seeds = [1\n", &["sweep.toml"]);
    refused(&with("measures = []"), &["`measures` is empty"]);
    refused(&with("measures = [\"accuracy\"]"), &["accuracy", "held-out"]);
    refused(&with("[[variation]]\nname = \"a\""), &["\"a\" changes nothing"]);
    refused(
        &with("[[variation]]\nname = \"a\"\ngrid = [\"run.precision=\"]"),
        &["sweep.toml", "\"a\"", "run.precision=", "empty"],
    );
    refused(
        &with(
            "[[variation]]\nname = \"a\"\nset = [\"data.documents=ignored\"]\n[[variation]]\nname = \"a\"\nset = [\"data.documents=end-of-text\"]",
        ),
        &["two variations are called \"a\""],
    );
    refused(
        &with("[[variation]]\nname = \"a\"\nset = [\"model.config.heads=3\"]"),
        &["variation \"a\"", "heads"],
    );
    refused(
        &with("[[variation]]\nname = \"a\"\nset = [\"data.documents=store\"]"),
        &["\"a\" is the same recipe as \"base\""],
    );
    refused(
        &with("[[variation]]\nname = \"a\"\nset = [\"run.seed=7\"]"),
        &["run.seed=7", "seeds"],
    );
}

#[test]
fn unknown_names_are_told_with_the_known_ones() {
    let request = Request {
        path: ablations(),
        only: vec!["gqa".to_owned()],
        ..Request::default()
    };
    let message = Sweep::plan(&request).unwrap_err().to_string();
    assert!(
        message.contains("gqa") && message.contains("theta-kept"),
        "{message}"
    );
    let nowhere = Request {
        path: "nowhere".into(),
        ..Request::default()
    };
    assert!(Sweep::plan(&nowhere).unwrap_err().to_string().contains("nowhere"));
}
