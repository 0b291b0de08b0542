//! Byte-level BPE tokenizers: trained here for small models, loaded for real ones.
//!
//! Both use the `tokenizers` crate (two versions of it, see `encoder.rs`), so a `tokenizer.json` from here works in Python
//! and the released one works here. Training follows Llama 3: its split pattern, bytes as the base alphabet (no text is
//! unknown), the special tokens after the learned entries. The same text gives the same `tokenizer.json`, byte for byte.
//!
//! A document is its text and one `<|end_of_text|>`, without a beginning-of-text, as in the original run. Special tokens
//! spelt out inside a document stay plain text by default: a web page must not be able to end its document or open a chat
//! turn. (datatrove parses them; [`SpecialTokens::Parsed`].)

pub mod components;
mod config;
mod parse;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

pub use components::SPLIT_PATTERN;
pub use config::ROLES;
use config::{Beginning, TokenizerConfig};
use parse::parse;
use serde_json::{Map, Value};
use smollm3_files::atomic_file::write_atomically;
use smollm3_files::io;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{
    AddedToken, Encoding, PreTokenizerWrapper, SplitDelimiterBehavior, Token, TokenizerBuilder, TokenizerImpl,
};

use crate::contained::contained;
use crate::encoder::Encoder;
use crate::error::{CorpusError, Result};
use crate::special_tokens::SpecialTexts;
use crate::store::Fingerprint;
use crate::text_token::TextToken;

/// Tokens that decoding skips; they follow the learned entries in this order.
pub const SPECIAL_TOKENS: [&str; 4] = [
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|im_start|>",
    "<|im_end|>",
];

/// Tokens that are single entries but part of the text; they follow the special ones.
pub const ADDED_TOKENS: [&str; 2] = ["<think>", "</think>"];

/// Names of the end-of-document token in loaded tokenizers, in order of preference.
const END_NAMES: [&str; 3] = ["<|end_of_text|>", "<|endoftext|>", "</s>"];

/// Ids without an entry that a vocabulary may have, besides one per entry: far more than released ones do. The embedding
/// table has a row for each id, and `tokenizers` prints each missing one when it writes a vocabulary.
const MOST_HOLES: usize = 100_000;

/// Minimum number of learned entries: the 256 bytes.
const BYTE_ENTRIES: u32 = 256;

/// The ids that other crates need. Tokens that a loaded tokenizer lacks are `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenizerInfo {
    /// One past the highest id, added tokens included.
    pub vocab_size: u32,
    /// `<|begin_of_text|>`.
    pub begin_of_text: Option<u32>,
    /// The token that ends a document (`<|end_of_text|>`).
    pub end_of_text: u32,
    /// `<|im_start|>`.
    pub im_start: Option<u32>,
    /// `<|im_end|>`.
    pub im_end: Option<u32>,
    /// `<think>`.
    pub think: Option<u32>,
    /// `</think>`.
    pub end_think: Option<u32>,
}

/// A tokenizer with the ids found in it.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    name: String,
    encoder: Arc<Encoder>,
    info: TokenizerInfo,
    /// Cached because serialising a large vocabulary takes a tenth of a second.
    fingerprint: OnceLock<Fingerprint>,
    special: OnceLock<Arc<SpecialTexts>>,
    beginning: Beginning,
    /// Settings of the `tokenizer_config.json` that it came with.
    kept: Map<String, Value>,
}

/// Which numbers can be one token in a trained tokenizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    /// Of up to three digits, as in Llama 3 and SmolLM3 ([`SPLIT_PATTERN`]).
    UpToThreeDigits,
    /// None: each digit is a token, as in SmolLM2 (a `Digits` step, then `ByteLevel` with its own regex).
    SingleDigits,
}

impl Numbers {
    /// The steps that cut text before merging.
    fn steps(self) -> tokenizers::Result<Sequence> {
        let bytes = |regex| PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, true, regex));
        Ok(Sequence::new(match self {
            Self::UpToThreeDigits => {
                let pattern = SplitPattern::Regex(SPLIT_PATTERN.to_owned());
                let words = Split::new(pattern, SplitDelimiterBehavior::Isolated, false)?;
                vec![PreTokenizerWrapper::Split(words), bytes(false)]
            }
            Self::SingleDigits => vec![PreTokenizerWrapper::Digits(Digits::new(true)), bytes(true)],
        }))
    }
}

impl Tokenizer {
    /// Trains a vocabulary of exactly `vocab_size` entries, special tokens included, with numbers as in SmolLM3.
    ///
    /// # Errors
    /// A size below 256 bytes + 6 added tokens, or text with too few distinct words to fill it.
    pub fn train<S, I>(texts: I, vocab_size: u32) -> Result<Self>
    where
        S: AsRef<str> + Send,
        I: Iterator<Item = S> + Send,
    {
        Self::train_with(texts, vocab_size, Numbers::UpToThreeDigits)
    }

    /// As [`Tokenizer::train`], with a choice of numbers.
    ///
    /// # Errors
    /// As [`Tokenizer::train`].
    pub fn train_with<S, I>(texts: I, vocab_size: u32, numbers: Numbers) -> Result<Self>
    where
        S: AsRef<str> + Send,
        I: Iterator<Item = S> + Send,
    {
        let added = (SPECIAL_TOKENS.len() + ADDED_TOKENS.len()) as u32;
        let least = BYTE_ENTRIES + added;
        if vocab_size < least {
            let problem =
                format!("must be at least {least} (256 bytes and {added} added tokens), got {vocab_size}");
            return Err(CorpusError::argument("vocab_size", problem));
        }
        let failed =
            |error: tokenizers::Error| CorpusError::tokenizer("(new)", format!("training failed: {error}"));

        // As in the tokenizers that the steps come from: a word that is an entry is one token with or without its merges.
        let ignore_merges = numbers == Numbers::UpToThreeDigits;
        let model = BPE::builder()
            .ignore_merges(ignore_merges)
            .build()
            .map_err(failed)?;
        let steps = numbers.steps().map_err(failed)?;
        let mut tokenizer: TokenizerImpl<
            BPE,
            tokenizers::NormalizerWrapper,
            _,
            tokenizers::PostProcessorWrapper,
            _,
        > = TokenizerBuilder::new()
            .with_model(model)
            .with_normalizer(None)
            .with_pre_tokenizer(Some(PreTokenizerWrapper::Sequence(steps)))
            .with_post_processor(None)
            .with_decoder(Some(tokenizers::DecoderWrapper::ByteLevel(ByteLevel::default())))
            .build()
            .map_err(failed)?;
        let mut trainer = BpeTrainerBuilder::new()
            .vocab_size((vocab_size - added) as usize)
            .min_frequency(2)
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .show_progress(false)
            .build();
        tokenizer.train(&mut trainer, texts).map_err(failed)?;
        let learned = tokenizer.get_vocab_size(false) as u32;
        if learned < vocab_size - added {
            let most = learned + added;
            let problem =
                format!("the text fills {most} entries, not {vocab_size}; give more text or ask for {most}");
            return Err(CorpusError::tokenizer("(new)", problem));
        }
        let special = SPECIAL_TOKENS.map(|token| AddedToken::from(token, true).normalized(false));
        let added = ADDED_TOKENS.map(|token| AddedToken::from(token, false).normalized(false));
        tokenizer.add_special_tokens(&special);
        tokenizer.add_tokens(&added);
        // Through JSON, so that a trained tokenizer and a loaded one are the same object.
        let json = tokenizer.to_string(false).map_err(failed)?;
        Tokenizer::from_json("(new)", json.as_bytes())
    }

    /// Reads a `tokenizer.json`, or the one in a Hugging Face folder, with what a `tokenizer_config.json` and a
    /// `special_tokens_map.json` next to it say: how prompts (`add_bos_token`) and texts (`add_prefix_space`) begin, further
    /// tokens, and settings that are kept for [`Tokenizer::config`].
    ///
    /// # Errors
    /// A missing or broken file, a vocabulary without an end-of-document token or with too many holes, or `add_eos_token`.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let mut path = PathBuf::from(path.as_ref());
        if path.is_dir() {
            path.push("tokenizer.json");
        }
        let json = std::fs::read(&path).map_err(io("read", &path))?;
        let name = path.display().to_string();
        let mut inner = parse(&name, &json)?;
        let config = TokenizerConfig::read(path.parent().unwrap_or(Path::new("")))?;
        if let Some(config) = &config {
            config.apply(&mut inner);
        }
        let mut tokenizer = Tokenizer::of(&name, inner)?;
        if let Some(config) = &config {
            tokenizer.beginning = tokenizer.beginning_by(config)?;
            tokenizer.kept = config.kept(tokenizer.inner());
        }
        Ok(tokenizer)
    }

    /// Reads the contents of a `tokenizer.json`; `name` is used in messages and store metadata.
    ///
    /// # Errors
    /// As [`Tokenizer::load`].
    pub fn from_json(name: &str, json: &[u8]) -> Result<Self> {
        Tokenizer::of(name, parse(name, json)?)
    }

    fn of(name: &str, inner: tokenizers::Tokenizer) -> Result<Self> {
        let refused = |problem: String| CorpusError::tokenizer(name, problem);
        let id = |token: &str| inner.token_to_id(token);
        let end_of_text = END_NAMES.iter().find_map(|end| id(end)).ok_or_else(|| {
            refused(format!(
                "no token ends a document; it needs one of {}",
                END_NAMES.join(", ")
            ))
        })?;
        // Ids may have holes, so the size is one past the highest id, not the number of entries.
        let vocabulary = inner.get_vocab(true);
        let entries = vocabulary.len();
        let bound = entries.saturating_mul(2).saturating_add(MOST_HOLES);
        let highest = vocabulary.into_values().max().unwrap_or_default();
        if highest as usize >= bound {
            let problem =
                format!("its highest id is {highest}; with {entries} entries, ids must be below {bound}");
            return Err(refused(problem));
        }
        let info = TokenizerInfo {
            vocab_size: highest.saturating_add(1),
            begin_of_text: id("<|begin_of_text|>"),
            end_of_text,
            im_start: id("<|im_start|>"),
            im_end: id("<|im_end|>"),
            think: id("<think>"),
            end_think: id("</think>"),
        };
        Ok(Tokenizer {
            name: name.to_owned(),
            encoder: Arc::new(Encoder::new(inner)),
            info,
            fingerprint: OnceLock::new(),
            special: OnceLock::new(),
            beginning: Beginning::default(),
            kept: Map::new(),
        })
    }

    /// Writes `tokenizer.json` atomically.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        Ok(write_atomically(path.as_ref(), self.to_json()?.as_bytes())?)
    }

    /// The contents of `tokenizer.json`, indented.
    ///
    /// # Errors
    /// None in practice: a tokenizer that was read or trained can be serialised.
    pub fn to_json(&self) -> Result<String> {
        self.inner()
            .to_string(true)
            .map_err(|error| CorpusError::tokenizer(&self.name, error.to_string()))
    }

    /// The ids found in it.
    pub fn info(&self) -> &TokenizerInfo {
        &self.info
    }

    /// The name it was loaded under.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The same tokenizer under another name, for store metadata.
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// blake3 over its JSON: two tokenizers with the same fingerprint give the same tokens.
    ///
    /// # Errors
    /// As [`Tokenizer::to_json`].
    pub fn fingerprint(&self) -> Result<Fingerprint> {
        if let Some(known) = self.fingerprint.get() {
            return Ok(*known);
        }
        let fingerprint = Fingerprint::from_hash(blake3::hash(self.to_json()?.as_bytes()));
        Ok(*self.fingerprint.get_or_init(|| fingerprint))
    }

    /// Ids of a text: special tokens in it are parsed, none are added. For text with control tokens written by a template or
    /// a raw prompt; use [`Tokenizer::encode_text`] for text that people wrote.
    ///
    /// # Errors
    /// The tokenizer's pipeline fails.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        checked(&self.name, || self.encoder.ids(text))
    }

    /// Ids of a text in which nothing is a special token: `<|im_end|>` is ten characters. None are added.
    ///
    /// # Errors
    /// The tokenizer's pipeline fails.
    pub fn encode_text(&self, text: &str) -> Result<Vec<u32>> {
        if let Ok(fast) = self.encoder.fast()
            && let Some(ids) = fast.ids(text, true)
            && !self.special().any_of(&ids)
        {
            return Ok(ids);
        }
        if self.special().is_plain(text) {
            return self.encode(text);
        }
        let tokens = self.encode_spans(text, Some(&[]))?;
        Ok(tokens.into_iter().map(|token| token.id).collect())
    }

    /// `ids` with the tokens that the tokenizer adds to every text, such as a beginning of text.
    ///
    /// # Errors
    /// The tokenizer's pipeline fails.
    pub fn with_added(&self, ids: Vec<u32>) -> Result<Vec<u32>> {
        let own = ids.first().copied();
        let tokens = ids.into_iter().map(|id| Token::new(id, String::new(), (0, 0)));
        let text = Encoding::from_tokens(tokens.collect(), 0);
        let whole = checked(&self.name, || self.inner().post_process(text, None, true))?;
        let mut whole = whole.get_ids().to_vec();
        let first = whole.first().copied();
        match self.beginning {
            Beginning::Token(id) if first != Some(id) => whole.insert(0, id),
            Beginning::Without(id) if first == Some(id) && own != Some(id) => {
                whole.remove(0);
            }
            _ => {}
        }
        Ok(whole)
    }

    /// Ids of a prompt as transformers' tokenizers give them: special tokens are parsed, and the tokens of
    /// [`Tokenizer::with_added`] are added.
    ///
    /// # Errors
    /// The tokenizer's pipeline fails.
    pub fn prompt(&self, text: &str) -> Result<Vec<u32>> {
        self.with_added(self.encode(text)?)
    }

    /// Tokens of a text with their bytes. Spellings of special tokens at the byte ranges `special` are tokens, the others
    /// are text; without `special`, all are tokens. No truncation, padding or post-processing.
    ///
    /// # Errors
    /// The tokenizer's pipeline fails.
    pub fn encode_spans(&self, text: &str, special: Option<&[Range<usize>]>) -> Result<Vec<TextToken>> {
        let texts = self.special();
        checked(&self.name, || match special {
            None => texts.encode_parsed(&self.encoder, text),
            Some(special) => texts.encode(&self.encoder, text, special),
        })
    }

    /// Byte ranges at which `text` spells special tokens, in order and disjoint.
    pub fn special_in(&self, text: &str) -> Vec<Range<usize>> {
        self.special().find(text).collect()
    }

    /// The first spelling of a special token in `text` that starts at byte `from` or later.
    pub fn next_special(&self, text: &str, from: usize) -> Option<Range<usize>> {
        self.special().find_from(text, from)
    }

    fn special(&self) -> &SpecialTexts {
        self.special
            .get_or_init(|| Arc::new(SpecialTexts::of(self.inner())))
    }

    /// The text of `ids`. Bytes that are not UTF-8 (half a character) become U+FFFD.
    ///
    /// # Errors
    /// The tokenizer's pipeline fails.
    pub fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String> {
        checked(&self.name, || self.inner().decode(ids, skip_special_tokens))
    }

    /// An encoder for whole documents.
    pub fn documents(&self, special_tokens: SpecialTokens) -> DocumentEncoder {
        DocumentEncoder {
            tokenizer: self.clone(),
            special_tokens,
        }
    }

    /// The underlying `tokenizers` object.
    pub fn inner(&self) -> &tokenizers::Tokenizer {
        self.encoder.tokenizer()
    }

    /// The component for which `tokenizers` 0.22 encodes, far more slowly; `None` if 1.0 gives the same ids.
    pub fn slow_because(&self) -> Option<&str> {
        self.encoder.fast().err()
    }
}

/// A sentence for people about the component of [`Tokenizer::slow_because`].
pub fn slow_note(component: &str) -> String {
    format!("encoded slowly, by tokenizers 0.22: tokenizers 1.0 could give other ids for {component}")
}

/// How special tokens spelt out in a document are treated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SpecialTokens {
    /// As plain text: `<`, `|`, `end`, …
    #[default]
    Text,
    /// As the token, as in datatrove.
    Parsed,
}

/// Encodes documents, each with its end-of-text. Shared by all threads.
#[derive(Debug)]
pub struct DocumentEncoder {
    tokenizer: Tokenizer,
    special_tokens: SpecialTokens,
}

impl DocumentEncoder {
    /// The tokens of `text` and the end of text.
    ///
    /// # Errors
    /// The tokenizer's pipeline fails.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let mut ids = match self.special_tokens {
            SpecialTokens::Text => self.tokenizer.encode_text(text)?,
            SpecialTokens::Parsed => self.tokenizer.encode(text)?,
        };
        ids.push(self.tokenizer.info.end_of_text);
        Ok(ids)
    }
}

/// Runs a tokenizer's pipeline, which panics on some contents of its file.
fn checked<T>(name: &str, work: impl FnOnce() -> tokenizers::Result<T>) -> Result<T> {
    contained(work)
        .and_then(|done| done.map_err(|error| error.to_string()))
        .map_err(|problem| CorpusError::tokenizer(name, problem))
}
