//! The JSON Schema of recipes: it has the keys that are read, no more and no fewer, and the recipes of this project follow it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use smollm3_recipe::{Recipe, reference, schema};

const EVERY_KIND: &str = r#"
data = { held_out = "1%" }
model.checkpoint = "./base"
run = { name = "all", seed = 1, output = "out", backend = "flex" }

[source]
cargo-markdown = { kind = "cargo-markdown", category = "text" }
cargo-rust = { kind = "cargo-rust", category = "text" }
arithmetic = { kind = "arithmetic", category = "text", documents = 10 }
jsonl = { kind = "jsonl", category = "text", paths = ["a.jsonl"] }
parquet = { kind = "parquet", category = "text", paths = ["a.parquet"] }
tokens = { kind = "tokens", category = "text", folder = "tokens" }
hub = { kind = "hub", category = "text", dataset = "owner/name" }

[[stage]]
name = "pretrain"
kind = "pretrain"
sequence_length = 8
global_batch = "2 sequences"
micro_batch = "1 sequence"
optimizer = { learning_rate = 1e-4 }
schedule = { kind = "constant" }
phase = [{ name = "element", until = "10 steps", mixture = { sources = { jsonl = 1.0 } } }]

[[stage]]
name = "long-context"
kind = "long-context"
rope_theta = 1.5e6
sequence_length = 16
global_batch = "2 sequences"
micro_batch = "1 sequence"
optimizer = { learning_rate = 1e-4 }
schedule = { kind = "constant" }
phase = [{ name = "element", until = "10 steps", mixture = { sources = { jsonl = 1.0 } } }]

[[stage]]
name = "mid-train"
kind = "mid-train"
epochs = 1
sequence_length = 8
global_batch = "2 sequences"
micro_batch = "1 sequence"
optimizer = { learning_rate = 1e-4 }
schedule = { kind = "constant" }
data = [{ name = "element", paths = ["chats.jsonl"] }]

[[stage]]
name = "sft"
kind = "sft"
epochs = 1
sequence_length = 8
global_batch = "2 sequences"
micro_batch = "1 sequence"
optimizer = { learning_rate = 1e-4 }
schedule = { kind = "constant" }
data = [{ name = "element", paths = ["chats.jsonl"] }]

[[stage]]
name = "apo"
kind = "apo"
epochs = 1
sequence_length = 8
global_batch = "2 pairs"
optimizer = { learning_rate = 1e-4 }
schedule = { kind = "constant" }
data = [{ name = "element", paths = ["pairs.jsonl"] }]

[[stage]]
name = "merge"
kind = "merge"
model = [{ checkpoint = "apo", weight = 0.9 }, { checkpoint = "./other", weight = 0.1 }]
"#;

/// No key, and like none.
const UNKNOWN: &str = "qqqqqqqqqqqqqqqqqqqq";

/// What the program says when a recipe has an unknown key.
fn error(text: &str, overrides: &[String]) -> String {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("recipe.toml"), text).unwrap();
    let error = Recipe::load(folder.path(), overrides).unwrap_err();
    error.to_string()
}

/// The keys that the error for an unknown one lists.
fn listed(error: &str) -> BTreeSet<String> {
    let (_, known) = error
        .split_once("write one of ")
        .unwrap_or_else(|| panic!("no keys are listed: {error}"));
    known.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The tables below `schema`, itself included, with the dotted keys that lead to them.
fn tables<'s>(path: &str, schema: &'s Value, found: &mut Vec<(String, &'s Value)>) {
    if let Some(properties) = schema["properties"].as_object() {
        found.push((path.to_owned(), schema));
        for (key, value) in properties {
            tables(&format!("{path}.{key}"), value, found);
        }
    }
    if schema["items"].is_object() {
        tables(&format!("{path}.element"), &schema["items"], found);
    }
    for choice in ["anyOf", "oneOf"]
        .iter()
        .filter_map(|key| schema[key].as_array())
        .flatten()
    {
        tables(path, choice, found);
    }
}

/// All tables with fixed keys, each with the dotted keys that lead to it in [`EVERY_KIND`].
fn all_tables(schema: &Value) -> Vec<(String, &Value)> {
    let mut found = Vec::new();
    for (name, value) in schema["properties"].as_object().unwrap() {
        let kinds = match name.as_str() {
            "source" => &value["additionalProperties"]["oneOf"],
            "stage" => &value["items"]["oneOf"],
            // One of several keys each, of which an error names those that are left.
            "model" | "tokenizer" => continue,
            _ => {
                tables(name, value, &mut found);
                continue;
            }
        };
        for kind in kinds.as_array().unwrap() {
            let path = format!("{name}.{}", kind["properties"]["kind"]["const"].as_str().unwrap());
            tables(&path, kind, &mut found);
        }
    }
    found
}

#[test]
fn it_has_the_keys_that_are_read() {
    let schema = schema();
    let tables = all_tables(&schema);
    assert!(tables.len() > 60, "{}", tables.len());
    for (path, table) in tables {
        let message = match path.strip_suffix(".model.element") {
            // The models of a merge have no names for an override to address.
            Some(_) => error(
                &EVERY_KIND.replace("weight = 0.9", &format!("weight = 0.9, {UNKNOWN} = 1")),
                &[],
            ),
            None => error(EVERY_KIND, &[format!("{path}.{UNKNOWN}=1")]),
        };
        let keys: BTreeSet<String> = table["properties"].as_object().unwrap().keys().cloned().collect();
        let mut read = listed(&message);
        if path == "data" {
            // Read before the others: its file's tables take its place.
            read.insert("sources".to_owned());
        }
        assert_eq!(keys, read, "[{path}]: {message}");
    }
    let root: BTreeSet<&str> = schema["properties"]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let read = listed(&error(&format!("{UNKNOWN} = 1\n{EVERY_KIND}"), &[]));
    assert_eq!(root, read.iter().map(String::as_str).collect());
}

/// The first disagreement of `value` with `schema`.
fn disagreement(path: &str, value: &Value, schema: &Value) -> Option<String> {
    let problem = |text: String| Some(format!("{path}: {text}"));
    for key in ["anyOf", "oneOf"] {
        let Some(choices) = schema[key].as_array() else {
            continue;
        };
        let all: Option<Vec<String>> = choices
            .iter()
            .map(|choice| disagreement(path, value, choice))
            .collect();
        if let Some(all) = all {
            return problem(all.join("; "));
        }
    }
    if schema.get("const").is_some_and(|only| only != value) {
        return problem(format!("{value} is not {}", schema["const"]));
    }
    if schema["enum"].as_array().is_some_and(|all| !all.contains(value)) {
        return problem(format!("{value} is none of {}", schema["enum"]));
    }
    let is_type = |name: &Value| match name.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        other => panic!("unknown type {other}"),
    };
    let types = match &schema["type"] {
        Value::Null => vec![],
        Value::Array(all) => all.iter().collect(),
        one => vec![one],
    };
    if !types.is_empty() && !types.into_iter().any(is_type) {
        return problem(format!("{value} is not of type {}", schema["type"]));
    }
    let items = value.as_array().into_iter().flatten().enumerate();
    for (index, item) in items.filter(|_| schema["items"].is_object()) {
        if let Some(problem) = disagreement(&format!("{path}[{index}]"), item, &schema["items"]) {
            return Some(problem);
        }
    }
    let table = value.as_object()?;
    let required = schema["required"].as_array().into_iter().flatten();
    if let Some(missing) = required
        .filter_map(Value::as_str)
        .find(|key| !table.contains_key(*key))
    {
        return problem(format!("{missing} is missing"));
    }
    for (key, value) in table {
        let below = format!("{path}.{key}");
        let schema = match (schema["properties"].get(key), schema.get("additionalProperties")) {
            (Some(known), _) => known,
            (None, Some(Value::Bool(false))) => return Some(format!("{below}: unknown")),
            (None, Some(every)) => every,
            (None, None) => continue,
        };
        if let Some(problem) = disagreement(&below, value, schema) {
            return Some(problem);
        }
    }
    None
}

fn recipe_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(recipe_files(&path)),
            false if path.file_name().unwrap() == "recipe.toml" => files.push(path),
            false => {}
        }
    }
    files
}

fn as_json(text: &str) -> Value {
    serde_json::to_value(text.parse::<toml::Table>().unwrap()).unwrap()
}

#[test]
fn the_recipes_of_this_project_follow_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes");
    let files = recipe_files(&root);
    assert!(files.len() >= 5, "{files:?}");
    let schema = schema();
    let texts = files.iter().map(|file| fs::read_to_string(file).unwrap());
    for (file, text) in files.iter().zip(texts) {
        // As it is written, and with its other files in their places.
        for text in [text, Recipe::load(file, &[]).unwrap().text] {
            assert_eq!(
                disagreement("", &as_json(&text), &schema),
                None,
                "{}",
                file.display()
            );
        }
    }
    assert_eq!(disagreement("", &as_json(EVERY_KIND), &schema), None);
}

#[test]
fn it_refuses_what_the_program_refuses() {
    let schema = schema();
    let base = as_json(EVERY_KIND);
    assert_eq!(disagreement("", &base, &schema), None);
    for (pointer, value) in [
        ("/run/seed", json!("one")),
        ("/run/backend", json!("cuda")),
        ("/stage/0/sequence_length", json!(0.5)),
        ("/stage/0/kind", json!("pretraining")),
        ("/stage/0/optimizer", json!({})),
        ("/stage/1/rope_theta", json!("1e6")),
        ("/stage/3/data/0", json!({ "paths": ["a.jsonl"] })),
        (
            "/stage/4/optimizer",
            json!({ "learning_rate": 1e-4, "clip": true }),
        ),
        ("/stage/5/model", json!("apo")),
        ("/source/hub", json!({ "kind": "hub", "category": "text" })),
    ] {
        let mut broken = base.clone();
        *broken.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = value;
        let text = toml::Table::try_from(&broken).unwrap().to_string();
        assert_ne!(disagreement("", &broken, &schema), None, "{pointer}");
        error(&text, &[]);
    }
}

#[test]
fn the_reference_page_is_up_to_date() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/recipes.md");
    let written = fs::read_to_string(&page).unwrap_or_default();
    assert!(
        written == reference(),
        "docs/recipes.md is not what the keys say; write `smollm3 schema --markdown` to it"
    );
}
