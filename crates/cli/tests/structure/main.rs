//! Imports between crates and files follow docs/architecture.md.
//!
//! Dependencies of tests only (`[dev-dependencies]`) are not checked.

mod imports;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use imports::{Files, circles};
use toml::Table;

/// Crates that show runs and compare them: they are built without Burn.
const WITHOUT_TENSORS: [&str; 2] = ["monitor", "sweep"];

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The floors of the map, from the ground up: their names and crates.
fn floors() -> Vec<(String, Vec<String>)> {
    let text = fs::read_to_string(workspace().join("docs/architecture.md")).unwrap();
    let map = text
        .split("\n## ")
        .find(|part| part.starts_with("Floors"))
        .unwrap();
    let rows = map.lines().filter(|line| line.starts_with('|')).skip(2);
    let floors = rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let crates = cells[3].split('`').skip(1).step_by(2).map(str::to_owned);
        (cells[1].to_owned(), crates.collect())
    });
    floors.collect()
}

fn crates() -> BTreeSet<String> {
    let folders = fs::read_dir(workspace().join("crates")).unwrap();
    folders
        .map(|folder| folder.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// The dependencies in a crate's manifest, by full name.
fn dependencies(name: &str) -> BTreeSet<String> {
    let file = workspace().join("crates").join(name).join("Cargo.toml");
    let manifest: Table = fs::read_to_string(file).unwrap().parse().unwrap();
    let targets = manifest.get("target").and_then(|targets| targets.as_table());
    let targets = targets.into_iter().flat_map(|targets| targets.values());
    let all = targets.filter_map(|target| target.get("dependencies"));
    let all = all.chain(manifest.get("dependencies"));
    all.filter_map(|list| list.as_table())
        .flat_map(|list| list.keys().cloned())
        .collect()
}

/// The crates of this workspace that a crate imports.
fn imported(name: &str) -> BTreeSet<String> {
    let all = dependencies(name);
    let own = all.iter().filter_map(|name| name.strip_prefix("smollm3-"));
    own.map(str::to_owned).collect()
}

#[test]
fn every_crate_is_on_the_map_once() {
    let drawn: Vec<String> = floors().into_iter().flat_map(|(_, crates)| crates).collect();
    let once: BTreeSet<String> = drawn.iter().cloned().collect();
    assert_eq!(once, crates());
    assert_eq!(once.len(), drawn.len());
}

#[test]
fn no_crate_imports_a_higher_floor() {
    let floors = floors();
    let number = |name: &str| {
        floors
            .iter()
            .position(|(_, crates)| crates.iter().any(|one| one == name))
            .unwrap()
    };
    for name in crates() {
        for other in imported(&name) {
            assert!(
                number(&other) <= number(&name),
                "`{name}` imports `{other}` of the floor above, \"{}\"",
                floors[number(&other)].0
            );
        }
    }
}

#[test]
fn no_stage_imports_another() {
    let floors = floors();
    let (_, stages) = floors.iter().find(|(floor, _)| floor == "stages").unwrap();
    for name in stages {
        let others = imported(name);
        let other = stages.iter().find(|stage| others.contains(*stage));
        assert_eq!(other, None, "imported by the stage `{name}`");
    }
}

#[test]
fn runs_are_shown_and_compared_without_tensors() {
    for name in WITHOUT_TENSORS {
        let (mut seen, mut open) = (BTreeSet::new(), vec![name.to_owned()]);
        while let Some(name) = open.pop() {
            let tensors = dependencies(&name)
                .into_iter()
                .find(|other| other.starts_with("burn"));
            assert_eq!(tensors, None, "of `{name}`, on the way from {WITHOUT_TENSORS:?}");
            let others = imported(&name)
                .into_iter()
                .filter(|other| seen.insert(other.clone()));
            open.extend(others.collect::<Vec<_>>());
        }
    }
}

#[test]
fn what_a_manifest_lists_is_imported() {
    for name in crates() {
        let src = workspace().join("crates").join(&name).join("src");
        let code = code_below(&src);
        for other in imported(&name) {
            assert!(
                code.contains(&format!("smollm3_{other}")),
                "crates/{name}/Cargo.toml lists smollm3-{other}, which no file in src imports"
            );
        }
    }
}

fn code_below(folder: &Path) -> String {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .map(|path| match path.is_dir() {
            true => code_below(&path),
            false => imports::bare(&fs::read_to_string(path).unwrap()),
        })
        .collect()
}

#[test]
fn files_do_not_import_in_a_circle() {
    for name in crates() {
        let imports = Files::read(&workspace().join("crates").join(&name).join("src")).imports();
        let found = circles(&imports);
        assert!(found.is_empty(), "`{name}`:\n{}", drawn(&found, &imports));
    }
}

/// A line for each import inside the circles.
fn drawn(
    circles: &[BTreeSet<imports::Module>],
    imports: &BTreeMap<imports::Module, BTreeMap<imports::Module, String>>,
) -> String {
    let mut text = String::new();
    for circle in circles {
        for (from, targets) in imports.iter().filter(|(from, _)| circle.contains(*from)) {
            for (to, path) in targets.iter().filter(|(to, _)| circle.contains(*to)) {
                text.push_str(&format!("  {} → {} by {path}\n", from.join("/"), to.join("/")));
            }
        }
    }
    text
}

#[test]
fn circles_are_found_through_re_exports_and_paths() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let found = || -> Vec<Vec<String>> {
        let circles = circles(&Files::read(folder.path()).imports());
        let names =
            |circle: BTreeSet<imports::Module>| circle.iter().map(|module| module.join("/")).collect();
        circles.into_iter().map(names).collect()
    };
    write(
        "lib.rs",
        "mod a;\nmod b;\nmod c;\npub use b::{B, c::{C as Sea}};\npub use a::A;\n",
    );
    write(
        "a.rs",
        "use crate::{B,\n    Sea};\npub struct A; // crate::c::C\nconst TEXT: &str = \"crate::c::C\";\n",
    );
    write("b/mod.rs", "pub mod c;\npub use c::C;\npub struct B;\n");
    write("b/c.rs", "use super::B;\npub struct C(B);\n");
    write("c.rs", "use std::fmt;\n");
    assert_eq!(found(), Vec::<Vec<String>>::new());
    write("b/c.rs", "use super::B;\npub struct C(B, crate::A);\n");
    assert_eq!(found(), [["a", "b/c"]]);
    // Behind a text that goes on over the end of a line, and one with `//` in it.
    write(
        "b/c.rs",
        "const T: &str = \"x \\\n y\";\nconst U: &str = \"https://z\";\npub struct C(crate::A);\nconst V: &str = \"\";\n",
    );
    assert_eq!(found(), [["a", "b/c"]]);
    write("b/c.rs", "use super::super::a;\npub type C = a::A;\n");
    assert_eq!(found(), [["a", "b/c"]]);
    for tests in ["test", "all(test, feature = \"flex\")"] {
        let code = format!("pub struct C;\n#[cfg({tests})]\nmod tests {{\n    use crate::A;\n}}\n");
        write("b/c.rs", &code);
        assert_eq!(found(), Vec::<Vec<String>>::new(), "{tests}");
    }
}
