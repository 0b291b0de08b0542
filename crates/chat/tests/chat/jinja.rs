//! Jinja as transformers renders it.
//!
//! `jinja.json` was made with transformers 4.57.6 and Jinja2 3.1.6: `render_jinja_template` on each template,
//! its clock replaced by 2025-07-08; `spans` are its generation indices in UTF-8 bytes.

use smollm3_chat::Template;

use crate::fixtures::{conversation, options, read, spans};

#[test]
fn templates_render_as_in_transformers() {
    let cases = read("chat/jinja.json");
    let mut wrong = Vec::new();
    for case in cases.as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let result = Template::parse(name, case["template"].as_str().unwrap())
            .and_then(|template| template.render(&conversation(case), &options(case)));
        match (result, case["rendered"].as_str(), case["error"].as_str()) {
            (Ok(rendered), Some(text), None) => {
                if rendered.text != text || spans(&rendered) != case["spans"] {
                    let found = spans(&rendered);
                    wrong.push(format!(
                        "{name}:\n  expected {text:?} {}\n  found    {:?} {found}",
                        case["spans"], rendered.text
                    ));
                }
            }
            (Err(error), None, Some(expected)) => {
                if let Some(message) = expected.strip_prefix("TemplateError: ")
                    && !error.to_string().ends_with(message)
                {
                    wrong.push(format!("{name}: expected {message}, found {error}"));
                }
            }
            (result, text, error) => {
                wrong.push(format!(
                    "{name}:\n  expected {text:?} {error:?}\n  found    {result:?}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}
