//! Where text comes from: `[source.NAME]`, in the recipe or in a file of sources.

use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};

use crate::error::{Problem, RecipeError, ensure};
use crate::keys::with_kinds;
use crate::push::is_license;
use crate::section::{Section, unknown};

/// One source of documents.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(transform = add_kinds)]
pub struct Source {
    /// Any name; shares and the plan group sources by category.
    pub category: String,
    /// How often each document may be seen over all stages together.
    #[schemars(with = "Option<u32>")]
    pub max_epochs: u32,
    /// Its licence as the Hub spells it, for model cards.
    #[serde(skip_serializing)]
    pub license: Option<String>,
    /// What to read.
    #[serde(flatten)]
    #[schemars(skip)]
    pub kind: SourceKind,
}

/// What a source reads.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum SourceKind {
    /// The Markdown files of the crates in `Cargo.lock`.
    CargoMarkdown,
    /// The Rust files of the crates in `Cargo.lock`.
    CargoRust,
    /// Generated arithmetic with worked steps.
    Arithmetic(Arithmetic),
    /// JSON lines, one document each.
    Jsonl(Table),
    /// Parquet files, one document a row.
    Parquet(Table),
    /// A folder of token files in datatrove's format.
    Tokens(TokenFolder),
    /// A dataset on the Hugging Face Hub.
    Hub(HubDataset),
}

/// The most generated documents: their order is kept in memory.
const MOST_DOCUMENTS: u64 = 1 << 28;

/// Seeded arithmetic and word problems.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Arithmetic {
    /// The number of documents.
    pub documents: u64,
    /// The seed of the generator.
    #[serde(default)]
    pub seed: u64,
}

/// Rows with a column of text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Files, folders, globs or addresses.
    pub paths: Vec<String>,
    /// The column that holds the text.
    #[serde(default = "text_column")]
    pub column: String,
}

/// Text that is already tokenised.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenFolder {
    /// The folder of the `.ds` files.
    pub folder: String,
    /// The public dataset that the text comes from; the plan names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
}

/// A dataset of the Hub.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HubDataset {
    /// Its id, such as `HuggingFaceFW/fineweb-edu`.
    pub dataset: String,
    /// The subset, also called configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subset: Option<String>,
    /// The split.
    #[serde(default = "train_split")]
    pub split: String,
    /// The column that holds the text.
    #[serde(default = "text_column")]
    pub column: String,
}

fn text_column() -> String {
    "text".to_owned()
}

fn train_split() -> String {
    "train".to_owned()
}

/// Gives `[source.NAME]` the keys of its kinds.
fn add_kinds(schema: &mut Schema) {
    let common = schema.clone().to_value();
    *schema = with_kinds::<SourceKind>(|_| common.clone());
}

const KINDS: [&str; 7] = [
    "cargo-markdown",
    "cargo-rust",
    "arithmetic",
    "jsonl",
    "parquet",
    "tokens",
    "hub",
];

/// A table without keys.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

impl Source {
    /// The id of the public dataset that it reads or was made from.
    pub fn dataset(&self) -> Option<&str> {
        match &self.kind {
            SourceKind::Hub(hub) => Some(&hub.dataset),
            SourceKind::Tokens(folder) => folder.dataset.as_deref(),
            _ => None,
        }
    }

    pub(crate) fn read(section: &mut Section<'_>, default_max_epochs: u32) -> Result<Self, RecipeError> {
        let category: String =
            section.required("category", "the group it counts to, such as category = \"web\"")?;
        let max_epochs = section.optional("max_epochs")?.unwrap_or(default_max_epochs);
        let license = section.optional::<String>("license")?;
        let kind: String = section.required("kind", "what to read, such as kind = \"jsonl\"")?;
        let kind = match kind.as_str() {
            "cargo-markdown" => section.rest().map(|Nothing {}| SourceKind::CargoMarkdown),
            "cargo-rust" => section.rest().map(|Nothing {}| SourceKind::CargoRust),
            "arithmetic" => section.rest().map(SourceKind::Arithmetic),
            "jsonl" => section.rest().map(SourceKind::Jsonl),
            "parquet" => section.rest().map(SourceKind::Parquet),
            "tokens" => section.rest().map(SourceKind::Tokens),
            "hub" => section.rest().map(SourceKind::Hub),
            other => Err(section.error("kind", unknown("kind of source", other, &KINDS))),
        }?;
        let source = Self {
            category,
            max_epochs,
            license,
            kind,
        };
        source.check().map_err(|problem| section.problem(problem))?;
        Ok(source)
    }

    fn check(&self) -> Result<(), Problem> {
        let is_read = self.max_epochs > 0;
        ensure!(
            is_read,
            "max_epochs",
            "0 epochs read nothing; write 1 or more, or remove the source"
        );
        let text = self.license.as_deref().unwrap_or("other");
        ensure!(
            is_license(text),
            "license",
            "`{text}` is not a licence name on the Hub; write it as \"odc-by\", or \"other\""
        );
        match &self.kind {
            SourceKind::Arithmetic(Arithmetic { documents, .. }) => ensure!(
                *documents <= MOST_DOCUMENTS,
                "documents",
                "{documents} documents are too many to generate; write at most {MOST_DOCUMENTS}"
            ),
            SourceKind::Jsonl(table) | SourceKind::Parquet(table) => ensure!(
                !table.paths.is_empty(),
                "paths",
                "there is nothing to read; write the files, such as paths = [\"data/*.parquet\"]"
            ),
            _ => {}
        }
        Ok(())
    }
}
