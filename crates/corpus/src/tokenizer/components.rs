//! What the components of a `tokenizer.json` do, for those that run them elsewhere: `tokenizers` 1.0, llama.cpp.

use serde_json::Value;

/// How text is cut before merging: words, numbers of up to three digits, punctuation, white space.
/// Source: `tokenizer.json` of Llama 3 (`pre_tokenizer`), which SmolLM3's tokenizer keeps.
pub const SPLIT_PATTERN: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|",
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);

/// The kind of the component that changes text before it is split; `None` where nothing does.
pub fn normalizer(tokenizer: &Value) -> Option<&str> {
    let normalizer = &tokenizer["normalizer"];
    // transformers writes a sequence of none.
    let is_empty = normalizer["normalizers"].as_array().is_some_and(Vec::is_empty);
    (!normalizer.is_null() && !is_empty).then(|| kind(normalizer))
}

/// The steps in which text is split, in their order.
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

/// What a component calls itself.
pub fn kind(component: &Value) -> &str {
    component["type"].as_str().unwrap_or("without a type")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn components_are_read() {
        let found =
            |normalizer: Value| super::normalizer(&json!({ "normalizer": normalizer })).map(str::to_owned);
        assert_eq!(found(Value::Null), None);
        assert_eq!(found(json!({"type": "Sequence", "normalizers": []})), None);
        assert_eq!(found(json!({"type": "NFC"})).as_deref(), Some("NFC"));
        assert_eq!(
            found(json!({"type": "Sequence", "normalizers": [{"type": "NFC"}]})).as_deref(),
            Some("Sequence")
        );
        let steps = |pre: Value| pre_tokenizers(&json!({ "pre_tokenizer": pre })).len();
        assert_eq!(steps(Value::Null), 0);
        assert_eq!(steps(json!({"type": "ByteLevel"})), 1);
        assert_eq!(steps(json!({"type": "Sequence", "pretokenizers": [{}, {}]})), 2);
        let mut split = json!({"type": "Split", "pattern": {"Regex": SPLIT_PATTERN}, "behavior": "Isolated", "invert": false});
        assert!(splits_as_llama(&split));
        split["invert"] = true.into();
        assert!(!splits_as_llama(&split));
    }
}
