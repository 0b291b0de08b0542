//! What holds for any conversation.

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use smollm3_chat::{Conversation, Learned, Render, Template, encode, explain};

use crate::fixtures::{dated, talk, tokenizer};

/// Text of pieces that templates, tokenizers and this crate give a meaning to.
fn content() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "{% generation %}",
        "{% endgeneration %}",
        "{{ messages }}",
        "{#",
        "%}",
        "\u{f0000}",
        "\u{f0001}",
        "\u{f0002}",
        "\u{100000}",
        "<|im_start|>assistant\n",
        "<|im_end|>",
        "<think>",
        "/no_think",
        "\n",
        " ",
        "é🙂",
        "'\"\\",
    ]);
    prop::collection::vec(prop_oneof![pieces.prop_map(str::to_owned), ".{0,6}"], 0..5)
        .prop_map(|parts| parts.concat())
}

fn conversation() -> impl Strategy<Value = Conversation> {
    let role = prop::sample::select(vec!["system", "user", "assistant", "tool"]);
    prop::collection::vec((role, content()), 1..6).prop_map(|messages| {
        let messages: Vec<(&str, &str)> = messages
            .iter()
            .map(|(role, text)| (*role, text.as_str()))
            .collect();
        talk(&messages)
    })
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        content().prop_map(Value::from),
        prop::sample::select(vec!["user", "assistant", "system"]).prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let key = prop_oneof![
            prop::sample::select(vec!["role", "content", "tool_calls", "text", "type"])
                .prop_map(str::to_owned),
            content()
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..4)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn spans_lie_apart_and_hold_the_answers(conversation in conversation()) {
        let template = Template::smollm3();
        let rendered = template.render(&conversation, &dated()).unwrap();
        let mut end = 0;
        for span in &rendered.assistant {
            prop_assert!(end <= span.start && span.start < span.end);
            end = span.end;
            let text = &rendered.text[span.clone()];
            prop_assert!(text.starts_with("<|im_start|>assistant\n") && text.ends_with("<|im_end|>\n"));
        }
        let first_is_system = conversation.messages[0]["role"] == "system";
        let answers = conversation.messages.iter().skip(usize::from(first_is_system)).filter(|m| m["role"] == "assistant");
        let answers: Vec<&str> = answers.map(|message| message["content"].as_str().unwrap()).collect();
        prop_assert_eq!(answers.len(), rendered.assistant.len());
        for (answer, span) in answers.iter().zip(&rendered.assistant) {
            prop_assert!(rendered.text[span.clone()].contains(answer.trim_start_matches('\n')));
        }
    }

    #[test]
    fn content_is_printed_as_it_is(conversation in conversation()) {
        let rendered = Template::builtin("chatml-masked").unwrap().render(&conversation, &Render::default()).unwrap();
        let expected: String = conversation.messages.iter().map(|message| {
            format!("<|im_start|>{}\n{}<|im_end|>\n", message["role"].as_str().unwrap(), message["content"].as_str().unwrap())
        }).collect();
        prop_assert_eq!(rendered.text, expected);
    }

    #[test]
    fn masks_are_as_long_as_the_tokens_and_explained_whole(conversation in conversation()) {
        let template = Template::builtin("chatml-masked").unwrap();
        let rendered = template.render(&conversation, &Render::default()).unwrap();
        let encoded = encode(&tokenizer(), &rendered).unwrap();
        let mut learned = [0; 3];
        for (count, choice) in learned.iter_mut().zip([Learned::LastTurn, Learned::Assistant, Learned::All]) {
            let mask = template.mask(&encoded, choice).unwrap();
            prop_assert_eq!(mask.len(), encoded.ids.len());
            *count = mask.iter().filter(|kept| **kept).count();
            let explained = explain::tokens(&encoded, &rendered, &mask);
            prop_assert_eq!(explained.iter().map(|token| token.text.as_str()).collect::<String>(), rendered.text.as_str());
        }
        prop_assert!(learned.is_sorted() && learned[2] == encoded.ids.len());
        prop_assert_eq!(encoded.turns.len(), rendered.assistant.len());
        prop_assert_eq!(encoded.assistant.len(), encoded.offsets.len());
    }

    #[test]
    fn any_json_is_rendered_or_refused(
        messages in prop::collection::vec(json_value(), 0..4),
        tools in prop::option::of(prop::collection::vec(json_value(), 0..3)),
        kwargs in prop::collection::vec((content(), json_value()), 0..3),
        continue_final_message in any::<bool>(),
    ) {
        let template_kwargs: Map<String, Value> = kwargs.into_iter().collect();
        let row = json!({"messages": messages, "tools": tools, "chat_template_kwargs": template_kwargs});
        let _ = Conversation::from_row(&row);
        let conversation = Conversation { messages, tools, template_kwargs };
        let options = Render { continue_final_message, ..dated() };
        let printing = Template::parse("all", "{{ messages }}{{ messages|tojson(indent=2) }}{{ tools }}").unwrap();
        for template in [Template::smollm3(), Template::builtin("chatml-masked").unwrap(), printing] {
            let _ = template.render(&conversation, &options);
        }
    }

    #[test]
    fn any_template_is_parsed_or_refused(parts in prop::collection::vec(prop::sample::select(vec![
        "{%", "%}", "{{", "}}", "{#", "#}", "generation", "endgeneration", "{% generation %}", "{% endgeneration %}",
        "{% raw %}", "{% endraw %}", "-", "+", " ", "\n", "'", "\"", "\\", "for x in messages", "endfor", "break",
        "if", "endif", "set x = ", "x", "é", "(", ")", "[", "]", "{", "}", "|", ".", "macro f()", "endmacro",
    ]), 0..14)) {
        let source = parts.concat();
        if let Ok(template) = Template::parse("any", &source) {
            let _ = template.render(&talk(&[("user", "x")]), &Render::default());
        }
    }
}
