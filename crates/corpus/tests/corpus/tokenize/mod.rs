mod documents;
mod files;
mod merge;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use smollm3_corpus::text::Arithmetic;
use smollm3_corpus::tokenize::is_held_out;

/// What a tokenisation left: all stores by name, without the records of fingerprints (they hold times).
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for part in ["train", "held-out"] {
        for entry in fs::read_dir(folder.join(part)).into_iter().flatten() {
            let path = entry.unwrap().path();
            let name = format!("{part}/{}", path.file_name().unwrap().to_str().unwrap());
            if !name.ends_with(".blake3") {
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    found
}

#[test]
fn the_held_out_share_is_met() {
    let source = Arithmetic::new(8, 1);
    let held_out = (0..20_000)
        .filter(|index| is_held_out(&source.text(*index), 0.03))
        .count();
    // 600 expected, standard deviation 24.
    assert!((500..700).contains(&held_out), "{held_out}");
}
