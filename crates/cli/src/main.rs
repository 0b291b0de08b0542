//! `smollm3`: the whole SmolLM3 recipe from TOML files.

mod adapter;
mod args;
mod bench;
mod chat;
mod commands;
mod data;
mod date;
mod device;
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
mod rates;
mod sample;
mod sampling;
mod serve;
mod sweep;
mod synthesis;
mod tokenizer;
mod upload;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Args, BenchCommand, Command, DataCommand, TokenizerCommand};

/// An error with its causes, each said once: many messages already end with their cause.
fn in_full(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for message in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = message;
        } else if !text.ends_with(&message) {
            text = format!("{text}: {message}");
        }
    }
    text
}

/// Lets `smollm3 plan … | head` end quietly, as other programs do. Not where sockets are written to: their closing must
/// stay an error.
#[cfg(unix)]
fn end_with_the_reader(command: &Command) {
    let offline = match command {
        Command::Report(args) => !args.watch,
        Command::Plan(_)
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
    let args = Args::parse();
    end_with_the_reader(&args.command);
    // A run is one of several ranks, perhaps, and begins its log by itself.
    if !matches!(args.command, Command::Run(_)) {
        logs::init(args.log_format);
    }
    let outcome = match args.command {
        Command::Init(args) => init::init(&args),
        Command::Run(run) => commands::run(&run, args.log_format),
        Command::Status(args) => commands::status(&args),
        Command::Report(args) => commands::report(&args),
        Command::Plan(args) => commands::plan(&args),
        Command::Sweep(args) => sweep::sweep(&args),
        Command::Generate(args) => commands::generate(&args),
        Command::Chat(args) => chat::chat(&args),
        Command::Serve(args) => serve::serve(&args),
        Command::Tokenizer(TokenizerCommand::AddChatTokens(args)) => tokenizer::add_chat_tokens(&args),
        Command::Merge(args) => merge::merge(&args),
        Command::Export(args) => export::export(&args),
        Command::Upload(args) => upload::upload(&args),
        Command::Card(args) => upload::print_card(&args),
        Command::Eval(args) => eval::eval(&args),
        Command::Data(command) => match command {
            DataCommand::Tokenize(args) => data::tokenize(&args),
            DataCommand::MergeStores(args) => data::merge(&args),
            DataCommand::Fetch(args) => data::fetch_files(&args),
            DataCommand::Prepare(prepare) => data::prepare_data(&prepare, args.log_format),
            DataCommand::Order(args) => data::order(&args),
            DataCommand::Explain(args) => explain::explain(&args),
            DataCommand::Responses(args) => synthesis::responses(&args),
            DataCommand::Pairs(args) => synthesis::pairs(&args),
        },
        Command::Bench(command) => match command {
            BenchCommand::Mixer(args) => bench::mixer(&args),
            BenchCommand::Tokenize(args) => bench::tokenize(&args),
            BenchCommand::Step(args) => bench::step(&args),
            BenchCommand::Bits(args) => bench::bits(&args),
            BenchCommand::Generate(args) => bench::generate(&args),
        },
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", in_full(&error));
            ExitCode::FAILURE
        }
    }
}
