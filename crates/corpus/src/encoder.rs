//! One tokenizer in two versions of its crate: 0.22, which also trains, writes and decodes, and the faster 1.0 where it
//! encodes identically (see `fast_encoder.rs`). The latter is made when text is first encoded.

use std::sync::OnceLock;

use tokenizers::{Encoding, Model, OffsetType, PreTokenizer, Tokenizer};

use crate::fast_encoder::FastEncoder;
use crate::text_token::TextToken;

#[derive(Debug)]
pub(crate) struct Encoder {
    tokenizer: Tokenizer,
    fast: OnceLock<Result<FastEncoder, String>>,
}

impl Encoder {
    /// Special tokens in text are tokens unless `tokenizer` has `encode_special_tokens`.
    pub(crate) fn new(tokenizer: Tokenizer) -> Self {
        Self {
            tokenizer,
            fast: OnceLock::new(),
        }
    }

    /// Never makes the faster version, for short use.
    pub(crate) fn only_slow(tokenizer: Tokenizer) -> Self {
        Self {
            tokenizer,
            fast: OnceLock::from(Err("that it is used once".to_owned())),
        }
    }

    pub(crate) fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The faster version, or the component with which it would give other ids.
    pub(crate) fn fast(&self) -> Result<&FastEncoder, &str> {
        let fast = self.fast.get_or_init(|| FastEncoder::of(&self.tokenizer));
        fast.as_ref().map_err(String::as_str)
    }

    /// The ids of a text; nothing is added.
    pub(crate) fn ids(&self, text: &str) -> tokenizers::Result<Vec<u32>> {
        let special_as_text = self.tokenizer.get_encode_special_tokens();
        if let Ok(fast) = self.fast()
            && let Some(ids) = fast.ids(text, special_as_text)
        {
            return Ok(ids);
        }
        Ok(self.tokenizer.encode_fast(text, false)?.get_ids().to_vec())
    }

    /// The tokens of a text, without added tokens, truncation or padding. Offsets keep the white space that a
    /// post-processor may trim.
    pub(crate) fn spans(&self, text: &str) -> tokenizers::Result<Vec<TextToken>> {
        let special_as_text = self.tokenizer.get_encode_special_tokens();
        if let Ok(fast) = self.fast()
            && let Some(tokens) = fast.spans(text, special_as_text)
        {
            return Ok(tokens);
        }
        let encoding = encode(&self.tokenizer, text)?;
        let tokens = encoding.get_ids().iter().zip(encoding.get_offsets());
        let token = |(id, (start, end)): (&u32, &(usize, usize))| TextToken {
            id: *id,
            bytes: *start..*end,
        };
        Ok(tokens.map(token).collect())
    }
}

/// Runs the pipeline up to the model, without post-processing.
fn encode(tokenizer: &Tokenizer, text: &str) -> tokenizers::Result<Encoding> {
    let vocabulary = tokenizer.get_added_vocabulary();
    let mut pieces = vocabulary.extract_and_normalize(tokenizer.get_normalizer(), text);
    if let Some(pre_tokenizer) = tokenizer.get_pre_tokenizer() {
        pre_tokenizer.pre_tokenize(&mut pieces)?;
    }
    pieces.tokenize(|piece| tokenizer.get_model().tokenize(piece.get()))?;
    pieces.into_encoding(None, 0, OffsetType::Byte)
}
