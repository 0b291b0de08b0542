//! The keys of recipes as a JSON Schema, derived from the fields that hold them and from their documentation.

use serde_json::{Map, Value};

use crate::keys::of;
use crate::recipe::Recipe;

/// The JSON Schema (draft 7) of `recipe.toml`, without references.
pub fn schema() -> Value {
    let mut schema = of::<Recipe>();
    plain(&mut schema);
    schema
}

/// Leaves out what TOML has not (`null`, sizes of integers) and refuses unknown keys, in this schema and all below it.
fn plain(schema: &mut Value) {
    match schema {
        Value::Array(all) => all.iter_mut().for_each(plain),
        Value::Object(table) => {
            plain_table(table);
            table.values_mut().for_each(plain);
        }
        _ => {}
    }
}

fn plain_table(table: &mut Map<String, Value>) {
    let is_null = |value: &Value| value == "null" || value.is_null() || value["type"] == "null";
    for key in ["type", "enum", "anyOf"] {
        let Some(Value::Array(choices)) = table.get_mut(key) else {
            continue;
        };
        choices.retain(|choice| !is_null(choice));
        if let ([only], true) = (choices.as_slice(), key != "enum") {
            let only = only.clone();
            table.shift_remove(key);
            match only {
                Value::Object(inner) => {
                    for (name, value) in inner {
                        table.entry(name).or_insert(value);
                    }
                }
                name => drop(table.insert(key.to_owned(), name)),
            }
        }
    }
    if table.get("default").is_some_and(Value::is_null) {
        table.shift_remove("default");
    }
    if table.get("format").is_some_and(Value::is_string) {
        table.shift_remove("format");
    }
    if table.get("properties").is_some_and(Value::is_object) {
        table.insert("additionalProperties".to_owned(), false.into());
    }
}
