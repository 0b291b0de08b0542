use serde_json::{Value, json};
use smollm3_chat::{ChatError, Conversation};

fn refused(row: Value) -> String {
    Conversation::from_row(&row)
        .expect_err(&row.to_string())
        .to_string()
}

fn with_message(message: Value) -> Value {
    json!({"messages": [{"role": "user", "content": "x"}, message]})
}

#[test]
fn a_row_of_messages_keeps_its_settings() {
    let row = json!({
        "messages": [{"role": "user", "content": "x", "name": null}],
        "tools": null,
        "chat_template_kwargs": {"enable_thinking": null, "python_tools": []},
        "source": "elsewhere",
    });
    let conversation = Conversation::from_row(&row).unwrap();
    // A columnar file has null where a row of lines has no key.
    assert_eq!(conversation.messages, [json!({"role": "user", "content": "x"})]);
    assert_eq!(conversation.tools, None);
    assert_eq!(json!(conversation.template_kwargs), json!({"python_tools": []}));
}

#[test]
fn prompt_and_completion_are_a_conversation() {
    let user = json!({"role": "user", "content": "a"});
    let assistant = json!({"role": "assistant", "content": "b"});
    for row in [
        json!({"prompt": "a", "completion": "b"}),
        json!({"prompt": [user], "completion": [assistant], "messages": null}),
    ] {
        assert_eq!(
            Conversation::from_row(&row).unwrap().messages,
            [user.clone(), assistant.clone()]
        );
    }
    let mixed = refused(json!({"prompt": "a", "completion": [assistant]}));
    assert!(mixed.contains("a string as `prompt`; write a list"), "{mixed}");
}

#[test]
fn tools_come_from_a_column_from_json_or_from_the_settings() {
    let messages = json!([{"role": "user", "content": "x"}]);
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    for row in [
        json!({"messages": messages, "tools": tools}),
        json!({"messages": messages, "tools": tools.to_string()}),
        json!({"messages": messages, "tools": null, "chat_template_kwargs": {"tools": tools}}),
    ] {
        let conversation = Conversation::from_row(&row).unwrap();
        assert_eq!(json!(conversation.tools), tools);
        assert!(conversation.template_kwargs.is_empty());
    }
    let twice = refused(json!({"messages": messages, "tools": tools, "chat_template_kwargs": {"tools": []}}));
    assert!(twice.contains("`tools` twice"), "{twice}");
    let broken = refused(json!({"messages": messages, "tools": "[{"}));
    assert!(broken.contains("`tools` that are not JSON"), "{broken}");
}

#[test]
fn rows_without_a_conversation_name_what_they_have() {
    for (row, says) in [
        (json!({"text": "x", "id": 1}), "has text, id"),
        (
            json!({"prompt": "x"}),
            "needs `messages`, `conversations`, `prompt` and `completion`, or `instruction` and `output`",
        ),
        (json!({}), "has nothing"),
        (json!([1]), "has a list"),
        (
            json!({"messages": "hello"}),
            "has a string as `messages`; write a list",
        ),
        (json!({"messages": []}), "no messages"),
        (
            json!({"messages": [{"role": "user", "content": "x"}], "chat_template_kwargs": "no"}),
            "a string as `chat_template_kwargs`",
        ),
        (
            json!({"messages": [{"role": "user", "content": "x"}], "chat_template_kwargs": {"messages": []}}),
            "sets `messages`",
        ),
    ] {
        let error = refused(row);
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn a_preference_is_told_from_a_conversation() {
    let error = refused(json!({"prompt": "a", "chosen": "b", "rejected": "c"}));
    assert!(
        error.contains("kind = \"apo\"") && error.contains("completion"),
        "{error}"
    );
}

#[test]
fn a_wrong_message_is_named_by_its_position() {
    for (message, says) in [
        (
            json!({"role": "bot", "content": "x"}),
            "message 1 has the role `bot`; write one of system, user",
        ),
        (json!({"role": "ipython", "content": "x"}), "role `ipython`"),
        (json!({"content": "x"}), "message 1 has no `role`"),
        (
            json!({"role": 3, "content": "x"}),
            "message 1 has a number as role",
        ),
        (
            json!({"role": "user"}),
            "message 1 has no `content`; write a string",
        ),
        (
            json!({"role": "assistant", "content": null, "tool_calls": []}),
            "message 1 has no `content`",
        ),
        (
            json!({"role": "user", "content": 5}),
            "message 1 has a number as `content`",
        ),
        (
            json!({"role": "user", "content": {"a": 1}}),
            "message 1 has an object as `content`",
        ),
        (
            json!({"role": "user", "content": [{"type": "text", "text": "y"}, "x"]}),
            "content part 1 that is no object",
        ),
        (json!("hello"), "message 1 is a string; write an object"),
        (json!(null), "message 1 is null"),
    ] {
        let error = refused(with_message(message));
        assert!(error.contains(says), "{error}");
    }
    assert!(matches!(
        Conversation::from_row(&with_message(json!({"role": "bot", "content": "x"}))),
        Err(ChatError::UnknownRole { index: 1, role }) if role == "bot"
    ));
}

#[test]
fn what_templates_cope_with_is_accepted() {
    for message in [
        json!({"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f"}}]}),
        json!({"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]}),
        json!({"role": "user", "content": [{"type": "text", "text": "x"}]}),
        json!({"role": "tool", "content": {"temperature": 21.5}}),
        json!({"role": "developer", "content": ""}),
    ] {
        Conversation::from_row(&with_message(message)).unwrap();
    }
}

#[test]
fn a_wrong_tool_is_named_by_its_position() {
    for (tool, says) in [
        (json!("f"), "tool 1 is a string; write the JSON schema"),
        (json!({"function": {"name": "f"}}), "not `\"type\": \"function\"`"),
        (
            json!({"type": "tool", "function": {"name": "f"}}),
            "not `\"type\": \"function\"`",
        ),
        (
            json!({"type": "function", "function": "f"}),
            "a string as `function`",
        ),
        (json!({"type": "function"}), "has no `function`"),
        (
            json!({"type": "function", "function": {"description": "f"}}),
            "has no `function.name`",
        ),
        (json!({"parameters": {}}), "has no `name`"),
        (json!({"name": ""}), "has no `name`"),
    ] {
        let error =
            refused(json!({"messages": [{"role": "user", "content": "x"}], "tools": [{"name": "g"}, tool]}));
        assert!(error.contains(says) && error.contains("tool 1"), "{error}");
    }
}

#[test]
fn it_goes_through_serde_and_back() {
    let json = json!({
        "messages": [{"role": "user", "content": "x"}],
        "tools": [],
        "chat_template_kwargs": {"z": 1, "a": null},
    });
    let conversation: Conversation = serde_json::from_value(json.clone()).unwrap();
    assert_eq!(serde_json::to_string(&conversation).unwrap(), json.to_string());
    assert!(serde_json::from_value::<Conversation>(json!({"messages": [], "tool": []})).is_err());
}
