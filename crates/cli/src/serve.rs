//! `smollm3 serve`.

use anyhow::Result;
use smollm3_serve::{Limits, Server, Settings};

use crate::args::ServeArgs;
use crate::date;
use crate::interrupt::flag;

/// `smollm3 serve`. A stop is its normal end.
pub fn serve(args: &ServeArgs) -> Result<()> {
    let date = date::or_today(args.date)?;
    let model = args.compute.text_model(&args.checkpoint)?;
    if model.template.is_none() {
        eprintln!("note: the checkpoint has no chat template; /v1/chat/completions will refuse requests");
    }
    let name = args.name.clone();
    let name = name.unwrap_or_else(|| args.checkpoint.to_string());
    let settings = Settings {
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
    };
    let server = Server::bind(model, settings)?;
    let stop = flag("stopping; answers in progress are cut off")?;
    println!("{name} at http://{}/v1", server.address());
    Ok(server.run(&stop)?)
}
