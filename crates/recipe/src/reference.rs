//! The keys of recipes as a page of tables, from their [schema].

use std::fmt::Write;

use serde_json::Value;

use crate::schema::schema;

const INTRODUCTION: &str = "\
# The keys of a recipe

`smollm3 schema` prints the JSON Schema of `recipe.toml`, with which editors complete and check keys; `smollm3 schema
--markdown` prints this page. It is made from the program's own declarations.

A file name may stand for the tables `model.config` and `mixture` and for the list `data` of a stage. `data.sources` may name
a file of `[source.NAME]` tables. `--set KEY=VALUE` replaces a value for one run, such as
`--set stage.sft.optimizer.learning_rate=1e-4`.
";

/// A page in Markdown that lists all keys of recipes.
pub fn reference() -> String {
    let mut rows = Vec::new();
    for (name, schema) in properties(&schema()) {
        match name.as_str() {
            "source" => add_kinds(&mut rows, "[source.NAME]", &schema["additionalProperties"]),
            "stage" => add_kinds(&mut rows, "[[stage]]", &schema["items"]),
            _ => {
                for table in tables(schema) {
                    add_rows(&mut rows, &format!("[{name}]"), table, None);
                }
            }
        }
    }
    page(&rows)
}

/// A key of a table.
struct Row {
    table: String,
    text: String,
    /// The kinds of stage, or of source, that have the key in this form; empty if the table has no kinds.
    kinds: Vec<String>,
}

/// Adds the keys of a table and of the tables below it. Kinds share the rows that are the same.
fn add_rows(rows: &mut Vec<Row>, table: &str, schema: &Value, kind: Option<&str>) {
    let required: Vec<&Value> = schema["required"].as_array().into_iter().flatten().collect();
    // One of the keys of which a table has exactly one.
    let is_choice = properties(schema).count() == 1 && required.len() == 1;
    for (key, value) in properties(schema) {
        // The row of `kind` lists all kinds.
        if value["const"].is_string() {
            continue;
        }
        let default = match (required.contains(&&Value::from(key.as_str())), &value["default"]) {
            (true, _) if is_choice => "one of these".to_owned(),
            (true, _) => "required".to_owned(),
            (false, Value::Null | Value::Object(_)) => String::new(),
            (false, default) => format!("`{default}`"),
        };
        let meaning = match is_choice {
            true => one_line(&schema["description"]),
            false => meaning(value),
        };
        let text = format!("| `{key}` | {} | {default} | {meaning} |", values(value));
        match rows.iter_mut().find(|row| row.table == table && row.text == text) {
            Some(row) => row.kinds.extend(kind.map(str::to_owned)),
            None => rows.push(Row {
                table: table.to_owned(),
                text,
                kinds: kind.map(str::to_owned).into_iter().collect(),
            }),
        }
        for inner in tables(value) {
            let name = table.trim_matches(['[', ']']);
            let heading = match value["type"] == "array" || value["anyOf"][1]["type"] == "array" {
                true => format!("[[{name}.{key}]]"),
                false => format!("[{name}.{key}]"),
            };
            add_rows(rows, &heading, inner, kind);
        }
    }
}

/// Adds the keys of a table whose keys depend on its `kind`.
fn add_kinds(rows: &mut Vec<Row>, table: &str, schema: &Value) {
    let variants = || schema["oneOf"].as_array().into_iter().flatten();
    let name = |variant: &Value| {
        variant["properties"]["kind"]["const"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let meanings: String = variants()
        .map(|variant| format!("<br>`{}`: {}", name(variant), one_line(&variant["description"])))
        .collect();
    let names: Vec<String> = variants().map(|variant| format!("`{}`", name(variant))).collect();
    rows.push(Row {
        table: table.to_owned(),
        text: format!(
            "| `kind` | {} | required | The kind.{meanings} |",
            names.join(", ")
        ),
        kinds: variants().map(name).collect(),
    });
    for variant in variants() {
        add_rows(rows, table, variant, Some(&name(variant)));
    }
}

fn page(rows: &[Row]) -> String {
    let mut page = INTRODUCTION.to_owned();
    let mut seen: Vec<&str> = Vec::new();
    for table in rows.iter().map(|row| row.table.as_str()) {
        if seen.contains(&table) {
            continue;
        }
        seen.push(table);
        let own: Vec<&Row> = rows.iter().filter(|row| row.table == table).collect();
        let every_kind = own.iter().map(|row| row.kinds.len()).max().unwrap_or(0).max(6);
        let mut groups: Vec<&[String]> = Vec::new();
        for row in &own {
            if !groups.contains(&row.kinds.as_slice()) {
                groups.push(&row.kinds);
            }
        }
        // Writing to a string does not fail.
        let _ = writeln!(page, "\n## `{table}`");
        for kinds in groups {
            if !kinds.is_empty() && kinds.len() < every_kind {
                let names: Vec<String> = kinds.iter().map(|kind| format!("`{kind}`")).collect();
                let _ = writeln!(page, "\nOf {}:", names.join(", "));
            }
            let _ = writeln!(
                page,
                "\n| key | value | default | meaning |\n| --- | --- | --- | --- |"
            );
            for row in own.iter().filter(|row| row.kinds == kinds) {
                let _ = writeln!(page, "{}", row.text);
            }
        }
    }
    page
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema["properties"].as_object().into_iter().flatten()
}

/// The tables that a value may be, or hold in a list.
fn tables(schema: &Value) -> Vec<&Value> {
    let choices = ["anyOf", "oneOf"]
        .into_iter()
        .filter_map(|key| schema[key].as_array())
        .flatten();
    let items = schema.get("items");
    let inner = choices.chain(items).flat_map(tables);
    let own = schema["properties"].is_object().then_some(schema);
    own.into_iter().chain(inner).collect()
}

/// What may be written.
fn values(schema: &Value) -> String {
    let all = |choices: &Value, separator: &str| {
        let choices: Vec<String> = choices.as_array().into_iter().flatten().map(values).collect();
        choices.join(separator)
    };
    if let Some(title) = schema["title"].as_str() {
        return title.replace('"', "`").replace("`` ", "` ");
    }
    if let Some(value) = schema.get("const") {
        return format!("`{value}`");
    }
    if let Some(names) = schema["enum"].as_array() {
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        return names.join(", ");
    }
    if schema["oneOf"].is_array() {
        return all(&schema["oneOf"], ", ");
    }
    if schema["anyOf"].is_array() {
        return all(&schema["anyOf"], " or ");
    }
    match schema["type"].as_str() {
        Some("array") => format!("list of {}", values(&schema["items"])),
        Some("object") if schema["additionalProperties"].is_object() => {
            format!("table of {}", values(&schema["additionalProperties"]))
        }
        Some("object") => "table".to_owned(),
        Some("boolean") => "`true`, `false`".to_owned(),
        Some("string") => "text".to_owned(),
        Some(other) => other.to_owned(),
        None => String::new(),
    }
}

/// The documentation of a key, and of the names that it may have.
fn meaning(schema: &Value) -> String {
    let mut text = one_line(&schema["description"]);
    for choice in schema["oneOf"].as_array().into_iter().flatten() {
        if let (Some(name), Some(_)) = (choice.get("const"), choice.get("description")) {
            let _ = write!(text, "<br>`{name}`: {}", one_line(&choice["description"]));
        }
    }
    text
}

fn one_line(description: &Value) -> String {
    let text = description.as_str().unwrap_or_default();
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "\\|")
}
