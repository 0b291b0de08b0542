//! Small tokenizers of the kinds that checkpoints have.

use serde_json::{Map, Value, json};
use smollm3_corpus::Tokenizer;

use crate::fixtures::tokenizer;

/// A tokenizer, and whether decoding gives the text back and offsets are exact.
pub struct Kind {
    pub tokenizer: Tokenizer,
    pub faithful: bool,
}

const ADDED: [(&str, bool); 5] = [
    ("<|endoftext|>", true),
    ("<|im_start|>", true),
    ("<|im_end|>", true),
    ("<think>", false),
    ("</think>", false),
];

fn added(first: usize) -> Value {
    let token = |(index, (content, special)): (usize, &(&str, bool))| {
        json!({"id": first + index, "content": content, "special": special, "single_word": false,
            "lstrip": false, "rstrip": false, "normalized": false})
    };
    ADDED.iter().enumerate().map(token).collect()
}

/// The fixture's byte-level tokenizer, changed.
fn byte_level(name: &str, faithful: bool, change: impl FnOnce(&mut Value)) -> Kind {
    let mut json: Value = serde_json::from_str(&tokenizer().to_json().unwrap()).unwrap();
    change(&mut json);
    kind(name, faithful, &json)
}

fn kind(name: &str, faithful: bool, json: &Value) -> Kind {
    Kind {
        tokenizer: Tokenizer::from_json(name, json.to_string().as_bytes()).unwrap(),
        faithful,
    }
}

fn pipeline(
    normalizer: Value,
    pre_tokenizer: Value,
    post_processor: Value,
    model: Value,
    entries: usize,
) -> Value {
    json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": added(entries),
        "normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "post_processor": post_processor,
        "decoder": null, "model": model})
}

/// WordPiece over lower-case letters, as in BERT.
fn word_piece() -> Kind {
    let mut pieces = vec![
        "[UNK]".to_owned(),
        "an".to_owned(),
        "##swer".to_owned(),
        "the".to_owned(),
    ];
    for letter in ('a'..='z').chain('0'..='9').chain("!?.,:;<>|/_()[]*-".chars()) {
        pieces.extend([letter.to_string(), format!("##{letter}")]);
    }
    let vocab: Map<String, Value> = pieces
        .iter()
        .zip(0..)
        .map(|(piece, id)| (piece.clone(), json!(id)))
        .collect();
    let model = json!({"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 20, "vocab": vocab});
    let normalizer = json!({"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
        "strip_accents": null, "lowercase": true});
    kind(
        "word-piece",
        false,
        &pipeline(
            normalizer,
            json!({"type": "BertPreTokenizer"}),
            Value::Null,
            model,
            pieces.len(),
        ),
    )
}

/// Unigram with Metaspace, as in T5 and XLM-R; `special` are texts of special tokens that are pieces as well.
pub fn unigram(scheme: &str, normalizer: Value, special: &[&str]) -> Kind {
    let mut pieces = vec![("<unk>".to_owned(), 0.0)];
    pieces.extend(special.iter().map(|text| ((*text).to_owned(), -0.5)));
    pieces.extend(["▁", "▁the", "▁an", "swer", "the"].map(|piece| (piece.to_owned(), -2.0)));
    let letters = ('a'..='z')
        .chain('A'..='Z')
        .chain('0'..='9')
        .chain("é!?.,:;<>|/_()[]*-\n\t".chars());
    pieces.extend(letters.map(|letter| (letter.to_string(), -4.0)));
    let model = json!({"type": "Unigram", "unk_id": 0, "byte_fallback": false, "vocab": pieces});
    let pre_tokenizer =
        json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": true});
    let mut json = pipeline(normalizer, pre_tokenizer, Value::Null, model, pieces.len());
    // A special token that is a piece has the piece's id.
    for token in json["added_tokens"].as_array_mut().unwrap() {
        if let Some(id) = pieces.iter().position(|(piece, _)| token["content"] == *piece) {
            token["id"] = json!(id);
        }
    }
    json["added_tokens"]
        .as_array_mut()
        .unwrap()
        .sort_by_key(|token| token["id"].as_u64());
    kind(scheme, false, &json)
}

/// A tokenizer that folds `<|IM_END|>` to the text of a special token.
pub fn folding() -> Tokenizer {
    let folding = byte_level("folding", false, |json| {
        json["normalizer"] =
            json!({"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Lowercase"}]});
        for token in json["added_tokens"].as_array_mut().unwrap() {
            token["normalized"] = json!(true);
        }
    });
    folding.tokenizer
}

/// One of each kind.
pub fn kinds() -> Vec<Kind> {
    let trims =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    vec![
        byte_level("byte-level", true, |_| {}),
        byte_level("trimmed offsets", true, |json| {
            json["post_processor"] = trims.clone()
        }),
        byte_level("prefix space", false, |json| {
            json["pre_tokenizer"]["pretokenizers"][1]["add_prefix_space"] = json!(true)
        }),
        byte_level("split at white space", false, |json| {
            json["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"},
                {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}]});
        }),
        byte_level("stripped", false, |json| {
            json["normalizer"] = json!({"type": "Sequence", "normalizers": [{"type": "Strip", "strip_left": true, "strip_right": true},
                {"type": "NFKC"}, {"type": "Lowercase"}]});
        }),
        byte_level("prepended", false, |json| {
            json["normalizer"] = json!({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"},
                {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]});
        }),
        byte_level("cut short", true, |json| {
            json["truncation"] =
                json!({"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0});
        }),
        word_piece(),
        unigram("always", json!({"type": "NFKC"}), &[]),
        unigram("first", Value::Null, &["<|im_end|>"]),
        unigram(
            "never",
            json!({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}),
            &[],
        ),
    ]
}
