//! Templates found in a checkpoint's folder.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use smollm3_chat::{ChatError, Conversation, Render, Template};
use tempfile::TempDir;

use crate::fixtures::talk;

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn rendered(folder: &Path, tools: Option<Vec<Value>>) -> String {
    let template = Template::of_checkpoint(folder).unwrap().unwrap();
    let conversation = Conversation {
        tools,
        ..talk(&[("user", "x")])
    };
    template.render(&conversation, &Render::default()).unwrap().text
}

#[test]
fn a_folder_without_a_template_has_none() {
    assert!(Template::of_checkpoint(folder(&[]).path()).unwrap().is_none());
    let bare = folder(&[("tokenizer_config.json", r#"{"chat_template": null}"#)]);
    assert!(Template::of_checkpoint(bare.path()).unwrap().is_none());
}

#[test]
fn the_file_comes_before_the_configuration() {
    let config = r#"{"chat_template": "config", "bos_token": "<s>", "eos_token": {"content": "</s>"}}"#;
    let both = folder(&[
        (
            "chat_template.jinja",
            "{{ bos_token }}file{{ eos_token }}[{{ pad_token }}]",
        ),
        ("tokenizer_config.json", config),
        (
            "special_tokens_map.json",
            r#"{"pad_token": "<pad>", "bos_token": "<old>"}"#,
        ),
    ]);
    assert_eq!(rendered(both.path(), None), "<s>file</s>[<pad>]");
    let template = Template::of_checkpoint(both.path()).unwrap().unwrap();
    assert!(template.name().ends_with("chat_template.jinja"));
    assert_eq!(
        rendered(folder(&[("tokenizer_config.json", config)]).path(), None),
        "config"
    );
}

#[test]
fn tools_choose_the_template_for_them() {
    let named = json!({"chat_template": [
        {"name": "default", "template": "plain"},
        {"name": "tool_use", "template": "with {{ tools|length }}"},
    ]});
    let beside = [
        ("chat_template.jinja", "plain"),
        (
            "additional_chat_templates/tool_use.jinja",
            "with {{ tools|length }}",
        ),
    ];
    for folder in [
        folder(&[("tokenizer_config.json", &named.to_string())]),
        folder(&beside),
    ] {
        assert_eq!(rendered(folder.path(), None), "plain");
        assert_eq!(rendered(folder.path(), Some(vec![])), "with 0");
        assert_eq!(
            rendered(folder.path(), Some(vec![json!({"name": "f"})])),
            "with 1"
        );
    }
}

#[test]
fn what_cannot_be_read_is_refused_by_name() {
    for (text, says) in [
        (
            r#"{"chat_template": [{"name": "rag", "template": "x"}]}"#,
            "none is called `default`",
        ),
        (r#"{"chat_template": 3}"#, "neither a string nor a list"),
        ("[]", "is not a JSON object"),
        ("{", "is not a JSON object"),
    ] {
        let folder = folder(&[("tokenizer_config.json", text)]);
        let error = Template::of_checkpoint(folder.path()).unwrap_err().to_string();
        assert!(
            error.contains(says) && error.contains("tokenizer_config.json"),
            "{error}"
        );
    }
    let broken = folder(&[("chat_template.jinja", "ok\n{% for %}")]);
    let error = Template::of_checkpoint(broken.path()).unwrap_err();
    assert!(matches!(error, ChatError::Syntax { line: 2, .. }), "{error}");
    let not_text = folder(&[]);
    fs::write(not_text.path().join("chat_template.jinja"), [0xff, 0xfe]).unwrap();
    assert!(matches!(
        Template::of_checkpoint(not_text.path()),
        Err(ChatError::Files(_))
    ));
}
