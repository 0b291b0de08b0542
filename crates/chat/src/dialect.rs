//! Converts the dialects of messages, calls and tools in data sets and clients into one: OpenAI's current one.
//!
//! * ShareGPT's `from` and `value`; roles `human`, `gpt`, `observation`, `function_call`.
//! * Content in parts, joined without anything between; images, sound and files are refused by name.
//! * Calls as a list or as JSON text, with arguments as an object or as JSON text, under any of the names [`ARGUMENTS`]; the
//!   older `function_call` and the role `function`.
//! * Tools as a list, as JSON text, as a list of JSON texts, inside a system message; the older `functions`.
//!
//! Keys that are `null` are left out: a columnar file has them for every key of any row, and a template must not see the
//! difference. So a schema's `"default": null` is dropped, too. Calls and arguments written as JSON text have no such keys:
//! null is meant there, and stays. `content` is `null` if there are only calls, and empty if there is only a thought (an answer
//! that was cut off within it).

use serde_json::{Map, Value, json};

use crate::error::{ChatError, Result};
use crate::json_text;
use crate::message::{REASONING, kind, role, says_something, unclear_weight};

/// Roles of ShareGPT, by the names in use.
const SPEAKERS: [(&str, &str); 13] = [
    ("human", "user"),
    ("user", "user"),
    ("gpt", "assistant"),
    ("assistant", "assistant"),
    ("chatgpt", "assistant"),
    ("bard", "assistant"),
    ("bing", "assistant"),
    ("model", "assistant"),
    ("system", "system"),
    ("tool", "tool"),
    ("observation", "tool"),
    ("function_response", "tool"),
    ("function_call", "function_call"),
];

/// Keys of content that is not text, of a refusal, and of what is written elsewhere.
const OTHER_CONTENT: [&str; 14] = [
    "audio",
    "audios",
    "file",
    "files",
    "image",
    "image_url",
    "images",
    "input_audio",
    "reasoning_details",
    "refusal",
    "tool_call",
    "video",
    "video_url",
    "videos",
];

/// Keys of a call that no template writes: numbers and states that servers and libraries add.
const UNWRITTEN: [&str; 7] = [
    "call_id",
    "extra_content",
    "id",
    "index",
    "parsed_arguments",
    "provider_specific_fields",
    "status",
];

/// Keys for the arguments of a call: OpenAI's, Llama 3's, LangChain's, Anthropic's.
const ARGUMENTS: [&str; 4] = ["arguments", "parameters", "args", "input"];

/// A list in a column of a row.
pub(crate) fn list(column: &str, value: &Value) -> Result<Vec<Value>> {
    match value {
        Value::Array(items) => Ok(items.clone()),
        other => Err(ChatError::row(format!(
            "has {} as `{column}`; write a list",
            kind(other)
        ))),
    }
}

/// Messages in OpenAI's form.
pub(crate) fn messages(written: Vec<Value>) -> Result<Vec<Value>> {
    let messages = written.into_iter().enumerate();
    messages
        .map(|(index, message)| match message {
            Value::Object(entries) => match read(entries) {
                Ok(message) => Ok(Value::Object(message)),
                Err(problem) => Err(ChatError::Message { index, problem }),
            },
            // `Conversation::validate` refuses it with a better message.
            other => Ok(other),
        })
        .collect()
}

/// Takes the tools out of a system message, where some data sets have them.
pub(crate) fn take_tools(messages: &mut [Value]) -> Result<Option<Vec<Value>>> {
    let mut found = None;
    for (index, message) in messages.iter_mut().enumerate() {
        if !matches!(role(message), "system" | "developer") {
            continue;
        }
        let Some(message) = message.as_object_mut() else {
            continue;
        };
        let wrong = |problem: String| ChatError::Message { index, problem };
        for key in ["tools", "functions"] {
            let Some(written) = message.shift_remove(key) else {
                continue;
            };
            let tools = tools(&written)
                .map_err(|error| wrong(format!("has `{key}` that cannot be read: {error}")))?;
            if found.as_ref().is_some_and(|earlier| *earlier != tools) {
                return Err(wrong(
                    "gives other tools than a system message before it; keep one list".to_owned(),
                ));
            }
            found = Some(tools);
        }
    }
    Ok(found)
}

/// A list of tools, or one written as JSON, or one of tools written as JSON.
pub(crate) fn tools(written: &Value) -> Result<Vec<Value>> {
    let wrong = |problem: String| ChatError::row(format!("has `tools` that {problem}"));
    let read = match written {
        Value::String(text) if text.trim().is_empty() => return Ok(Vec::new()),
        Value::String(text) => json_text::read(text).map_err(wrong)?,
        other => other.clone(),
    };
    list("tools", &read)?
        .into_iter()
        .enumerate()
        .map(|(index, tool)| match tool {
            Value::String(text) if text.trim_start().starts_with('{') => {
                json_text::parse(&text).map_err(|error| ChatError::Tool {
                    index,
                    problem: format!("is not JSON: {error}"),
                })
            }
            tool => Ok(tool),
        })
        .map(|tool| tool.map(without_nulls))
        .collect()
}

/// A value without the keys that are `null`, at any depth. Items of lists stay.
pub(crate) fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(entries) => Value::Object(entries_without_nulls(entries)),
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        other => other,
    }
}

/// As [`without_nulls`], of an object.
pub(crate) fn entries_without_nulls(entries: Map<String, Value>) -> Map<String, Value> {
    let entries = entries.into_iter().filter(|(_, value)| !value.is_null());
    entries.map(|(key, value)| (key, without_nulls(value))).collect()
}

fn read(written: Map<String, Value>) -> Result<Map<String, Value>, String> {
    let is_null = |key: &str| written.get(key).is_some_and(Value::is_null);
    let content_is_null = is_null("content") || is_null("value");
    let mut message = spoken_by(entries_without_nulls(written))?;
    if let Some(Value::Array(parts)) = message.get("content") {
        let text = joined(parts)?;
        message.insert("content".to_owned(), Value::String(text));
    }
    refuse_unread(&message)?;

    if let Some(call) = message.shift_remove("function_call") {
        if message.contains_key("tool_calls") {
            return Err("has both `function_call` and `tool_calls`; keep one".to_owned());
        }
        message.insert("tool_calls".to_owned(), json!([call]));
    }
    if message.get("role").is_some_and(|role| role == "function") {
        message.insert("role".to_owned(), json!("tool"));
    }
    if let Some(written) = message.get("tool_calls") {
        let calls = calls(written)?;
        match calls.is_empty() {
            true => _ = message.shift_remove("tool_calls"),
            false => _ = message.insert("tool_calls".to_owned(), Value::Array(calls)),
        }
    }
    if !message.contains_key("content") {
        let is_assistant = message.get("role").is_some_and(|role| role == "assistant");
        let is_text = |key: &&str| message.get(*key).is_some_and(Value::is_string);
        if message.contains_key("tool_calls") {
            message.insert("content".to_owned(), Value::Null);
        } else if is_assistant && REASONING.iter().any(is_text) {
            message.insert("content".to_owned(), json!(""));
        } else if content_is_null {
            message.insert("content".to_owned(), Value::Null);
        }
    }
    Ok(message)
}

/// Refuses content that no template is shown.
fn refuse_unread(message: &Map<String, Value>) -> Result<(), String> {
    let given = |key: &&&str| message.get(**key).is_some_and(says_something);
    if let Some(key) = OTHER_CONTENT.iter().find(given) {
        return Err(format!("has `{key}`, which is not read; remove it or the row"));
    }
    for key in REASONING {
        let thought = message.get(key).filter(|thought| says_something(thought));
        if let Some(thought @ (Value::Array(_) | Value::Object(_))) = thought {
            return Err(format!("has {} as `{key}`; write a text", kind(thought)));
        }
    }
    if let Some((key, weight)) = unclear_weight(message) {
        return Err(format!(
            "has {weight} as `{key}`; write 1 if it is learned, 0 if it is not"
        ));
    }
    match message.get("content").and_then(json_text::lost_digits) {
        Some(problem) => Err(format!("has words that {problem}")),
        None => Ok(()),
    }
}

/// Converts a message of ShareGPT into one with `role` and `content`.
fn spoken_by(mut message: Map<String, Value>) -> Result<Map<String, Value>, String> {
    if message.contains_key("role") || !message.contains_key("from") {
        return Ok(message);
    }
    let from = message.shift_remove("from").unwrap_or_default();
    let value = message.shift_remove("value");
    let role = SPEAKERS.iter().find(|(name, _)| from == *name);
    let role = role.map_or(from.clone(), |(_, role)| json!(role));
    let mut read = Map::new();
    if role == "function_call" {
        read.insert("role".to_owned(), json!("assistant"));
        let called = match value.unwrap_or_default() {
            Value::String(text) => json_text::read(&text)
                .map_err(|problem| format!("is from `function_call` with words that {problem}"))?,
            value => value,
        };
        let called = match called {
            Value::Array(calls) => calls,
            call => vec![call],
        };
        read.insert("tool_calls".to_owned(), Value::Array(called));
    } else {
        read.insert("role".to_owned(), role);
        read.extend(value.map(|value| ("content".to_owned(), value)));
    }
    read.extend(message);
    Ok(read)
}

/// The text of content in parts.
fn joined(parts: &[Value]) -> Result<String, String> {
    let mut text = String::new();
    for (index, part) in parts.iter().enumerate() {
        let Value::Object(part) = part else {
            return Err(format!(
                "has a content part {index} that is no object; write {{\"type\": \"text\", \"text\": …}}"
            ));
        };
        let kind = part.get("type").and_then(Value::as_str).unwrap_or("text");
        match (kind, part.get("text")) {
            ("text" | "input_text" | "output_text", Some(Value::String(part))) => text.push_str(part),
            ("text" | "input_text" | "output_text", _) => {
                return Err(format!(
                    "has a content part {index} without `text`; write {{\"type\": \"text\", \"text\": …}}"
                ));
            }
            (other, _) => {
                return Err(format!(
                    "has a content part {index} of type `{other}`; only `text` is read, remove the part or the row"
                ));
            }
        }
    }
    Ok(text)
}

/// Calls with their arguments as objects.
fn calls(written: &Value) -> Result<Vec<Value>, String> {
    let read: Value = match written {
        Value::String(text) => {
            json_text::read(text).map_err(|problem| format!("has `tool_calls` that {problem}"))?
        }
        other => other.clone(),
    };
    let Value::Array(calls) = read else {
        return Err(format!(
            "has {} as `tool_calls`; write a list of objects with `function`, which has `name` and `arguments`",
            kind(&read)
        ));
    };
    let calls = calls.into_iter().enumerate();
    calls
        .map(|(index, call)| {
            read_call(call).map_err(|problem| format!("has a `tool_calls` {index} {problem}"))
        })
        .collect()
}

fn read_call(call: Value) -> Result<Value, String> {
    let wrong =
        || "that is no call; write an object with `function`, which has `name` and `arguments`".to_owned();
    let call = match call {
        Value::String(text) => json_text::read(&text).map_err(|_| wrong())?,
        call => call,
    };
    let Value::Object(mut call) = call else {
        return Err(wrong());
    };
    let mut function = match call.shift_remove("function") {
        Some(Value::Object(function)) => function,
        // Some write the function in place of the call.
        None if call.contains_key("name") => {
            let keys = ["name"].into_iter().chain(ARGUMENTS);
            keys.filter_map(|key| Some((key.to_owned(), call.shift_remove(key)?)))
                .collect()
        }
        _ => return Err(wrong()),
    };
    if !function.get("name").is_some_and(Value::is_string) {
        return Err(wrong());
    }
    read_arguments(&mut function)?;
    only(&mut function, &["name", "arguments"])?;
    only(&mut call, &["id", "index", "type"])?;
    call.entry("type").or_insert_with(|| json!("function"));
    call.insert("function".to_owned(), Value::Object(function));
    Ok(Value::Object(call))
}

/// Puts the arguments of a call under `arguments`, as an object.
fn read_arguments(function: &mut Map<String, Value>) -> Result<(), String> {
    let given = ARGUMENTS
        .iter()
        .filter(|key| function.get(**key).is_some_and(says_something));
    let arguments = match given.collect::<Vec<_>>()[..] {
        [] => json!({}),
        [key] => match function.get(*key) {
            Some(Value::String(text)) if text.trim().is_empty() => json!({}),
            Some(Value::String(text)) => match json_text::read(text) {
                Ok(arguments @ Value::Object(_)) => arguments,
                Ok(_) => return Err(format!("with `{key}` that are no JSON object; write them as one")),
                Err(problem) => return Err(format!("with `{key}` that {problem}")),
            },
            written => {
                let arguments = written.cloned().unwrap_or_default();
                match json_text::lost_digits(&arguments) {
                    None => arguments,
                    Some(problem) => return Err(format!("with `{key}` that {problem}")),
                }
            }
        },
        [one, other, ..] => return Err(format!("with both `{one}` and `{other}`; keep one")),
    };
    function.insert("arguments".to_owned(), arguments);
    function.retain(|key, _| key == "arguments" || !ARGUMENTS.contains(&key.as_str()));
    Ok(())
}

/// Refuses any other keys of a call, and removes those that say nothing.
fn only(part: &mut Map<String, Value>, keys: &[&str]) -> Result<(), String> {
    let is_known = |key: &String| keys.contains(&key.as_str());
    let is_read = |key: &String| is_known(key) || UNWRITTEN.contains(&key.as_str());
    match part
        .iter()
        .find(|(key, value)| !is_read(key) && says_something(value))
    {
        Some((key, _)) => Err(format!(
            "with `{key}`; a call has a name and `arguments`, rename or remove the key"
        )),
        None => {
            part.retain(|key, value| is_known(key) && !value.is_null());
            Ok(())
        }
    }
}
