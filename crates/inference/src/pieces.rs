//! Tokens that come one by one, as text that can be shown at once.
//!
//! Text is held back while a character is not whole, or while it may be the beginning of a stop text. What a token stands
//! for depends on those just before it, so the last ones are decoded again with each, and no others: the thousandth token
//! takes no longer than the tenth.

use std::ops::Range;

use smollm3_corpus::Tokenizer;

/// The text of one continuation as it grows.
#[derive(Debug)]
pub struct Pieces<'a> {
    tokenizer: &'a Tokenizer,
    stop: &'a [String],
    /// The last tokens: `settled` of them have their text, and end at a whole character.
    tokens: Vec<u32>,
    settled: usize,
    text: String,
    /// Bytes of `text` up to there.
    settled_text: usize,
    shown: usize,
    stopped: bool,
}

impl<'a> Pieces<'a> {
    /// A text that ends before that of `stop` which is the first to be complete.
    pub fn new(tokenizer: &'a Tokenizer, stop: &'a [String]) -> Self {
        Self {
            tokenizer,
            stop,
            tokens: Vec::new(),
            settled: 0,
            text: String::new(),
            settled_text: 0,
            shown: 0,
            stopped: false,
        }
    }

    /// Adds a token; returns the text that can be shown now, often none. After a stop text nothing is added.
    pub fn push(&mut self, token: u32) -> &str {
        if self.stopped {
            return "";
        }
        self.tokens.push(token);
        let Ok(new) = self.unsettled() else {
            return "";
        };
        // A character may be spread over tokens: what is not whole yet is left for later.
        let whole = new.trim_end_matches('\u{fffd}');
        self.text.truncate(self.settled_text);
        self.text.push_str(whole);
        if !new.is_empty() && whole.len() == new.len() {
            self.tokens.drain(..self.settled);
            self.settled = self.tokens.len();
            self.settled_text = self.text.len();
        }
        // No stop text begins in what was shown.
        let fresh = self.text.get(self.shown..).unwrap_or_default();
        let stops = self.stop.iter().filter(|stop| !stop.is_empty());
        // The first to be complete, so that the same text ends at the same place however it is cut into tokens.
        let found = stops.filter_map(|stop| {
            let start = fresh.find(stop.as_str())?;
            Some((start + stop.len(), start))
        });
        if let Some((_, start)) = found.min() {
            self.text.truncate(self.shown + start);
            self.stopped = true;
            return self.finish();
        }
        let end = self.text.len() - held_back(fresh, self.stop);
        self.show(end)
    }

    /// What was held back and is not followed by anything.
    pub fn finish(&mut self) -> &str {
        self.show(self.text.len())
    }

    /// Whether a stop text was found.
    pub fn stopped(&self) -> bool {
        self.stopped
    }

    /// All of the text so far.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text of the tokens that are not settled, where it follows the others.
    fn unsettled(&self) -> smollm3_corpus::Result<String> {
        let before = self.tokenizer.decode(&self.tokens[..self.settled], true)?;
        let all = self.tokenizer.decode(&self.tokens, true)?;
        Ok(all.get(before.len()..).unwrap_or_default().to_owned())
    }

    fn show(&mut self, to: usize) -> &str {
        let new: Range<usize> = self.shown.min(to)..to;
        self.shown = self.shown.max(to);
        self.text.get(new).unwrap_or_default()
    }
}

/// How many bytes at the end of `text` may be the beginning of a stop text.
fn held_back(text: &str, stop: &[String]) -> usize {
    let begins = |stop: &String| {
        (1..stop.len())
            .rev()
            .filter(|length| stop.is_char_boundary(*length))
            .find(|length| text.ends_with(&stop[..*length]))
    };
    stop.iter().filter_map(begins).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_become_a_stop_text_is_held_back() {
        let stop = ["<end>".to_owned(), "\n\n".to_owned(), "é!".to_owned()];
        for (text, held) in [
            ("a", 0),
            ("a<", 1),
            ("a<en", 3),
            ("a\n", 1),
            ("<end", 4),
            ("é", 2),
            ("", 0),
        ] {
            assert_eq!(held_back(text, &stop), held, "{text}");
        }
    }
}
