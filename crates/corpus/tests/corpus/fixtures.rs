//! Where the fixtures are.

use std::path::PathBuf;

use smollm3_corpus::Tokenizer;

/// A file written by datatrove.
pub fn datatrove(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/corpus/datatrove")
        .join(name)
}

/// A tokenizer of 1,024 entries, named as datatrove named it.
pub fn tokenizer() -> Tokenizer {
    Tokenizer::load(datatrove("tokenizer.json"))
        .unwrap()
        .with_name("tokenizer.json")
}

/// The texts of `narrow.ds`.
pub fn texts() -> Vec<String> {
    serde_json::from_str(&std::fs::read_to_string(datatrove("texts.json")).unwrap()).unwrap()
}

/// A file of rows written by pyarrow.
pub fn rows(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/corpus/rows")
        .join(name)
}
