//! `smollm3 upload` and `smollm3 card`.

use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;

use anyhow::{Result, bail};
use indicatif::ProgressBar;
use smollm3_card::{About, README, card, publication};
use smollm3_engine::checkpoint::read_state;
use smollm3_hub::{Content, Hub, Upload, UploadFile, UploadStep};
use smollm3_recipe::{HubId, is_license};

use crate::args::{CardArgs, UploadArgs};
use crate::hub::{BYTES_BAR, QuietSockets};
use crate::interrupt::flag;
use crate::progress::style;

/// `smollm3 upload`.
pub fn upload(args: &UploadArgs) -> Result<()> {
    let to = destination(&args.repository, &args.revision)?;
    check_license(args.license.as_deref())?;
    let folder = args.checkpoint.model_or_adapter()?;
    let about = About {
        repository: Some(&to.repository),
        revision: Some(&to.revision),
        license: args.license.as_deref(),
    };
    let files = publication(folder, &about)?;
    let own_card = |file: &UploadFile| file.name == README && matches!(file.content, Content::Text(_));
    if args.license.is_some() && files.iter().any(own_card) {
        bail!(
            "--license: {} is uploaded as it is; write the licence there, or leave --license out",
            folder.join(README).display()
        );
    }
    let bytes: u64 = files.iter().map(size).sum();
    if args.dry_run {
        for file in &files {
            println!("{:>14}  {}", size(file), file.name);
        }
        println!("{} files, {:.1} MB, to {to}", files.len(), bytes as f64 / 1e6);
        return Ok(());
    }
    let message = args.message.clone().unwrap_or_else(|| message_for(folder));
    let _quiet = QuietSockets::new();
    let stop = flag("stopping; the same command uploads the rest")?;
    let bar = ProgressBar::new(bytes);
    style(&bar, BYTES_BAR);
    let upload = Upload {
        to: &to,
        private: args.private,
        message: &message,
        files: &files,
    };
    let done = Hub::new()?.upload(&upload, &mut |progress| {
        bar.set_prefix(match progress.step {
            UploadStep::Hashing => "reading  ",
            UploadStep::Sending => "sending  ",
        });
        bar.set_length(progress.of_bytes);
        bar.set_position(progress.bytes);
        !stop.load(Ordering::Relaxed)
    });
    bar.finish_and_clear();
    let done = done?;
    for name in &done.kept {
        eprintln!("note: {name} was edited on the Hub, and is kept");
    }
    match done.is_new {
        true => println!(
            "{} (commit {}, {:.1} MB sent)",
            done.url,
            done.commit,
            done.sent as f64 / 1e6
        ),
        false => println!("{} (commit {}) is up to date", done.url, done.commit),
    }
    Ok(())
}

/// `smollm3 card`.
pub fn print_card(args: &CardArgs) -> Result<()> {
    check_license(args.license.as_deref())?;
    let about = About {
        repository: args.repository.as_deref(),
        license: args.license.as_deref(),
        ..About::default()
    };
    print!("{}", card(args.checkpoint.model_or_adapter()?, &about)?);
    Ok(())
}

/// A branch of a model.
fn destination(repository: &str, revision: &str) -> Result<HubId> {
    let plain = repository.strip_prefix("hf://").unwrap_or(repository);
    for kind in ["datasets", "spaces"] {
        if plain.starts_with(&format!("{kind}/")) {
            bail!("`{repository}` is not a model; write owner/name");
        }
    }
    match HubId::parse(&format!("{plain}@{revision}")) {
        Some(id) if id.repository == plain => Ok(id),
        _ => bail!(
            "`{repository}` with --revision {revision} is not a branch of a model; write owner/name, and the name of a branch"
        ),
    }
}

fn check_license(license: Option<&str>) -> Result<()> {
    match license {
        Some(license) if !is_license(license) => {
            bail!(
                "`{license}` is not the name of a licence on the Hub; write for example apache-2.0, or other"
            )
        }
        _ => Ok(()),
    }
}

/// The default commit message: stage and step if known, else the folder.
fn message_for(folder: &Path) -> String {
    match read_state(folder) {
        Ok(state) => format!("{}: step {}", state.stage, state.step),
        Err(_) => {
            let name = folder.file_name().unwrap_or("a checkpoint".as_ref());
            format!("Upload of {}", name.to_string_lossy())
        }
    }
}

fn size(file: &UploadFile) -> u64 {
    match &file.content {
        Content::File(path) => fs::metadata(path).map_or(0, |file| file.len()),
        Content::Text(text) | Content::Generated { text, .. } => text.len() as u64,
    }
}
