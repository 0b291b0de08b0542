//! Conversations, as in the rows of a data set.
//!
//! Messages stay JSON values rather than structs: a template may read any key of a message, in the order in which it was
//! written. Only what every template relies on is checked. The dialects of rows are unified when a row is read (`dialect`);
//! a [`Conversation`] made otherwise is rendered as it is.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::dialect::{self, list};
use crate::error::{ChatError, Result};
use crate::message::{ROLES, kind, role};

/// Variables that `chat_template_kwargs` must not set.
const RESERVED: [&str; 4] = [
    "messages",
    "add_generation_prompt",
    "continue_final_message",
    "tokenize",
];

/// What is rendered: messages, the tools on offer, and what else the template may ask for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conversation {
    /// Objects with a `role` and a `content`, in order.
    pub messages: Vec<Value>,
    /// JSON schemas of functions. `None` and an empty list differ: with a list, a checkpoint's template for
    /// the use of tools is chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<Value>>,
    /// Further variables of the template (`enable_thinking`, …).
    #[serde(
        default,
        rename = "chat_template_kwargs",
        skip_serializing_if = "Map::is_empty"
    )]
    pub template_kwargs: Map<String, Value>,
}

impl Conversation {
    /// The columns that [`Conversation::from_row`] may read.
    pub const COLUMNS: [&str; 12] = [
        "messages",
        "conversations",
        "prompt",
        "completion",
        "instruction",
        "input",
        "output",
        "history",
        "system",
        "tools",
        "functions",
        "chat_template_kwargs",
    ];

    /// Messages without tools, with the template's `enable_thinking`.
    pub fn thinking(think: bool, messages: Vec<Value>) -> Self {
        Self {
            messages,
            tools: None,
            template_kwargs: [("enable_thinking".to_owned(), Value::Bool(think))]
                .into_iter()
                .collect(),
        }
    }

    /// Reads a row, in one of the forms that data sets have:
    ///
    /// * `messages` of OpenAI, or `conversations` of ShareGPT;
    /// * `prompt` and `completion`: lists of messages, or two texts, which become a user's and an assistant's message;
    /// * `instruction`, `input` and `output` of Alpaca: the first two, a line each, are the user's message; `history` has
    ///   earlier pairs of messages.
    ///
    /// The latter two forms and ShareGPT may have a text in `system`. All may have `tools` (or `functions`) and
    /// `chat_template_kwargs`. Keys that are `null` count as absent. Other columns are ignored.
    ///
    /// # Errors
    /// A row without a conversation, or one that [`Conversation::validate`] refuses.
    pub fn from_row(row: &Value) -> Result<Self> {
        let mut messages = dialect::messages(written_messages(row)?)?;
        let mut template_kwargs = read_kwargs(row)?;
        let tools = read_tools(row, &mut template_kwargs, &mut messages)?;
        let conversation = Conversation {
            messages,
            tools,
            template_kwargs,
        };
        conversation.validate()?;
        Ok(conversation)
    }

    /// Messages as OpenAI's clients write them, with tools and the template's variables, as [`Conversation::from_row`]
    /// reads them.
    ///
    /// # Errors
    /// As [`Conversation::from_row`].
    pub fn of_messages(
        messages: Vec<Value>,
        tools: Option<Vec<Value>>,
        template_kwargs: Map<String, Value>,
    ) -> Result<Self> {
        Self::from_row(&serde_json::json!({
            "messages": messages,
            "tools": tools,
            "chat_template_kwargs": template_kwargs,
        }))
    }

    /// Checks what every template relies on: known roles, text as content, tools with names.
    ///
    /// Rendering does not call this; a template may accept less.
    ///
    /// # Errors
    /// The first message or tool that is wrong, by its position.
    pub fn validate(&self) -> Result<()> {
        if self.messages.is_empty() {
            return Err(ChatError::NoMessages);
        }
        for (index, message) in self.messages.iter().enumerate() {
            check_message(index, message)?;
        }
        for (index, tool) in self.tools.iter().flatten().enumerate() {
            check_tool(index, tool)?;
        }
        Ok(())
    }
}

/// Messages of a row in OpenAI's form, whatever form they have there.
///
/// # Errors
/// Content that is no text, or calls that cannot be read.
pub fn in_one_form(messages: Vec<Value>) -> Result<Vec<Value>> {
    dialect::messages(messages)
}

/// The messages of a row, as they are written.
fn written_messages(row: &Value) -> Result<Vec<Value>> {
    let column = |name: &str| row.get(name).filter(|value| !value.is_null());
    let system = column("system")
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty());
    let with_system = |messages: Vec<Value>| match system {
        Some(system) if messages.first().map(role) != Some("system") => {
            [vec![message("system", system)], messages].concat()
        }
        _ => messages,
    };
    if let Some(messages) = column("messages") {
        return list("messages", messages);
    }
    if let Some(messages) = column("conversations") {
        return Ok(with_system(list("conversations", messages)?));
    }
    match (column("prompt"), column("completion")) {
        (Some(Value::String(prompt)), Some(Value::String(completion))) => {
            let messages = vec![message("user", prompt), message("assistant", completion)];
            return Ok(with_system(messages));
        }
        (Some(prompt), Some(completion)) => {
            let mut messages = list("prompt", prompt)?;
            messages.extend(list("completion", completion)?);
            return Ok(messages);
        }
        _ => {}
    }
    if let (Some(Value::String(_)), Some(Value::String(output))) = (column("instruction"), column("output")) {
        let mut messages = Vec::new();
        let history = column("history")
            .map(|history| list("history", history))
            .transpose()?;
        for turn in history.unwrap_or_default() {
            match turn.as_array().map(Vec::as_slice) {
                Some([Value::String(asked), Value::String(said)]) => {
                    messages.extend([message("user", asked), message("assistant", said)]);
                }
                _ => {
                    let problem = "has a `history` of something else than pairs of texts; write lists of messages in \
                                   `messages`";
                    return Err(ChatError::row(problem));
                }
            }
        }
        let asked = alpaca_prompt(row).unwrap_or_default();
        messages.extend([message("user", &asked), message("assistant", output)]);
        return Ok(with_system(messages));
    }
    if column("chosen").is_some() && column("rejected").is_some() {
        return Err(ChatError::row(
            "holds a preference, `chosen` and `rejected`, and no conversation; write kind = \"apo\" for the stage, or keep \
             one answer as `completion`",
        ));
    }
    let columns = match row {
        Value::Object(row) if !row.is_empty() => row.keys().cloned().collect::<Vec<_>>().join(", "),
        Value::Object(_) => "nothing".to_owned(),
        other => kind(other).to_owned(),
    };
    Err(ChatError::row(format!(
        "holds no conversation; it needs `messages`, `conversations`, `prompt` and `completion`, or `instruction` and \
         `output`, and has {columns}; rename its columns to one of these forms"
    )))
}

/// What Alpaca's `instruction` and `input` ask, if there is an instruction.
pub(crate) fn alpaca_prompt(row: &Value) -> Option<String> {
    let text = |name: &str| row.get(name).and_then(Value::as_str);
    let instruction = text("instruction")?;
    Some(match text("input").filter(|input| !input.is_empty()) {
        Some(input) => format!("{instruction}\n{input}"),
        None => instruction.to_owned(),
    })
}

/// The template's variables of a row, tools among them.
pub(crate) fn read_kwargs(row: &Value) -> Result<Map<String, Value>> {
    let kwargs = match row.get("chat_template_kwargs") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(kwargs)) => dialect::entries_without_nulls(kwargs.clone()),
        Some(other) => {
            return Err(ChatError::row(format!(
                "has {} as `chat_template_kwargs`; write an object such as {{\"enable_thinking\": false}}",
                kind(other)
            )));
        }
    };
    match RESERVED.iter().find(|name| kwargs.contains_key(**name)) {
        None => Ok(kwargs),
        Some(name) => Err(ChatError::row(format!(
            "sets `{name}` in `chat_template_kwargs`, which is not a row's to set; remove it"
        ))),
    }
}

/// The tools of a row: from a column, or taken out of `kwargs` or of a system message.
pub(crate) fn read_tools(
    row: &Value,
    kwargs: &mut Map<String, Value>,
    messages: &mut [Value],
) -> Result<Option<Vec<Value>>> {
    let column = |name: &str| row.get(name).filter(|tools| !tools.is_null());
    let written = [
        column("tools").cloned(),
        column("functions").cloned(),
        kwargs.shift_remove("tools"),
    ];
    let mut found = dialect::take_tools(messages)?;
    for written in written.into_iter().flatten() {
        let tools = dialect::tools(&written)?;
        match &found {
            Some(earlier) if *earlier != tools => {
                return Err(ChatError::row(
                    "gives `tools` twice: in a column, in `chat_template_kwargs` or in a system message; keep one",
                ));
            }
            _ => found = Some(tools),
        }
    }
    Ok(found)
}

/// A message of text.
pub(crate) fn message(role: &str, content: &str) -> Value {
    serde_json::json!({ "role": role, "content": content })
}

pub(crate) fn check_message(index: usize, message: &Value) -> Result<()> {
    let wrong = |problem: String| ChatError::Message { index, problem };
    let Value::Object(message) = message else {
        return Err(wrong(format!(
            "is {}; write an object with `role` and `content`",
            kind(message)
        )));
    };
    let role = match message.get("role") {
        Some(Value::String(role)) => role.as_str(),
        Some(other) => return Err(wrong(format!("has {} as role; write a string", kind(other)))),
        None => return Err(wrong(format!("has no `role`; write one of {}", ROLES.join(", ")))),
    };
    if !ROLES.contains(&role) {
        return Err(ChatError::UnknownRole {
            index,
            role: role.to_owned(),
        });
    }
    let calls_tools = matches!(message.get("tool_calls"), Some(Value::Array(calls)) if !calls.is_empty());
    match message.get("content") {
        Some(Value::String(_)) => Ok(()),
        None | Some(Value::Null) if calls_tools => Ok(()),
        None | Some(Value::Null) => Err(wrong(
            "has no `content`; write a string (an empty one if nothing was said) or give it `tool_calls`"
                .into(),
        )),
        Some(Value::Array(parts)) if parts.iter().all(Value::is_object) => Ok(()),
        // What a tool gave back may be data; the template decides how to spell it.
        Some(Value::Object(_)) if role == "tool" => Ok(()),
        Some(other) => {
            let kind = kind(other);
            Err(wrong(format!(
                "has {kind} as `content`; write a string or a list of parts"
            )))
        }
    }
}

fn check_tool(index: usize, tool: &Value) -> Result<()> {
    let wrong = |problem: String| ChatError::Tool { index, problem };
    let Value::Object(schema) = tool else {
        return Err(wrong(format!(
            "is {}; write the JSON schema of a function, an object with `type` and `function`",
            kind(tool)
        )));
    };
    let (holder, function) = match (schema.get("type"), schema.get("function")) {
        (Some(Value::String(name)), Some(Value::Object(function))) if name == "function" => {
            ("`function.name`", function)
        }
        (_, Some(Value::Object(_))) => {
            return Err(wrong(
                "has a `function` but not `\"type\": \"function\"`; add it".into(),
            ));
        }
        (_, Some(other)) if !other.is_null() => {
            return Err(wrong(format!(
                "has {} as `function`; write an object with `name` and `parameters`",
                kind(other)
            )));
        }
        (Some(Value::String(name)), _) if name == "function" && !schema.contains_key("name") => {
            return Err(wrong(
                "says `\"type\": \"function\"` but has no `function`; add an object with `name`".into(),
            ));
        }
        _ => ("`name`", schema),
    };
    match function.get("name") {
        Some(Value::String(name)) if !name.is_empty() => Ok(()),
        _ => Err(wrong(format!(
            "has no {holder}; write the function's name as a string"
        ))),
    }
}
