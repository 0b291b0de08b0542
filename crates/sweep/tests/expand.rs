//! Names, products and their order.

use smollm3_sweep::{Axis, Varied, expand};

fn axis(text: &str) -> Axis {
    text.parse().unwrap()
}

fn varied(name: &str, set: &[&str], grid: &[&str]) -> Varied {
    Varied {
        name: name.to_owned(),
        set: set.iter().map(|text| (*text).to_owned()).collect(),
        grid: grid.iter().map(|text| (*text).to_owned()).collect(),
    }
}

fn names(varied: &[Varied], grid: &[Axis]) -> Vec<(String, String)> {
    let all = expand(varied, grid).unwrap();
    all.into_iter().map(|one| (one.name, one.reference)).collect()
}

fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter()
        .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
        .collect()
}

#[test]
fn values_are_cut_at_commas_outside_brackets_and_quotes() {
    let axis = axis(r#" a.b = [], ["x,y", 'z]'], {p = 1, q = 2}, "one, \"two", 3 steps"#);
    assert_eq!(axis.key, "a.b");
    assert_eq!(
        axis.values,
        [
            "[]",
            r#"["x,y", 'z]']"#,
            "{p = 1, q = 2}",
            r#""one, \"two""#,
            "3 steps"
        ]
    );
}

#[test]
fn grids_that_say_nothing_are_refused() {
    for (text, part) in [
        ("a.b", "no `=`"),
        ("=1,2", "empty"),
        ("a=", "empty"),
        ("a=1,,2", "empty"),
        ("a=1,2,1", "twice"),
    ] {
        let error = text.parse::<Axis>().unwrap_err().to_string();
        assert!(error.contains(part) && error.contains(text), "{error}");
    }
}

#[test]
fn the_base_comes_first_and_all_are_compared_with_it() {
    assert_eq!(names(&[], &[]), pairs(&[("base", "base")]));
    let two = [varied("b", &["x=1"], &[]), varied("a", &["x=2"], &[])];
    assert_eq!(
        names(&two, &[]),
        pairs(&[("base", "base"), ("b", "base"), ("a", "base")])
    );
}

#[test]
fn a_grid_of_a_recipe_is_compared_with_its_first_point() {
    let grid = [axis("s.lr=1e-3,2e-3"), axis("s.warmup=5 steps,10 steps")];
    let first = "lr=1e-3-warmup=5_steps";
    assert_eq!(
        names(&[], &grid),
        pairs(&[
            (first, first),
            ("lr=1e-3-warmup=10_steps", first),
            ("lr=2e-3-warmup=5_steps", first),
            ("lr=2e-3-warmup=10_steps", first),
        ])
    );
    let all = expand(&[], &grid).unwrap();
    assert_eq!(all[1].settings, ["s.lr=1e-3", "s.warmup=10 steps"]);
}

#[test]
fn keys_that_end_alike_are_written_out() {
    let grid = [axis("a.lr=1,2"), axis("b.lr=3")];
    let first = "a.lr=1-b.lr=3";
    assert_eq!(
        names(&[], &grid),
        pairs(&[(first, first), ("a.lr=2-b.lr=3", first)])
    );
}

#[test]
fn a_grid_beside_variations_keeps_to_its_point() {
    let two = [varied("v", &["x=1"], &["y=1,2"])];
    let all = names(&two, &[axis("z=7,8")]);
    assert_eq!(
        all,
        pairs(&[
            ("base-z=7", "base-z=7"),
            ("base-z=8", "base-z=8"),
            ("v-y=1-z=7", "base-z=7"),
            ("v-y=1-z=8", "base-z=8"),
            ("v-y=2-z=7", "base-z=7"),
            ("v-y=2-z=8", "base-z=8"),
        ])
    );
    let settings = &expand(&two, &[axis("z=7,8")]).unwrap()[5].settings;
    assert_eq!(settings, &["x=1", "y=2", "z=8"]);
}

#[test]
fn names_are_folders_and_each_is_of_one_variation() {
    for (name, part) in [("", "cannot name"), ("a/b", "cannot name"), (".a", "cannot name")] {
        let error = expand(&[varied(name, &["x=1"], &[])], &[])
            .unwrap_err()
            .to_string();
        assert!(error.contains(part), "{error}");
    }
    let same = [varied("a", &["x=1"], &[]), varied("a", &["x=2"], &[])];
    let error = expand(&same, &[]).unwrap_err().to_string();
    assert!(error.contains("two variations are called \"a\""), "{error}");
    let base = expand(&[varied("base", &["x=1"], &[])], &[])
        .unwrap_err()
        .to_string();
    assert!(base.contains("without changes"), "{base}");
    // Different values that no folder can tell apart.
    let error = expand(&[], &[axis("a=1 2,1/2")]).unwrap_err().to_string();
    assert!(error.contains("a=1_2"), "{error}");
    let twice = expand(&[], &[axis("a=1"), axis("a=2")]).unwrap_err().to_string();
    assert!(twice.contains("two lists"), "{twice}");
}
