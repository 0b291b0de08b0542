//! `smollm3 serve`: a checkpoint behind OpenAI's HTTP interface.

use std::process::ExitCode;

use anyhow::Result;
use smollm3_engine::dtype;
use smollm3_inference::TextModel;
use smollm3_serve::{Limits, Server, Settings};

use crate::args::ServeArgs;
use crate::date::date;
use crate::interrupt::flag;

/// `smollm3 serve`. To be stopped is how a server ends, so that is a success.
pub fn serve(args: &ServeArgs) -> Result<ExitCode> {
    let device = args.device.open()?;
    let precision = args.device.precision(args.precision)?;
    let date = date(args.date.as_deref())?;
    let model = TextModel::open(args.checkpoint.folder()?, dtype(precision), &device)?;
    if model.template.is_none() {
        eprintln!("note: the checkpoint has no chat template; /v1/chat/completions will say so");
    }
    let name = args.name.clone();
    let name = name.unwrap_or_else(|| args.checkpoint.to_string());
    let server = Server::bind(
        model,
        Settings {
            host: args.host.clone(),
            port: args.port,
            name: name.clone(),
            date,
            allowed_hosts: args.allow_host.clone(),
            limits: Limits {
                requests: usize::from(args.requests),
                connections: usize::from(args.connections),
                batch_tokens: args.batch_tokens.0 as usize,
                ..Limits::default()
            },
        },
    )?;
    let stop = flag("stopping; answers under way are cut")?;
    println!("{name} at http://{}/v1", server.address());
    server.run(&stop)?;
    Ok(ExitCode::SUCCESS)
}
