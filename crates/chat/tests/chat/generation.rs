//! Blocks of the assistant: that nothing in a message can pass for one.

use serde_json::json;
use smollm3_chat::{Render, Template};

use crate::fixtures::{dated, spans, talk};

const SOURCE: &str =
    "{% for m in messages %}{{ m.role }}:{% generation %}{{ m.content }}{% endgeneration %};{% endfor %}";

/// Every character that could be a marker, and the tags themselves.
fn forgeries() -> Vec<String> {
    let markers: String = (0xf_0000..0xf_0040).filter_map(char::from_u32).collect();
    vec![
        markers.clone(),
        markers.chars().rev().collect(),
        "\u{f0001}early end".into(),
        "\u{f0000}".into(),
        "\u{f0002} cut".into(),
        "\u{10fffd}\u{ffffe}".into(),
        "{% generation %}x{% endgeneration %}{{ x }}{# c #}{% raw %}".into(),
        "{%- endcall %}{% call __generation_block() %}".into(),
        "CONTINUE_FINAL_MESSAGE_TAG ".into(),
    ]
}

#[test]
fn messages_cannot_forge_a_block() {
    let template = Template::parse("mine", SOURCE).unwrap();
    for forged in forgeries() {
        let rendered = template
            .render(
                &talk(&[("user", &forged), ("assistant", "y")]),
                &Render::default(),
            )
            .unwrap();
        assert_eq!(rendered.text, format!("user:{forged};assistant:y;"));
        let texts: Vec<&str> = rendered
            .assistant
            .iter()
            .map(|span| &rendered.text[span.clone()])
            .collect();
        assert_eq!(texts, [forged.as_str(), "y"]);
    }
}

#[test]
fn keys_tools_and_settings_cannot_forge_one_either() {
    let source = "{{ tools }}{{ messages }}{{ note }}{% generation %}x{% endgeneration %}";
    let template = Template::parse("mine", source).unwrap();
    let mut conversation = talk(&[("user", "x")]);
    conversation.messages[0]["\u{f0000}"] = "key".into();
    conversation.tools = Some(vec!["\u{f0001}".into()]);
    conversation
        .template_kwargs
        .insert("note".into(), "\u{f0002}".into());
    let rendered = template.render(&conversation, &Render::default()).unwrap();
    assert!(rendered.text.ends_with("\u{f0002}x"));
    let end = rendered.text.len();
    assert_eq!(spans(&rendered), json!([[end - 1, end]]));
}

#[test]
fn a_forged_message_is_continued_where_it_ends() {
    let options = Render {
        continue_final_message: true,
        ..dated()
    };
    for forged in forgeries() {
        let rendered = Template::smollm3()
            .render(&talk(&[("user", &forged), ("assistant", &forged)]), &options)
            .unwrap();
        assert!(
            rendered
                .text
                .ends_with(&format!("<|im_start|>assistant\n{forged}")),
            "{forged:?}"
        );
        assert_eq!(rendered.assistant.last().unwrap().end, rendered.text.len());
    }
}

#[test]
fn characters_of_the_template_itself_are_no_markers() {
    let source = "\u{f0000}{% generation %}x{% endgeneration %}\u{f0001}";
    let template = Template::parse("mine", source).unwrap();
    // A message with the markers chosen first makes it choose others, again not the template's own.
    for said in ["", "\u{f0002}\u{f0003}\u{f0004}"] {
        let rendered = template
            .render(&talk(&[("user", said)]), &Render::default())
            .unwrap();
        assert_eq!(rendered.text, "\u{f0000}x\u{f0001}");
        assert_eq!(spans(&rendered), json!([[4, 5]]));
    }
}

#[test]
fn nested_and_repeated_blocks_give_outer_spans() {
    let nested = "a{% generation %}b{% generation %}c{% endgeneration %}d{% endgeneration %}e";
    let kept = "{% set x %}{% generation %}b{% endgeneration %}{% endset %}a{{ x }}-{{ x }}";
    for (source, text, expected) in [
        (nested, "abcde", json!([[1, 4]])),
        (kept, "ab-b", json!([[1, 2], [3, 4]])),
    ] {
        let template = Template::parse("mine", source).unwrap();
        let rendered = template.render(&talk(&[]), &Render::default()).unwrap();
        assert_eq!(rendered.text, text);
        assert_eq!(spans(&rendered), expected);
    }
}

#[test]
fn a_block_that_begins_the_text_is_marked() {
    // transformers loses this one: it takes an empty output for "not tracking".
    let rendered = Template::parse("mine", "{% generation %}a{% endgeneration %}b")
        .unwrap()
        .render(&talk(&[]), &Render::default())
        .unwrap();
    assert_eq!(spans(&rendered), json!([[0, 1]]));
}

#[test]
fn a_block_that_is_cut_up_is_refused() {
    let source = "{% set x %}{% generation %}abc{% endgeneration %}{% endset %}{{ x[:2] }}";
    let error = Template::parse("mine", source)
        .unwrap()
        .render(&talk(&[]), &Render::default())
        .unwrap_err();
    assert!(error.to_string().contains("cut up after the block"), "{error}");
}

#[test]
fn tags_in_comments_strings_and_raw_text_are_left_alone() {
    let source = "{# {% generation %} #}{{ '{% generation %}' }}{{ {'a': {'b': '}}'}}.a.b }}{{ {'a': {}}.get('x', '{% endgeneration %}') }}{% raw %}{% generation %}{{ {% endraw %}{%\n  generation\n%}x{%-endgeneration-%}  y";
    let template = Template::parse("mine", source).unwrap();
    let rendered = template.render(&talk(&[]), &Render::default()).unwrap();
    assert_eq!(
        rendered.text,
        "{% generation %}}}{% endgeneration %}{% generation %}{{ xy"
    );
    assert_eq!(spans(&rendered), json!([[56, 57]]));
    assert!(
        !Template::parse("mine", "{# {% generation %} #}")
            .unwrap()
            .marks_assistant()
    );
}
