//! The keys of recipes as a JSON Schema, derived from the fields that hold them and from their documentation.

use std::borrow::Cow;
use std::marker::PhantomData;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use crate::optimisation::Optimisation;
use crate::optimizer::tuned;
use crate::recipe::Recipe;
use crate::source::SourceKind;
use crate::stage::StageData;
use crate::units::{Pairs, Span};

/// The JSON Schema (draft 7) of `recipe.toml`, without references.
pub fn schema() -> Value {
    let mut schema = of::<Recipe>();
    plain(&mut schema);
    schema
}

/// A value, or the name of a file that holds it.
pub(crate) struct FileOr<T>(PhantomData<T>);

impl<T: JsonSchema> JsonSchema for FileOr<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("FileOr{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let file = json!({ "type": "string", "title": "a file name" });
        json_schema!({ "anyOf": [file, T::json_schema(generator)] })
    }
}

/// A positive number, or `false` to switch something off.
pub(crate) struct NumberOrFalse;

impl JsonSchema for NumberOrFalse {
    fn schema_name() -> Cow<'static, str> {
        "NumberOrFalse".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "number" }, { "const": false }] })
    }
}

/// The length of a stage on rows. One of the two keys is written.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) struct DurationKeys {
    /// The number of passes over all rows, such as 4 or 0.5. Either this or `until` is written.
    epochs: Option<f64>,
    /// The length of the stage in steps or, not for pairs, in tokens.
    until: Option<Span>,
}

/// Gives `[data]` the key `sources`, whose file takes its place before the table is read.
pub(crate) fn add_sources_file(schema: &mut Schema) {
    let sources = json!({
        "type": "string",
        "title": "a file name",
        "description": "A file of `[source.NAME]` tables, which join those of the recipe.",
    });
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        properties.insert("sources".to_owned(), sources);
    }
}

/// Gives `[source.NAME]` the keys of its kinds.
pub(crate) fn add_source_kinds(schema: &mut Schema) {
    let common = schema.clone().to_value();
    *schema = with_kinds::<SourceKind>(|_| common.clone());
}

/// Gives `[[stage]]` the keys of its kinds.
pub(crate) fn add_stage_kinds(schema: &mut Schema) {
    let (common, trained) = (schema.clone().to_value(), of::<Optimisation>());
    *schema = with_kinds::<StageData>(|kind| {
        let mut trained = trained.clone();
        let without: &[&str] = match kind {
            "merge" => return common.clone(),
            "pretrain" | "long-context" => &["lora", "validation"],
            "apo" => {
                trained["properties"]["global_batch"]["title"] = of::<Pairs>()["title"].clone();
                &["micro_batch", "optimizer_state"]
            }
            _ => &[],
        };
        for key in without {
            remove_key(&mut trained, key);
        }
        if !matches!(kind, "pretrain" | "long-context") {
            for (key, value) in tuned() {
                trained["properties"]["optimizer"]["properties"][key]["default"] = json!(value);
            }
        }
        add_keys(common.clone(), &trained)
    });
}

/// The schema of an enum that `kind` tags, each variant with the keys that `common` gives it.
fn with_kinds<T: JsonSchema>(common: impl Fn(&str) -> Value) -> Schema {
    let mut kinds = of::<T>();
    for variant in kinds["oneOf"].as_array_mut().into_iter().flatten() {
        let name = variant["properties"]["kind"]["const"].clone();
        let keys = add_keys(common(name.as_str().unwrap_or_default()), variant);
        for key in ["properties", "required"] {
            variant[key] = keys[key].clone();
        }
    }
    json_schema!({ "oneOf": kinds["oneOf"] })
}

/// `table` with the keys of `other` after its own.
fn add_keys(mut table: Value, other: &Value) -> Value {
    if let (Value::Object(own), Some(new)) = (&mut table["properties"], other["properties"].as_object()) {
        own.extend(new.clone());
    }
    let required = |table: &Value| table["required"].as_array().cloned().unwrap_or_default();
    table["required"] = [required(&table), required(other)].concat().into();
    table
}

fn remove_key(table: &mut Value, key: &str) {
    if let Some(properties) = table["properties"].as_object_mut() {
        properties.shift_remove(key);
    }
    if let Some(required) = table["required"].as_array_mut() {
        required.retain(|name| name != key);
    }
}

/// The schema of `T`, without references.
fn of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<T>().to_value()
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
