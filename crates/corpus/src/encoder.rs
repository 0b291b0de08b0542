//! One tokenizer in two versions of its crate: 0.22, which also trains, writes and decodes, and the faster 1.0 for what it
//! encodes alike (see `fast_encoder.rs`). It is made when text is first encoded.

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

    /// One that is not used often enough to make the faster version of it.
    pub(crate) fn only_slow(tokenizer: Tokenizer) -> Self {
        Self {
            tokenizer,
            fast: OnceLock::from(Err("that it is used once".to_owned())),
        }
    }

    pub(crate) fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The faster version, or the component that keeps it from giving the same ids.
    pub(crate) fn fast(&self) -> Result<&FastEncoder, &str> {
        let fast = self.fast.get_or_init(|| FastEncoder::of(&self.tokenizer));
        fast.as_ref().map_err(String::as_str)
    }

    /// The ids of a text; nothing is added.
    pub(crate) fn ids(&self, text: &str) -> tokenizers::Result<Vec<u32>> {
        let special_as_text = self.tokenizer.get_encode_special_tokens();
        let fast = self.fast().ok().and_then(|fast| fast.ids(text, special_as_text));
        match fast {
            Some(ids) => Ok(ids),
            None => Ok(self.tokenizer.encode_fast(text, false)?.get_ids().to_vec()),
        }
    }

    /// The tokens of a text: nothing is added, cut off or padded, and offsets keep the white space that a post-processor
    /// may trim off them.
    pub(crate) fn spans(&self, text: &str) -> tokenizers::Result<Vec<TextToken>> {
        let special_as_text = self.tokenizer.get_encode_special_tokens();
        let fast = self
            .fast()
            .ok()
            .and_then(|fast| fast.spans(text, special_as_text));
        match fast {
            Some(tokens) => Ok(tokens),
            None => Ok(text_tokens(&encode(&self.tokenizer, text)?)),
        }
    }
}

fn text_tokens(encoding: &Encoding) -> Vec<TextToken> {
    let offsets = encoding.get_offsets().iter();
    let tokens = encoding.get_ids().iter().zip(offsets);
    tokens
        .map(|(id, (start, end))| TextToken {
            id: *id,
            bytes: *start..*end,
        })
        .collect()
}

/// The pipeline up to the tokens of the text.
fn encode(tokenizer: &Tokenizer, text: &str) -> tokenizers::Result<Encoding> {
    let vocabulary = tokenizer.get_added_vocabulary();
    let mut pieces = vocabulary.extract_and_normalize(tokenizer.get_normalizer(), text);
    if let Some(pre_tokenizer) = tokenizer.get_pre_tokenizer() {
        pre_tokenizer.pre_tokenize(&mut pieces)?;
    }
    pieces.tokenize(|piece| tokenizer.get_model().tokenize(piece.get()))?;
    pieces.into_encoding(None, 0, OffsetType::Byte)
}
