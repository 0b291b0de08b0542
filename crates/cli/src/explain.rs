//! `smollm3 data explain`: a row of conversations or a pair, token by token.

use std::io::{IsTerminal, stdout};

use anyhow::{Context, Result};
use smollm3_hub::Depth;
use smollm3_pipeline::explain_row;

use crate::args::ExplainArgs;
use crate::hub::locate;

/// Learned tokens are green, others grey.
const LEARNED: &str = "\u{1b}[32m";
const SHOWN: &str = "\u{1b}[90m";
const PLAIN: &str = "\u{1b}[0m";

/// `smollm3 data explain`.
pub fn explain(args: &ExplainArgs) -> Result<()> {
    let mut recipe = args.recipe.load()?;
    locate(&mut recipe, Depth::Text)?;
    let stage = match &args.stage {
        Some(name) => recipe.stage(name)?,
        None => recipe
            .stages
            .iter()
            .rfind(|stage| !stage.rows().is_empty())
            .context("the recipe has no stage on conversations")?,
    };
    let data = match &args.data {
        None => stage.rows().first(),
        Some(name) => stage.rows().iter().find(|data| data.name == *name),
    };
    let data = data.with_context(|| {
        let names: Vec<&str> = stage.rows().iter().map(|data| data.name.as_str()).collect();
        match names.is_empty() {
            true => format!(
                "stage \"{}\" does not train on conversations or pairs",
                stage.name
            ),
            false => format!("the stage's data are {}", names.join(", ")),
        }
    })?;
    let row = explain_row(&recipe, stage, data, args.row)?;
    for kind in &row.dropped {
        eprintln!("note: the template does not write {kind}");
    }
    if args.json {
        for token in &row.tokens {
            println!("{}", serde_json::to_string(token)?);
        }
        return Ok(());
    }
    let learned = row.tokens.iter().filter(|token| token.learned).count();
    println!(
        "{}: {} tokens, {learned} of them learned\n",
        row.place,
        row.tokens.len()
    );
    println!("{:>8}  {:<10} {:<8} text", "id", "role", "loss");
    let colours = stdout().is_terminal();
    for token in row.tokens {
        let (on, off) = match (colours, token.learned) {
            (false, _) => ("", ""),
            (true, true) => (LEARNED, PLAIN),
            (true, false) => (SHOWN, PLAIN),
        };
        println!(
            "{on}{:>8}  {:<10} {:<8} {:?}{off}",
            token.id,
            token.role.as_deref().unwrap_or(""),
            if token.learned { "yes" } else { "" },
            token.text
        );
    }
    Ok(())
}
