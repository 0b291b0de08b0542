//! What a template leaves out is found, and what it writes in its own way is not taken for that.

use serde_json::{Value, json};
use smollm3_chat::{Conversation, Template, encode_prompt};

use crate::fixtures::{dated, read, tokenizer};

fn dropped(template: &Template, row: Value) -> Vec<(String, String)> {
    let talk = Conversation::from_row(&row).unwrap();
    let rendered = template.render_for(&tokenizer(), &talk, &dated()).unwrap();
    let drops = template.drops(&talk, &rendered, &dated()).unwrap();
    drops
        .into_iter()
        .map(|drop| (drop.kind.to_owned(), drop.key))
        .collect()
}

fn found(kind: &str, key: &str) -> Vec<(String, String)> {
    vec![(kind.to_owned(), key.to_owned())]
}

/// A template that reads calls and thoughts, and shows thoughts of the last turn only.
const REASONER: &str = "{%- for m in messages -%}<|im_start|>{{ m.role }}\n\
    {%- set thought = m.reasoning_content if m.reasoning_content is string else (m.content.split('</think>')[0].split('<think>')[-1] if m.content and '</think>' in m.content else '') -%}\
    {%- if m.role == 'assistant' and thought and loop.last -%}<think>{{ thought }}</think>{%- endif -%}\
    {{- m.content.split('</think>')[-1] if m.content else '' -}}\
    {%- for call in m.tool_calls or [] -%}<tool_call>{{ call.function | tojson }}</tool_call>{%- endfor -%}\
    <|im_end|>\n{%- endfor -%}";

#[test]
fn what_is_written_is_not_missed() {
    let tool = json!({"type": "function", "function": {"name": "add", "description": "Adds."}});
    let call = json!({"id": "c1", "type": "function", "function": {"name": "add", "arguments": {"a": 27, "b": true}}});
    let smollm3 = Template::smollm3();
    for row in [
        json!({"messages": [{"role": "system", "content": "Be brief. /no_think"}, {"role": "user", "content": "a", "name": "Ann"}]}),
        json!({"messages": [{"role": "system", "content": "/no_think"}, {"role": "user", "content": " a\n"}]}),
        json!({"messages": [{"role": "system", "content": "/system_override /think Be brief."}, {"role": "user", "content": "é"}]}),
        json!({"messages": [{"role": "developer", "content": "Answer in Latin."}, {"role": "user", "content": "Hi"}]}),
        json!({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "<think>\nx\n</think>\ny"}, {"role": "user", "content": ""}]}),
        json!({"messages": [{"role": "user", "content": "a"}], "tools": [tool]}),
        json!({"messages": [{"role": "user", "content": "a"}], "chat_template_kwargs": {
            "custom_instructions": "", "enable_thinking": false, "python_tools": [], "xml_tools": []}}),
        json!({"messages": [{"role": "user", "content": "a"}], "chat_template_kwargs": {
            "custom_instructions": "Speak.", "python_tools": ["def f(): pass", "def g(): \"no\""], "xml_tools": "<f>"}}),
        json!({"messages": [{"role": "system", "content": "Speak."}, {"role": "user", "content": "a"}], "chat_template_kwargs": {
            "custom_instructions": "Speak."}}),
        json!({"messages": [{"role": "user", "content": "a"},
            {"role": "assistant", "content": "So: ", "tool_calls": [call]}, {"role": "tool", "tool_call_id": "c1", "content": "42"}]}),
    ] {
        assert_eq!(dropped(&smollm3, row.clone()), [], "{row}");
    }
    let reasoner = Template::parse("reasoner", REASONER).unwrap();
    for row in [
        json!({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "<think>x</think>y"}]}),
        // The earlier thought is left out on purpose: it is written while its turn is the last.
        json!({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "<think>x</think>y"},
            {"role": "user", "content": "b"}, {"role": "assistant", "content": "c", "reasoning_content": "z"}]}),
        json!({"messages": [{"role": "assistant", "content": null, "tool_calls": [call]}]}),
    ] {
        assert_eq!(dropped(&reasoner, row.clone()), [], "{row}");
    }
}

#[test]
fn what_a_model_is_asked_is_written_whole() {
    let tokenizer = tokenizer();
    let ask = |template: &Template, row: Value| {
        let talk = Conversation::from_row(&row).unwrap();
        encode_prompt(&tokenizer, template, &talk, dated().date)
    };
    let user = json!({"role": "user", "content": "What is 27 + 15?"});
    let tool = json!({"type": "function", "function": {"name": "add"}});
    let chatml = Template::chatml();
    for (template, row, key) in [
        (
            &Template::smollm3(),
            json!({"messages": [user, {"role": "system", "content": "Be brief."}, user]}),
            "messages[1].content",
        ),
        (
            &chatml,
            json!({"messages": [user], "tools": [tool]}),
            "tools[0].function.name",
        ),
    ] {
        let error = ask(template, row).unwrap_err().to_string();
        assert!(
            error.contains(key) && error.contains("would not see it"),
            "{error}"
        );
    }
    // Thoughts of earlier turns are not shown again.
    let thought = json!({"role": "assistant", "content": "42", "reasoning_content": "27 + 15"});
    let without = json!({"role": "assistant", "content": "42"});
    let [with, without] =
        [thought, without].map(|turn| ask(&chatml, json!({"messages": [user, turn, user]})).unwrap());
    assert_eq!(with, without);
}

#[test]
fn what_is_left_out_is_named() {
    let (smollm3, chatml) = (Template::smollm3(), Template::chatml());
    let user = json!({"role": "user", "content": "What is 27 + 15? Be brief."});
    let tool = json!({"type": "function", "function": {"name": "is", "description": "What"}});
    for (template, row, expected) in [
        (
            &smollm3,
            json!({"messages": [user, {"role": "system", "content": "Be brief."}, user]}),
            found("a system message", "messages[1].content"),
        ),
        (
            &smollm3,
            json!({"messages": [{"role": "system", "content": "s"}, {"role": "developer", "content": "brief"}, user]}),
            found("a developer's message", "messages[1].content"),
        ),
        (
            &smollm3,
            json!({"messages": [user, {"role": "assistant", "content": "42", "reasoning_content": "27 + 15"}]}),
            found("reasoning", "messages[1].reasoning_content"),
        ),
        (
            &smollm3,
            json!({"messages": [user, {"role": "assistant", "content": "42", "reasoning": "27 + 15"}, user]}),
            found("reasoning", "messages[1].reasoning"),
        ),
        (
            &smollm3,
            json!({"messages": [{"role": "system", "content": "s"}, user], "chat_template_kwargs": {"custom_instructions": "What"}}),
            found("custom_instructions", "chat_template_kwargs.custom_instructions"),
        ),
        (
            &chatml,
            json!({"messages": [user], "tools": [tool]}),
            [
                found("tools", "tools[0].function.name"),
                found("tools", "tools[0].function.description"),
            ]
            .concat(),
        ),
        (
            &chatml,
            json!({"messages": [user], "chat_template_kwargs": {"xml_tools": ["What"]}}),
            found("xml_tools", "chat_template_kwargs.xml_tools[0]"),
        ),
        (
            &Template::parse(
                "titles",
                "{% for m in messages %}{{ m.content }}{% endfor %}{% for d in documents %}{{ d.title }}{% endfor %}",
            )
            .unwrap(),
            json!({"messages": [user], "chat_template_kwargs": {"documents": [{"doc_id": "1", "title": "What", "text": "brief"}]}}),
            found("documents", "chat_template_kwargs.documents[0].text"),
        ),
        (
            &chatml,
            json!({"messages": [user, {"role": "assistant", "content": "42", "tool_plan": "27 + 15"}]}),
            found("reasoning", "messages[1].tool_plan"),
        ),
        (
            &Template::parse(
                "no calls",
                "{# tool_calls #}{% for m in messages %}{{ m.content }}{% endfor %}",
            )
            .unwrap(),
            json!({"messages": [user, {"role": "assistant", "content": "", "tool_calls": [
                {"function": {"name": "is", "arguments": {"a": 27}}}]}]}),
            [
                found("tool calls", "messages[1].tool_calls[0].function.name"),
                found("tool calls", "messages[1].tool_calls[0].function.arguments.a"),
            ]
            .concat(),
        ),
        (
            &Template::parse(
                "no thoughts",
                "{% for m in messages %}{{ m.content.split('</think>')[-1] }}{% endfor %}",
            )
            .unwrap(),
            json!({"messages": [user, {"role": "assistant", "content": "<think>27</think>42"}]}),
            found("reasoning", "messages[1].content"),
        ),
        // A template that minds the marks is searched for the texts.
        (
            &Template::parse(
                "strict",
                "{% if messages[0].content != 'ab' %}{{ raise_exception('no') }}{% endif %}ab",
            )
            .unwrap(),
            json!({"messages": [{"role": "user", "content": "ab"}, {"role": "user", "content": "cd"}]}),
            found("a user's message", "messages[1].content"),
        ),
    ] {
        assert_eq!(dropped(template, row.clone()), expected, "{row}");
    }
}

#[test]
fn the_fixtures_lose_what_they_are_named_for() {
    let file = read("chat/chat.json");
    for case in file["cases"].as_array().unwrap() {
        let row = json!({"messages": case["messages"], "tools": case["tools"], "chat_template_kwargs": case["kwargs"]});
        let Ok(talk) = Conversation::from_row(&row) else {
            continue;
        };
        let template = crate::fixtures::template(case["template"].as_str().unwrap());
        let Ok(rendered) = template.render_for(&tokenizer(), &talk, &dated()) else {
            continue;
        };
        let drops = template.drops(&talk, &rendered, &dated()).unwrap();
        let kinds: Vec<&str> = drops.iter().map(|drop| drop.kind).collect();
        let expected: &[&str] = match case["name"].as_str().unwrap() {
            "override_ignores_tools" => &["tools", "python_tools"],
            "custom_instructions_and_system" => &["custom_instructions"],
            "mid_tools_ignored" => &["tools"],
            // What the tool gave back is an object there.
            "assistant_none_content_with_tool_calls" => &["a tool's message"],
            _ => &[],
        };
        let missed = expected.iter().all(|kind| kinds.contains(kind));
        assert!(
            missed && kinds.iter().all(|kind| expected.contains(kind)),
            "{}: {kinds:?}",
            case["name"]
        );
    }
}
