//! `smollm3`: the SmolLM3 recipe, from TOML files.

mod adapter;
mod args;
mod bench;
mod chat;
mod commands;
mod data;
mod date;
mod eval;
mod explain;
mod export;
mod hub;
mod init;
mod interrupt;
mod logs;
mod merge;
mod progress;
mod ranks;
mod sample;
mod sampling;
mod serve;
mod sweep;
mod synthesis;
mod tokenizer;
mod upload;

use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory, FromArgMatches};

use crate::args::{Args, BenchCommand, Command, DataCommand, LogFormat, TokenizerCommand, typed};
use crate::interrupt::{STOPPED, is_stopped};

/// An error with its causes, without repetition: many messages already have their cause in them.
fn in_full(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for message in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = message;
        } else if !text.contains(&message) {
            text = format!("{text}: {message}");
        }
    }
    text
}

/// Prints an error; returns the exit code.
fn failed(error: &anyhow::Error) -> ExitCode {
    match is_stopped(error) {
        true => {
            eprintln!("{error}");
            ExitCode::from(STOPPED)
        }
        false => {
            eprintln!("error: {}", in_full(error));
            ExitCode::FAILURE
        }
    }
}

/// Lets `smollm3 plan … | head` end silently, like other programs. Not for commands that write to sockets: a closed one
/// must stay an error.
#[cfg(unix)]
fn end_with_the_reader(command: &Command) {
    let offline = match command {
        Command::Report(args) => !args.watch,
        Command::Plan(_)
        | Command::Schema(_)
        | Command::Status(_)
        | Command::Generate(_)
        | Command::Card(_)
        | Command::Eval(_)
        | Command::Bench(_)
        | Command::Data(DataCommand::Order(_) | DataCommand::Explain(_)) => true,
        _ => false,
    };
    if offline {
        // SAFETY: the default action of a signal, before any thread has started.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    }
}

#[cfg(not(unix))]
fn end_with_the_reader(_: &Command) {}

fn main() -> ExitCode {
    let matches = Args::command().get_matches();
    let args = Args::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    end_with_the_reader(&args.command);
    // A run may be one of several ranks, and sets up its log itself.
    if !matches!(args.command, Command::Run(_)) {
        logs::init(args.log_format);
    }
    let outcome = run(args.command, args.log_format, &typed(&matches));
    outcome.unwrap_or_else(|error| failed(&error))
}

fn run(command: Command, format: LogFormat, typed: &BTreeSet<String>) -> Result<ExitCode> {
    let done = match command {
        Command::Init(args) => init::init(&args),
        Command::Run(args) => return commands::run(&args, format),
        Command::Status(args) => commands::status(&args),
        Command::Report(args) => commands::report(&args),
        Command::Plan(args) => commands::plan(&args),
        Command::Schema(args) => commands::schema(&args),
        Command::Sweep(args) => sweep::sweep(&args),
        Command::Generate(args) => commands::generate(&args),
        Command::Chat(args) => chat::chat(&args),
        Command::Serve(args) => serve::serve(&args),
        Command::Tokenizer(TokenizerCommand::AddChatTokens(args)) => tokenizer::add_chat_tokens(&args),
        Command::Merge(args) => merge::merge(&args),
        Command::Export(args) => export::export(&args),
        Command::Upload(args) => upload::upload(&args),
        Command::Card(args) => upload::print_card(&args),
        Command::Eval(args) => eval::eval(&args, typed),
        Command::Data(command) => match command {
            DataCommand::Tokenize(args) => data::tokenize(&args),
            DataCommand::MergeStores(args) => data::merge(&args),
            DataCommand::Fetch(args) => data::fetch_files(&args),
            DataCommand::Prepare(recipe) => data::prepare_data(&recipe, format),
            DataCommand::Order(args) => data::order(&args),
            DataCommand::Explain(args) => explain::explain(&args),
            DataCommand::Responses(args) => synthesis::responses(&args, typed),
            DataCommand::Pairs(args) => synthesis::pairs(&args, typed),
        },
        Command::Bench(command) => match command {
            BenchCommand::Mixer(args) => bench::mixer(&args),
            BenchCommand::Tokenize(args) => bench::tokenize(&args),
            BenchCommand::Step(args) => bench::step(&args),
            BenchCommand::Bits(args) => bench::bits(&args),
            BenchCommand::Generate(args) => bench::generate(&args),
        },
    };
    done.map(|()| ExitCode::SUCCESS)
}
