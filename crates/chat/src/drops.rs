//! Content of a conversation that the template does not write.
//!
//! A template silently leaves out what it does not support: a role, calls, tools, a second system message. So the
//! conversation is rendered a second time with a mark inside each text that carries meaning; a text was written if its mark
//! shows. Searching for the texts themselves would take `42` for written wherever a 42 stands.
//!
//! What carries meaning: the content of messages, thoughts separately; the keys [`REASONING`]; names and arguments of calls;
//! names and descriptions of tools; the variables [`VARIABLES`], of documents all texts. Ids, types and names of speakers do
//! not. A thought of an earlier turn may be dropped if the template writes it while its turn is the last: reasoning models do
//! not see their earlier thoughts in use either.
//!
//! Cost: a second rendering, a few percent of tokenising.

use std::collections::BTreeSet;
use std::ops::Range;

use chrono::NaiveDate;
use serde_json::{Map, Value};
use smollm3_corpus::Tokenizer;

use crate::conversation::Conversation;
use crate::error::{ChatError, Dropped, Result};
use crate::message::{END_OF_THOUGHT, REASONING, THOUGHT, excerpt, role};
use crate::quoting::written_forms;
use crate::rendered::{Render, Rendered};
use crate::template::Template;

/// Template variables that the model is shown.
pub const VARIABLES: [&str; 4] = ["custom_instructions", "xml_tools", "python_tools", DOCUMENTS];
const DOCUMENTS: &str = "documents";

/// The characters of marks: plane 16, private use, which the markers of blocks do not use.
const MARKS: std::ops::RangeInclusive<char> = '\u{10_0000}'..='\u{10_fffd}';

impl Template {
    /// The content of a conversation that is missing in `rendered`, this template's rendering of it with `options`.
    ///
    /// # Errors
    /// Those of [`Template::render`].
    pub fn drops(
        &self,
        conversation: &Conversation,
        rendered: &Rendered,
        options: &Render,
    ) -> Result<Vec<Dropped>> {
        let mut dropped = self.missing(conversation, Some(rendered), options)?;
        let last = conversation.messages.len().saturating_sub(1);
        let thoughts = dropped.iter().filter(|dropped| dropped.kind == KIND_OF_THOUGHTS);
        let earlier = thoughts.filter_map(|thought| thought.message.filter(|message| *message < last));
        for message in earlier.collect::<BTreeSet<usize>>() {
            let mut until_then = conversation.clone();
            until_then.messages.truncate(message + 1);
            let still = self.missing(&until_then, None, options)?;
            let is_thought =
                |dropped: &Dropped| dropped.kind == KIND_OF_THOUGHTS && dropped.message == Some(message);
            if !still.iter().any(is_thought) {
                dropped.retain(|dropped| !is_thought(dropped));
            }
        }
        Ok(dropped)
    }

    /// Renders a prompt: as [`Template::render_for`], with the assistant's turn opened. `date` is the date that the template
    /// may print. Earlier thoughts may be dropped, as reasoning models do not see theirs again.
    ///
    /// # Errors
    /// As [`Template::render`]; [`ChatError::Unseen`] if the template leaves out anything else.
    pub fn render_prompt(
        &self,
        tokenizer: &Tokenizer,
        conversation: &Conversation,
        date: Option<NaiveDate>,
    ) -> Result<Rendered> {
        let options = Render {
            add_generation_prompt: true,
            date,
            ..Render::default()
        };
        let mut rendered = self.render_for(tokenizer, conversation, &options)?;
        // There is no loss on a prompt.
        rendered.learned.clear();
        let mut dropped = self.missing(conversation, Some(&rendered), &options)?.into_iter();
        match dropped.find(|dropped| dropped.kind != KIND_OF_THOUGHTS) {
            None => Ok(rendered),
            Some(dropped) => Err(ChatError::Unseen {
                template: self.name().to_owned(),
                dropped: Box::new(dropped),
            }),
        }
    }

    fn missing(
        &self,
        conversation: &Conversation,
        rendered: Option<&Rendered>,
        options: &Render,
    ) -> Result<Vec<Dropped>> {
        let mut marked = self.fitted(conversation);
        let mut marks = Marks::new(&marked);
        marks.mark(&mut marked, conversation);
        let seen = match (self.render(&marked, options), rendered) {
            (Ok(rendered), _) => Seen::of(rendered.text, false, conversation),
            // The template refuses the marks: search for the texts themselves.
            (Err(_), Some(rendered)) => Seen::of(rendered.text.clone(), true, conversation),
            (Err(_), None) => return Ok(Vec::new()),
        };
        let missing = marks.leaves.into_iter().filter(|leaf| !seen.has(leaf));
        Ok(missing.map(|leaf| leaf.dropped).collect())
    }
}

const KIND_OF_THOUGHTS: &str = "reasoning";

fn kind_of_message(role: &str) -> &'static str {
    match role {
        "system" => "a system message",
        "developer" => "a developer's message",
        "user" => "a user's message",
        "tool" => "a tool's message",
        _ => "an assistant's message",
    }
}

/// A text and its mark.
struct Leaf {
    mark: char,
    dropped: Dropped,
    whole: String,
}

/// The rendered text and its marks.
struct Seen {
    marks: BTreeSet<char>,
    text: String,
    by_text: bool,
    /// The first message, if it is the system's.
    instructions: String,
}

impl Seen {
    fn of(text: String, by_text: bool, conversation: &Conversation) -> Self {
        let marks = text.chars().filter(|c| MARKS.contains(c)).collect();
        let first = conversation.messages.first();
        let system = first.filter(|message| role(message) == "system");
        let instructions = system.and_then(|message| message.get("content")?.as_str());
        Self {
            marks,
            text,
            by_text,
            instructions: instructions.unwrap_or_default().to_owned(),
        }
    }

    fn has(&self, leaf: &Leaf) -> bool {
        match self.by_text {
            true => self.text.contains(leaf.whole.trim()),
            false => {
                let forms = written_forms(leaf.mark);
                self.marks.contains(&leaf.mark)
                    || forms.iter().any(|form| self.text.contains(form.as_str()))
                    // A row may give its instructions as a system message, too.
                    || VARIABLES.contains(&leaf.dropped.kind) && self.instructions.contains(leaf.whole.trim())
            }
        }
    }
}

/// Puts marks into texts.
struct Marks {
    free: Box<dyn Iterator<Item = char>>,
    leaves: Vec<Leaf>,
}

impl Marks {
    fn new(conversation: &Conversation) -> Self {
        let mut used = BTreeSet::new();
        let Conversation {
            messages,
            tools,
            template_kwargs,
        } = conversation;
        let values = messages.iter().chain(tools.iter().flatten());
        for value in values.chain(template_kwargs.values()) {
            crate::generation::private_characters_of(value, &mut used);
        }
        // Texts after the first 65,534 are not marked.
        Self {
            free: Box::new(MARKS.filter(move |c| !used.contains(c))),
            leaves: Vec::new(),
        }
    }

    /// Marks the texts of `fitted`; roles are those of `original`.
    fn mark(&mut self, fitted: &mut Conversation, original: &Conversation) {
        let messages = fitted.messages.iter_mut().zip(&original.messages).enumerate();
        for (index, (message, original)) in messages {
            let Some(message) = message.as_object_mut() else {
                continue;
            };
            let original = role(original);
            self.mark_message(index, message, original);
        }
        for (index, tool) in fitted.tools.iter_mut().flatten().enumerate() {
            self.mark_tool("tools", tool, &format!("tools[{index}]"));
        }
        for name in VARIABLES {
            if let Some(value) = fitted.template_kwargs.get_mut(name) {
                self.mark_variable(name, value, &format!("chat_template_kwargs.{name}"));
            }
        }
    }

    fn mark_message(&mut self, index: usize, message: &mut Map<String, Value>, role: &str) {
        let at = |key: &str| format!("messages[{index}].{key}");
        for (key, value) in message.iter_mut() {
            match (key.as_str(), value) {
                ("content", Value::String(text)) => {
                    let thought = (role == "assistant").then(|| thought_in(text)).flatten();
                    let start = thought
                        .as_ref()
                        .map_or(0, |thought| thought.end + END_OF_THOUGHT.len());
                    // The later part first, so that the ranges stay valid.
                    let spoken = start..text.len();
                    self.mark_part(kind_of_message(role), Some(index), at("content"), text, spoken);
                    if let Some(thought) = thought {
                        self.mark_part(KIND_OF_THOUGHTS, Some(index), at("content"), text, thought);
                    }
                }
                ("content", value) => {
                    self.mark_data(kind_of_message(role), Some(index), value, &at("content"));
                }
                ("tool_calls", Value::Array(calls)) => {
                    for (call, value) in calls.iter_mut().enumerate() {
                        let Some(function) = value.get_mut("function") else {
                            continue;
                        };
                        let key = at(&format!("tool_calls[{call}].function"));
                        for part in ["name", "arguments"] {
                            if let Some(value) = function.get_mut(part) {
                                self.mark_data("tool calls", Some(index), value, &format!("{key}.{part}"));
                            }
                        }
                    }
                }
                (key, Value::String(text)) if REASONING.contains(&key) => {
                    self.mark_text(KIND_OF_THOUGHTS, Some(index), at(key), text);
                }
                _ => {}
            }
        }
    }

    /// Marks each value; numbers and booleans become texts, which are printed in the same place.
    fn mark_data(&mut self, kind: &'static str, message: Option<usize>, value: &mut Value, key: &str) {
        match value {
            Value::Null => {}
            Value::Bool(_) | Value::Number(_) => {
                let mut text = value.to_string();
                self.mark_text(kind, message, key.to_owned(), &mut text);
                *value = Value::String(text);
            }
            Value::String(text) => self.mark_text(kind, message, key.to_owned(), text),
            Value::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.mark_data(kind, message, item, &format!("{key}[{index}]"));
                }
            }
            Value::Object(entries) => {
                for (name, item) in entries.iter_mut() {
                    self.mark_data(kind, message, item, &format!("{key}.{name}"));
                }
            }
        }
    }

    /// Marks a tool's name and description. Templates compare types and names of parameters, so those stay unmarked.
    fn mark_tool(&mut self, kind: &'static str, tool: &mut Value, key: &str) {
        if let Value::String(text) = tool {
            return self.mark_text(kind, None, key.to_owned(), text);
        }
        let (tool, key) = match tool.get_mut("function") {
            Some(function) => (function, format!("{key}.function")),
            None => (tool, key.to_owned()),
        };
        for part in ["name", "description"] {
            if let Some(Value::String(text)) = tool.get_mut(part) {
                self.mark_text(kind, None, format!("{key}.{part}"), text);
            }
        }
    }

    fn mark_variable(&mut self, kind: &'static str, value: &mut Value, key: &str) {
        match value {
            value if kind == DOCUMENTS => self.mark_document(kind, value, key),
            Value::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.mark_tool(kind, item, &format!("{key}[{index}]"));
                }
            }
            value => self.mark_tool(kind, value, key),
        }
    }

    /// Marks the texts of documents, except for ids and types, which templates may number or compare instead.
    fn mark_document(&mut self, kind: &'static str, value: &mut Value, key: &str) {
        match value {
            Value::String(text) => self.mark_text(kind, None, key.to_owned(), text),
            Value::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.mark_document(kind, item, &format!("{key}[{index}]"));
                }
            }
            Value::Object(entries) => {
                let is_said = |name: &str| !matches!(name, "id" | "doc_id" | "type");
                for (name, item) in entries.iter_mut().filter(|(name, _)| is_said(name)) {
                    self.mark_document(kind, item, &format!("{key}.{name}"));
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// Puts a mark into a text, unless that is white space.
    fn mark_text(&mut self, kind: &'static str, message: Option<usize>, key: String, text: &mut String) {
        let all = 0..text.len();
        self.mark_part(kind, message, key, text, all);
    }

    /// Puts a mark into `part` of a text, unless that is white space.
    fn mark_part(
        &mut self,
        kind: &'static str,
        message: Option<usize>,
        key: String,
        text: &mut String,
        part: Range<usize>,
    ) {
        let whole = text.get(part.clone()).unwrap_or_default();
        let trimmed = whole.trim();
        if trimmed.is_empty() {
            return;
        }
        let Some(mark) = self.free.next() else { return };
        let at = part.start + (whole.len() - whole.trim_start().len()) + place_in(trimmed);
        self.leaves.push(Leaf {
            mark,
            whole: whole.to_owned(),
            dropped: Dropped {
                kind,
                message,
                key,
                text: excerpt(trimmed),
            },
        });
        text.insert(at, mark);
    }
}

/// Where a mark goes: after the first letter of the word that begins nearest to the middle. Words that do not begin with a
/// letter or a digit, such as `/no_think` and `<tool_response>`, may have a meaning for the template.
fn place_in(text: &str) -> usize {
    let half = text.len() / 2;
    let mut before = ' ';
    let words = text.char_indices().filter(|(_, character)| {
        let begins = before.is_whitespace() && character.is_alphanumeric();
        before = *character;
        begins
    });
    let nearest = words
        .map(|(at, character)| (at.abs_diff(half), at + character.len_utf8()))
        .min();
    nearest.map_or_else(|| text.ceil_char_boundary(half.max(1)), |(_, end)| end)
}

/// The thought in an assistant's content, if there is one.
fn thought_in(text: &str) -> Option<Range<usize>> {
    let end = text.rfind(END_OF_THOUGHT)?;
    let start = text.find(THOUGHT).map_or(0, |start| start + THOUGHT.len());
    (start <= end).then_some(start..end)
}
