//! Mixtures: weights that add up to 1, and shares that are kept whatever the weights inside them.

mod fixture;

use fixture::Folder;
use proptest::prelude::*;
use smollm3_recipe::Mixture;

const CATEGORIES: [&str; 3] = ["web", "code", "math"];

/// Loads a recipe with one phase of these sources: category and weight of each, and perhaps shares.
fn mixture(sources: &[(usize, f64)], shares: Option<[f64; 3]>) -> Result<Mixture, String> {
    let folder = Folder::new();
    let mut defined = String::new();
    let mut weights = String::from("[sources]\n");
    for (index, (category, weight)) in sources.iter().enumerate() {
        let category = CATEGORIES[*category];
        defined +=
            &format!("[source.s{index}]\ncategory = \"{category}\"\nkind = \"tokens\"\nfolder = \"x\"\n");
        weights += &format!("s{index} = {}\n", format!("{weight:?}").to_lowercase());
    }
    defined += "[source.markdown]\ncategory = \"web\"\nkind = \"cargo-markdown\"\n";
    defined += "[source.sums]\ncategory = \"math\"\nkind = \"arithmetic\"\ndocuments = 1\n";
    defined += "[source.rust]\ncategory = \"code\"\nkind = \"cargo-rust\"\n";
    let mut text = String::new();
    if let Some([web, code, math]) = shares {
        text += &format!("shares = {{ web = {web:?}, code = {code:?}, math = {math:?} }}\n");
    }
    folder.write("sources.toml", &defined);
    folder.write("first.toml", &(text + &weights));
    let recipe = folder.load(&[]).map_err(|error| error.to_string())?;
    Ok(recipe.stages[0].training().unwrap().phases[0].mixture.clone())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn flat_weights_keep_their_ratios(
        sources in prop::collection::vec((0..3_usize, 1e-9..1e9_f64), 1..60),
    ) {
        let mixture = mixture(&sources, None).unwrap();
        let sum: f64 = sources.iter().map(|(_, weight)| weight).sum();
        let weights = mixture.weights();
        prop_assert_eq!(weights.len(), sources.len());
        prop_assert!((weights.iter().map(|(_, weight)| weight).sum::<f64>() - 1.0).abs() < 1e-12);
        for (name, weight) in weights {
            let index: usize = name.trim_start_matches('s').parse().unwrap();
            prop_assert!((weight - sources[index].1 / sum).abs() < 1e-12);
        }
    }

    #[test]
    fn shares_are_kept_whatever_the_weights(
        mut sources in prop::collection::vec((0..3_usize, 0.0..1e6_f64), 0..30),
        shares in prop::array::uniform3(0.001..1e3_f64),
    ) {
        // Each category has a source with a weight.
        sources.extend([(0, 1.0), (1, 2.0), (2, 3.0)]);
        let mixture = mixture(&sources, Some(shares)).unwrap();
        let total: f64 = shares.iter().sum();
        let got = mixture.category_shares();
        for (category, share) in CATEGORIES.iter().zip(shares) {
            prop_assert!((got[*category] - share / total).abs() < 1e-12);
        }
        prop_assert!((mixture.weights().iter().map(|(_, weight)| weight).sum::<f64>() - 1.0).abs() < 1e-12);
        // Inside a category the ratios are those of the weights.
        let weight_of = |index: usize| {
            mixture.parts().iter().find(|part| part.source == format!("s{index}")).map_or(0.0, |part| part.weight)
        };
        let last = sources.len() - 3;
        for (index, (category, weight)) in sources.iter().enumerate() {
            let reference = last + category;
            let expected = weight / (*category as f64 + 1.0) * weight_of(reference);
            prop_assert!((weight_of(index) - expected).abs() <= 1e-9 * expected.max(1e-9));
        }
    }

    #[test]
    fn broken_weights_are_refused(
        mut sources in prop::collection::vec((0..3_usize, 0.0..1e6_f64), 1..10),
        at in any::<prop::sample::Index>(),
        bad in prop_oneof![-1e9..-1e-9_f64, Just(f64::NAN), Just(f64::INFINITY), Just(f64::NEG_INFINITY)],
    ) {
        let at = at.index(sources.len());
        sources[at].1 = bad;
        let message = mixture(&sources, None).unwrap_err();
        prop_assert!(message.contains(&format!("sources.s{at}")), "{}", message);
        prop_assert!(message.contains("is not a weight"), "{}", message);
    }
}

#[test]
fn a_share_of_zero_switches_a_category_off() {
    let mixture = mixture(&[(0, 1.0), (1, 1.0), (2, 1.0)], Some([90.0, 0.0, 10.0])).unwrap();
    assert_eq!(
        mixture.weights(),
        [("s0".to_owned(), 0.9), ("s2".to_owned(), 0.1)]
    );
}

#[test]
fn weights_that_overflow_are_refused() {
    let message = mixture(&[(0, f64::MAX), (1, f64::MAX)], None).unwrap_err();
    assert!(message.contains("too large to be added up"), "{message}");
}
