use smollm3_chat::template::{BUILTIN, MARKED};
use smollm3_chat::{ChatError, Render, Template};

use crate::fixtures::{conversation, dated, options, read, spans, talk, template};

#[test]
fn the_builtin_templates_render_as_the_released_ones() {
    let file = read("chat/chat.json");
    let cases = file["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 44);
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let result = template(case["template"].as_str().unwrap()).render(&conversation(case), &options(case));
        match case["error"].as_str() {
            Some(expected) => {
                let error = result.expect_err(name);
                assert!(
                    matches!(error, ChatError::Render { .. }),
                    "{name}: {expected} / {error}"
                );
            }
            None => {
                let rendered = result.expect(name);
                assert_eq!(rendered.text, case["rendered"].as_str().unwrap(), "{name}");
                assert_eq!(spans(&rendered), case["generation_spans_bytes"], "{name}");
                let texts: Vec<&str> = rendered
                    .assistant
                    .iter()
                    .map(|span| &rendered.text[span.clone()])
                    .collect();
                assert_eq!(serde_json::json!(texts), case["generation_texts"], "{name}");
            }
        }
    }
}

#[test]
fn builtin_templates_are_found_by_name() {
    for name in BUILTIN {
        let template = Template::builtin(name).expect(name);
        assert_eq!(template.name(), name);
        assert_eq!(template.marks_assistant(), MARKED.contains(&name), "{name}");
    }
    assert!(Template::builtin("alpaca").is_none());
}

#[test]
fn the_masked_chatml_is_chatml_with_the_answers_marked() {
    let masked = Template::builtin("chatml-masked").unwrap();
    let conversation = talk(&[
        ("system", "s"),
        ("user", "a"),
        ("assistant", "b"),
        ("user", "c"),
        ("assistant", ""),
    ]);
    for add_generation_prompt in [false, true] {
        let options = Render {
            add_generation_prompt,
            ..Render::default()
        };
        let rendered = masked.render(&conversation, &options).unwrap();
        assert_eq!(
            rendered.text,
            Template::chatml().render(&conversation, &options).unwrap().text
        );
        let texts: Vec<&str> = rendered
            .assistant
            .iter()
            .map(|span| &rendered.text[span.clone()])
            .collect();
        assert_eq!(texts, ["b<|im_end|>", "<|im_end|>"]);
    }
}

#[test]
fn syntax_errors_say_where() {
    for (source, place) in [
        ("a\nb {{ 'x' + }} c", "line 2, column 12"),
        ("{% for m in messages %}\n\nx", "line 2"),
        ("{% if true %}\n  {% endfor %}", "line 2, column 6"),
        ("é {{ x | }}", "line 1, column 10"),
        ("a\n {% generation %}b", "line 2, column 2"),
        (
            "{% generation %}b{% endgeneration %}{%- endgeneration %}",
            "line 1, column 37",
        ),
        ("{% unknown %}", "line 1"),
    ] {
        let error = Template::parse("mine", source).expect_err(source);
        assert!(matches!(error, ChatError::Syntax { .. }), "{source}: {error}");
        let text = error.to_string();
        assert!(
            text.starts_with("chat template `mine`, ") && text.contains(place),
            "{source}: {text}"
        );
    }
}

#[test]
fn failures_say_where_and_raised_ones_what() {
    let template = Template::parse("mine", "a\n{{ messages[7].content }}").unwrap();
    let error = template
        .render(&talk(&[("user", "x")]), &Render::default())
        .unwrap_err();
    assert!(matches!(error, ChatError::Render { line: 2, .. }), "{error}");

    let raising = Template::parse("mine", "{{ raise_exception('no ' ~ messages|length) }}").unwrap();
    let error = raising
        .render(&talk(&[("user", "x")]), &Render::default())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "chat template `mine` refuses the conversation: no 1"
    );
}

#[test]
fn the_date_is_given_or_asked_for() {
    let conversation = talk(&[("user", "x")]);
    let error = Template::smollm3()
        .render(&conversation, &Render::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("prints the date, and none is set; write date = "),
        "{error}"
    );
    let text = Template::smollm3().render(&conversation, &dated()).unwrap().text;
    assert!(text.contains("Today Date: 08 July 2025\n"));
    for format in ["%Q", "%Z", "%s %"] {
        let template = Template::parse("mine", &format!("{{{{ strftime_now('{format}') }}}}")).unwrap();
        let error = template.render(&conversation, &dated()).unwrap_err().to_string();
        assert!(error.contains("strftime_now: "), "{error}");
    }
}

#[test]
fn what_cannot_be_continued_is_refused() {
    let options = Render {
        continue_final_message: true,
        ..dated()
    };
    let both = Render {
        add_generation_prompt: true,
        ..options
    };
    let talking = talk(&[("user", "x"), ("assistant", "y")]);
    let error = Template::chatml()
        .render(&talking, &both)
        .unwrap_err()
        .to_string();
    assert!(error.contains("choose one"), "{error}");
    let error = Template::chatml()
        .render(&talk(&[]), &options)
        .unwrap_err()
        .to_string();
    assert!(error.contains("has no text"), "{error}");
    let twice = Template::parse("mine", "{% for m in messages %}{{ m.content * 2 }};{% endfor %}").unwrap();
    let error = twice.render(&talking, &options).unwrap_err().to_string();
    assert!(error.contains("once and whole"), "{error}");
    let mut silent = talk(&[("assistant", "y")]);
    silent.messages[0]["content"] = serde_json::Value::Null;
    let error = Template::chatml()
        .render(&silent, &options)
        .unwrap_err()
        .to_string();
    assert!(error.contains("has no text"), "{error}");
}

#[test]
fn ends_of_lines_are_those_of_jinja() {
    let source =
        Template::chatml().source().to_owned() + "{% if add_generation_prompt %}\n>\n{% endif %}\n\n";
    let conversation = talk(&[("user", "x\r\ny")]);
    let options = Render {
        add_generation_prompt: true,
        ..Render::default()
    };
    let [unix, windows, old] = ["\n", "\r\n", "\r"].map(|end| {
        let template = Template::parse("test", &source.replace('\n', end)).unwrap();
        template.render(&conversation, &options).unwrap().text
    });
    // What somebody wrote keeps its own.
    assert!(unix.contains("x\r\ny") && unix.ends_with("\n>\n"), "{unix:?}");
    assert_eq!([&windows, &old], [&unix, &unix]);
}

#[test]
fn a_rows_settings_do_not_replace_the_conversation() {
    let mut conversation = talk(&[("user", "x")]);
    conversation
        .template_kwargs
        .insert("add_generation_prompt".into(), true.into());
    conversation
        .template_kwargs
        .insert("messages".into(), "other".into());
    let text = Template::chatml()
        .render(&conversation, &Render::default())
        .unwrap()
        .text;
    assert_eq!(text, "<|im_start|>user\nx<|im_end|>\n");
}

#[test]
fn one_template_serves_all_threads() {
    fn shared<T: Send + Sync>(_: &T) {}
    shared(&Template::smollm3());
}
