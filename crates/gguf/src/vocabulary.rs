//! The tokenizer under llama.cpp's keys: its tokens, merges, and llama.cpp's name for its pre-tokenizer.

use serde_json::Value as Json;
use smollm3_corpus::Tokenizer;
use smollm3_corpus::tokenizer::components::{normalizer, pre_tokenizers, splits_as_llama};

use crate::file::{Value, prefixed};

/// llama.cpp's kinds of token.
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;

/// The keys of a tokenizer whose model has `rows` embeddings, or what llama.cpp does not support.
pub(crate) fn values(tokenizer: &Tokenizer, rows: usize) -> Result<Vec<(String, Value)>, String> {
    let json = serde_json::to_value(tokenizer.inner()).map_err(|error| error.to_string())?;
    let splits = splits(&json)?;
    let (tokens, kinds) = entries(tokenizer, rows)?;
    let added = tokenizer
        .with_added(Vec::new())
        .map_err(|error| error.to_string())?;
    let (adds_begin, begin) = match added.as_slice() {
        [] => (false, tokenizer.info().begin_of_text),
        [begin] => (true, Some(*begin)),
        more => return Err(format!("its tokenizer adds {} tokens to a text", more.len())),
    };
    let values = [
        ("model", Value::Text("gpt2".to_owned())),
        ("pre", Value::Text(splits.to_owned())),
        ("tokens", Value::Texts(tokens)),
        ("token_type", Value::Integers(kinds)),
        ("merges", Value::Texts(merges(&json["model"]["merges"])?)),
        ("add_eos_token", Value::Bool(false)),
        ("add_space_prefix", Value::Bool(false)),
        ("add_bos_token", Value::Bool(adds_begin)),
    ];
    let begin = begin.map(|id| ("bos_token_id", Value::U32(id)));
    Ok(prefixed("tokenizer.ggml", values.into_iter().chain(begin)))
}

/// llama.cpp's name for the pre-tokenizer (`llm_tokenizer_bpe` in its `llama-vocab.cpp`).
fn splits(tokenizer: &Json) -> Result<&'static str, String> {
    let model = &tokenizer["model"];
    if model["type"] != "BPE" {
        return Err(format!(
            "its tokenizer is a {}, not a byte-level BPE",
            model["type"]
        ));
    }
    if let Some(kind) = normalizer(tokenizer) {
        return Err(format!("its tokenizer normalises text ({kind})"));
    }
    let bytes = |step: &Json, regex: bool| {
        step["type"] == "ByteLevel" && step["add_prefix_space"] == false && step["use_regex"] == regex
    };
    let digits = |step: &Json| step["type"] == "Digits" && step["individual_digits"] == true;
    let whole_words = model["ignore_merges"] == true;
    match pre_tokenizers(tokenizer) {
        [split, level] if splits_as_llama(split) && bytes(level, false) && whole_words => Ok("llama-bpe"),
        [split, level] if splits_as_llama(split) && bytes(level, false) => Ok("smaug-bpe"),
        [split, level] if digits(split) && bytes(level, true) && !whole_words => Ok("smollm"),
        [level] if bytes(level, true) && !whole_words => Ok("gpt-2"),
        _ => Err(format!(
            "llama.cpp does not have the tokenizer's way to split text: {}",
            tokenizer["pre_tokenizer"]
        )),
    }
}

/// The text and kind of each row of the embedding.
fn entries(tokenizer: &Tokenizer, rows: usize) -> Result<(Vec<String>, Vec<i32>), String> {
    let mut texts: Vec<String> = (0..rows).map(|id| format!("[PAD{id}]")).collect();
    let mut kinds = vec![UNUSED; rows];
    let inner = tokenizer.inner();
    let mut set =
        |id: u32, text: String, kind: i32| match texts.get_mut(id as usize).zip(kinds.get_mut(id as usize)) {
            Some((place, its_kind)) => {
                *place = text;
                *its_kind = kind;
                Ok(())
            }
            None => Err(format!(
                "its tokenizer has the id {id}, its embedding {rows} rows"
            )),
        };
    for (text, id) in inner.get_vocab(false) {
        set(id, text, NORMAL)?;
    }
    for (id, token) in inner.get_added_tokens_decoder() {
        let kind = if token.special { CONTROL } else { USER_DEFINED };
        set(id, token.content, kind)?;
    }
    Ok((texts, kinds))
}

/// Merges, separated by a space as in llama.cpp; byte-level tokens contain none.
fn merges(merges: &Json) -> Result<Vec<String>, String> {
    let merge = |merge: &Json| match merge {
        Json::String(text) => Some(text.clone()),
        pair => {
            let [first, second] = [pair.get(0)?.as_str()?, pair.get(1)?.as_str()?];
            Some(format!("{first} {second}"))
        }
    };
    let all: Option<Vec<String>> = merges.as_array().into_iter().flatten().map(merge).collect();
    all.ok_or_else(|| "its tokenizer has merges that are not pairs".to_owned())
}
