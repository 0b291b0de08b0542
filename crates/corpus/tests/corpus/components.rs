use serde_json::{Value, json};

use smollm3_corpus::tokenizer::components::{SPLIT_PATTERN, normalizer, pre_tokenizers, splits_as_llama};

#[test]
fn components_are_read() {
    let found = |component: Value| normalizer(&json!({ "normalizer": component })).map(str::to_owned);
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
