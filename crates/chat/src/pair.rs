//! Preference pairs: one prompt, an answer that was chosen and one that was rejected.
//!
//! The answers are rendered together with the prompt and the prompt's text is then cut off, because a
//! template may write something between the two that belongs to neither.
//! Source: `apply_chat_template` and `extract_prompt` in TRL's `data_utils.py`.

use serde_json::{Map, Value};

use crate::conversation::{Conversation, check_message, kind, list, message, read_kwargs, read_tools, role};
use crate::error::{ChatError, Result};
use crate::template::{Render, Template};

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
    pub prompt: String,
    /// The preferred answer and the end of its turn.
    pub chosen: String,
    /// The other.
    pub rejected: String,
}

impl Pair {
    /// Reads a row: `chosen` and `rejected`, lists of messages or texts, and `prompt` of the same kind. Where
    /// `prompt` is no list of messages but the answers are, it is taken to be what the two begin with in
    /// common, as in data sets that repeat the prompt in both. Optional `tools` and `chat_template_kwargs`.
    ///
    /// # Errors
    /// A row without a pair in it, or with a message that [`Conversation::validate`] would refuse.
    pub fn from_row(row: &Value) -> Result<Self> {
        let column = |name: &str| row.get(name).filter(|value| !value.is_null());
        let answer = |name: &str| {
            column(name).ok_or_else(|| {
                ChatError::row(format!("has no `{name}`; a pair needs `chosen` and `rejected`"))
            })
        };
        let (chosen, rejected) = (answer("chosen")?, answer("rejected")?);
        let (prompt, chosen, rejected) = match (column("prompt"), chosen, rejected) {
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
                let common = chosen
                    .iter()
                    .zip(&rejected)
                    .take_while(|(one, other)| one == other)
                    .count();
                // Two equal answers still are answers.
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
        let mut template_kwargs = read_kwargs(row)?;
        let tools = read_tools(row, &mut template_kwargs)?;
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
            if name != "prompt"
                && messages
                    .first()
                    .is_some_and(|first| ["user", "system"].contains(&role(first)))
            {
                return Err(ChatError::row(format!(
                    "has a `{name}` that begins with the role `{}`; questions belong into `prompt` only",
                    role(&messages[0])
                )));
            }
            for (index, message) in messages.iter().enumerate() {
                check_message(index, message)
                    .map_err(|error| ChatError::row(format!("is wrong in `{name}`: {error}")))?;
            }
        }
        Ok(pair)
    }

    fn conversation(&self, answer: &[Value]) -> Conversation {
        Conversation {
            messages: [&self.prompt, answer].concat(),
            tools: self.tools.clone(),
            template_kwargs: self.template_kwargs.clone(),
        }
    }
}

/// Renders a pair. Only the date of `options` is used: a prompt that ends with the user's or a tool's words
/// gets a generation prompt, one that ends with the assistant's is continued.
///
/// # Errors
/// As [`Template::render`], and a prompt that ends with another role.
pub fn render_pair(template: &Template, pair: &Pair, options: &Render) -> Result<RenderedPair> {
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
    let prompt = template.render(&pair.conversation(&[]), &opened)?.text;
    let chosen = template.render(&pair.conversation(&pair.chosen), &whole)?.text;
    let rejected = template.render(&pair.conversation(&pair.rejected), &whole)?.text;
    // Common to all three, so that neither answer loses its first characters.
    let length = common_prefix(&prompt, &chosen).min(common_prefix(&prompt, &rejected));
    let after = |text: &str| text.get(length..).unwrap_or_default().to_owned();
    Ok(RenderedPair {
        chosen: after(&chosen),
        rejected: after(&rejected),
        prompt: prompt.get(..length).unwrap_or_default().to_owned(),
    })
}

/// Bytes that two texts begin with in common, whole characters only.
fn common_prefix(one: &str, other: &str) -> usize {
    let common = one
        .chars()
        .zip(other.chars())
        .take_while(|(one, other)| one == other);
    common.map(|(character, _)| character.len_utf8()).sum()
}
