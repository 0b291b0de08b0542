//! `smollm3 chat`: a conversation on the terminal, or with the lines of standard input.

use std::io::{BufRead, IsTerminal, Write, stdin, stdout};
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use smollm3_chat::tokens::check_tokens;
use smollm3_chat::{Conversation, Template};
use smollm3_inference::Continuation;
use smollm3_model::hf::GenerationConfig;

use crate::args::ChatArgs;
use crate::date;

const HELP: &str =
    "/think, /no_think: think before answering or not · /clear: start over · /exit or Ctrl-D: quit";

/// `smollm3 chat`.
pub fn chat(args: &ChatArgs) -> Result<()> {
    let date = date::or_today(args.date)?;
    // Refused before a checkpoint is downloaded.
    args.compute.open()?;
    let checkpoint = GenerationConfig::of_checkpoint(args.checkpoint.folder()?)?;
    let sampling = args.sampling.over(&checkpoint.sampling)?;
    let mut talk = Conversation {
        messages: first(args.system.as_deref()),
        tools: args.tools.as_deref().map(tools).transpose()?,
        ..Conversation::default()
    };
    set_thinking(&mut talk, !args.no_think);
    // Checks the tools, which takes a message.
    let mut asked = talk.clone();
    asked.messages.push(user("?"));
    asked.validate()?;
    let mut model = args.compute.text_model(&args.checkpoint)?;
    check_tokens(&model.tokenizer)?;
    if model.template.is_none() {
        eprintln!("note: the checkpoint has no chat template; using SmolLM3's");
        model.template = Some(Template::smollm3());
    }
    let how = Continuation {
        max_new_tokens: args.max_new_tokens,
        sampling,
        ..Continuation::default()
    };

    let terminal = stdin().is_terminal();
    if terminal {
        eprintln!("{HELP}");
    }
    let mut lines = stdin().lock().lines();
    loop {
        if terminal {
            eprint!("> ");
        }
        let Some(line) = lines.next() else { break };
        let line = line.context("standard input")?;
        match line.trim() {
            "" => continue,
            "/exit" | "/quit" => break,
            "/help" => eprintln!("{HELP}"),
            "/clear" => talk.messages = first(args.system.as_deref()),
            "/think" => set_thinking(&mut talk, true),
            "/no_think" => set_thinking(&mut talk, false),
            message => {
                talk.messages.push(user(message));
                let prompt = model.prompt(&talk, Some(date))?;
                let mut out = stdout().lock();
                let answer = model.continue_text(&prompt, &how, |piece| {
                    write!(out, "{piece}").and_then(|()| out.flush())
                });
                writeln!(out)?;
                match answer {
                    Ok(answer) => talk
                        .messages
                        .push(json!({"role": "assistant", "content": answer})),
                    Err(error) if terminal => {
                        // The conversation continues without the message.
                        talk.messages.pop();
                        eprintln!("error: {error:#}; /clear starts over");
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
    Ok(())
}

fn user(message: &str) -> Value {
    json!({"role": "user", "content": message})
}

fn first(system: Option<&str>) -> Vec<Value> {
    let system = system.map(|text| json!({"role": "system", "content": text}));
    system.into_iter().collect()
}

fn set_thinking(talk: &mut Conversation, think: bool) {
    talk.template_kwargs
        .insert("enable_thinking".to_owned(), json!(think));
}

fn tools(path: &Path) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{}: cannot read", path.display()))?;
    // Windows programs write a byte order mark.
    let text = text.trim_start_matches('\u{feff}');
    match serde_json::from_str(text).with_context(|| format!("{}: not JSON", path.display()))? {
        Value::Array(tools) => Ok(tools),
        _ => bail!(
            "{}: write a list of functions, [{{\"type\": \"function\", …}}]",
            path.display()
        ),
    }
}
