//! Where a merged checkpoint comes from: `merge.json` for programs, the model card for people.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, Serializer};

/// What was merged into what; `merge.json` of the result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MergeReport {
    /// Name and version of the program.
    pub program: String,
    /// `linear`.
    pub method: String,
    /// Whether weights were divided by their sum.
    pub normalised: bool,
    /// Format of the result, as `config.json` names it.
    pub dtype: String,
    /// Format that parents were rounded to before, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parents_as: Option<String>,
    /// The parents in the order in which they were added.
    pub parents: Vec<MergedParent>,
    /// The folder whose tokenizer and chat template the result has.
    #[serde(serialize_with = "lossy")]
    pub tokenizer_from: PathBuf,
    /// Number of tensors.
    pub tensors: usize,
    /// Numbers in them.
    pub parameters: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// The result's files of weights.
    pub files: Vec<String>,
}

/// One parent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MergedParent {
    /// Its folder as given.
    #[serde(serialize_with = "lossy")]
    pub folder: PathBuf,
    /// The folder's commit, if it is in the Hub's cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Its weight as given.
    pub weight: f64,
    /// Its weight divided by the sum of all, or as given where weights are not normalised.
    pub share: f64,
    /// Format of its embedding, as `config.json` names it.
    pub dtype: String,
    /// The files that make it what it is.
    pub files: Vec<HashedFile>,
}

/// A file and its hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HashedFile {
    /// Its name in the folder.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// blake3 of its content, in hexadecimal.
    pub blake3: String,
}

impl MergedParent {
    /// Its name for people: `owner/name` in the Hub's cache, else the last part of its path.
    pub fn name(&self) -> String {
        let parts: Vec<String> = self
            .folder
            .components()
            .map(|part| part.as_os_str().to_string_lossy().into_owned())
            .collect();
        let hub = parts.iter().rev().find_map(|part| part.strip_prefix("models--"));
        match hub {
            Some(name) => name.replacen("--", "/", 1),
            None => parts.last().cloned().unwrap_or_default(),
        }
    }
}

impl MergeReport {
    /// The text of `merge.json`.
    pub fn to_json(&self) -> String {
        // Numbers, strings and lists: JSON can hold all of it.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// The model card of the result in `out`.
    pub fn model_card(&self, out: &Path) -> String {
        let mut card = String::from("---\nbase_model:\n");
        let mut names: Vec<String> = self.parents.iter().map(MergedParent::name).collect();
        let mut seen = std::collections::HashSet::new();
        names.retain(|name| seen.insert(name.clone()));
        for name in &names {
            card += &format!("- {}\n", quoted(name));
        }
        card += "library_name: transformers\npipeline_tag: text-generation\ntags:\n- merge\n---\n\n";
        let title = out.file_name().unwrap_or_default().to_string_lossy();
        // Writing into a string does not fail.
        let _ = self.body(&mut card, &title);
        card
    }

    fn body(&self, card: &mut String, title: &str) -> std::fmt::Result {
        let sum = match self.normalised {
            true => "divided by the sum of the weights",
            false => "not divided by the sum of the weights",
        };
        writeln!(card, "# {}\n", cell(title))?;
        writeln!(
            card,
            "A linear merge of {} checkpoints, {sum}; computed in float32, written as {} by {}. Tokenizer and chat \
             template come from {}.\n",
            self.parents.len(),
            self.dtype,
            self.program,
            cell(&self.tokenizer_from.to_string_lossy()),
        )?;
        if let Some(dtype) = &self.parents_as {
            writeln!(
                card,
                "The parents were rounded to {dtype} before they were added.\n"
            )?;
        }
        writeln!(
            card,
            "| parent | folder | format | weight | share |\n| --- | --- | --- | ---: | ---: |"
        )?;
        for parent in &self.parents {
            let (name, folder) = (cell(&parent.name()), cell(&parent.folder.to_string_lossy()));
            let MergedParent {
                dtype, weight, share, ..
            } = parent;
            writeln!(card, "| {name} | {folder} | {dtype} | {weight} | {share} |")?;
        }
        writeln!(
            card,
            "\n| parent | file | bytes | blake3 |\n| --- | --- | ---: | --- |"
        )?;
        for parent in &self.parents {
            for HashedFile { name, bytes, blake3 } in &parent.files {
                writeln!(
                    card,
                    "| {} | {} | {bytes} | `{blake3}` |",
                    cell(&parent.name()),
                    cell(name)
                )?;
            }
        }
        writeln!(card, "\nThe same as data: `merge.json`.")
    }
}

/// A YAML string: JSON's quotes are YAML's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Text in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}

/// A path as text, even if it is not Unicode.
fn lossy<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}
