//! Damaged recipes are refused, or read; they never bring the program down.

mod fixture;

use fixture::Folder;
use proptest::prelude::*;
use smollm3_recipe::{Facts, Spelling};

const FILES: [&str; 4] = ["recipe.toml", "sources.toml", "first.toml", "model.toml"];

#[test]
fn what_is_damaged_below_is_right() {
    Folder::whole()
        .load(&[])
        .unwrap()
        .plan(&Facts::default())
        .unwrap();
}

/// Loads and plans; a refusal must say something.
fn survives(folder: &Folder, overrides: &[&str]) -> Result<(), TestCaseError> {
    let message = match folder.load(overrides) {
        Err(error) => error.to_string(),
        Ok(recipe) => match recipe.plan(&Facts::default()) {
            Err(error) => error.to_string(),
            Ok(plan) => plan.fingerprint,
        },
    };
    prop_assert!(message.len() > 20, "{}", message);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_piece_cut_out_or_put_in(
        file in 0..FILES.len(),
        at in any::<prop::sample::Index>(),
        cut in 0..12_usize,
        put in "[ -~\n]{0,6}",
    ) {
        let folder = Folder::new();
        let text = folder.read(FILES[file]);
        let at = at.index(text.len());
        let end = (at + cut).min(text.len());
        folder.write(FILES[file], &format!("{}{put}{}", &text[..at], &text[end..]));
        survives(&folder, &[])?;
    }

    /// A value in the place of another, of any type and size.
    #[test]
    fn another_value(
        file in 0..FILES.len(),
        line in any::<prop::sample::Index>(),
        value in prop_oneof![
            Just("0".to_owned()), Just("-1".to_owned()), Just("nan".to_owned()), Just("[]".to_owned()),
            Just("{}".to_owned()), Just("true".to_owned()), Just("1979-05-27".to_owned()), Just("[{}]".to_owned()),
            Just("\"18446744073709551615 tokens\"".to_owned()), Just("\"18446744073709551615 steps\"".to_owned()),
            Just("\"18446744073709551615 sequences\"".to_owned()), Just("4611686018427387904".to_owned()),
            Just("\"4611686018427387904 tokens\"".to_owned()), Just("\"1 token\"".to_owned()),
            Just("\"100%\"".to_owned()), Just("\"../../..\"".to_owned()), Just("1e308".to_owned()),
        ],
    ) {
        let folder = Folder::whole();
        let text = folder.read(FILES[file]);
        let lines: Vec<&str> = text.lines().collect();
        let line = line.index(lines.len());
        prop_assume!(lines[line].contains(" = "));
        let key = lines[line].split_once(" = ").map_or("", |(key, _)| key);
        let changed: Vec<String> = lines
            .iter()
            .enumerate()
            .map(|(index, text)| if index == line { format!("{key} = {value}") } else { (*text).to_owned() })
            .collect();
        folder.write(FILES[file], &changed.join("\n"));
        survives(&folder, &[])?;
    }

    #[test]
    fn any_override(
        key in "(run|stage|model|source|data|plan)(\\.(pretrain|first|phase|seed|config|x)){0,4}",
        value in "\\PC{0,12}",
    ) {
        let folder = Folder::new();
        survives(&folder, &[&format!("{key}={value}")])?;
    }

    #[test]
    fn any_override_at_all(text in "\\PC{0,24}") {
        let folder = Folder::new();
        survives(&folder, &[&text])?;
    }
}

#[test]
fn the_largest_numbers_that_are_allowed() {
    let folder = Folder::new();
    let plan = folder
        .load(&[
            "stage.pretrain.sequence_length=1",
            "stage.pretrain.global_batch=1 sequence",
            "stage.pretrain.micro_batch=1 sequence",
            "stage.pretrain.phase.second.until=9007199254740992 steps",
        ])
        .unwrap()
        .plan(&Facts::default())
        .unwrap();
    assert_eq!(plan.total_tokens, 1 << 53);
    let given: u64 = plan.stages[0].phases[1]
        .sources
        .iter()
        .map(|source| source.sequences)
        .sum();
    assert_eq!(given, (1 << 53) - 80);
    let more = folder.load(&[
        "stage.pretrain.sequence_length=1",
        "stage.pretrain.global_batch=1 sequence",
        "stage.pretrain.micro_batch=1 sequence",
        "stage.pretrain.phase.second.until=9007199254740993 steps",
    ]);
    assert!(more.unwrap_err().to_string().contains("more than 9,007T tokens"));
}

/// Sizes of a model that nobody can count: refused before anything is as large.
#[test]
fn no_size_of_a_model_is_too_large_to_be_refused() {
    for key in [
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "head_dim",
        "max_position_embeddings",
    ] {
        for size in ["9223372036854775807", "4611686018427387904", "2147483648"] {
            let folder = Folder::new();
            let message = match folder.load(&[&format!("model.config.{key}={size}")]) {
                Err(error) => error.to_string(),
                Ok(recipe) => panic!("{key} = {size}: {:?}", recipe.architecture()),
            };
            assert!(message.contains(key), "{key} = {size}: {message}");
            // The same in a checkpoint.
            let folder = Folder::new();
            let recipe = folder.load(&[]).unwrap();
            let mut json = recipe
                .architecture()
                .unwrap()
                .to_hf_json(Spelling::default(), "float32");
            json[key] = size.parse::<u64>().unwrap().into();
            folder.write("config.json", &json.to_string());
            let message = folder
                .load(&["model.config=config.json"])
                .unwrap_err()
                .to_string();
            assert!(message.contains(key), "{key} = {size}: {message}");
        }
    }
    // Each can be, but not all of them.
    let message = Folder::new()
        .load(&[
            "model.config.vocab_size=2147483647",
            "model.config.hidden_size=2147483644",
        ])
        .unwrap_err()
        .to_string();
    assert!(message.contains("parameters; at most"), "{message}");
}
