//! `smollm3 chat`: a conversation on the terminal, or of the lines of standard input.

use std::io::{BufRead, IsTerminal, Write, stdin, stdout};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use smollm3_chat::tokens::check_tokens;
use smollm3_chat::{Conversation, Template};
use smollm3_engine::dtype;
use smollm3_inference::{Continuation, TextModel};
use smollm3_model::hf::GenerationConfig;

use crate::args::ChatArgs;
use crate::date::date;

const HELP: &str =
    "/think, /no_think: think before answering or not · /clear: begin anew · /exit or Ctrl-D: end";

/// `smollm3 chat`.
pub fn chat(args: &ChatArgs) -> Result<ExitCode> {
    let device = args.device.open()?;
    let precision = args.device.precision(args.precision)?;
    let date = date(args.date.as_deref())?;
    let sampling = args
        .sampling
        .over(&GenerationConfig::of_checkpoint(args.checkpoint.folder()?)?.sampling)?;
    let mut talk = Conversation {
        messages: first(args.system.as_deref()),
        tools: args.tools.as_deref().map(tools).transpose()?,
        ..Conversation::default()
    };
    set_thinking(&mut talk, !args.no_think);
    // With a message, as it will be: tools are checked before anything is asked.
    let mut asked = talk.clone();
    asked.messages.push(user("?"));
    asked.validate()?;
    let mut model = TextModel::open(args.checkpoint.folder()?, dtype(precision), &device)?;
    check_tokens(&model.tokenizer)?;
    if model.template.is_none() {
        eprintln!("note: the checkpoint has no chat template; SmolLM3's is used");
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
                        // The conversation stays as it was.
                        talk.messages.pop();
                        eprintln!("error: {error:#}; /clear begins anew");
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
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
    // Windows begins files with a mark.
    let text = text.trim_start_matches('\u{feff}');
    match serde_json::from_str(text).with_context(|| format!("{}: not JSON", path.display()))? {
        Value::Array(tools) => Ok(tools),
        _ => bail!(
            "{}: write a list of functions, [{{\"type\": \"function\", …}}]",
            path.display()
        ),
    }
}
