//! `tokenizer_config.json` and `special_tokens_map.json`, next to `tokenizer.json`: how texts and prompts begin, and which
//! texts are tokens, as in transformers.

use std::path::Path;

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};
use smollm3_files::read_if_present;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, PreTokenizerWrapper};

use super::Tokenizer;
use crate::error::{CorpusError, Result};

/// Keys of the special tokens with a role.
pub const ROLES: [&str; 7] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
];
/// Keys of further special tokens; transformers 5 has the second name.
const FURTHER: [&str; 2] = ["additional_special_tokens", "extra_special_tokens"];
/// Tokens that were added to the vocabulary, by id.
const ADDED: &str = "added_tokens_decoder";
/// Keys that are not written again: what [`Tokenizer::config`] decides, names of files, and code.
const OWN: [&str; 14] = [
    "tokenizer_class",
    "add_bos_token",
    "add_eos_token",
    "add_prefix_space",
    "bos_token",
    "eos_token",
    "auto_map",
    "from_slow",
    "chat_template",
    "name_or_path",
    "processor_class",
    "tokenizer_file",
    "special_tokens_map_file",
    "transformers_version",
];

/// What the two files say.
#[derive(Debug)]
pub(super) struct TokenizerConfig {
    known: Known,
    all: Map<String, Value>,
}

/// The keys about the beginning of texts.
#[derive(Debug, Deserialize)]
struct Known {
    tokenizer_class: Option<String>,
    add_bos_token: Option<bool>,
    add_eos_token: Option<bool>,
    /// `None` if it is absent.
    #[serde(default, deserialize_with = "present")]
    add_prefix_space: Option<Value>,
    bos_token: Option<Value>,
}

/// A value that is there, `null` included.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl TokenizerConfig {
    /// Reads the files of a folder, if it has them.
    pub(super) fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join("tokenizer_config.json");
        let Some(mut all) = read_object(&path)? else {
            return Ok(None);
        };
        // As in transformers: the older file counts where the newer key is missing.
        if !all.contains_key(ADDED) {
            let older = read_object(&folder.join("special_tokens_map.json"))?;
            all.extend(
                older
                    .unwrap_or_default()
                    .into_iter()
                    .map(|(key, value)| (key, plain(value))),
            );
        }
        let known = serde_json::from_value(Value::Object(all.clone()));
        let known =
            known.map_err(|error| CorpusError::tokenizer(path.display().to_string(), error.to_string()))?;
        Ok(Some(Self { known, all }))
    }

    /// Sets the prefix space, and adds the tokens that `tokenizer.json` lacks. Source: `PreTrainedTokenizerFast.__init__` of
    /// transformers 4.57.
    pub(super) fn apply(&self, inner: &mut tokenizers::Tokenizer) {
        if let (Some(space), Some(mut level)) = (self.prefix_space(), byte_level(inner))
            && level.add_prefix_space != space
        {
            level.add_prefix_space = space;
            inner.with_pre_tokenizer(Some(PreTokenizerWrapper::ByteLevel(level)));
        }
        let present: Vec<AddedToken> = inner.get_added_tokens_decoder().into_values().collect();
        let mut tokens = self.tokens(inner);
        tokens.retain(|token| !token.content.is_empty() && !present.contains(token));
        if !tokens.is_empty() {
            inner.add_tokens(&tokens);
        }
    }

    /// The tokens that the files name.
    fn tokens(&self, inner: &tokenizers::Tokenizer) -> Vec<AddedToken> {
        let known = inner.get_added_tokens_decoder();
        let is_added = |text: &str| known.values().any(|token| token.content == text);
        let mut added: Vec<(u64, AddedToken)> = Vec::new();
        for (id, token) in self
            .all
            .get(ADDED)
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            added.extend(id.parse().ok().zip(added_token(token, false)));
        }
        added.sort_by_key(|(id, _)| *id);
        let mut tokens: Vec<AddedToken> = added.into_iter().map(|(_, token)| token).collect();
        let roles = ROLES.iter().filter_map(|key| self.all.get(*key));
        // A role may be given to a text that is no entry, and to which no row of the embedding belongs.
        let roles =
            roles.filter(|token| text_of(token).is_some_and(|text| inner.token_to_id(text).is_some()));
        let further = FURTHER.iter().filter_map(|key| self.all.get(*key));
        for special in roles.chain(further.flat_map(members)) {
            let Some(text) = text_of(special) else { continue };
            match tokens.iter_mut().find(|token| token.content == text) {
                Some(token) => token.special = true,
                None if is_added(text) => {}
                None => tokens.extend(added_token(special, true)),
            }
        }
        tokens
    }

    /// Whether texts begin with a space; `None` leaves it to `tokenizer.json`. Absent is `false`, but for Llama's classes,
    /// whose default is `None`. Source: as of [`Self::apply`].
    fn prefix_space(&self) -> Option<bool> {
        let class = self.known.tokenizer_class.as_deref().unwrap_or_default();
        match &self.known.add_prefix_space {
            Some(value) => value.as_bool(),
            None if class.contains("Llama") => None,
            None => Some(false),
        }
    }

    /// The settings to write again, for the tokenizer `inner`. A role of a text without an entry would add one that no row of
    /// the embedding belongs to.
    pub(super) fn kept(&self, inner: &tokenizers::Tokenizer) -> Map<String, Value> {
        let has_entry = |token: &Value| text_of(token).is_some_and(|text| inner.token_to_id(text).is_some());
        let is_kept =
            |key: &str, value: &Value| !OWN.contains(&key) && (!ROLES.contains(&key) || has_entry(value));
        let kept = self.all.iter().filter(|(key, value)| is_kept(key, value));
        kept.map(|(key, value)| (key.clone(), value.clone())).collect()
    }
}

fn read_object(path: &Path) -> Result<Option<Map<String, Value>>> {
    let Some(text) = read_if_present(path)? else {
        return Ok(None);
    };
    let object = serde_json::from_str(&text);
    let object =
        object.map_err(|error| CorpusError::tokenizer(path.display().to_string(), error.to_string()))?;
    Ok(Some(object))
}

/// The text of a token, which is a string or an object with flags.
fn text_of(token: &Value) -> Option<&str> {
    token.as_str().or_else(|| token.get("content")?.as_str())
}

/// Tokens as texts, in the place of the objects of `special_tokens_map.json`.
fn plain(value: Value) -> Value {
    match value {
        Value::Array(values) => values.into_iter().map(plain).collect(),
        value => text_of(&value).map_or_else(|| value.clone(), Value::from),
    }
}

/// The members of a list, or of an object by their names.
fn members(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(values) => values.iter().collect(),
        Value::Object(values) => values.values().collect(),
        _ => Vec::new(),
    }
}

/// A token with its flags.
fn added_token(token: &Value, special: bool) -> Option<AddedToken> {
    let flag = |key: &str, default: bool| token.get(key).and_then(Value::as_bool).unwrap_or(default);
    let special = special || flag("special", false);
    Some(
        AddedToken::from(text_of(token)?, special)
            .single_word(flag("single_word", false))
            .lstrip(flag("lstrip", false))
            .rstrip(flag("rstrip", false))
            .normalized(flag("normalized", !special)),
    )
}

/// The pre-tokenizer whose prefix space transformers sets; one inside a sequence keeps its setting.
fn byte_level(inner: &tokenizers::Tokenizer) -> Option<ByteLevel> {
    match inner.get_pre_tokenizer() {
        Some(PreTokenizerWrapper::ByteLevel(level)) => Some(*level),
        _ => None,
    }
}

/// Whether a prompt begins with an added token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Beginning {
    /// As the post-processor of `tokenizer.json` has it.
    #[default]
    PostProcessor,
    /// With this token.
    Token(u32),
    /// Without this one.
    Without(u32),
}

impl Tokenizer {
    /// The `tokenizer_config.json` with which [`Tokenizer::load`] and transformers' `AutoTokenizer` use what
    /// [`Tokenizer::save`] writes as this tokenizer.
    pub fn config(&self) -> Value {
        let token = |id: Option<u32>| id.and_then(|id| self.inner().id_to_token(id));
        let (adds, begin) = match self.beginning {
            Beginning::PostProcessor => (None, self.info.begin_of_text),
            Beginning::Token(id) => (Some(true), Some(id)),
            Beginning::Without(id) => (Some(false), Some(id)),
        };
        let own = json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": token(begin),
            "eos_token": token(Some(self.info.end_of_text)),
            "clean_up_tokenization_spaces": false,
            // transformers 4 makes `token_type_ids` too unless told so, and the model's `generate` refuses them.
            "model_input_names": ["input_ids", "attention_mask"],
        });
        let mut config = Value::Object(self.kept.clone());
        for (key, value) in own.as_object().into_iter().flatten() {
            config[key] = value.clone();
        }
        if let Some(adds) = adds {
            config["add_bos_token"] = json!(adds);
        }
        if let Some(level) = byte_level(self.inner()) {
            config["add_prefix_space"] = json!(level.add_prefix_space);
        }
        config
    }

    /// How prompts begin.
    pub(super) fn beginning_by(&self, config: &TokenizerConfig) -> Result<Beginning> {
        let refused = |problem: &str| CorpusError::tokenizer(&self.name, problem);
        let config = &config.known;
        if config.add_eos_token == Some(true) {
            return Err(refused(
                "add_eos_token = true is not supported: a prompt that has ended is not continued; remove it",
            ));
        }
        let token = config.bos_token.as_ref().and_then(text_of);
        let id = token.and_then(|token| self.inner().token_to_id(token));
        Ok(match (config.add_bos_token, id) {
            (Some(true), Some(id)) => Beginning::Token(id),
            (Some(false), Some(id)) => Beginning::Without(id),
            (Some(true), None) => {
                return Err(refused(
                    "add_bos_token = true, but bos_token is no token of the tokenizer",
                ));
            }
            _ => Beginning::PostProcessor,
        })
    }
}
