//! `smollm3 tokenizer …`.

use anyhow::{Context, Result};
use smollm3_chat::tokens;
use smollm3_corpus::Tokenizer;
use smollm3_engine::rewrite_with_tokens;

use crate::args::AddChatTokensArgs;

/// `smollm3 tokenizer add-chat-tokens`.
pub fn add_chat_tokens(args: &AddChatTokensArgs) -> Result<()> {
    let from = args.checkpoint.folder()?;
    let tokenizer = Tokenizer::load(from.join("tokenizer.json"));
    let tokenizer = tokenizer.context("the checkpoint has no tokenizer to extend")?;
    let (tokenizer, added) = tokens::add_chat_tokens(&tokenizer)?;
    let (before, rows) = rewrite_with_tokens(from, &tokenizer, &args.out)?;
    for (token, id) in &added {
        println!("{id:>8}  {token}");
    }
    match added.len() {
        0 => println!("all tokens exist already"),
        count => println!(
            "added {count} tokens; the embedding has {rows} rows ({before} before), new ones are the mean of the others"
        ),
    }
    println!("wrote {}", args.out.display());
    Ok(())
}
