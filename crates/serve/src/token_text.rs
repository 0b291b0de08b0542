//! The names of tokens, and their offsets in a text.
//!
//! A token of a byte-level tokenizer may be part of a character. Its name is then `bytes:\xe6\xbc`, as in OpenAI's
//! completions, so that different tokens have different names.

use std::collections::HashSet;

use smollm3_corpus::{Tokenizer, byte_alphabet};

/// The bytes that each token of a tokenizer stands for.
#[derive(Debug)]
pub(crate) struct TokenTexts {
    bytes: Vec<Vec<u8>>,
    /// Tokens that decoding skips.
    special: HashSet<u32>,
}

impl TokenTexts {
    pub fn new(tokenizer: &Tokenizer) -> Self {
        let added = tokenizer.inner().get_added_tokens_decoder();
        let alphabet = byte_alphabet();
        let bytes = |id| {
            if let Some(token) = added.get(&id) {
                return token.content.clone().into_bytes();
            }
            let spelt = tokenizer.inner().id_to_token(id).unwrap_or_default();
            let bytes = spelt.chars().map(|letter| alphabet.get(&letter).copied());
            // A tokenizer of another kind, whose tokens are whole characters.
            let decoded = || tokenizer.decode(&[id], false).unwrap_or_default().into_bytes();
            bytes.collect::<Option<Vec<u8>>>().unwrap_or_else(decoded)
        };
        Self {
            bytes: (0..tokenizer.info().vocab_size).map(bytes).collect(),
            special: added
                .iter()
                .filter(|(_, token)| token.special)
                .map(|(id, _)| *id)
                .collect(),
        }
    }

    /// The name of a token.
    pub fn name(&self, id: u32) -> String {
        let bytes = self.bytes(id);
        match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => bytes
                .iter()
                .fold("bytes:".to_owned(), |name, byte| format!("{name}\\x{byte:02x}")),
        }
    }

    /// Whether generated text omits the token.
    pub fn is_special(&self, id: u32) -> bool {
        self.special.contains(&id)
    }

    /// The bytes of a token; none if the model has more tokens than the tokenizer.
    pub fn bytes(&self, id: u32) -> &[u8] {
        self.bytes.get(id as usize).map_or(&[], Vec::as_slice)
    }
}

/// The offset of the next token, in characters.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct TextOffset {
    begun: usize,
}

impl TextOffset {
    /// The offset of `bytes`, and advances past them. A part of a character has the character's offset.
    pub fn advance(&mut self, bytes: &[u8]) -> usize {
        let continues = |byte: &u8| byte & 0b1100_0000 == 0b1000_0000;
        let inside = bytes.first().is_some_and(continues);
        let start = self.begun.saturating_sub(usize::from(inside));
        self.begun += bytes.iter().filter(|byte| !continues(byte)).count();
        start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_make_up_the_text_and_know_where_they_are() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../tests/fixtures/tokenizer/tokenizer.json"
        );
        let tokenizer = Tokenizer::load(path).unwrap();
        let texts = TokenTexts::new(&tokenizer);
        let text = "A sum, 漢字<|im_end|> Grüße\n12";
        let ids = tokenizer.encode(text).unwrap();
        let mut offset = TextOffset::default();
        let mut bytes = Vec::new();
        for id in ids {
            let begins = offset.advance(texts.bytes(id));
            let whole = String::from_utf8_lossy(&bytes)
                .trim_end_matches('\u{fffd}')
                .chars()
                .count();
            assert_eq!(begins, whole, "{}", texts.name(id));
            match texts.name(id).strip_prefix("bytes:") {
                Some(partial) => assert!(partial.starts_with("\\x")),
                None => assert_eq!(texts.name(id).as_bytes(), texts.bytes(id)),
            }
            bytes.extend(texts.bytes(id));
        }
        assert_eq!(String::from_utf8(bytes).unwrap(), text);
    }
}
