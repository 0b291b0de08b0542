//! Recipes with odd values are refused, or their cost is estimated; they never bring the program down.

#[path = "../../recipe/tests/fixture/mod.rs"]
mod fixture;

use fixture::Folder;
use proptest::prelude::*;
use smollm3_estimate::{Machine, estimate, plan};
use smollm3_recipe::Facts;

const FILES: [&str; 4] = ["recipe.toml", "sources.toml", "first.toml", "model.toml"];

/// Loads, plans and estimates; a refusal must say something.
fn survives(folder: &Folder, overrides: &[&str]) -> Result<(), TestCaseError> {
    let facts = Facts::default();
    let message = match folder.load(overrides) {
        Err(error) => error.to_string(),
        Ok(recipe) => {
            let device = "h100".parse().unwrap();
            if let Ok(estimate) = estimate(&recipe, &facts, 8, &device) {
                prop_assert!(estimate.to_string().len() > 20);
            }
            match plan(&recipe, &facts, &Machine::default()) {
                Err(error) => error.to_string(),
                Ok(plan) => plan.to_string(),
            }
        }
    };
    prop_assert!(message.len() > 20, "{}", message);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

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
}
