//! Preference pairs: a prompt, a chosen answer and a rejected one.
//!
//! Each answer is rendered together with the prompt, whose text is then cut off, because a template may write something
//! between the two that belongs to neither.
//! Source: `apply_chat_template` and `extract_prompt` in TRL's `data_utils.py`.

use std::ops::Range;

use serde_json::{Map, Value};
use smollm3_corpus::Tokenizer;

use crate::conversation::{
    Conversation, alpaca_prompt, check_message, column, history, message, open_with_system, read_kwargs,
    read_tools, refuse_media,
};
use crate::dialect::{self, list};
use crate::error::{ChatError, Result};
use crate::message::{is_unlearned, kind, role, says_something};
use crate::rendered::{Render, Rendered};
use crate::template::Template;

/// A prompt with two answers to it, as messages.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pair {
    /// The messages before the answer.
    pub prompt: Vec<Value>,
    /// The preferred answer, usually one message.
    pub chosen: Vec<Value>,
    /// The other.
    pub rejected: Vec<Value>,
    /// Tools on offer; see [`Conversation::tools`].
    pub tools: Option<Vec<Value>>,
    /// Further variables of the template; see [`Conversation::template_kwargs`].
    pub template_kwargs: Map<String, Value>,
}

/// A pair as text. Prompt and answer together are what the template writes for the whole conversation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RenderedPair {
    /// The prompt, up to where the answer begins.
    pub prompt: PairText,
    /// The preferred answer and the end of its turn.
    pub chosen: PairText,
    /// The other.
    pub rejected: PairText,
}

/// A part of a pair.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PairText {
    /// The text.
    pub text: String,
    /// As in [`Rendered::special`].
    pub special: Option<Vec<Range<usize>>>,
}

impl PairText {
    /// Its tokens; none are added.
    ///
    /// # Errors
    /// Where the tokenizer's own pipeline fails.
    pub fn encode(&self, tokenizer: &Tokenizer) -> Result<Vec<u32>> {
        let tokens = tokenizer.encode_spans(&self.text, self.special.as_deref())?;
        Ok(tokens.into_iter().map(|token| token.id).collect())
    }

    /// Bytes `range` of a rendered text.
    fn of(rendered: &Rendered, range: Range<usize>) -> Self {
        let within = |special: &&Range<usize>| range.start <= special.start && special.end <= range.end;
        Self {
            text: rendered.text.get(range.clone()).unwrap_or_default().to_owned(),
            special: rendered.special.as_ref().map(|special| {
                let moved = |special: &Range<usize>| special.start - range.start..special.end - range.start;
                special.iter().filter(within).map(moved).collect()
            }),
        }
    }
}

impl Pair {
    /// The columns that [`Pair::from_row`] may read.
    pub const COLUMNS: [&str; 17] = [
        "prompt",
        "question",
        "chosen",
        "rejected",
        "conversations",
        "instruction",
        "input",
        "history",
        "system",
        "system_prompt",
        "image",
        "images",
        "videos",
        "audios",
        "tools",
        "functions",
        "chat_template_kwargs",
    ];

    /// Reads a row: `chosen` and `rejected` (messages, lists of messages, or texts), and a `prompt`, a list of messages or a text
    /// (`conversations` of ShareGPT, `instruction`, `input` and `history` of Alpaca, `question`).
    ///
    /// If the answers are lists with the question in them, their common beginning is the prompt, as in data sets that repeat
    /// it in both; a text beside them must be one of its messages. Texts of the form `\n\nHuman: …\n\nAssistant: …` are read as
    /// such lists. Optional: `system` (or `system_prompt`), `tools` and `chat_template_kwargs`.
    ///
    /// # Errors
    /// A row without a pair in it, or with a message that [`Conversation::validate`] would refuse.
    pub fn from_row(row: &Value) -> Result<Self> {
        let (mut prompt, chosen, rejected) = parts(row)?;
        open_with_system(row, &mut prompt)?;
        refuse_media(row, &prompt)?;
        let mut template_kwargs = read_kwargs(row)?;
        let tools = read_tools(row, &mut template_kwargs, &mut prompt)?;
        let pair = Pair {
            prompt,
            chosen,
            rejected,
            tools,
            template_kwargs,
        };
        for (name, messages) in [
            ("prompt", &pair.prompt),
            ("chosen", &pair.chosen),
            ("rejected", &pair.rejected),
        ] {
            if messages.is_empty() {
                return Err(ChatError::row(format!(
                    "has no messages in `{name}`; a pair needs some"
                )));
            }
            let first = messages.first().map(role).unwrap_or_default();
            if name != "prompt" && ["user", "system"].contains(&first) {
                return Err(ChatError::row(format!(
                    "has a `{name}` that begins with the role `{first}`; questions belong into `prompt` only"
                )));
            }
            if name != "prompt" && messages.iter().any(is_unlearned) {
                return Err(ChatError::row(format!(
                    "has a message in `{name}` that is not to be learned; answers of a pair are learned whole, remove its \
                     `weight`"
                )));
            }
            for (index, message) in messages.iter().enumerate() {
                check_message(index, message).map_err(|error| wrong(name, &error))?;
            }
        }
        Ok(pair)
    }

    /// The prompt and one of its answers.
    pub fn conversation(&self, answer: &[Value]) -> Conversation {
        Conversation {
            messages: [&self.prompt, answer].concat(),
            tools: self.tools.clone(),
            template_kwargs: self.template_kwargs.clone(),
        }
    }
}

/// The messages of the prompt and of both answers.
type Parts = (Vec<Value>, Vec<Value>, Vec<Value>);

/// The question of a row.
enum Asked {
    /// As messages.
    Messages(Vec<Value>),
    /// As a text in a column.
    Text(&'static str, String),
}

fn parts(row: &Value) -> Result<Parts> {
    let (chosen, rejected) = (answer(row, "chosen")?, answer(row, "rejected")?);
    let (chosen, rejected) = match (dialogue(&chosen), dialogue(&rejected)) {
        (Some(chosen), Some(rejected)) => (Value::Array(chosen), Value::Array(rejected)),
        _ => (chosen, rejected),
    };
    match (asked(row)?, &chosen, &rejected) {
        (Some(Asked::Text(_, prompt)), Value::String(chosen), Value::String(rejected)) => Ok((
            [history(row)?, vec![message("user", &prompt)]].concat(),
            vec![message("assistant", chosen)],
            vec![message("assistant", rejected)],
        )),
        (None, Value::String(_), Value::String(_)) => Err(ChatError::row(
            "has texts as `chosen` and `rejected` but no question; write it in `prompt`",
        )),
        (asked, chosen, rejected) => {
            let chosen = read("chosen", list("chosen", chosen)?)?;
            let rejected = read("rejected", list("rejected", rejected)?)?;
            match asked {
                Some(Asked::Messages(prompt)) => Ok((read("prompt", prompt)?, chosen, rejected)),
                Some(Asked::Text(_, prompt)) if answers_alone(&chosen) && answers_alone(&rejected) => {
                    let prompt = [history(row)?, vec![message("user", &prompt)]].concat();
                    Ok((prompt, chosen, rejected))
                }
                Some(Asked::Text(name, prompt)) => {
                    let parts = apart(chosen, rejected)?;
                    // Other columns than `prompt` may be about the pair, and not of it.
                    match name != "prompt" || says(&parts.0, &prompt) {
                        true => Ok(parts),
                        false => Err(ChatError::row(format!(
                            "has a `{name}` that is none of the messages that `chosen` and `rejected` begin with; keep one \
                             of them"
                        ))),
                    }
                }
                None => apart(chosen, rejected),
            }
        }
    }
}

fn answer(row: &Value, name: &str) -> Result<Value> {
    match column(row, name) {
        Some(Value::Object(message)) => Ok(Value::Array(vec![Value::Object(message.clone())])),
        Some(answer) => Ok(answer.clone()),
        None => Err(ChatError::row(format!(
            "has no `{name}`; a pair needs `chosen` and `rejected`"
        ))),
    }
}

fn asked(row: &Value) -> Result<Option<Asked>> {
    for name in ["prompt", "conversations"] {
        match column(row, name).filter(|prompt| says_something(prompt)) {
            None => {}
            Some(Value::Array(messages)) => return Ok(Some(Asked::Messages(messages.clone()))),
            Some(Value::String(text)) if name == "prompt" => {
                return Ok(Some(Asked::Text(name, text.clone())));
            }
            Some(other) => {
                let problem = format!("has {} as `{name}`; write a list of messages", kind(other));
                return Err(ChatError::row(problem));
            }
        }
    }
    if let Some(prompt) = alpaca_prompt(row)? {
        return Ok(Some(Asked::Text("instruction", prompt)));
    }
    let question = column(row, "question").and_then(Value::as_str);
    Ok(question.map(|question| Asked::Text("question", question.to_owned())))
}

/// Splits two lists of messages into their common beginning, and what is left of both.
fn apart(mut chosen: Vec<Value>, mut rejected: Vec<Value>) -> Result<Parts> {
    let pairs = chosen.iter().zip(&rejected);
    let common = pairs.take_while(|(one, other)| one == other).count();
    // Equal answers are answers, not prompt.
    let common = common.min(chosen.len().min(rejected.len()).saturating_sub(1));
    if common == 0 && chosen.len().max(rejected.len()) > 1 {
        return Err(ChatError::row(
            "has two answers that begin with different messages; both must follow the same prompt, or stand without it \
             beside `prompt`",
        ));
    }
    rejected.drain(..common);
    Ok((chosen.drain(..common).collect(), chosen, rejected))
}

/// The turns of a text as Anthropic's HH-RLHF has them.
fn dialogue(text: &Value) -> Option<Vec<Value>> {
    const SPEAKERS: [(&str, &str); 2] = [("\n\nHuman:", "user"), ("\n\nAssistant:", "assistant")];
    let mut rest = text.as_str()?;
    let mut turns = Vec::new();
    while !rest.is_empty() {
        let speaks = |(mark, role)| Some((rest.strip_prefix(mark)?, role));
        let (said, role) = SPEAKERS.into_iter().find_map(speaks)?;
        let ends = SPEAKERS.into_iter().filter_map(|(mark, _)| said.find(mark));
        let (said, after) = said.split_at(ends.min().unwrap_or(said.len()));
        turns.push(message(role, said.trim()));
        rest = after;
    }
    (turns.len() > 1).then_some(turns)
}

/// Whether messages hold no question.
fn answers_alone(messages: &[Value]) -> bool {
    messages.first().map(role) == Some("assistant")
}

/// Whether a text is in one of these messages, or all of them in it, as a dialogue written as one text has them.
fn says(messages: &[Value], text: &str) -> bool {
    let contents = messages
        .iter()
        .filter_map(|message| message.get("content")?.as_str());
    let contents: Vec<&str> = contents
        .map(str::trim)
        .filter(|content| !content.is_empty())
        .collect();
    let is_dialogue = contents.len() > 1 && contents.iter().all(|content| text.contains(content));
    is_dialogue || contents.iter().any(|content| content.contains(text.trim()))
}

fn read(name: &str, messages: Vec<Value>) -> Result<Vec<Value>> {
    dialect::messages(messages).map_err(|error| wrong(name, &error))
}

fn wrong(name: &str, error: &ChatError) -> ChatError {
    ChatError::row(format!("is wrong in `{name}`: {error}"))
}

/// Renders a pair. Only the date of `options` is used: a prompt that ends with a message of the user or a tool gets a
/// generation prompt, one that ends with the assistant's is continued.
///
/// # Errors
/// As [`Template::render`], and a prompt that ends with another role.
pub fn render_pair(
    tokenizer: &Tokenizer,
    template: &Template,
    pair: &Pair,
    options: &Render,
) -> Result<RenderedPair> {
    let last = pair.prompt.last().map(role).unwrap_or_default();
    if !["user", "tool", "assistant"].contains(&last) {
        return Err(ChatError::row(format!(
            "has a prompt that ends with the role `{last}`; end it with a message of the user, a tool or the assistant"
        )));
    }
    let whole = Render {
        date: options.date,
        ..Render::default()
    };
    let opened = Render {
        add_generation_prompt: last != "assistant",
        continue_final_message: last == "assistant",
        ..whole
    };
    let render = |answer: &[Value], options: &Render| {
        template.render_for(tokenizer, &pair.conversation(answer), options)
    };
    let prompt = render(&[], &opened)?;
    let (chosen, rejected) = (render(&pair.chosen, &whole)?, render(&pair.rejected, &whole)?);
    // Common to all three, so that neither answer loses its first characters.
    let common = |answer: &Rendered| common_prefix(&prompt.text, &answer.text);
    let length = common(&chosen).min(common(&rejected));
    let after = |answer: &Rendered| PairText::of(answer, length..answer.text.len());
    Ok(RenderedPair {
        chosen: after(&chosen),
        rejected: after(&rejected),
        prompt: PairText::of(&prompt, 0..length),
    })
}

/// Bytes that two texts begin with in common, whole characters only.
fn common_prefix(one: &str, other: &str) -> usize {
    let pairs = one.chars().zip(other.chars());
    let common = pairs.take_while(|(one, other)| one == other);
    common.map(|(character, _)| character.len_utf8()).sum()
}
