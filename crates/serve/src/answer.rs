//! An incremental parser that splits an answer into thought, content and tool calls.
//!
//! A tag may be split between pieces, so text is held back while it may be the start of one. White space around thoughts and
//! calls is part of the format and dropped; all other text passes unchanged.

use crate::tool_call;
use crate::wire::ToolCall;

/// The start of a thought.
pub(crate) const THINK: &str = "<think>";
const END_THINK: &str = "</think>";

/// A piece of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    Reasoning(String),
    Content(String),
    Call(ToolCall),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing but white space so far.
    Start,
    Thinking,
    Saying,
    Calling,
}

/// The state of the parser.
#[derive(Debug)]
pub(crate) struct Answer {
    state: State,
    /// Whether there are tools to call.
    may_call: bool,
    calls: usize,
    /// Whether white space at this point is part of the format.
    fresh: bool,
    /// Whether nothing was emitted so far.
    silent: bool,
    held: String,
}

impl Answer {
    /// `thinking`: whether the prompt has opened a thought.
    pub fn new(thinking: bool, may_call: bool) -> Self {
        Self {
            state: if thinking { State::Thinking } else { State::Start },
            may_call,
            calls: 0,
            fresh: thinking,
            silent: true,
            held: String::new(),
        }
    }

    /// Number of tool calls so far.
    pub fn calls(&self) -> usize {
        self.calls
    }

    /// Adds text; returns the parts that are certain now.
    pub fn push(&mut self, piece: &str) -> Vec<Part> {
        self.held.push_str(piece);
        let mut parts = Vec::new();
        while self.advance(&mut parts) {}
        parts
    }

    /// Ends the answer and returns what was held back; empty content if the answer was empty.
    pub fn finish(&mut self) -> Vec<Part> {
        let mut parts = Vec::new();
        let held = std::mem::take(&mut self.held);
        match self.state {
            State::Thinking => self.show(&mut parts, held.trim_end(), Part::Reasoning),
            State::Calling => self.call(&mut parts, &held, ""),
            State::Start | State::Saying => self.show(&mut parts, &held, Part::Content),
        }
        if self.silent {
            parts.push(Part::Content(String::new()));
        }
        parts
    }

    /// Takes one step; returns whether another may follow.
    fn advance(&mut self, parts: &mut Vec<Part>) -> bool {
        match self.state {
            State::Start => {
                let begun = self.held.trim_start();
                if let Some(thought) = begun.strip_prefix(THINK) {
                    let thought = thought.to_owned();
                    self.enter(State::Thinking, thought);
                    return true;
                }
                if THINK.starts_with(begun) {
                    return false;
                }
                self.state = State::Saying;
                true
            }
            State::Thinking => match split(&self.held, END_THINK) {
                Some((thought, rest)) => {
                    self.show(parts, thought.trim_end(), Part::Reasoning);
                    self.enter(State::Saying, rest);
                    true
                }
                None => self.show_certain(parts, END_THINK, Part::Reasoning),
            },
            State::Saying if !self.may_call => {
                let held = std::mem::take(&mut self.held);
                self.show(parts, &held, Part::Content);
                false
            }
            State::Saying => match split(&self.held, tool_call::OPEN) {
                Some((said, rest)) => {
                    self.show(parts, said.trim_end(), Part::Content);
                    self.enter(State::Calling, rest);
                    true
                }
                None => self.show_certain(parts, tool_call::OPEN, Part::Content),
            },
            State::Calling => match split(&self.held, tool_call::CLOSE) {
                Some((body, rest)) => {
                    self.call(parts, &body, tool_call::CLOSE);
                    self.enter(State::Saying, rest);
                    true
                }
                None => false,
            },
        }
    }

    fn enter(&mut self, state: State, held: String) {
        self.state = state;
        self.held = held;
        self.fresh = true;
    }

    /// Emits text without the white space of the format.
    fn show(&mut self, parts: &mut Vec<Part>, text: &str, part: fn(String) -> Part) {
        let text = if self.fresh { text.trim_start() } else { text };
        if !text.is_empty() {
            parts.push(part(text.to_owned()));
            self.fresh = false;
            self.silent = false;
        }
    }

    /// Emits what is neither a prefix of `tag` nor white space before it. No further step follows.
    fn show_certain(&mut self, parts: &mut Vec<Part>, tag: &str, part: fn(String) -> Part) -> bool {
        let begun = (1..tag.len())
            .rev()
            .find(|length| self.held.ends_with(&tag[..*length]));
        let before = &self.held[..self.held.len() - begun.unwrap_or(0)];
        let rest = self.held.split_off(before.trim_end().len());
        let certain = std::mem::replace(&mut self.held, rest);
        self.show(parts, &certain, part);
        false
    }

    /// Emits a call, or the text itself if it is not one.
    fn call(&mut self, parts: &mut Vec<Part>, body: &str, close: &str) {
        self.silent = false;
        match tool_call::parse(body, self.calls) {
            Some(call) => {
                self.calls += 1;
                parts.push(Part::Call(call));
            }
            None => parts.push(Part::Content(format!("{}{body}{close}", tool_call::OPEN))),
        }
    }
}

fn split(text: &str, at: &str) -> Option<(String, String)> {
    let (before, after) = text.split_once(at)?;
    Some((before.to_owned(), after.to_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Thoughts, content, and calls as name and arguments.
    fn taken_apart(answer: &mut Answer, pieces: &[&str]) -> (String, String, Vec<(String, String)>) {
        let mut found = (String::new(), String::new(), Vec::new());
        let mut parts: Vec<Part> = pieces.iter().flat_map(|piece| answer.push(piece)).collect();
        parts.extend(answer.finish());
        for part in parts {
            match part {
                Part::Reasoning(text) => found.0 += &text,
                Part::Content(text) => found.1 += &text,
                Part::Call(call) => found.2.push((call.function.name, call.function.arguments)),
            }
        }
        found
    }

    fn call(name: &str, arguments: &str) -> (String, String) {
        (name.to_owned(), arguments.to_owned())
    }

    #[test]
    fn thoughts_and_calls_are_apart_from_what_is_said() {
        let sum = "<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": 1, \"b\": 2}}\n</tool_call>";
        let add = || call("add", "{\"a\": 1, \"b\": 2}");
        let cases = [
            ("Hello.\n", false, "", "Hello.\n", vec![]),
            ("\n<think>\n1 + 2\n</think>\n\n3", false, "1 + 2", "3", vec![]),
            ("1 + 2\n</think>\n3", true, "1 + 2", "3", vec![]),
            ("<think>\n\n</think>\n3", false, "", "3", vec![]),
            ("<think>\nstill thin", false, "still thin", "", vec![]),
            (
                " <thing> is no thought",
                false,
                "",
                " <thing> is no thought",
                vec![],
            ),
            (sum, false, "", "", vec![add()]),
            (
                &format!("<think>a</think>Let me see.\n{sum}\n{sum}\n"),
                false,
                "a",
                "Let me see.",
                vec![add(), add()],
            ),
            // The turn may end before the tag does.
            (sum.trim_end_matches("</tool_call>"), false, "", "", vec![add()]),
            (
                "<tool_call>{\"name\": \"now\"}</tool_call>",
                false,
                "",
                "",
                vec![call("now", "{}")],
            ),
            (
                "<tool_call>{\"name\": \"now\", \"arguments\": null}</tool_call>",
                false,
                "",
                "",
                vec![call("now", "{}")],
            ),
            (
                "<tool_call>{\"name\": \"add\", \"parameters\": {\"a\": 12345678901234567890123}}</tool_call>",
                false,
                "",
                "",
                vec![call("add", "{\"a\": 12345678901234567890123}")],
            ),
            (
                "<tool_call>{\"name\": \"add\", \"arguments\": \"{\\\"a\\\": 1.50}\"}</tool_call>",
                false,
                "",
                "",
                vec![call("add", "{\"a\": 1.50}")],
            ),
            (
                "<tool_call>{\"name\": \"add\", \"args\": {\"a\": 1}}</tool_call>",
                false,
                "",
                "<tool_call>{\"name\": \"add\", \"args\": {\"a\": 1}}</tool_call>",
                vec![],
            ),
            (
                "<tool_call>{\"name\": \"add\", \"arguments\": [1]}</tool_call>",
                false,
                "",
                "<tool_call>{\"name\": \"add\", \"arguments\": [1]}</tool_call>",
                vec![],
            ),
            (
                "a <tool_call>{add}</tool_call> b",
                false,
                "",
                "a<tool_call>{add}</tool_call>b",
                vec![],
            ),
        ];
        for (text, thinking, reasoning, content, calls) in cases {
            let found = taken_apart(&mut Answer::new(thinking, true), &[text]);
            assert_eq!(found, (reasoning.to_owned(), content.to_owned(), calls), "{text}");
        }
        let silent = taken_apart(&mut Answer::new(false, false), &[sum]);
        assert_eq!(
            silent,
            (String::new(), sum.to_owned(), vec![]),
            "no functions were offered"
        );
    }

    proptest! {
        #[test]
        fn it_does_not_matter_where_pieces_are_cut(
            words in prop::collection::vec(prop::sample::select(vec![
                "<think>", "</think>", "<tool_call>", "</tool_call>", "{\"name\": \"f\"}", " ", "\n", "漢", "<", "a",
            ]), 0..12),
            cuts in prop::collection::vec(1usize..7, 1..30),
            thinking: bool,
            may_call: bool,
        ) {
            let text = words.concat();
            let letters: Vec<String> = text.chars().map(String::from).collect();
            let mut pieces = Vec::new();
            let mut rest = letters.as_slice();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                pieces.push(piece.concat());
                rest = after;
            }
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            let whole = taken_apart(&mut Answer::new(thinking, may_call), &[&text]);
            let cut = taken_apart(&mut Answer::new(thinking, may_call), &pieces);
            prop_assert_eq!(&whole, &cut);
            if !thinking && !may_call && !text.trim_start().starts_with(THINK) {
                prop_assert_eq!(whole.1, text);
            }
        }
    }
}
