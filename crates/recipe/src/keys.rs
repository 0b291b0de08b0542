//! Parts of which the [schema](crate::schema()) of recipes is made where a derive cannot say it.

use std::borrow::Cow;
use std::marker::PhantomData;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

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

/// The schema of an enum that `kind` tags, each variant with the keys that `common` gives it.
pub(crate) fn with_kinds<T: JsonSchema>(common: impl Fn(&str) -> Value) -> Schema {
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
pub(crate) fn add_keys(mut table: Value, other: &Value) -> Value {
    if let (Value::Object(own), Some(new)) = (&mut table["properties"], other["properties"].as_object()) {
        own.extend(new.clone());
    }
    let required = |table: &Value| table["required"].as_array().cloned().unwrap_or_default();
    table["required"] = [required(&table), required(other)].concat().into();
    table
}

pub(crate) fn remove_key(table: &mut Value, key: &str) {
    if let Some(properties) = table["properties"].as_object_mut() {
        properties.shift_remove(key);
    }
    if let Some(required) = table["required"].as_array_mut() {
        required.retain(|name| name != key);
    }
}

/// The schema of `T`, without references.
pub(crate) fn of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<T>().to_value()
}
