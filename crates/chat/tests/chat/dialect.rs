//! Rows in the forms that data sets have become one conversation.

use serde_json::{Value, json};
use smollm3_chat::Conversation;

fn read(row: Value) -> Conversation {
    Conversation::from_row(&row).unwrap_or_else(|error| panic!("{row}: {error}"))
}

fn refused(row: Value) -> String {
    Conversation::from_row(&row)
        .expect_err(&row.to_string())
        .to_string()
}

fn with(message: Value) -> Value {
    json!({"messages": [{"role": "user", "content": "q"}, message]})
}

#[test]
fn four_public_forms_are_one_conversation() {
    let expected = json!([
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Name a colour.\nA warm one."},
        {"role": "assistant", "content": "Red."},
    ]);
    for row in [
        json!({"messages": expected}),
        json!({"conversations": [
            {"from": "system", "value": "Be brief."},
            {"from": "human", "value": "Name a colour.\nA warm one."},
            {"from": "gpt", "value": "Red."},
        ], "id": "x"}),
        json!({"system": "Be brief.", "conversations": [
            {"from": "human", "value": "Name a colour.\nA warm one."},
            {"from": "gpt", "value": "Red.", "weight": null},
        ]}),
        // Given twice.
        json!({"system": "Be brief.", "conversations": [
            {"from": "system", "value": "Be brief."},
            {"from": "human", "value": "Name a colour.\nA warm one."},
            {"from": "gpt", "value": "Red."},
        ]}),
        json!({"system_prompt": "Be brief.", "conversations": [
            {"from": "human", "value": "Name a colour.\nA warm one."},
            {"from": "gpt", "value": "Red."},
        ]}),
        json!({"system": "Be brief.", "messages": expected.as_array().unwrap()[1..]}),
        json!({"system": "", "system_prompt": null, "messages": expected}),
        json!({
            "system": "Be brief.",
            "prompt": [{"role": "user", "content": "Name a colour.\nA warm one."}],
            "completion": [{"role": "assistant", "content": "Red."}],
        }),
        json!({"messages": [], "prompt": "Name a colour.\nA warm one.", "completion": "Red.", "system": "Be brief."}),
        json!({"instruction": "Name a colour.", "input": "A warm one.", "output": "Red.", "system": "Be brief."}),
        json!({"prompt": "Name a colour.\nA warm one.", "completion": "Red.", "system": "Be brief."}),
        json!({
            "prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Name a colour.\nA warm one."}],
            "completion": [{"role": "assistant", "content": "Red."}],
        }),
    ] {
        assert_eq!(json!(read(row.clone()).messages), expected, "{row}");
    }
    let history = json!({"instruction": "c", "input": "", "output": "d", "history": [["a", "b"]]});
    let said: Vec<Value> = read(history)
        .messages
        .iter()
        .map(|message| message["content"].clone())
        .collect();
    assert_eq!(said, ["a", "b", "c", "d"]);
    assert!(refused(json!({"instruction": "c", "output": "d", "history": ["a"]})).contains("`history`"));
    assert!(refused(json!({"conversations": [{"from": "narrator", "value": "x"}]})).contains("`narrator`"));
    let other = refused(json!({"messages": expected, "system": "Speak Latin."}));
    assert!(
        other.contains("\"Speak Latin.\" in `system` and \"Be brief.\""),
        "{other}"
    );
    assert!(refused(json!({"messages": expected, "system": ["s"]})).contains("a list as `system`"));
    let input = refused(json!({"instruction": "c", "input": ["x"], "output": "d"}));
    assert!(input.contains("a list as `input`"), "{input}");
    let unknown = refused(json!({"question": "a", "answer": "b"}));
    assert!(unknown.contains("has question, answer; rename"), "{unknown}");
}

#[test]
fn parts_are_joined_and_what_is_no_text_is_refused_by_name() {
    let text = |parts: Value| {
        read(with(json!({"role": "assistant", "content": parts}))).messages[1]["content"].clone()
    };
    assert_eq!(
        text(json!([{"type": "text", "text": "a "}, {"type": "text", "text": "b"}])),
        "a b"
    );
    // As a columnar file holds it.
    assert_eq!(
        text(json!([{"type": "text", "text": "a", "image_url": null}])),
        "a"
    );
    assert_eq!(text(json!([])), "");
    for (part, says) in [
        (
            json!({"type": "image", "text": null}),
            "message 1 has a content part 0 of type `image`",
        ),
        (
            json!({"type": "image_url", "image_url": {"url": "x"}}),
            "`image_url`",
        ),
        (json!({"type": "input_audio", "input_audio": {}}), "`input_audio`"),
        (
            json!({"type": "text", "text": null}),
            "content part 0 without `text`",
        ),
    ] {
        let error = refused(with(json!({"role": "user", "content": [part]})));
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn content_beside_the_text_is_refused_by_name() {
    for (key, value) in [
        ("images", json!(["photo.png"])),
        ("image", json!("photo.png")),
        ("audio", json!({"id": "audio_1"})),
        ("refusal", json!("No.")),
        ("image_url", json!({"url": "x"})),
        ("video", json!("film.mp4")),
        ("files", json!([{"file_id": "f"}])),
        ("tool_call", json!({"name": "f", "arguments": {}})),
        (
            "reasoning_details",
            json!([{"type": "reasoning.text", "text": "x"}]),
        ),
        ("reasoning_content", json!(["x", "y"])),
        ("thinking", json!({"text": "x"})),
        ("weight", json!(0.5)),
        ("train", json!("no")),
    ] {
        let error = refused(with(json!({"role": "assistant", "content": "a", key: value})));
        assert!(error.contains(&format!("`{key}`")), "{error}");
    }
    for (column, value) in [
        ("image", json!("photo.png")),
        ("images", json!(["photo.png"])),
        ("videos", json!(["film.mp4"])),
    ] {
        let mut row = with(json!({"role": "user", "content": "<image> What is it?"}));
        row[column] = value;
        let error = refused(row);
        assert!(error.contains(&format!("has `{column}`")), "{error}");
    }
    // A picture of the speaker.
    let mut row = with(json!({"role": "assistant", "content": "a"}));
    row["image"] = json!("photo.png");
    row["images"] = json!([]);
    read(row);
    // A columnar file has these keys in every row.
    let filled = json!({"role": "assistant", "content": "a", "images": [], "image": "", "audio": null, "refusal": null});
    read(with(filled));
}

#[test]
fn calls_are_one_call_however_they_are_written() {
    let call = json!({"type": "function", "function": {"name": "weather", "arguments": {"city": "Oslo"}}});
    let expected = json!([call]);
    for message in [
        json!({"role": "assistant", "content": null, "tool_calls": expected}),
        json!({"role": "assistant", "tool_calls": [
            {"type": "function", "function": {"name": "weather", "arguments": "{\"city\": \"Oslo\"}"}}]}),
        json!({"role": "assistant", "content": null, "tool_calls": expected.to_string()}),
        json!({"role": "assistant", "content": null, "tool_calls": [{"type": "function", "function":
            {"name": "weather", "arguments": {"city": "Oslo", "days": null}, "parameters": null}}]}),
        json!({"role": "assistant", "content": null, "function_call": {"name": "weather", "arguments": "{\"city\": \"Oslo\"}"}}),
        json!({"role": "assistant", "tool_calls": [{"function": {"name": "weather", "parameters": {"city": "Oslo"}}}]}),
        json!({"role": "assistant", "tool_calls": [{"name": "weather", "parameters": "{\"city\": \"Oslo\"}"}]}),
        json!({"role": "assistant", "tool_calls": [{"status": "completed", "extra_content": {"google": {}}, "function":
            {"index": 0, "name": "weather", "arguments": {"city": "Oslo"}, "parsed_arguments": {"city": "Oslo"}}}]}),
        json!({"role": "assistant", "tool_calls": [{"name": "weather", "args": {"city": "Oslo"}, "type": "function"}]}),
        json!({"role": "assistant", "tool_calls": [{"name": "weather", "input": {"city": "Oslo"}, "arguments": ""}]}),
    ] {
        let message = read(with(message)).messages.remove(1);
        assert_eq!(message["tool_calls"], expected);
        assert_eq!(message["content"], Value::Null);
    }
    let row = json!({"conversations": [
        {"from": "human", "value": "q"},
        {"from": "function_call", "value": "{\"name\": \"weather\", \"arguments\": {\"city\": \"Oslo\"}}"},
        {"from": "observation", "value": "4"},
    ]});
    let talk = read(row);
    assert_eq!(talk.messages[1]["tool_calls"], expected);
    assert_eq!(talk.messages[2], json!({"role": "tool", "content": "4"}));
    let old = read(json!({"messages": [{"role": "function", "name": "f", "content": "4"}]}));
    assert_eq!(old.messages[0]["role"], "tool");

    let nothing = read(with(
        json!({"role": "assistant", "content": "a", "tool_calls": []}),
    ));
    assert_eq!(nothing.messages[1], json!({"role": "assistant", "content": "a"}));
    for (calls, says) in [
        (
            json!([{"function": {"name": "f", "arguments": "Oslo"}}]),
            "`arguments` that are not JSON",
        ),
        (
            json!([{"function": {"name": "f", "arguments": "[1]"}}]),
            "`arguments` that are no JSON object",
        ),
        (
            json!([{"function": {"name": "f", "kwargs": {"a": 1}}}]),
            "with `kwargs`",
        ),
        (json!([{"name": "f", "kwargs": {"a": 1}}]), "with `kwargs`"),
        (
            json!([{"function": {"name": "f", "arguments": {}, "output": "4"}}]),
            "with `output`",
        ),
        (
            json!([{"function": {"name": "f", "arguments": {"a": 1}, "parameters": {"a": 2}}}]),
            "both `arguments` and `parameters`",
        ),
        (
            json!([{"function": {"name": "f", "arguments": "{\"id\": 12345678901234567890123}"}}]),
            "the whole number 12345678901234567890123",
        ),
        (
            json!([{"function": {"name": "f", "arguments": {"id": 1.2345678901234568e22}}}]),
            "the number 1.2345678901234568e",
        ),
        (
            json!([{"function": {"name": "f", "arguments": "{\"a\": NaN}"}}]),
            "hold NaN, which JSON does not have",
        ),
        (json!([{"function": {"arguments": "{}"}}]), "that is no call"),
        (json!("f()"), "not JSON"),
        (json!({"name": "f"}), "an object as `tool_calls`"),
    ] {
        let error = refused(with(
            json!({"role": "assistant", "content": null, "tool_calls": calls}),
        ));
        assert!(error.contains(says) && error.contains("message 1"), "{error}");
    }
}

#[test]
fn calls_as_text_are_read_as_python_reads_them() {
    let written =
        r#"{"a": null, "b": "x\ud83dy \ud83d\ude42 \\ud83d NaN", "c": 6.02e23, "d": -9223372036854775808}"#;
    let arguments = json!({"a": null, "b": "x\u{fffd}y 🙂 \\ud83d NaN", "c": 6.02e23, "d": i64::MIN});
    let call = format!("{{\"name\": \"f\", \"arguments\": {written}}}");
    for message in [
        json!({"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": written}}]}),
        json!({"role": "assistant", "tool_calls": [{"name": "f", "arguments": written}]}),
        json!({"from": "function_call", "value": format!("{{\"name\": \"f\", \"arguments\": {}}}", json!(written))}),
    ] {
        let message = read(with(message)).messages.remove(1);
        assert_eq!(message["tool_calls"][0]["function"]["arguments"], arguments);
    }
    // A number in an object has lost digits if it has as many as a float keeps.
    for message in [
        json!({"role": "assistant", "tool_calls": format!("[{call}]")}),
        json!({"role": "assistant", "tool_calls": [call]}),
        json!({"from": "function_call", "value": call}),
    ] {
        let message = read(with(message)).messages.remove(1);
        assert_eq!(message["tool_calls"][0]["function"]["arguments"], arguments);
    }
}

#[test]
fn a_thought_without_an_answer_is_an_empty_answer() {
    for key in ["reasoning_content", "reasoning", "thinking"] {
        for mut message in [
            json!({"role": "assistant", "content": null}),
            json!({"role": "assistant"}),
            json!({"from": "gpt", "value": null}),
        ] {
            message[key] = json!("still thin");
            let talk = read(with(message));
            let expected = json!({"role": "assistant", key: "still thin", "content": ""});
            assert_eq!(talk.messages[1], expected);
            assert!(!talk.has_empty_answers(false));
        }
        let silent = read(with(json!({"role": "assistant", "content": null, key: ""})));
        assert!(silent.has_empty_answers(false));
        for wrong in [
            json!({"role": "user", "content": null, key: "still thin"}),
            json!({"role": "assistant", "content": null, key: null}),
        ] {
            assert!(refused(with(wrong)).contains("message 1 has no `content`"));
        }
    }
    // A call is told apart from an empty answer.
    let call = json!({"role": "assistant", "reasoning": "a", "tool_calls": [{"function": {"name": "f"}}]});
    assert_eq!(read(with(call)).messages[1]["content"], Value::Null);
}

#[test]
fn tools_are_the_same_from_every_place() {
    let tool = json!({"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": {"type": "string"}}}}});
    // As a file of columns holds it that has another tool in another row.
    let wide = json!({"type": "function", "function": {"name": "f", "description": null, "parameters": {"properties": {
        "a": {"type": "string"}, "b": null}, "required": null}}});
    let messages = json!([{"role": "user", "content": "x"}]);
    let system = |tools: Value| json!([{"role": "system", "content": "s", "tools": tools}, {"role": "user", "content": "x"}]);
    for row in [
        json!({"messages": messages, "tools": [tool]}),
        json!({"messages": messages, "tools": [wide]}),
        json!({"messages": messages, "tools": json!([tool]).to_string()}),
        json!({"messages": messages, "tools": [tool.to_string()]}),
        json!({"messages": messages, "functions": [tool]}),
        json!({"messages": system(json!([tool]))}),
        json!({"messages": system(json!(json!([wide]).to_string())), "tools": null}),
        json!({"messages": messages, "chat_template_kwargs": {"tools": [tool], "enable_thinking": null}}),
    ] {
        let talk = read(row.clone());
        assert_eq!(talk.tools, Some(vec![tool.clone()]), "{row}");
        assert!(talk.messages[0].get("tools").is_none() && talk.template_kwargs.is_empty());
    }
    assert_eq!(
        read(json!({"messages": messages, "tools": ""})).tools,
        Some(vec![])
    );
    let two = refused(json!({"messages": system(json!([tool])), "tools": [{"name": "g"}]}));
    assert!(two.contains("`tools` twice"), "{two}");
    let cut = refused(json!({"messages": messages, "tools": [tool, "{\"name\": "]}));
    assert!(cut.contains("tool 1 is not JSON"), "{cut}");
}
