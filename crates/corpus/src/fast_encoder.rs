//! Text to ids with `tokenizers` 1.0, far faster than 0.22 (docs/benchmarks.md), where both give the same ids.
//!
//! Accepted: a byte-level BPE without a normalizer (Llama 3, SmolLM, GPT-2), with components that the tests compare on
//! every character of Unicode. Everything else is refused by name and stays with 0.22: Unigram, whose scores 1.0 rounds
//! differently; normalizers, whose tables are of another version of Unicode; Metaspace, which 1.0 applies before it matches
//! added tokens.
//!
//! 1.0 looks words up by 32 bits of a hash (`BucketVocabStore::get_keyed_foldable`) without comparing the word: about one
//! unknown word in 4 · 10⁹ becomes another entry. So every result is verified: the bytes of its tokens must be those of the
//! text. This is cheap, and also gives the offsets of tokens.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use fast_tokenizers::pipeline::{EncodeOptions, PipelineToken, PipelineTokenizer};
use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};
use tokenizers::{Model, Tokenizer};

use crate::contained::contained;
use crate::text_token::TextToken;
use crate::tokenizer::components::{kind, normalizer, pre_tokenizers, splits_as_llama};

/// Both versions must encode this identically, followed by added tokens.
const PROBE: &str = "It's  12345 words,\r\n\r\n\tthey'LL say naïve Ελληνικά 漢字かな 한국어 עברית हिन्दी e\u{301} \u{a0}👩‍👩‍👧 \u{1d7d8}٣ \
                     fn main() {    println!(\"{}\", x[0]);\n}\n\n   end \u{200b}\0 ";

/// The approximate number of added tokens in the probe.
const PROBED: usize = 500;

/// Gives the same ids as a tokenizer of 0.22.
pub(crate) struct FastEncoder {
    pipeline: PipelineTokenizer,
    ids: FastIds,
    spellings: Spellings,
}

/// The ids of 1.0, in which entries for `missing` bytes stand before the added tokens.
struct FastIds {
    missing: Range<u32>,
}

impl FastIds {
    fn of(&self, id: u32) -> u32 {
        match id < self.missing.start {
            true => id,
            false => id + self.missing.len() as u32,
        }
    }

    /// The id in 0.22; for a missing byte one that spells nothing, so that the text is left to 0.22.
    fn slow(&self, id: u32) -> u32 {
        match id {
            id if id < self.missing.start => id,
            id if id < self.missing.end => u32::MAX,
            id => id - self.missing.len() as u32,
        }
    }
}

impl std::fmt::Debug for FastEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FastEncoder").finish_non_exhaustive()
    }
}

impl FastEncoder {
    /// # Errors
    /// The component for which the ids could differ.
    pub(crate) fn of(tokenizer: &Tokenizer) -> Result<Self, String> {
        // Serialising a vocabulary with holes prints each of them.
        let entries = tokenizer.get_model().get_vocab();
        let ids: HashSet<u32> = entries.values().copied().collect();
        if ids.len() != entries.len() || ids.into_iter().max() != (entries.len() as u32).checked_sub(1) {
            return Err("a vocabulary whose ids have holes or stand twice".to_owned());
        }
        let (json, ids) = canonical(tokenizer, &entries)?;
        let spellings = Spellings::of(tokenizer, &entries)?;
        drop(entries);
        let read = || fast_tokenizers::from_json(&json).map_err(|error| error.to_string());
        let encoder = Self {
            pipeline: contained(read).and_then(|read| read)?,
            ids,
            spellings,
        };
        drop(json);
        encoder.compare(tokenizer)?;
        return_freed_memory();
        Ok(encoder)
    }

    /// Checks that both versions agree on the added tokens and a sample of text.
    fn compare(&self, tokenizer: &Tokenizer) -> Result<(), String> {
        let found = self.pipeline.get_added_vocabulary().get_added_tokens_decoder();
        let added = tokenizer.get_added_tokens_decoder();
        if found.len() != added.len() {
            return Err("added tokens that are the same".to_owned());
        }
        let mut probe = PROBE.to_owned();
        for (id, token) in &added {
            if found
                .get(&self.ids.of(*id))
                .is_none_or(|found| found.content != token.content)
            {
                return Err(format!("the added token `{}`", token.content));
            }
            if (*id as usize).is_multiple_of(added.len() / PROBED + 1) {
                probe.push_str(&token.content);
                probe.push_str(" a");
            }
        }
        let as_text = tokenizer.get_encode_special_tokens();
        let expected = tokenizer.encode_fast(probe.as_str(), false);
        let expected = expected.map_err(|error| error.to_string())?;
        match self.ids(&probe, as_text) {
            Some(ids) if ids != expected.get_ids() => Err("a sample of text".to_owned()),
            _ => Ok(()),
        }
    }

    /// The ids of `text`, with special tokens parsed or as text. `None` if the tokens do not spell the text, as with an added
    /// token that strips the white space around it.
    pub(crate) fn ids(&self, text: &str, special_as_text: bool) -> Option<Vec<u32>> {
        let options = EncodeOptions {
            encode_special_tokens: special_as_text,
            ..EncodeOptions::no_specials()
        };
        let mut tokens: Vec<PipelineToken> = Vec::with_capacity(text.len() / 4 + 8);
        let encoded = contained(|| self.pipeline.encode_into(text, &options, &mut tokens));
        encoded.ok()?.ok()?;
        // In place: a token is its id.
        let ids: Vec<u32> = tokens
            .into_iter()
            .map(|token| self.ids.slow(token.into()))
            .collect();
        self.spellings.spell(&ids, text.as_bytes()).then_some(ids)
    }

    /// As [`FastEncoder::ids`], with the bytes of each token.
    pub(crate) fn spans(&self, text: &str, special_as_text: bool) -> Option<Vec<TextToken>> {
        let ids = self.ids(text, special_as_text)?;
        let mut end = 0;
        let token = |id: u32| {
            let start = end;
            end += self.spellings.bytes(id).len();
            TextToken {
                id,
                bytes: whole_characters(text, start..end),
            }
        };
        Some(ids.into_iter().map(token).collect())
    }
}

/// The `tokenizer.json` of 1.0 for a tokenizer of 0.22 with the vocabulary `entries`, and what ids mean in it. Vocabulary and
/// merges are copied as text: parsed, they would take ten times the memory.
///
/// # Errors
/// The component for which the ids could differ.
fn canonical(tokenizer: &Tokenizer, entries: &HashMap<String, u32>) -> Result<(String, FastIds), String> {
    fn parsed<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }
    let text = tokenizer.to_string(false).map_err(|error| error.to_string())?;
    let mut parts: IndexMap<&str, &RawValue> = parsed(&text)?;
    let model = parts.shift_remove("model").ok_or("no model")?;
    let mut model: IndexMap<&str, &RawValue> = parsed(model.get())?;
    let vocabulary = model.insert("vocab", parsed("{}")?).ok_or("no vocabulary")?;
    let merges = model.insert("merges", parsed("[]")?);
    let value = |parts: &IndexMap<&str, &RawValue>| {
        let value = |(key, part): (&&str, &&RawValue)| Ok(((*key).to_owned(), parsed(part.get())?));
        parts.iter().map(value).collect::<Result<Map<_, _>, String>>()
    };
    let mut json = value(&parts)?;
    json.insert("model".to_owned(), Value::Object(value(&model)?));
    let mut json = Value::Object(json);
    check_components(&json, entries)?;
    // What is left of these does nothing here, or comes after encoding.
    json["model"]["byte_fallback"] = Value::Bool(false);
    for unused in ["normalizer", "post_processor", "decoder", "truncation", "padding"] {
        if let Some(component) = json.get_mut(unused) {
            component.take();
        }
    }
    fast_tokenizers::canonicalize_value(&mut json).map_err(|error| error.to_string())?;

    // SmolLM2 lacks entries for some rare bytes, which 0.22 drops and 1.0 refuses. They get entries after the others.
    let letters = byte_alphabet().into_keys().map(String::from);
    let missing = letters.filter(|letter| !entries.contains_key(letter));
    let mut ids = entries.len() as u32..entries.len() as u32;
    let mut added = String::new();
    for letter in missing {
        added += &format!(",{}:{}", Value::from(letter), ids.end);
        ids.end += 1;
    }
    let vocabulary = vocabulary
        .get()
        .trim_end()
        .strip_suffix('}')
        .ok_or("no vocabulary")?;
    let vocabulary = RawValue::from_string(format!("{vocabulary}{added}}}"));
    let raw = |value: &Value| to_raw_value(value).map_err(|error| error.to_string());
    let raw_parts = |value: &Value| {
        let parts = value.as_object().into_iter().flatten();
        parts
            .map(|(key, part)| Ok((key.clone(), raw(part)?)))
            .collect::<Result<IndexMap<String, Box<RawValue>>, String>>()
    };
    let mut model = raw_parts(&json["model"])?;
    model.insert("vocab".to_owned(), vocabulary.map_err(|error| error.to_string())?);
    model.insert("merges".to_owned(), merges.ok_or("no merges")?.to_owned());
    let mut parts = raw_parts(&json)?;
    let model = to_raw_value(&model).map_err(|error| error.to_string())?;
    parts.insert("model".to_owned(), model);
    let json = serde_json::to_string(&parts).map_err(|error| error.to_string())?;
    Ok((json, FastIds { missing: ids }))
}

/// Reading a vocabulary leaves some hundred megabytes that glibc would keep.
fn return_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it takes the allocator's own locks, and moves nothing that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// A range grown to whole characters.
fn whole_characters(text: &str, bytes: Range<usize>) -> Range<usize> {
    let Range { mut start, mut end } = bytes;
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    while !text.is_char_boundary(end) {
        end += 1;
    }
    start..end
}

/// Refuses components that could give other ids than 0.22, of a tokenizer with the vocabulary `entries`.
fn check_components(json: &Value, entries: &HashMap<String, u32>) -> Result<(), String> {
    let is_set = |value: &Value| !(value.is_null() || *value == "" || *value == 0.0 || *value == false);
    if let Some(kind) = normalizer(json) {
        return Err(format!("the normalizer {kind}"));
    }
    let model = &json["model"];
    if kind(model) != "BPE" {
        return Err(format!("the model {}", kind(model)));
    }
    for option in ["continuing_subword_prefix", "end_of_word_suffix"] {
        if is_set(&model[option]) {
            return Err(format!("`{option}` of the model BPE"));
        }
    }
    // Tokenizers that were converted from GGUF ask for it without having the entries that it falls back to.
    let falls_back = || (0..=u8::MAX).any(|byte| entries.contains_key(&format!("<0x{byte:02X}>")));
    if is_set(&model["byte_fallback"]) && falls_back() {
        return Err("`byte_fallback` of the model BPE".to_owned());
    }
    let Some((last, before)) = pre_tokenizers(json).split_last() else {
        return Err("no pre-tokenizer".to_owned());
    };
    if kind(last) != "ByteLevel" || is_set(&last["add_prefix_space"]) {
        return Err(format!("the pre-tokenizer {}, at the end", kind(last)));
    }
    for member in before {
        match kind(member) {
            "Digits" => {}
            "Split" if splits_as_llama(member) => {}
            "Split" => return Err(format!("the pre-tokenizer Split by {}", member["pattern"])),
            other => return Err(format!("the pre-tokenizer {other}")),
        }
    }
    let added = json["added_tokens"].as_array().map_or(&[][..], Vec::as_slice);
    if let Some(token) = added.iter().find(|token| is_set(&token["single_word"])) {
        return Err(format!(
            "the added token {}, which is a single word",
            token["content"]
        ));
    }
    for normalized in [false, true] {
        let tokens = added.iter().filter(|token| token["normalized"] == normalized);
        check_beginning(tokens.filter_map(|token| token["content"].as_str()))?;
    }
    Ok(())
}

/// Refuses added tokens whose common prefix overlaps itself. 1.0 searches for non-overlapping occurrences of that prefix, so
/// in `aaaa<` it does not find `aaa<` (`match_bytes` in tk-encode's `buckets.rs`).
fn check_beginning<'a>(mut tokens: impl Iterator<Item = &'a str>) -> Result<(), String> {
    let Some(first) = tokens.next() else {
        return Ok(());
    };
    let common = tokens.fold(first.as_bytes(), |common, token| {
        let same = common.iter().zip(token.as_bytes()).take_while(|(a, b)| a == b);
        &common[..same.count()]
    });
    match common.split_first() {
        Some((byte, rest)) if rest.contains(byte) => Err(format!(
            "added tokens that all begin with {:?}, which overlaps itself",
            String::from_utf8_lossy(common)
        )),
        _ => Ok(()),
    }
}

/// The bytes that tokens stand for.
#[derive(Debug, Default)]
struct Spellings {
    /// By id.
    entries: Vec<Entry>,
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    /// The first 8 bytes, followed by zeros.
    head: u64,
    start: u32,
    length: u32,
}

impl Spellings {
    /// # Errors
    /// An entry that is not written in the alphabet of bytes.
    fn of(tokenizer: &Tokenizer, entries: &HashMap<String, u32>) -> Result<Self, String> {
        let alphabet = byte_alphabet();
        let added = tokenizer.get_added_tokens_decoder();
        let ids = entries.values().chain(added.keys());
        let size = ids.max().map_or(0, |highest| *highest as usize + 1);
        let mut spellings = Self {
            entries: vec![Entry::default(); size],
            bytes: Vec::new(),
        };
        for (entry, id) in entries {
            let bytes: Option<Vec<u8>> = entry.chars().map(|c| alphabet.get(&c).copied()).collect();
            let bytes = bytes.ok_or_else(|| format!("the entry `{entry}`, which does not spell bytes"))?;
            if !added.contains_key(id) {
                spellings.set(*id, &bytes);
            }
        }
        for (id, token) in &added {
            spellings.set(*id, token.content.as_bytes());
        }
        Ok(spellings)
    }

    fn set(&mut self, id: u32, bytes: &[u8]) {
        let mut head = [0; 8];
        head.iter_mut().zip(bytes).for_each(|(head, byte)| *head = *byte);
        if let Some(entry) = self.entries.get_mut(id as usize) {
            *entry = Entry {
                head: u64::from_le_bytes(head),
                start: self.bytes.len() as u32,
                length: bytes.len() as u32,
            };
            self.bytes.extend_from_slice(bytes);
        }
    }

    fn bytes(&self, id: u32) -> &[u8] {
        let entry = self.entries.get(id as usize).copied().unwrap_or_default();
        let start = entry.start as usize;
        self.bytes
            .get(start..start + entry.length as usize)
            .unwrap_or_default()
    }

    /// Whether `ids` spell `text`.
    fn spell(&self, ids: &[u32], text: &[u8]) -> bool {
        let mut rest = text;
        for id in ids {
            let Some(entry) = self.entries.get(*id as usize) else {
                return false;
            };
            let length = entry.length as usize;
            let same = match rest.first_chunk::<8>() {
                // Most tokens are short: one comparison, without a loop over their bytes.
                Some(head) if (1..=8).contains(&length) => {
                    let beyond = 64 - 8 * entry.length;
                    (u64::from_le_bytes(*head) ^ entry.head) << beyond == 0
                }
                _ => length > 0 && rest.starts_with(self.bytes(*id)),
            };
            match rest.get(length..) {
                Some(behind) if same => rest = behind,
                _ => return false,
            }
        }
        rest.is_empty()
    }
}

/// The characters in which byte-level tokenizers spell bytes: printable ones stand for themselves, the others start at
/// U+0100. Source: `bytes_to_unicode` in GPT-2's `encoder.py`.
pub fn byte_alphabet() -> HashMap<char, u8> {
    let mut hidden = '\u{100}'..;
    (0..=u8::MAX)
        .filter_map(|byte| {
            let letter = match byte {
                b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff => Some(char::from(byte)),
                _ => hidden.next(),
            };
            letter.map(|letter| (letter, byte))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spellings(tokens: &[&str]) -> Spellings {
        let mut spellings = Spellings {
            entries: vec![Entry::default(); tokens.len() + 1],
            bytes: Vec::new(),
        };
        for (token, id) in tokens.iter().zip(0..) {
            spellings.set(id, token.as_bytes());
        }
        spellings
    }

    #[test]
    fn the_alphabet_is_that_of_byte_level_tokenizers() {
        let alphabet = byte_alphabet();
        assert_eq!(alphabet.len(), 256);
        for (letter, byte) in [('a', b'a'), ('Ġ', b' '), ('Ċ', b'\n'), ('Ń', 0xad), ('ÿ', 0xff)] {
            assert_eq!(alphabet.get(&letter), Some(&byte), "{letter}");
        }
    }

    #[test]
    fn tokens_are_read_back() {
        let spellings = spellings(&["a", "abcdefgh", "abcdefghi", "b"]);
        let spells = |ids: &[u32], text: &str| spellings.spell(ids, text.as_bytes());
        assert!(spells(&[], ""));
        assert!(spells(&[1, 0, 2, 3], "abcdefghaabcdefghib"));
        assert!(spells(&[0, 3], "ab"));
        // Too few, too many, others, one without bytes, one that is none.
        assert!(!spells(&[0], "ab"));
        assert!(!spells(&[0, 3, 3], "ab"));
        assert!(!spells(&[3, 0], "ab"));
        assert!(!spells(&[1], "abcdefgi________"));
        assert!(!spells(&[2], "abcdefgh"));
        assert!(!spells(&[2], "abcdefghj"));
        assert!(!spells(&[0, 4, 3], "ab"));
        assert!(!spells(&[9], "a"));
    }

    #[test]
    fn beginnings_that_overlap_themselves_are_refused() {
        let refused = |tokens: &[&str]| check_beginning(tokens.iter().copied()).is_err();
        for tokens in [&["aaa<"][..], &["aba"], &["  ", "   "], &["<|<a", "<|<b"]] {
            assert!(refused(tokens), "{tokens:?}");
        }
        // As those of Llama 3 and SmolLM2; alike in nothing; characters of several bytes.
        let fine: [&[&str]; 5] = [
            &[],
            &["<|a|>", "<|b<|>"],
            &["aaa<", "b"],
            &["<think>"],
            &["\u{100000}", "\u{100001}"],
        ];
        for tokens in fine {
            assert!(!refused(tokens), "{tokens:?}");
        }
    }

    #[test]
    fn offsets_are_those_of_whole_characters() {
        assert_eq!(whole_characters("aéb", 1..2), 1..3);
        assert_eq!(whole_characters("aéb", 2..3), 1..3);
        assert_eq!(whole_characters("aéb", 0..1), 0..1);
    }
}
