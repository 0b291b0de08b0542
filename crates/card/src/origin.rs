//! Where data come from, as a recipe writes it. For files of this machine, only their number.

use std::collections::BTreeSet;

use toml::{Table, Value};

use crate::facts::{Facts, Stage, list_at, text_at};

/// Where the data called `name` of a stage come from, and their licence if the recipe states one.
pub(crate) fn origin(facts: &Facts, stage: &Stage, name: &str) -> (String, Option<String>) {
    let Some(table) = written(facts, stage, name) else {
        return (String::new(), None);
    };
    let text = |key: &str| text_at(table, key);
    let inside = |key: &str, of: &str| table.get(key).and_then(|table| table.get(of));
    let origin = match text("kind") {
        _ if !dataset_ids(table).is_empty() => {
            let subset = text("subset").map_or(String::new(), |subset| format!(", {subset}"));
            let link = |id: &String| format!("[{id}](https://huggingface.co/datasets/{id})");
            let links: Vec<String> = dataset_ids(table).iter().map(link).collect();
            links.join(", ") + &subset
        }
        Some("arithmetic") => "generated sums with worked steps".to_owned(),
        Some("cargo-markdown") => "Markdown files of Rust crates".to_owned(),
        Some("cargo-rust") => "source files of Rust crates".to_owned(),
        Some("tokens") => "tokens on disk".to_owned(),
        _ if table.contains_key("sums") => {
            match inside("sums", "conversations").and_then(Value::as_integer) {
                Some(count) => format!("{count} generated questions about sums"),
                None => "generated questions about sums".to_owned(),
            }
        }
        _ if table.contains_key("passages") => {
            let source = inside("passages", "source").and_then(Value::as_str);
            format!("passages of {}", source.unwrap_or("a source"))
        }
        _ => match list_at(table, "paths").len() {
            0 | 1 => "own files".to_owned(),
            count => format!("own files ({count} paths)"),
        },
    };
    (origin, text("license").map(str::to_owned))
}

/// Data sets of the Hub that the stages of a checkpoint read.
pub(crate) fn datasets(facts: &Facts) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for stage in &facts.stages {
        let phases = stage.info.iter().flat_map(|info| &info.phases);
        let names: BTreeSet<&String> = phases.flat_map(|phase| phase.shares.keys()).collect();
        let names = names.into_iter().flat_map(|name| parts(facts, stage, name));
        let tables = names.filter_map(|name| written(facts, stage, name));
        found.extend(tables.flat_map(dataset_ids));
    }
    found
}

/// The data sets that a stage counts as the one source `name`, as packed conversations are; else the source itself.
pub(crate) fn parts<'f>(facts: &'f Facts, stage: &'f Stage, name: &'f str) -> Vec<&'f str> {
    let own = list_at(&stage.written, "data").iter();
    let own: Vec<&str> = own.filter_map(|data| data.get("name")?.as_str()).collect();
    match written(facts, stage, name).is_some() || own.is_empty() {
        true => vec![name],
        false => own,
    }
}

/// The table of the data called `name`: `[[stage.data]]`, or `[source.NAME]`.
fn written<'f>(facts: &'f Facts, stage: &'f Stage, name: &str) -> Option<&'f Table> {
    let mut data = list_at(&stage.written, "data").iter().filter_map(Value::as_table);
    let of_stage = data.find(|table| text_at(table, "name") == Some(name));
    of_stage.or_else(|| facts.recipe.as_ref()?.get("source")?.get(name)?.as_table())
}

fn dataset_ids(table: &Table) -> BTreeSet<String> {
    let of_paths = list_at(table, "paths").iter().filter_map(|path| {
        let rest = path.as_str()?.strip_prefix("hf://datasets/")?;
        let mut parts = rest.split('/');
        let (owner, name) = (parts.next()?, parts.next()?);
        let name = name.split('@').next().unwrap_or(name);
        Some(format!("{owner}/{name}"))
    });
    let named = text_at(table, "dataset").map(str::to_owned);
    of_paths.chain(named).collect()
}
