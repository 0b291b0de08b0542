//! Spellings of special tokens in text, and encoding when only some of them are tokens.
//!
//! Only a template writes control tokens; what a person writes is text, even `<|im_end|>`. `tokenizers` can only parse all
//! spellings or none. So text with both kinds is encoded by a copy of the tokenizer that parses none, in which each special
//! token has a stand-in: a private-use character that does not occur in the text. Stand-ins replace the special tokens that
//! are meant. The text stays in one piece, because a pre-tokenizer may treat the beginning of a text differently.
//!
//! The copy is made on first use, which for most data is never.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::sync::OnceLock;

use regex::Regex;
use tokenizers::{AddedToken, Model, Tokenizer};

use crate::encoder::Encoder;
use crate::text_token::TextToken;

/// The characters of stand-ins: plane 16, private use.
const CHARACTERS: std::ops::RangeInclusive<char> = '\u{10_0000}'..='\u{10_fffd}';

/// The special tokens of a tokenizer, by their text.
#[derive(Debug)]
pub(crate) struct SpecialTexts {
    /// Matches them, the longest first. `None` without special tokens.
    pattern: Option<Regex>,
    tokens: BTreeMap<String, (u32, AddedToken)>,
    ids: HashSet<u32>,
    /// Those that are ordinary entries too, so that other text can become them.
    ordinary: Vec<u32>,
    /// Whether some are matched in normalised text, which other text can become.
    normalized: bool,
    copy: OnceLock<StandIns>,
}

/// A tokenizer that parses stand-ins instead of special tokens.
#[derive(Debug)]
struct StandIns {
    inner: Encoder,
    /// By the text of the special token.
    stand_ins: HashMap<String, char>,
    /// Special tokens by the ids of their stand-ins.
    ids: HashMap<u32, u32>,
    /// Splits text and is then dropped.
    border: char,
    border_id: Option<u32>,
}

impl SpecialTexts {
    pub(crate) fn of(tokenizer: &Tokenizer) -> Self {
        let added = tokenizer.get_added_tokens_decoder().into_iter();
        let tokens: BTreeMap<String, (u32, AddedToken)> = added
            .filter(|(_, token)| token.special && !token.content.is_empty())
            .map(|(id, token)| (token.content.clone(), (id, token)))
            .collect();
        let mut texts: Vec<&str> = tokens.keys().map(String::as_str).collect();
        texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
        let texts: Vec<String> = texts.into_iter().map(regex::escape).collect();
        let pattern = (!texts.is_empty()).then(|| Regex::new(&texts.join("|")).ok());
        let folds = tokenizer.get_normalizer().is_some();
        Self {
            pattern: pattern.flatten(),
            ids: tokens.values().map(|(id, _)| *id).collect(),
            ordinary: tokens
                .keys()
                .filter_map(|text| tokenizer.get_model().token_to_id(text))
                .collect(),
            normalized: folds && tokens.values().any(|(_, token)| token.normalized),
            tokens,
            copy: OnceLock::new(),
        }
    }

    /// Where `text` spells special tokens, in order and disjoint.
    pub(crate) fn find<'a>(&'a self, text: &'a str) -> impl Iterator<Item = Range<usize>> + 'a {
        let found = self.pattern.iter().flat_map(|pattern| pattern.find_iter(text));
        found.map(|found| found.range())
    }

    /// The first spelling that begins at byte `from` of `text` or later.
    pub(crate) fn find_from(&self, text: &str, from: usize) -> Option<Range<usize>> {
        let found = self.pattern.as_ref()?.find_at(text, from)?;
        Some(found.range())
    }

    /// Whether `ids`, of a text encoded without parsing special tokens, contain one nevertheless.
    pub(crate) fn any_of(&self, ids: &[u32]) -> bool {
        let Some((lowest, highest)) = self.ordinary.iter().min().zip(self.ordinary.iter().max()) else {
            return false;
        };
        let mut near = ids.iter().filter(|id| (lowest..=highest).contains(id));
        near.any(|id| self.ordinary.contains(id))
    }

    /// Whether `text` cannot become a special token, so that every way to encode it gives the same.
    pub(crate) fn is_plain(&self, text: &str) -> bool {
        !self.normalized && self.find_from(text, 0).is_none()
    }

    /// All spellings are tokens.
    pub(crate) fn encode_parsed(
        &self,
        tokenizer: &Encoder,
        text: &str,
    ) -> tokenizers::Result<Vec<TextToken>> {
        let tokens = tokenizer.spans(text)?;
        // Another text may have been normalised to one of them, such as `<|IM_END|>` to lower case.
        let is_foreign = |token: &TextToken| {
            let text = text.get(token.bytes.clone()).unwrap_or_default().trim();
            self.ids.contains(&token.id) && !self.tokens.contains_key(text)
        };
        if self.normalized && tokens.iter().any(is_foreign) {
            let special: Vec<_> = self.find(text).collect();
            return self.encode(tokenizer, text, &special);
        }
        Ok(tokens)
    }

    /// The spellings at `special` are tokens, all others are text.
    pub(crate) fn encode(
        &self,
        tokenizer: &Encoder,
        text: &str,
        special: &[Range<usize>],
    ) -> tokenizers::Result<Vec<TextToken>> {
        let mut copy = self
            .copy
            .get_or_init(|| StandIns::new(tokenizer.tokenizer(), &self.tokens, "", Encoder::new));
        let other;
        if copy.is_in(text) {
            other = StandIns::new(tokenizer.tokenizer(), &self.tokens, text, Encoder::only_slow);
            copy = &other;
        }
        let tokens = copy.encode(text, special, &[])?;
        // A vocabulary may also have the text of a special token as an ordinary entry, which is then split.
        let meant = |TextToken { bytes, .. }: &TextToken| {
            let overlaps = |range: &Range<usize>| range.start < bytes.end && bytes.start < range.end;
            special.iter().any(overlaps)
        };
        let borders: Vec<usize> = tokens
            .iter()
            .filter(|token| self.ids.contains(&token.id) && !meant(token))
            .filter_map(|token| {
                let found = self.find_from(text, token.bytes.start)?;
                let first = text.get(found.clone())?.chars().next()?.len_utf8();
                (found.end <= token.bytes.end).then_some(found.start + first)
            })
            .collect();
        match borders.is_empty() {
            true => Ok(tokens),
            false => copy.encode(text, special, &borders),
        }
    }
}

impl StandIns {
    /// Stand-ins that do not occur in `text`.
    fn new(
        tokenizer: &Tokenizer,
        tokens: &BTreeMap<String, (u32, AddedToken)>,
        text: &str,
        encoder: fn(Tokenizer) -> Encoder,
    ) -> Self {
        let used: HashSet<char> = text.chars().filter(|c| CHARACTERS.contains(c)).collect();
        let mut free = CHARACTERS.filter(|c| !used.contains(c));
        let border = free.next().unwrap_or(*CHARACTERS.start());
        let mut inner = tokenizer.clone();
        inner.set_encode_special_tokens(true);
        let mut added = vec![AddedToken::from(border, false).normalized(false)];
        let mut stand_ins = HashMap::new();
        for ((text, (_, token)), stand_in) in tokens.iter().zip(free) {
            stand_ins.insert(text.clone(), stand_in);
            let added_token = AddedToken::from(stand_in, false).normalized(false);
            let added_token = added_token.single_word(token.single_word);
            added.push(added_token.lstrip(token.lstrip).rstrip(token.rstrip));
        }
        fill_holes(&mut inner, border);
        inner.add_tokens(&added);
        let id = |character: char| inner.token_to_id(&character.to_string());
        let ids = stand_ins.iter();
        let ids = ids.filter_map(|(text, stand_in)| Some((id(*stand_in)?, tokens.get(text)?.0)));
        Self {
            ids: ids.collect(),
            border_id: id(border),
            border,
            stand_ins,
            inner: encoder(inner),
        }
    }

    fn is_in(&self, text: &str) -> bool {
        // The first byte of these characters in UTF-8 is 0xf4, which nearly no text has.
        let used = |c| c == self.border || self.stand_ins.values().any(|stand_in| *stand_in == c);
        text.as_bytes().contains(&0xf4) && text.chars().any(used)
    }

    /// The tokens of `text`, special ones at `special`; none crosses one of `borders`.
    fn encode(
        &self,
        text: &str,
        special: &[Range<usize>],
        borders: &[usize],
    ) -> tokenizers::Result<Vec<TextToken>> {
        let mut written = String::with_capacity(text.len());
        // Where each piece begins, in what is written and in the text.
        let mut starts: Vec<[usize; 2]> = Vec::new();
        let mut changes: Vec<(Range<usize>, char)> = special
            .iter()
            .filter_map(|range| Some((range.clone(), *self.stand_ins.get(text.get(range.clone())?)?)))
            .chain(borders.iter().map(|at| (*at..*at, self.border)))
            .collect();
        changes.sort_by_key(|(range, _)| range.start);
        let mut done = 0;
        for (range, stand_in) in changes {
            let Some(before) = text.get(done..range.start) else {
                continue;
            };
            starts.push([written.len(), done]);
            written.push_str(before);
            starts.push([written.len(), range.start]);
            written.push(stand_in);
            done = range.end;
        }
        starts.push([written.len(), done]);
        written.push_str(text.get(done..).unwrap_or_default());

        // Tokens begin and end inside pieces of text or at the ends of others.
        let in_text = |at: usize| {
            let piece = starts
                .partition_point(|[start, _]| *start <= at)
                .saturating_sub(1);
            let [start, from] = starts.get(piece).copied().unwrap_or_default();
            let end = starts.get(piece + 1).map_or(text.len(), |[_, from]| *from);
            (from + (at - start.min(at))).min(end)
        };
        let tokens = self.inner.spans(&written)?.into_iter();
        let tokens = tokens.filter(|token| Some(token.id) != self.border_id);
        let tokens = tokens.map(|TextToken { id, bytes }| TextToken {
            id: self.ids.get(&id).copied().unwrap_or(id),
            bytes: in_text(bytes.start)..in_text(bytes.end),
        });
        Ok(tokens.collect())
    }
}

/// Makes the next added token get an id above all others. `tokenizers` numbers added tokens from the number of entries, so
/// that in a vocabulary with holes a stand-in would get the id of an ordinary token. The fillers begin with two borders,
/// which no text contains.
fn fill_holes(tokenizer: &mut Tokenizer, border: char) {
    let highest = tokenizer.get_vocab(true).into_values().max().unwrap_or_default();
    let text = |number: u32| format!("{border}{border}{number}");
    let filler = |number: u32| AddedToken::from(text(number), false).normalized(false);
    tokenizer.add_tokens(&[filler(0)]);
    let first = tokenizer.token_to_id(&text(0)).unwrap_or(highest);
    let others: Vec<AddedToken> = (1..=highest.saturating_sub(first)).map(filler).collect();
    tokenizer.add_tokens(&others);
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::fast_encoder::byte_alphabet;

    /// Stand-ins come after the entries, as do those that SmolLM2 lacks and the faster version needs.
    #[test]
    fn stand_ins_are_fast_in_a_vocabulary_without_some_bytes() {
        let letters = byte_alphabet();
        let letters = letters.keys().filter(|letter| **letter != 'ñ');
        let mut vocab: serde_json::Map<String, Value> = letters
            .zip(0..)
            .map(|(letter, id)| (letter.to_string(), json!(id)))
            .collect();
        vocab.insert("<|end|>".to_owned(), json!(vocab.len()));
        let json = json!({
            "version": "1.0", "normalizer": null, "post_processor": null, "decoder": null,
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": true},
            "added_tokens": [{"id": vocab["<|end|>"], "content": "<|end|>", "special": true, "normalized": false,
                "single_word": false, "lstrip": false, "rstrip": false}],
            "model": {"type": "BPE", "vocab": vocab, "merges": [], "dropout": null, "unk_token": null, "fuse_unk": false,
                "continuing_subword_prefix": null, "end_of_word_suffix": null, "byte_fallback": false},
        });
        let tokenizer: Tokenizer = json.to_string().parse().unwrap();
        let special = SpecialTexts::of(&tokenizer);
        let copy = StandIns::new(&tokenizer, &special.tokens, "", Encoder::new);
        assert_eq!(copy.inner.fast().err(), None);
        let text = "a<|end|> <|end|>";
        let end = json["model"]["vocab"]["<|end|>"].as_u64().unwrap() as u32;
        let first = 1..8;
        for (meant, length, ends) in [(std::slice::from_ref(&first), 10, 1), (&[], 16, 0)] {
            let tokens = special
                .encode(&Encoder::new(tokenizer.clone()), text, meant)
                .unwrap();
            let found = tokens.iter().filter(|token| token.id == end).count();
            assert_eq!((tokens.len(), found), (length, ends), "{meant:?}");
        }
    }
}
