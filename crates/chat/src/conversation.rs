//! Conversations, as in the rows of a data set.
//!
//! Messages stay JSON values rather than structs: a template may read any key of a message, in the order in which it was
//! written. Only what every template relies on is checked. The dialects of rows are unified when a row is read (`dialect`);
//! a [`Conversation`] made otherwise is rendered as it is.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::dialect::{self, list};
use crate::error::{ChatError, Result};
use crate::message::{ROLES, excerpt, kind, role, says_something};

/// Variables that `chat_template_kwargs` must not set.
const RESERVED: [&str; 4] = [
    "messages",
    "add_generation_prompt",
    "continue_final_message",
    "tokenize",
];

/// Columns with a system message.
pub const SYSTEM: [&str; 2] = ["system", "system_prompt"];

/// Columns with content that no template is shown. An `image` may also be of the speaker: it is content if a message says
/// `<image>`.
pub const MEDIA: [&str; 4] = ["image", "images", "videos", "audios"];

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
    pub const COLUMNS: [&str; 17] = [
        "messages",
        "conversations",
        "prompt",
        "completion",
        "instruction",
        "input",
        "output",
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
    /// All may have a text in `system` (or `system_prompt`), `tools` (or `functions`) and `chat_template_kwargs`. Keys that
    /// are `null` count as absent, and so does an empty list in place of messages beside another form. Other columns are
    /// ignored.
    ///
    /// # Errors
    /// A row without a conversation, one with images, or one that [`Conversation::validate`] refuses.
    pub fn from_row(row: &Value) -> Result<Self> {
        let mut messages = dialect::messages(written_messages(row)?)?;
        open_with_system(row, &mut messages)?;
        refuse_media(row, &messages)?;
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

/// Puts the system message in a column of the row before messages without one.
///
/// # Errors
/// They have another one, or it is no text.
pub fn open_with_system(row: &Value, messages: &mut Vec<Value>) -> Result<()> {
    for column in SYSTEM {
        let text = match row.get(column).filter(|value| says_something(value)) {
            None => continue,
            Some(Value::String(text)) => text,
            Some(other) => {
                return Err(ChatError::row(format!(
                    "has {} as `{column}`; write a text",
                    kind(other)
                )));
            }
        };
        let content = |message: &Value| Some(message.get("content")?.as_str()?.to_owned());
        let present = messages.iter().find(|message| role(message) == "system");
        let present = present.map(|message| content(message).unwrap_or_default());
        match present {
            None => messages.insert(0, message("system", text)),
            Some(present) if present.trim() == text.trim() => {}
            Some(present) => {
                return Err(ChatError::row(format!(
                    "has two system messages, {:?} in `{column}` and {:?} in its messages; keep one",
                    excerpt(text),
                    excerpt(&present)
                )));
            }
        }
    }
    Ok(())
}

/// Refuses a row with content in the columns [`MEDIA`].
pub(crate) fn refuse_media(row: &Value, messages: &[Value]) -> Result<()> {
    let shows_image = |message: &Value| {
        let content = message.get("content").and_then(Value::as_str);
        content.is_some_and(|content| content.contains("<image>"))
    };
    let is_content = |column: &&str| {
        row.get(*column).is_some_and(says_something)
            && (*column != "image" || messages.iter().any(shows_image))
    };
    match MEDIA.iter().find(|column| is_content(column)) {
        None => Ok(()),
        Some(column) => Err(ChatError::row(format!(
            "has `{column}`; only text is read, remove the column or the row"
        ))),
    }
}

/// A column of a row. `null` is as absent.
pub(crate) fn column<'r>(row: &'r Value, name: &str) -> Option<&'r Value> {
    row.get(name).filter(|value| !value.is_null())
}

/// The messages of a row, as they are written.
fn written_messages(row: &Value) -> Result<Vec<Value>> {
    let column = |name: &str| column(row, name);
    let is_empty = |messages: &&Value| messages.as_array().is_some_and(Vec::is_empty);
    for name in ["messages", "conversations"] {
        if let Some(messages) = column(name).filter(|messages| !is_empty(messages)) {
            return list(name, messages);
        }
    }
    match (column("prompt"), column("completion")) {
        (Some(Value::String(prompt)), Some(Value::String(completion))) => {
            return Ok([
                history(row)?,
                vec![message("user", prompt), message("assistant", completion)],
            ]
            .concat());
        }
        (Some(prompt), Some(completion)) => {
            return Ok([list("prompt", prompt)?, list("completion", completion)?].concat());
        }
        _ => {}
    }
    if let (Some(asked), Some(Value::String(output))) = (alpaca_prompt(row)?, column("output")) {
        return Ok([
            history(row)?,
            vec![message("user", &asked), message("assistant", output)],
        ]
        .concat());
    }
    if ["messages", "conversations"]
        .into_iter()
        .any(|name| column(name).is_some())
    {
        return Ok(Vec::new());
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

/// Earlier turns in Alpaca's `history`.
pub(crate) fn history(row: &Value) -> Result<Vec<Value>> {
    let turns = column(row, "history")
        .map(|history| list("history", history))
        .transpose()?;
    let mut messages = Vec::new();
    for turn in turns.unwrap_or_default() {
        match turn.as_array().map(Vec::as_slice) {
            Some([Value::String(asked), Value::String(said)]) => {
                messages.extend([message("user", asked), message("assistant", said)]);
            }
            _ if turn.is_object() => messages.push(turn),
            _ => {
                let problem = "has a `history` of something else than pairs of texts; write lists of messages in \
                               `messages`";
                return Err(ChatError::row(problem));
            }
        }
    }
    Ok(messages)
}

/// What Alpaca's `instruction` and `input` ask, if there is an instruction.
pub(crate) fn alpaca_prompt(row: &Value) -> Result<Option<String>> {
    let Some(instruction) = column(row, "instruction").and_then(Value::as_str) else {
        return Ok(None);
    };
    match column(row, "input").filter(|input| says_something(input)) {
        None => Ok(Some(instruction.to_owned())),
        Some(Value::String(input)) => Ok(Some(format!("{instruction}\n{input}"))),
        Some(other) => Err(ChatError::row(format!(
            "has {} as `input`; write a text",
            kind(other)
        ))),
    }
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
