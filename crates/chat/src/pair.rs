//! Preference pairs: a prompt, a chosen answer and a rejected one.
//!
//! Each answer is rendered together with the prompt, whose text is then cut off, because a template may write something
//! between the two that belongs to neither.
//! Source: `apply_chat_template` and `extract_prompt` in TRL's `data_utils.py`.

use std::ops::Range;

use serde_json::{Map, Value};
use smollm3_corpus::Tokenizer;

use crate::conversation::{Conversation, alpaca_prompt, check_message, message, read_kwargs, read_tools};
use crate::dialect::{self, list};
use crate::error::{ChatError, Result};
use crate::message::{kind, role};
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
    pub const COLUMNS: [&str; 10] = [
        "prompt",
        "chosen",
        "rejected",
        "conversations",
        "instruction",
        "input",
        "system",
        "tools",
        "functions",
        "chat_template_kwargs",
    ];

    /// Reads a row: `chosen` and `rejected` (messages, lists of messages, or texts), and a `prompt` of the same kind
    /// (`conversations` of ShareGPT, `instruction` and `input` of Alpaca). If `prompt` is not a list of messages but the
    /// answers are, their common beginning is the prompt, as in data sets that repeat it in both. Optional: `tools` and
    /// `chat_template_kwargs`.
    ///
    /// # Errors
    /// A row without a pair in it, or with a message that [`Conversation::validate`] would refuse.
    pub fn from_row(row: &Value) -> Result<Self> {
        let column = |name: &str| row.get(name).filter(|value| !value.is_null());
        let answer = |name: &str| match column(name) {
            Some(Value::Object(message)) => Ok(Value::Array(vec![Value::Object(message.clone())])),
            Some(answer) => Ok(answer.clone()),
            None => Err(ChatError::row(format!(
                "has no `{name}`; a pair needs `chosen` and `rejected`"
            ))),
        };
        let (chosen, rejected) = (answer("chosen")?, answer("rejected")?);
        let prompt = column("prompt").or_else(|| column("conversations"));
        let instruction = column("instruction").and_then(|_| alpaca_prompt(row));
        let prompt = prompt.cloned().or(instruction.map(Value::String));
        let (prompt, chosen, rejected) = match (prompt.as_ref(), &chosen, &rejected) {
            (Some(Value::String(prompt)), Value::String(chosen), Value::String(rejected)) => (
                vec![message("user", prompt)],
                vec![message("assistant", chosen)],
                vec![message("assistant", rejected)],
            ),
            (Some(Value::Array(prompt)), chosen, rejected) => (
                prompt.clone(),
                list("chosen", chosen)?,
                list("rejected", rejected)?,
            ),
            (None | Some(Value::String(_)), chosen, rejected) => {
                let (mut chosen, mut rejected) = (list("chosen", chosen)?, list("rejected", rejected)?);
                let pairs = chosen.iter().zip(&rejected);
                let common = pairs.take_while(|(one, other)| one == other).count();
                // Equal answers are answers, not prompt.
                let common = common.min(chosen.len().min(rejected.len()).saturating_sub(1));
                if common == 0 && chosen.len().max(rejected.len()) > 1 {
                    return Err(ChatError::row(
                        "has two answers that begin with different messages; both must follow the same prompt, or stand \
                         without it beside `prompt`",
                    ));
                }
                rejected.drain(..common);
                (chosen.drain(..common).collect(), chosen, rejected)
            }
            (Some(other), _, _) => {
                let problem = format!("has {} as `prompt`; write a list of messages", kind(other));
                return Err(ChatError::row(problem));
            }
        };
        let wrong = |name: &str, error: ChatError| ChatError::row(format!("is wrong in `{name}`: {error}"));
        let read = |name, messages| dialect::messages(messages).map_err(|error| wrong(name, error));
        let (chosen, rejected) = (read("chosen", chosen)?, read("rejected", rejected)?);
        let mut prompt = read("prompt", prompt)?;
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
            for (index, message) in messages.iter().enumerate() {
                check_message(index, message).map_err(|error| wrong(name, error))?;
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
