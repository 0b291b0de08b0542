//! The YAML at the top of a card, which the Hub reads. It leaves out what is unknown: the language, usually the licence.

use crate::About;
use crate::facts::Facts;
use crate::origin::datasets;

/// From `---` to `---`.
pub(crate) fn front_matter(facts: &Facts, about: &About<'_>) -> String {
    let mut yaml = String::from("---\n");
    if let Some(license) = about.license.or(facts.of_run("license")) {
        yaml.push_str(&format!("license: {}\n", quoted(license)));
    }
    let library = facts.adapter.as_ref().map_or("transformers", |_| "peft");
    yaml.push_str(&format!(
        "library_name: {library}\npipeline_tag: text-generation\n"
    ));
    let bases = facts.bases();
    list(&mut yaml, "base_model", bases.iter());
    if !bases.is_empty() {
        let relation = match (&facts.adapter, &facts.merge) {
            (Some(_), _) => "adapter",
            (None, Some(_)) => "merge",
            (None, None) => "finetune",
        };
        yaml.push_str(&format!("base_model_relation: {relation}\n"));
    }
    list(&mut yaml, "datasets", datasets(facts).iter());
    let tags = ["smollm3"]
        .into_iter()
        .chain(facts.adapter.as_ref().map(|_| "lora"))
        .chain(facts.merge.as_ref().map(|_| "merge"));
    list(&mut yaml, "tags", tags);
    yaml + "---\n"
}

fn list(yaml: &mut String, key: &str, values: impl Iterator<Item = impl AsRef<str>>) {
    for (index, value) in values.enumerate() {
        if index == 0 {
            yaml.push_str(&format!("{key}:\n"));
        }
        yaml.push_str(&format!("- {}\n", quoted(value.as_ref())));
    }
}

/// A YAML string: plain where that is safe, else JSON's quotes, which are YAML's.
fn quoted(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/');
    let is_word = text.starts_with(|first: char| first.is_ascii_alphabetic()) && text.bytes().all(plain);
    const KEYWORDS: [&str; 7] = ["true", "false", "null", "yes", "no", "on", "off"];
    match is_word && !KEYWORDS.contains(&text.to_ascii_lowercase().as_str()) {
        true => text.to_owned(),
        false => serde_json::Value::from(text).to_string(),
    }
}
