//! The components of a `tokenizer.json`, for other implementations of them: `tokenizers` 1.0, llama.cpp.

use serde_json::Value;

/// Splits text before merging: words, numbers of up to three digits, punctuation, white space.
/// Source: `tokenizer.json` of Llama 3 (`pre_tokenizer`), which SmolLM3's tokenizer keeps.
pub const SPLIT_PATTERN: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|",
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);

/// The kind of the normalizer, which changes text before it is split; `None` if there is none.
pub fn normalizer(tokenizer: &Value) -> Option<&str> {
    let normalizer = &tokenizer["normalizer"];
    // transformers writes an empty sequence.
    let is_empty = normalizer["normalizers"].as_array().is_some_and(Vec::is_empty);
    (!normalizer.is_null() && !is_empty).then(|| kind(normalizer))
}

/// The pre-tokenizers, in order.
pub fn pre_tokenizers(tokenizer: &Value) -> &[Value] {
    let pre_tokenizer = &tokenizer["pre_tokenizer"];
    match pre_tokenizer["pretokenizers"].as_array() {
        Some(steps) => steps,
        None if pre_tokenizer.is_null() => &[],
        None => std::slice::from_ref(pre_tokenizer),
    }
}

/// Whether a step splits as Llama 3 does.
pub fn splits_as_llama(step: &Value) -> bool {
    step["type"] == "Split"
        && step["pattern"]["Regex"] == SPLIT_PATTERN
        && step["behavior"] == "Isolated"
        && step["invert"] == false
}

/// The type of a component.
pub fn kind(component: &Value) -> &str {
    component["type"].as_str().unwrap_or("without a type")
}
