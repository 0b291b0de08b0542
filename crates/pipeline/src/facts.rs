//! The facts that a plan is checked against: the architecture, tokenizers on disk, and data prepared by an earlier run.

use smollm3_corpus::Tokenizer;
use smollm3_engine::EngineError;
use smollm3_recipe::{Facts, Recipe, Source, SourceKind, Tokenizer as TokenizerChoice, TokenizerFacts};
use smollm3_sources::{Data, SourceStore};

use crate::error::Result;
use crate::prepare::prepared_data;

/// Collects the facts of a recipe whose models have been located.
///
/// # Errors
/// A file that exists cannot be read.
pub fn facts(recipe: &Recipe) -> Result<Facts> {
    let mut facts = Facts {
        architecture: Some(recipe.architecture().map_err(EngineError::from)?),
        ..Facts::default()
    };
    if let TokenizerChoice::File(file) = &recipe.tokenizer {
        facts.tokenizer = Some(tokenizer_facts(&load(recipe.tokenizer_file(file))?));
    }
    for stage in &recipe.stages {
        let folder = recipe.checkpoint_folder(&stage.from);
        let file = folder.map(|folder| folder.join("tokenizer.json"));
        if let Some(file) = file.filter(|file| file.is_file()) {
            let found = tokenizer_facts(&load(file)?);
            facts.checkpoint_tokenizers.insert(stage.name.clone(), found);
        }
    }
    if smollm3_records::belongs(recipe)? {
        for stage in &recipe.stages {
            let found = prepared_data(recipe, stage)?;
            facts
                .prepared
                .extend(found.map(|data| (stage.name.clone(), data)));
        }
    }
    let remote =
        |source: &Source| matches!(&source.kind, SourceKind::Tokens(tokens) if tokens.folder.contains("://"));
    if !recipe.sources.values().any(remote)
        && let Some(data) = found_data(recipe)?
    {
        facts.tokenizer = Some(tokenizer_facts(&data.tokenizer));
        let tokens = |(name, store): (String, SourceStore)| (name, store.tokens);
        facts.stores = data.stores.into_iter().map(tokens).collect();
    }
    Ok(facts)
}

/// The prepared token stores of a recipe, if its output folder belongs to it and has them.
///
/// # Errors
/// They cannot be read.
pub fn found_data(recipe: &Recipe) -> Result<Option<Data>> {
    match smollm3_records::belongs(recipe)? {
        true => Ok(Data::found(recipe, &recipe.run.output).map_err(EngineError::from)?),
        false => Ok(None),
    }
}

fn load(file: impl AsRef<std::path::Path>) -> Result<Tokenizer> {
    Ok(Tokenizer::load(file).map_err(EngineError::from)?)
}

fn tokenizer_facts(tokenizer: &Tokenizer) -> TokenizerFacts {
    let info = tokenizer.info();
    TokenizerFacts {
        vocab_size: u64::from(info.vocab_size),
        bos_token_id: info.begin_of_text,
        eos_token_id: Some(info.end_of_text),
        end_of_turn: info.im_end,
    }
}
