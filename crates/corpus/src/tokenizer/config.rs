//! `tokenizer_config.json`, next to `tokenizer.json`: how texts and prompts begin, as in transformers.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

use super::Tokenizer;
use crate::encoder::Encoder;
use crate::error::{CorpusError, Result};

/// The keys of a `tokenizer_config.json` that are used.
#[derive(Deserialize)]
struct TokenizerConfig {
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
    /// Whether texts begin with a space; `None` leaves it to `tokenizer.json`. Absent is `false`, but for Llama's classes,
    /// whose default is `None`. Source: `PreTrainedTokenizerFast.__init__` of transformers 4.57.
    fn prefix_space(&self) -> Option<bool> {
        let class = self.tokenizer_class.as_deref().unwrap_or_default();
        match &self.add_prefix_space {
            Some(value) => value.as_bool(),
            None if class.contains("Llama") => None,
            None => Some(false),
        }
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
    /// Applies a `tokenizer_config.json`.
    pub(super) fn configure(&mut self, path: &Path, text: &str) -> Result<()> {
        let refused = |problem: &str| CorpusError::tokenizer(path.display().to_string(), problem);
        let config: TokenizerConfig =
            serde_json::from_str(text).map_err(|error| refused(&error.to_string()))?;
        if let (Some(space), Some(mut level)) = (config.prefix_space(), self.byte_level())
            && level.add_prefix_space != space
        {
            level.add_prefix_space = space;
            let mut inner = self.inner().clone();
            inner.with_pre_tokenizer(Some(PreTokenizerWrapper::ByteLevel(level)));
            self.encoder = Arc::new(Encoder::new(inner));
        }
        self.beginning = self.beginning_by(&config, refused)?;
        Ok(())
    }

    /// The pre-tokenizer whose prefix space transformers sets; one inside a sequence keeps its setting.
    fn byte_level(&self) -> Option<ByteLevel> {
        match self.inner().get_pre_tokenizer() {
            Some(PreTokenizerWrapper::ByteLevel(level)) => Some(*level),
            _ => None,
        }
    }

    /// The `tokenizer_config.json` with which [`Tokenizer::load`] and transformers' `AutoTokenizer` use what
    /// [`Tokenizer::save`] writes as this tokenizer.
    pub fn config(&self) -> Value {
        let token = |id: Option<u32>| id.and_then(|id| self.inner().id_to_token(id));
        let (adds, begin) = match self.beginning {
            Beginning::PostProcessor => (None, self.info.begin_of_text),
            Beginning::Token(id) => (Some(true), Some(id)),
            Beginning::Without(id) => (Some(false), Some(id)),
        };
        let mut config = json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": token(begin),
            "eos_token": token(Some(self.info.end_of_text)),
            "clean_up_tokenization_spaces": false,
            // transformers 4 makes `token_type_ids` too unless told so, and the model's `generate` refuses them.
            "model_input_names": ["input_ids", "attention_mask"],
        });
        if let Some(adds) = adds {
            config["add_bos_token"] = json!(adds);
        }
        if let Some(level) = self.byte_level() {
            config["add_prefix_space"] = json!(level.add_prefix_space);
        }
        config
    }

    /// How prompts begin.
    fn beginning_by(
        &self,
        config: &TokenizerConfig,
        refused: impl Fn(&str) -> CorpusError,
    ) -> Result<Beginning> {
        if config.add_eos_token == Some(true) {
            return Err(refused(
                "add_eos_token = true is not supported: a prompt that has ended is not continued; remove it",
            ));
        }
        let token = config.bos_token.as_ref();
        let token = token.and_then(|token| token.as_str().or_else(|| token.get("content")?.as_str()));
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
